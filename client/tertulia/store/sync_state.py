"""What was synced: per instance how far the last sync came, and per conversation what was read of it.

Every sync of an instance has a number, one more than the last. It first lists the platform's conversations, each with a
mark of its state (the column `told`): a conversation is due for reading when its mark differs from the mark at the last
reading (`read_told`). Where a platform gives no mark, each sync reads every conversation once: a sync that continues an
interrupted one leaves out what that one has read (`read_in`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tertulia.store.database import Transaction, to_datetime
from tertulia.vocabulary.coverage import Coverage
from tertulia.vocabulary.models import ConversationRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadState:
    """How far a conversation was read."""

    mark: str | None
    """The mark of its state on the platform now."""
    was_read: bool
    """Whether it was read to its end, at some time."""
    newest: str | None
    """The newest message then."""
    cursor: str | None
    """Where a reading from the beginning stopped; None if none did, or if the conversation has changed since."""


def change_mark(conversation: ConversationRecord) -> str | None:
    """Return a mark that changes whenever the conversation does; None where the platform says nothing of that kind."""
    if conversation.updated_at is None and conversation.message_count is None:
        return None
    at = "" if conversation.updated_at is None else conversation.updated_at.isoformat()
    return f"{at} {'' if conversation.message_count is None else conversation.message_count}"


def begin(tx: Transaction, principal: str, instance: str) -> int:
    """Begin a sync; return its number."""
    row = tx.one(
        "INSERT INTO syncs (principal, instance, number, at) VALUES (?, ?, 1, ?)"
        " ON CONFLICT (principal, instance) DO UPDATE SET number = syncs.number + 1, at = excluded.at RETURNING number",
        principal,
        instance,
        tx.at,
    )
    assert row is not None
    return int(row[0])


def listed(tx: Transaction, principal: str, number: int, conversation_id: str, mark: str | None) -> None:
    """Record that the platform lists a conversation, with the mark of its state."""
    tx.run(
        "INSERT INTO synced_conversations (principal, conversation_id, instance, listed_in, told)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (principal, conversation_id)"
        " DO UPDATE SET listed_in = excluded.listed_in, told = excluded.told",
        principal,
        conversation_id,
        conversation_id.partition(":")[0],
        number,
        mark,
    )


def end_list(tx: Transaction, principal: str, instance: str, number: int, *, whole: bool) -> list[str]:
    """Record that the list is complete; return which conversations it lacks. `whole`: it has all there are."""
    gone: list[str] = []
    if whole:
        rows = tx.all(
            "DELETE FROM synced_conversations WHERE principal = ? AND instance = ? AND listed_in < ?"
            " RETURNING conversation_id",
            principal,
            instance,
            number,
        )
        gone = [row[0] for row in rows]
    counted = "SELECT count(*) FROM synced_conversations WHERE principal = ?1 AND instance = ?2"
    tx.run(
        f"UPDATE syncs SET at = ?3, total = CASE WHEN ?4 <> 0 THEN ({counted}) END,"
        f" known = ({counted} AND read_in IS NOT NULL) WHERE principal = ?1 AND instance = ?2",
        principal,
        instance,
        tx.at,
        int(whole),
    )
    return gone


def due(tx: Transaction, principal: str, instance: str) -> tuple[list[str], int]:
    """Return which conversations must be read, the last used first, and how many there are in all."""
    rows = tx.all(
        "SELECT s.conversation_id, s.read_in IS NULL OR s.told IS DISTINCT FROM s.read_told"
        " OR (s.told IS NULL AND s.read_in <= y.completed)"
        " FROM syncs AS y JOIN synced_conversations AS s ON s.principal = y.principal AND s.instance = y.instance"
        " LEFT JOIN conversations AS c ON c.principal = s.principal AND c.id = s.conversation_id"
        " WHERE y.principal = ? AND y.instance = ? ORDER BY c.updated_at DESC NULLS LAST, c.number DESC NULLS LAST",
        principal,
        instance,
    )
    return [row[0] for row in rows if row[1]], len(rows)


def state(tx: Transaction, principal: str, conversation_id: str) -> ReadState | None:
    """Return how far a conversation was read; None for one that is no longer synced."""
    row = tx.one(
        "SELECT told, read_in IS NOT NULL, newest, CASE WHEN told IS NOT DISTINCT FROM cursor_told THEN cursor END"
        " FROM synced_conversations WHERE principal = ? AND conversation_id = ?",
        principal,
        conversation_id,
    )
    return (
        None if row is None else ReadState(mark=row[0], was_read=bool(row[1]), newest=row[2], cursor=row[3])
    )


def read_up_to(tx: Transaction, principal: str, conversation_id: str, mark: str | None, cursor: str) -> None:
    """Record how far a conversation was read, at the state `mark`.

    Without a mark the cursor is not stored: nothing would show that the conversation has changed meanwhile.
    """
    tx.run(
        "UPDATE synced_conversations SET cursor = ?, cursor_told = ? WHERE principal = ? AND conversation_id = ?",
        None if mark is None else cursor,
        mark,
        principal,
        conversation_id,
    )


def read_through(
    tx: Transaction,
    principal: str,
    number: int,
    conversation_id: str,
    mark: str | None,
    newest: str | None,
) -> None:
    """Record that a conversation was read to its end, at the state `mark`, and its newest message then."""
    own = (principal, conversation_id)
    tx.run(
        "UPDATE syncs SET at = ?, known = known + coalesce((SELECT CASE WHEN read_in IS NULL THEN 1 ELSE 0 END"
        " FROM synced_conversations WHERE principal = ? AND conversation_id = ?), 0)"
        " WHERE principal = ? AND instance = ?",
        tx.at,
        *own,
        principal,
        conversation_id.partition(":")[0],
    )
    tx.run(
        "UPDATE synced_conversations SET read_in = ?, read_told = ?, newest = ?, cursor = NULL, cursor_told = NULL"
        " WHERE principal = ? AND conversation_id = ?",
        number,
        mark,
        newest,
        *own,
    )


def forget(tx: Transaction, principal: str, conversation_id: str) -> None:
    """Remove a conversation that is gone from the sync's records."""
    row = tx.one(
        "DELETE FROM synced_conversations WHERE principal = ? AND conversation_id = ? "
        " RETURNING CASE WHEN read_in IS NULL THEN 0 ELSE 1 END",
        principal,
        conversation_id,
    )
    if row is not None:
        tx.run(
            "UPDATE syncs SET known = known - ?, total = total - 1 WHERE principal = ? AND instance = ?",
            row[0],
            principal,
            conversation_id.partition(":")[0],
        )


def complete(tx: Transaction, principal: str, instance: str, number: int) -> None:
    """Record that a sync came to its end."""
    tx.run(
        "UPDATE syncs SET completed = ?, at = ? WHERE principal = ? AND instance = ?",
        number,
        tx.at,
        principal,
        instance,
    )


def coverage(tx: Transaction, principal: str) -> dict[str, Coverage]:
    """Return what the index has of each instance that was ever synced."""
    return {
        row[0]: Coverage(known=row[1], total=row[2], complete=bool(row[3]), at=to_datetime(row[4]))
        for row in tx.all(
            "SELECT instance, known, total, completed = number, at FROM syncs WHERE principal = ?", principal
        )
    }


def conversations_of(tx: Transaction, principal: str, instance: str) -> Sequence[str]:
    """Return the ids of all conversations of an instance that the store has."""
    return [
        row[0]
        for row in tx.all(
            "SELECT id FROM conversations WHERE principal = ? AND instance = ?", principal, instance
        )
    ]
