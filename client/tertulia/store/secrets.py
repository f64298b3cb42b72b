"""Secrets of a store, which all its processes share. They are in `meta`, and no principal's."""

from tertulia.store.database import Transaction


def find(tx: Transaction, name: str) -> str | None:
    """Return a secret by its name; None if no process has made it."""
    row = tx.one("SELECT value FROM meta WHERE name = ?", f"secret:{name}")
    return None if row is None else str(row[0])


def share(tx: Transaction, name: str, fresh: str) -> str:
    """Make `fresh` the secret of that name, unless there is one; return what it is now."""
    tx.run("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", f"secret:{name}", fresh)
    return find(tx, name) or fresh
