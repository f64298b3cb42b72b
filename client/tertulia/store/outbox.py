"""The outbox: what was prepared to be sent under a key, byte for byte, until it is known to have been sent.

A body that is made anew each time (one that is encrypted, say) can only be sent again under its key if it is the very
same. So it is kept before it is sent for the first time. Bodies are as they go over the wire: a platform whose wire has
contents in clear must not use this where contents are not kept.
"""

from datetime import timedelta

from tertulia.store.database import Transaction

FORGOTTEN = timedelta(days=30)
"""After this time nobody comes back for what was never settled."""


def put(tx: Transaction, principal: str, instance: str, key: str, body: bytes) -> bytes:
    """Keep a body under its key; return the one that is sent under it: the first that was kept."""
    tx.run("DELETE FROM outbox WHERE created_at < ?", tx.at - FORGOTTEN // timedelta(microseconds=1))
    tx.run(
        "INSERT INTO outbox VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        principal,
        instance,
        key,
        body,
        tx.at,
    )
    kept = find(tx, principal, instance, key)
    assert kept is not None
    return kept


def find(tx: Transaction, principal: str, instance: str, key: str) -> bytes | None:
    """Return what is kept under a key, if anything is."""
    row = tx.one(
        "SELECT body FROM outbox WHERE principal = ? AND instance = ? AND key = ?", principal, instance, key
    )
    return None if row is None else bytes(row[0])


def remove(tx: Transaction, principal: str, instance: str, key: str) -> None:
    """Forget a body: it has been sent, and that is recorded; or it never will be."""
    tx.run("DELETE FROM outbox WHERE principal = ? AND instance = ? AND key = ?", principal, instance, key)
