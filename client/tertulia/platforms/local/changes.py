"""Changes of a conversation that lives in the store, in the caller's transaction, with their journal entries."""

from dataclasses import replace
from typing import Any

from tertulia.store import branches, conversations, journal, messages, ratings, runs
from tertulia.store.database import Transaction
from tertulia.store.transitions import message_added
from tertulia.vocabulary.errors import ConflictError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.identifiers import new_id
from tertulia.vocabulary.models import (
    Conversation,
    ConversationChanges,
    Message,
    MessageChanges,
    MessageDraft,
    Rating,
)


def update_conversation(
    tx: Transaction, principal: str, conversation_id: str, changes: ConversationChanges
) -> Conversation:
    """Change a conversation, and journal a new title; return the changed conversation.

    Raises:
        NotFoundError: there is no such conversation.
    """
    before = conversations.get(tx, principal, conversation_id)
    after = conversations.change(tx, principal, conversation_id, changes)
    if after.title != before.title:
        _journal(tx, principal, conversation_id, EventKind.TITLE_UPDATED, title=after.title)
    return conversations.get(tx, principal, conversation_id)


def rate_message(
    tx: Transaction, principal: str, conversation_id: str, message_id: str, rating: Rating
) -> Message:
    """Rate a message; return the rated message.

    Raises:
        NotFoundError: there is no such message.
    """
    messages.get(tx, principal, conversation_id, message_id)
    ratings.rate_message(tx, principal, conversation_id, message_id, rating)
    _journal(tx, principal, conversation_id, EventKind.MESSAGE_UPDATED, message_id=message_id)
    return messages.get(tx, principal, conversation_id, message_id)


def rate_ended_conversation(
    tx: Transaction, principal: str, conversation_id: str, rating: Rating
) -> Conversation:
    """Rate a conversation that has ended; return the rated conversation."""
    status = conversations.get(tx, principal, conversation_id).status
    ratings.rate_conversation(tx, principal, conversation_id, rating)
    data: dict[str, Any] = {"status": status, "before": status, "rating": rating.value}
    if rating.feedback is not None:
        data["feedback"] = rating.feedback
    _journal(tx, principal, conversation_id, EventKind.STATUS_CHANGED, **data)
    return conversations.get(tx, principal, conversation_id)


def add_message(
    tx: Transaction, principal: str, conversation_id: str, me: str, draft: MessageDraft
) -> Message:
    """Add a message after its parent, or at the end of the conversation. An existing message with its id is returned.

    Raises:
        NotFoundError: there is no such parent.
    """
    message_id = draft.id or new_id("m_", 10)
    if messages.known(tx, principal, conversation_id, message_id):
        return messages.get(tx, principal, conversation_id, message_id)
    place = branches.place(tx, principal, conversation_id, draft.parent_id)
    message = Message(
        id=message_id,
        conversation_id=conversation_id,
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
    journal.append(tx, principal, conversation_id, [message_added(message)])
    return messages.get(tx, principal, conversation_id, message_id)


def update_message(
    tx: Transaction, principal: str, conversation_id: str, me: str, message_id: str, changes: MessageChanges
) -> Message:
    """Change a message's metadata in place, or its text in a new message on a new branch; return that message.

    Raises:
        NotFoundError: there is no such message.
        ConflictError: the text cannot be changed while a run is active.
    """
    before = messages.get(tx, principal, conversation_id, message_id)
    if changes.text is None or changes.text == before.text:
        if changes.metadata is None:
            return before
        after = messages.change_metadata(tx, principal, conversation_id, message_id, changes.metadata)
        _journal(tx, principal, conversation_id, EventKind.MESSAGE_UPDATED, message_id=message_id)
        return after
    new = changes.id or new_id("m_", 10)
    if messages.known(tx, principal, conversation_id, new):
        return messages.get(tx, principal, conversation_id, new)
    _check_no_run(tx, principal, conversation_id, "The text of a message cannot be changed")
    place = branches.replace(tx, principal, conversation_id, message_id)
    merged = {**before.metadata, **(changes.metadata or {})}
    messages.add(
        tx,
        principal,
        replace(
            before,
            id=new,
            author=me,
            text=changes.text,
            parent_id=place.parent_id,
            branch=place.branch,
            metadata={key: value for key, value in merged.items() if value is not None},
            created_at=None,
            rating=None,
        ),
    )
    _journal(tx, principal, conversation_id, EventKind.MESSAGE_UPDATED, message_id=new, replaces=message_id)
    return messages.get(tx, principal, conversation_id, new)


def remove_branch(tx: Transaction, principal: str, conversation_id: str, branch: str) -> None:
    """Remove a branch, with the messages that no other branch has.

    Raises:
        NotFoundError: there is no such branch.
        ConflictError: it is the only branch, or a run is active.
    """
    _check_no_run(tx, principal, conversation_id, "No branch can be removed")
    gone = branches.remove(tx, principal, conversation_id, branch)
    for message_id in gone:
        messages.remove(tx, principal, conversation_id, message_id)
    removed = [Event(EventKind.MESSAGE_REMOVED, {"message_id": message_id}) for message_id in gone]
    journal.append(tx, principal, conversation_id, removed)


def _check_no_run(tx: Transaction, principal: str, conversation_id: str, refusal: str) -> None:
    if (active := runs.active(tx, principal, conversation_id)) is not None:
        raise ConflictError(
            f"{refusal} while the run {active.id} is {active.status}.",
            hint="Wait for it with stream_conversation, or stop it with cancel_run.",
            conversation_id=conversation_id,
            run_id=active.id,
        )


def _journal(tx: Transaction, principal: str, conversation_id: str, kind: EventKind, **data: Any) -> None:
    journal.append(tx, principal, conversation_id, [Event(kind, data)])
