"""What can be said of a store's file without changing it."""

import shlex
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tertulia.store.database import to_datetime
from tertulia.store.sqlite.connections import pragma, translated
from tertulia.store.sqlite.schema import STEPS
from tertulia.store.sqlite.upgrade import check_version
from tertulia.vocabulary.errors import StoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A store's file, as it was found."""

    version: int
    """Of its schema."""
    newest_version: int = len(STEPS)
    conversations: int
    messages: int
    size: int
    """Bytes, with its write-ahead log."""
    newest: datetime | None
    """When its newest entry was written, by the clock of that time."""
    sqlite: str
    """The version of SQLite that reads it."""


def examine(path: Path) -> Health:
    """Return what a store's file is, after SQLite has checked all of it.

    Raises:
        StoreError: it cannot be read, is no store of this version or an older one, or is damaged.
    """
    # Imported here: a host waits for the first tools/list.
    import apsw

    with translated(path), closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as opened:
        connection: Any = opened
        connection.set_busy_timeout(10_000)
        version = check_version(connection, STEPS, path)
        (checked,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if checked != "ok":
            raise StoreError(
                f"The store {path} is damaged: {checked}.",
                hint="Stop all servers, keep a copy, and bring a backup back with "
                f"`tertulia --store {shlex.quote(str(path))} restore FILE`.",
            )
        # A file without a schema has no tables yet.
        newest = conversations = messages = None
        if version:
            (newest,) = connection.execute("SELECT max(at) FROM journal").fetchone()
            (conversations,) = connection.execute("SELECT count(*) FROM conversations").fetchone()
            (messages,) = connection.execute("SELECT count(*) FROM messages").fetchone()
        log = path.with_name(f"{path.name}-wal")
        return Health(
            version=pragma(connection, "user_version"),
            conversations=conversations or 0,
            messages=messages or 0,
            size=path.stat().st_size + (log.stat().st_size if log.exists() else 0),
            newest=None if newest is None else to_datetime(newest),
            sqlite=apsw.sqlite_lib_version(),
        )
