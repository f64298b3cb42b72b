"""Writing into a conversation that is kept here without anything being answered, inside a transaction."""

from dataclasses import replace

from tertulia.store import branches, journal, messages, runs
from tertulia.store.database import Transaction
from tertulia.store.transitions import message_added
from tertulia.vocabulary.errors import ConflictError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.identifiers import new_id
from tertulia.vocabulary.models import Message, MessageChanges, MessageDraft


def add(tx: Transaction, principal: str, own_id: str, me: str, draft: MessageDraft) -> Message:
    """Add a message behind the one that it follows, or at the end; one of its id that is there stays as it is.

    Raises:
        NotFoundError: the message that it is to follow is not there.
    """
    message_id = draft.id or new_id("m_", 10)
    if messages.known(tx, principal, own_id, message_id):
        return messages.get(tx, principal, own_id, message_id)
    place = branches.place(tx, principal, own_id, draft.parent_id)
    message = Message(
        id=message_id,
        conversation_id=own_id,
        author=me,
        role=draft.role,
        text=draft.text,
        data=draft.data,
        type=draft.type,
        parent_id=place.parent_id,
        branch=place.branch,
        metadata=draft.metadata,
    )
    messages.add(tx, principal, message)
    journal.append(tx, principal, own_id, [message_added(message)])
    return messages.get(tx, principal, own_id, message_id)


def change(
    tx: Transaction, principal: str, own_id: str, me: str, message_id: str, changes: MessageChanges
) -> Message:
    """Change a message's metadata where it stands, or write it anew on a branch of its own; return it as it is then.

    Raises:
        NotFoundError: there is no such message.
        ConflictError: an answer is being produced, so that no text can be changed.
    """
    before = messages.get(tx, principal, own_id, message_id)
    if changes.text is None or changes.text == before.text:
        after = before
        if changes.metadata is not None:
            after = messages.change_metadata(tx, principal, own_id, message_id, changes.metadata)
            journal.append(
                tx, principal, own_id, [Event(EventKind.MESSAGE_UPDATED, {"message_id": message_id})]
            )
        return after
    anew = changes.id or new_id("m_", 10)
    if messages.known(tx, principal, own_id, anew):
        return messages.get(tx, principal, own_id, anew)
    if (active := runs.active(tx, principal, own_id)) is not None:
        raise ConflictError(
            f"The text of a message cannot be changed while the run {active.id} is {active.status}.",
            hint="Wait for it with stream_conversation, or stop it with cancel_run.",
            conversation_id=own_id,
            run_id=active.id,
        )
    place = branches.replace(tx, principal, own_id, message_id)
    merged = {**before.metadata, **(changes.metadata or {})}
    messages.add(
        tx,
        principal,
        replace(
            before,
            id=anew,
            author=me,
            text=changes.text,
            parent_id=place.parent_id,
            branch=place.branch,
            metadata={key: value for key, value in merged.items() if value is not None},
            created_at=None,
            rating=None,
        ),
    )
    told = {"message_id": anew, "replaces": message_id}
    journal.append(tx, principal, own_id, [Event(EventKind.MESSAGE_UPDATED, told)])
    return messages.get(tx, principal, own_id, anew)


def remove_branch(tx: Transaction, principal: str, own_id: str, branch: str) -> None:
    """Remove a branch, with the messages that no other branch has.

    Raises:
        NotFoundError: there is no such branch.
        ConflictError: it is the only one, or an answer is being produced.
    """
    if (active := runs.active(tx, principal, own_id)) is not None:
        raise ConflictError(
            f"No branch can be removed while the run {active.id} is {active.status}.",
            hint="Wait for it with stream_conversation, or stop it with cancel_run.",
            conversation_id=own_id,
            run_id=active.id,
        )
    gone = branches.remove(tx, principal, own_id, branch)
    for message_id in gone:
        messages.remove(tx, principal, own_id, message_id)
    removed = [Event(EventKind.MESSAGE_REMOVED, {"message_id": message_id}) for message_id in gone]
    journal.append(tx, principal, own_id, removed)
