"""Creations under way, at platforms that take no key for them.

Each is recorded before its platform is asked, and until its conversation is stored or its platform has refused it. Who
has lost the answer to a creation takes no conversation that another one may have made. The records stand among those of
calls (`tertulia.store.idempotency`), and are kept as long.
"""

from datetime import datetime

from tertulia.store.database import Transaction, from_datetime
from tertulia.vocabulary.identifiers import digest


def begin(tx: Transaction, principal: str, instance: str, native_id: str, title: str | None) -> None:
    """Record that a creation with this draft's id and title begins; a repeated one is recorded already."""
    tx.run(
        "INSERT INTO receipts (principal, key, operation, call_digest, effect, created_at)"
        " VALUES (?, ?, ?, ?, '{}', ?) ON CONFLICT DO NOTHING",
        principal,
        _key(native_id),
        _operation(instance),
        _digest(title),
        tx.at,
    )


def settle(tx: Transaction, principal: str, native_id: str) -> None:
    """Remove the record of a creation: its conversation is stored, or there is none."""
    tx.run("DELETE FROM receipts WHERE principal = ? AND key = ?", principal, _key(native_id))


def may_be_anothers(
    tx: Transaction, principal: str, instance: str, native_id: str, title: str | None, since: datetime
) -> bool:
    """Whether another creation since a time, whosesoever it is, may have made a conversation of this title."""
    other = tx.one(
        "SELECT 1 FROM receipts WHERE created_at > ? AND operation = ? AND call_digest IN (?, ?)"
        " AND (principal <> ? OR key <> ?)",
        from_datetime(since),
        _operation(instance),
        _digest(title),
        _digest(None),  # a platform may give one without a title any
        principal,
        _key(native_id),
    )
    return other is not None


def _key(native_id: str) -> str:
    return f"creation {native_id}"


def _operation(instance: str) -> str:
    return f"creation on {instance}"


def _digest(title: str | None) -> str:
    """Return what tells titles apart: the store may have to keep no contents of the instance."""
    return digest({"title": title})
