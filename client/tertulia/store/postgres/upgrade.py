"""Bringing a database to the present version of the schema, and refusing what is no store of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tertulia.store.engine import BUSY_SECONDS
from tertulia.store.failures import version_error
from tertulia.store.postgres.connections import Connection, batch, found
from tertulia.store.postgres.locks import lock_store
from tertulia.store.postgres.schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tertulia.vocabulary.location import PostgresUrl


def upgrade(connection: Connection, steps: Sequence[str], url: PostgresUrl) -> str:
    """Bring the database to the present version, while nobody else uses it, and return the store's epoch.

    Raises:
        StoreError: it was written by a newer Tertulia, or the store has moved.
    """
    with connection.transaction():
        batch(connection, f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'; {lock_store()}")
        if found(connection.execute("SELECT to_regclass($1)", (f"{SCHEMA}.meta",)))[0] is None:
            batch(connection, f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        batch(connection, f"SET LOCAL search_path = {SCHEMA}")
        version = schema_version(connection)
        check_version(connection, version, steps, url)
        for step in steps[version:]:
            batch(connection, step)
        if version < len(steps):
            connection.execute(
                "INSERT INTO meta VALUES ('version', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (str(len(steps)),),
            )
        return str(found(connection.execute("SELECT value FROM meta WHERE name = 'epoch'"))[0])


def check_version(connection: Connection, version: int, steps: Sequence[str], url: PostgresUrl) -> None:
    """Check that we know a version of the schema.

    Raises:
        StoreError: the database was written by a newer Tertulia, or the store has moved.
    """
    if version > len(steps):
        moved_to = connection.execute("SELECT value FROM meta WHERE name = 'moved_to'").fetchone()
        raise version_error(url, version, len(steps), moved_to)


def schema_version(connection: Connection) -> int:
    """Return the version of the tables, 0 where there are none."""
    if found(connection.execute("SELECT to_regclass('meta')"))[0] is None:
        return 0
    row = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    return 0 if row is None else int(row[0])
