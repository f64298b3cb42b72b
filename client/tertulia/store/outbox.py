"""The outbox: bodies to be sent under a key, byte for byte, until they are known to have arrived.

A platform accepts a repeated body under its key only if the bytes are the same. A body that differs each time it is
made (an encrypted one, say) is therefore stored before it is sent for the first time. A platform that sends contents in
clear must not use the outbox where contents are not kept.
"""

from datetime import timedelta

from tertulia.store.database import Transaction

FORGOTTEN = timedelta(days=30)
"""After this time a body that was never settled is deleted."""


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
    """Return the body that is stored under a key, if there is one."""
    row = tx.one(
        "SELECT body FROM outbox WHERE principal = ? AND instance = ? AND key = ?", principal, instance, key
    )
    return None if row is None else bytes(row[0])


def remove(tx: Transaction, principal: str, instance: str, key: str) -> None:
    """Delete a body: it has been sent, or it will never be."""
    tx.run("DELETE FROM outbox WHERE principal = ? AND instance = ? AND key = ?", principal, instance, key)
