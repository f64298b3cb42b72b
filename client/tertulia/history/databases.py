"""The SQLite databases in which OpenCode and Cursor keep conversations, read as records: one for each conversation.

They are opened for reading only, while the program may write. Of Cursor's database nothing is read but conversations:
it has access tokens beside them.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from tertulia.history.splitter import LONGEST_RECORD
from tertulia.history.values import mapping, sequence, text
from tertulia.store.engine import Row
from tertulia.store.sqlite.connections import Connection

MAGIC = b"SQLite format 3\0"
_BUSY_MILLISECONDS = 5_000
_OPENCODE = {"session", "message", "part"}
_CURSOR = {"cursorDiskKV"}


class DatabaseError(Exception):
    """Raised for a database that cannot be read; its text tells a person why."""


Records = Callable[[Path], Iterator[Mapping[str, Any] | None]]
"""Yields a record for each conversation; None for one that is too long."""


def database_format(path: Path) -> str | None:
    """Return the format of the conversations in a database; None if it is none that is read.

    Raises:
        DatabaseError: it cannot be read.
    """
    with _opened(path) as execute:
        tables = {row[0] for row in execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if tables >= _OPENCODE:
        return "opencode"
    return "cursor-ide" if tables >= _CURSOR else None


def database_records(path: Path, name: str) -> Iterator[Mapping[str, Any] | None]:
    """Yield the conversations of a database, as the reader of the format `name` takes them; None for one too long.

    Raises:
        DatabaseError: it cannot be read.
    """
    yield from _RECORDS[name](path)


def _opencode(path: Path) -> Iterator[Mapping[str, Any] | None]:
    with _opened(path) as execute:
        columns = {row[0] for row in execute("SELECT name FROM pragma_table_info('session')")}
        wanted = [name if name in columns else f"NULL AS {name}" for name in _SESSION]
        sessions = execute(f"SELECT {', '.join(wanted)} FROM session ORDER BY id")
        for session_id, parent, folder, title, version, created in sessions:
            if (
                _size(execute, "SELECT sum(length(data)) FROM part WHERE session_id = ?", session_id)
                > LONGEST_RECORD
            ):
                yield None
                continue
            parts: dict[str, list[Any]] = {}
            for part_id, message_id, data in execute(
                "SELECT id, message_id, data FROM part WHERE session_id = ? ORDER BY id", session_id
            ):
                parts.setdefault(str(message_id), []).append({"id": part_id, **_object(data)})
            messages = [
                {"info": {"id": message_id, **_object(data)}, "parts": parts.get(str(message_id), [])}
                for message_id, data in execute(
                    "SELECT id, data FROM message WHERE session_id = ? ORDER BY id", session_id
                )
            ]
            yield {
                "info": {
                    "id": session_id,
                    "parentID": parent,
                    "directory": folder,
                    "title": title,
                    "version": version,
                    "time": {"created": created},
                },
                "messages": messages,
            }


_SESSION = ("id", "parent_id", "directory", "title", "version", "time_created")


def _cursor(path: Path) -> Iterator[Mapping[str, Any] | None]:
    with _opened(path) as execute:
        keys = [
            row[0]
            for row in execute(
                "SELECT key FROM cursorDiskKV WHERE key >= 'composerData:' AND key < 'composerData;'"
            )
        ]
        for key in keys:
            begin = f"bubbleId:{str(key).partition(':')[2]}:"
            own = (begin, begin[:-1] + ";")
            size = _size(
                execute,
                "SELECT sum(length(value)) FROM cursorDiskKV WHERE (key >= ? AND key < ?) OR key = ?",
                *own,
                key,
            )
            if size > LONGEST_RECORD:
                yield None
                continue
            about = _object(execute("SELECT value FROM cursorDiskKV WHERE key = ?", key)[0][0])
            if not about:  # a conversation that was removed leaves a row
                continue
            bubbles = {
                str(name).removeprefix(begin): _object(value)
                for name, value in execute(
                    "SELECT key, value FROM cursorDiskKV WHERE key >= ? AND key < ?", *own
                )
            }
            order = [
                text(mapping(each).get("bubbleId"))
                for each in sequence(about.get("fullConversationHeadersOnly"))
            ]
            inline = [mapping(each) for each in sequence(about.get("conversation"))]
            said = [
                {"bubbleId": name, **bubbles[name]}
                for name in order
                if name is not None and bubbles.get(name)
            ]
            yield {"composerData": about, "bubbles": said or inline}


_RECORDS: Mapping[str, Records] = {"opencode": _opencode, "cursor-ide": _cursor}


class _Execute(Protocol):
    """Executes a statement, and returns its rows."""

    def __call__(self, sql: str, *values: Any) -> Sequence[Row]: ...


@contextmanager
def _opened(path: Path) -> Generator[_Execute]:
    import apsw

    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(_BUSY_MILLISECONDS)
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            reading = cast(Connection, connection)
            yield lambda sql, *values: reading.execute(sql, values).fetchall()
        finally:
            connection.close()
    except apsw.Error as error:
        raise DatabaseError(f"its database cannot be read: {error}") from error


def _size(execute: _Execute, sql: str, *values: Any) -> int:
    found = execute(sql, *values)[0][0]
    return found if isinstance(found, int) else 0


def _object(value: object) -> dict[str, Any]:
    try:
        return mapping(json.loads(value)) if isinstance(value, str | bytes) else {}
    except (ValueError, RecursionError):
        return {}
