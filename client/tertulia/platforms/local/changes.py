"""Changes of a conversation that is kept here, inside a transaction: journaled alike, whoever makes them."""

from typing import Any

from tertulia.store import conversations, journal, messages, ratings
from tertulia.store.database import Transaction
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import Conversation, ConversationChanges, Message, Rating


def apply(tx: Transaction, principal: str, own_id: str, changes: ConversationChanges) -> Conversation:
    """Apply changes, journalling a new title; return the conversation as it is then.

    Raises:
        NotFoundError: there is no such conversation.
    """
    before = conversations.get(tx, principal, own_id)
    after = conversations.change(tx, principal, own_id, changes)
    if after.title != before.title:
        journal.append(tx, principal, own_id, [Event(EventKind.TITLE_UPDATED, {"title": after.title})])
    return conversations.get(tx, principal, own_id)


def rate(tx: Transaction, principal: str, own_id: str, message_id: str, rating: Rating) -> Message:
    """Rate a message; return it as it is then.

    Raises:
        NotFoundError: there is no such message.
    """
    messages.get(tx, principal, own_id, message_id)
    ratings.rate_message(tx, principal, own_id, message_id, rating)
    journal.append(tx, principal, own_id, [Event(EventKind.MESSAGE_UPDATED, {"message_id": message_id})])
    return messages.get(tx, principal, own_id, message_id)


def rate_ended(tx: Transaction, principal: str, own_id: str, rating: Rating) -> Conversation:
    """Rate a conversation that is over; return it as it is then."""
    status = conversations.get(tx, principal, own_id).status
    ratings.rate_conversation(tx, principal, own_id, rating)
    data: dict[str, Any] = {"status": status, "before": status, "rating": rating.value}
    if rating.feedback is not None:
        data["feedback"] = rating.feedback
    journal.append(tx, principal, own_id, [Event(EventKind.STATUS_CHANGED, data)])
    return conversations.get(tx, principal, own_id)
