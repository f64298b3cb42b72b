"""Bringing a store's file to the present version of the schema, and refusing other programs' files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tertulia.store.engine import BUSY_SECONDS
from tertulia.store.failures import version_error
from tertulia.store.sqlite.connections import Connection, pragma, transaction
from tertulia.store.sqlite.schema import APPLICATION_ID
from tertulia.vocabulary.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def upgrade(connection: Connection, steps: Sequence[str], path: Path) -> str:
    """Bring the file to the present version and return its epoch; a file of another program is not touched."""
    with transaction(connection, "BEGIN"):
        version = check_version(connection, steps, path)
    log_ahead(connection)
    if version != len(steps):
        with transaction(connection, "BEGIN IMMEDIATE"):
            # Looked at again: another process may have done it while we waited for the lock.
            take_steps(connection, steps, path)
    return epoch(connection)


def take_steps(connection: Connection, steps: Sequence[str], path: Path) -> None:
    """Bring the file to the present version, in the transaction that is open."""
    version = check_version(connection, steps, path)
    for step in steps[version:]:
        connection.execute(step)
    connection.execute(f"PRAGMA user_version = {len(steps)}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def check_version(connection: Connection, steps: Sequence[str], path: Path) -> int:
    """Return the version of the file's schema, 0 where there is none yet.

    Raises:
        StoreError: the file is another program's, was written by a newer Tertulia, or the store has moved.
    """
    version = pragma(connection, "user_version")
    is_store = pragma(connection, "application_id") == APPLICATION_ID
    if not is_store and (version or connection.execute("SELECT 1 FROM sqlite_schema").fetchone()):
        raise StoreError(
            f"The file {path} is another program's database.", hint="Name another file with --store."
        )
    if version > len(steps):
        moved_to = connection.execute("SELECT value FROM meta WHERE name = 'moved_to'").fetchone()
        raise version_error(path, version, len(steps), moved_to)
    return version


def epoch(connection: Connection) -> str:
    """Return what names this store, from its creation or restoration on."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
    assert row is not None
    return str(row[0])


def log_ahead(connection: Connection) -> None:
    """Switch the file to write-ahead logging; where several do so at once, SQLite refuses all but one at once."""
    import apsw

    patience = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except apsw.BusyError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.01)
        else:
            return
