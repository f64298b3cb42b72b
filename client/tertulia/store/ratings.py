"""Ratings of conversations and messages, and updates of stored messages."""

from tertulia.store.database import Transaction, encode, storable
from tertulia.vocabulary.models import MessageRecord, Rating
from tertulia.vocabulary.unknown import UNKNOWN


def rate_conversation(tx: Transaction, principal: str, conversation_id: str, rating: Rating) -> None:
    """Write how a conversation is rated; the last rating counts."""
    tx.run(
        "UPDATE conversations SET rating = ?, feedback = ?, updated_at = ? WHERE principal = ? AND id = ?",
        *_kept(tx, conversation_id, rating),
        tx.at,
        principal,
        conversation_id,
    )
    tx.touched.add(conversation_id)


def rate_message(
    tx: Transaction, principal: str, conversation_id: str, message_id: str, rating: Rating
) -> None:
    """Write how a message is rated; the last rating counts."""
    tx.run(
        "UPDATE messages SET rating = ?, feedback = ? WHERE principal = ? AND conversation_id = ? AND id = ?",
        *_kept(tx, conversation_id, rating),
        principal,
        conversation_id,
        message_id,
    )
    tx.touched.add(conversation_id)


def note(tx: Transaction, principal: str, conversation_id: str, message: MessageRecord, *, new: bool) -> None:
    """Store the rating and metadata that a platform returned with a message, and whether the message has a time.

    `new`: the message was added just now, with its metadata.
    """
    own = (principal, conversation_id, message.id)
    if isinstance(message.rating, Rating):
        rate_message(tx, *own, message.rating)
    elif message.rating is None:
        tx.run(
            "UPDATE messages SET rating = NULL, feedback = NULL WHERE principal = ? AND conversation_id = ? AND id = ?"
            " AND rating IS NOT NULL",
            *own,
        )
    if message.metadata is not UNKNOWN and not new:
        metadata = encode(message.metadata)
        tx.run(
            "UPDATE messages SET metadata = ? WHERE principal = ? AND conversation_id = ? AND id = ? AND metadata <> ?",
            metadata,
            *own,
            metadata,
        )
    if message.created_at is None and new:
        tx.run("UPDATE messages SET timed = 0 WHERE principal = ? AND conversation_id = ? AND id = ?", *own)


def _kept(tx: Transaction, conversation_id: str, rating: Rating) -> tuple[int, str | None]:
    feedback = rating.feedback if tx.keeps_content(conversation_id) else None
    return rating.value, None if feedback is None else storable(feedback)
