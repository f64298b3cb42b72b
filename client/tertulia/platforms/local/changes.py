"""Changes of a conversation that is kept here, inside a transaction: journaled alike, whoever makes them."""

from tertulia.store import conversations, journal
from tertulia.store.database import Transaction
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import Conversation, ConversationChanges


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
