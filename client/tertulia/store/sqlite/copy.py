"""A store in a file, as it is copied from or to (see `tertulia.store.copy`)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tertulia.store import private_files
from tertulia.store.copy import Opening
from tertulia.store.database import Transaction
from tertulia.store.failures import MOVED
from tertulia.store.index.fts5 import Fts5
from tertulia.store.sqlite.connections import SIDE_FILES, Connection, configure, pragma, translated
from tertulia.store.sqlite.schema import APPLICATION_ID, STEPS
from tertulia.store.sqlite.upgrade import log_ahead, take_steps
from tertulia.vocabulary.clock import SYSTEM_CLOCK
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tertulia.store.engine import Row

_COLUMNS = """
SELECT t.name, c.name FROM pragma_table_list AS t CROSS JOIN pragma_table_info(t.name) AS c
WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.name
"""


class FileEnd:
    """See `tertulia.store.copy.CopyEnd`. A file that was made for a copy is gone if that fails.

    Raises:
        NotFoundError: it is no target, and there is no file.
        InvalidInputError: it shall be opened again, and has not moved.
        StoreError: it is no store of this version or an older one, or has moved.
    """

    def __init__(self, path: Path, opening: Opening) -> None:
        self._path = path
        self._is_new = not path.exists()
        if self._is_new and opening is not Opening.TARGET:
            raise NotFoundError(f"There is no file {path}.")
        with translated(path):
            private_files.make_folder(path.parent)
            private_files.create_file(path)
            self._connection = _connect(path)
            try:
                log_ahead(self._connection)
                self._begin(opening)
            except BaseException:  # whatever it was: the file must not stay open
                self.close()
                raise

    def _begin(self, opening: Opening) -> None:
        connection = self._connection
        connection.execute("PRAGMA synchronous = FULL")  # what was moved is nowhere else
        connection.execute("BEGIN IMMEDIATE")
        if opening is Opening.REOPENING:
            version = pragma(connection, "user_version") - MOVED
            if version < 0 or pragma(connection, "application_id") != APPLICATION_ID:
                raise InvalidInputError(f"The store {self._path} has not moved.")
            connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("DELETE FROM meta WHERE name = 'moved_to'")
        take_steps(connection, STEPS, self._path)
        self.tx = Transaction(connection, SYSTEM_CLOCK.time(), index=Fts5)
        self.columns = _columns(connection)

    def errors(self) -> AbstractContextManager[None]:
        """Raise SQLite's errors as ours."""
        return translated(self._path)

    def rows(self, table: str) -> Iterator[Row]:
        """Yield the rows of a table."""
        order = " ORDER BY position" if table == "messages" else ""
        with translated(self._path):
            found = self._connection.execute(f"SELECT {', '.join(self.columns[table])} FROM {table}{order}")
            yield from iter(found.fetchone, None)

    def fill(self, table: str, rows: Iterable[Row]) -> None:
        """Put rows into a table."""
        columns = self.columns[table]
        places = ", ".join("?" for _ in columns)
        insertion = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"
        with translated(self._path):
            for row in rows:
                self._connection.execute(insertion, row)

    def finish(self) -> None:
        """Index all messages and titles."""
        with translated(self._path):
            Fts5(self.tx).enter("position IS NOT NULL", [])
            self._connection.execute("INSERT INTO title_index (title_index) VALUES ('rebuild')")

    def mark_moved(self, where: str) -> None:
        """Give the file a version that nobody knows."""
        with translated(self._path):
            self._connection.execute(f"PRAGMA user_version = {MOVED + len(STEPS)}")
            self._connection.execute("INSERT INTO meta VALUES ('moved_to', ?)", (where,))

    def commit(self) -> None:
        """Commit the transaction."""
        with translated(self._path):
            self._connection.execute("COMMIT")
        self._is_new = False

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        if self._is_new:
            for suffix in ("", *SIDE_FILES):
                with suppress(FileNotFoundError):
                    self._path.with_name(self._path.name + suffix).unlink()


def _columns(connection: Connection) -> Mapping[str, Sequence[str]]:
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(_COLUMNS).fetchall():
        columns.setdefault(table, []).append(column)
    return columns


def _connect(path: Path) -> Connection:
    import apsw

    connection: Any = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    configure(connection)
    return connection
