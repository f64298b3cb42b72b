"""Creations of conversations, at platforms that take no key for them.

Each is recorded before its platform is asked. Whoever has lost the answer to one may take what another has made for
its own: so each claims its conversation before it goes on, and leaves what another has claimed. The records stand among
those of calls (`tertulia.store.idempotency`), and are kept as long.
"""

from datetime import datetime

from tertulia.store.database import Transaction, encode, from_datetime
from tertulia.vocabulary.identifiers import digest

KEPT_SECONDS = 24 * 3600
"""For how long others see what a creation has claimed: long after that, the store has the conversation."""
_UNCLAIMED = encode({})


def begin(tx: Transaction, principal: str, instance: str, native_id: str, title: str | None) -> None:
    """Record that a creation with this draft's id and title begins; a repeated one is recorded already."""
    tx.run(
        "INSERT INTO receipts (principal, key, operation, call_digest, effect, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        principal,
        _key(native_id),
        _operation(instance),
        _digest(title),
        _UNCLAIMED,
        tx.at,
    )


def withdraw(tx: Transaction, principal: str, native_id: str) -> None:
    """Remove the record of a creation that its platform has refused."""
    tx.run("DELETE FROM receipts WHERE principal = ? AND key = ?", principal, _key(native_id))


def claim(tx: Transaction, principal: str, instance: str, native_id: str, conversation_id: str) -> bool:
    """Claim a conversation for a creation; return whether no other one, whosesoever it is, has claimed it."""
    if claimed_by_another(tx, principal, instance, native_id, conversation_id):
        return False
    tx.run(
        "UPDATE receipts SET effect = ? WHERE principal = ? AND key = ?",
        _claim(conversation_id),
        principal,
        _key(native_id),
    )
    return True


def claimed_by_another(
    tx: Transaction, principal: str, instance: str, native_id: str, conversation_id: str
) -> bool:
    """Whether another creation, whosesoever it is, has claimed a conversation."""
    row = tx.one(
        "SELECT 1 FROM receipts WHERE created_at > ? AND operation = ? AND effect = ?"
        " AND (principal <> ? OR key <> ?)",
        tx.at - KEPT_SECONDS * 1_000_000,
        _operation(instance),
        _claim(conversation_id),
        principal,
        _key(native_id),
    )
    return row is not None


def has_claimed(tx: Transaction, principal: str, native_id: str, conversation_id: str) -> bool:
    """Whether a creation has claimed this conversation."""
    row = tx.one(
        "SELECT 1 FROM receipts WHERE principal = ? AND key = ? AND effect = ?",
        principal,
        _key(native_id),
        _claim(conversation_id),
    )
    return row is not None


def under_way(tx: Transaction, instance: str, title: str | None, since: datetime) -> int:
    """Return how many creations that began since a time, whosesoever they are, may have made what none has claimed."""
    row = tx.one(
        "SELECT count(*) FROM receipts WHERE created_at > ? AND operation = ? AND call_digest IN (?, ?)"
        " AND effect = ?",
        from_datetime(since),
        _operation(instance),
        _digest(title),
        _digest(None),  # a platform may give one without a title any
        _UNCLAIMED,
    )
    assert row is not None
    return int(row[0])


def has_title_of_another(
    tx: Transaction, principal: str, instance: str, native_id: str, title: str, since: datetime
) -> bool:
    """Whether another creation that began since a time, and has claimed nothing yet, was asked for this title."""
    row = tx.one(
        "SELECT 1 FROM receipts WHERE created_at > ? AND operation = ? AND call_digest = ? AND effect = ?"
        " AND (principal <> ? OR key <> ?)",
        from_datetime(since),
        _operation(instance),
        _digest(title),
        _UNCLAIMED,
        principal,
        _key(native_id),
    )
    return row is not None


def _claim(conversation_id: str) -> str:
    return encode({"conversation_id": conversation_id})


def _key(native_id: str) -> str:
    return f"creation {native_id}"


def _operation(instance: str) -> str:
    return f"creation on {instance}"


def _digest(title: str | None) -> str:
    """Return what tells titles apart: the store may have to keep no contents of the instance."""
    return digest({"title": title})
