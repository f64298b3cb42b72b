"""Things to put into a store."""

from typing import Any

from tertulia.store import conversations, messages, runs
from tertulia.store.database import Transaction
from tertulia.vocabulary.identifiers import new_id
from tertulia.vocabulary.models import Conversation, ConversationDraft, Message, Role, Run
from tertulia.vocabulary.states import Status

ME = "local"


def add_conversation(
    tx: Transaction, native_id: str = "c1", *, principal: str = ME, status: Status = Status.OPEN, **more: Any
) -> Conversation:
    """Enter a conversation with `local:agent`."""
    draft = ConversationDraft(agent="local:agent", native_id=native_id, **more)
    return conversations.insert(tx, principal, f"local:{native_id}", draft, status)


def add_message(
    tx: Transaction, text: str, *, principal: str = ME, conversation_id: str = "local:c1", **more: Any
) -> Message:
    """Enter a message of the user's."""
    message = Message(
        id=more.pop("id", None) or new_id("m_"),
        conversation_id=conversation_id,
        author="user",
        role=more.pop("role", Role.USER),
        text=text,
        **more,
    )
    messages.add(tx, principal, message)
    return message


def add_run(
    tx: Transaction,
    run_id: str = "run_1",
    *,
    principal: str = ME,
    conversation_id: str = "local:c1",
    call: str = "d",
) -> Run:
    """Enter a queued run."""
    return runs.insert(
        tx,
        principal,
        run_id=run_id,
        conversation_id=conversation_id,
        agent="local:agent",
        message_id="m_1",
        call_digest=call,
        context=None,
        first_seq=conversations.get(tx, principal, conversation_id).last_seq,
    )
