"""A store in a PostgreSQL database, as it is copied from or to (see `tertulia.store.copy`)."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count, islice
from typing import TYPE_CHECKING

import psycopg.errors

from tertulia.store.copy import Opening
from tertulia.store.database import Transaction
from tertulia.store.engine import BUSY_SECONDS
from tertulia.store.failures import MOVED
from tertulia.store.index.base import Entry, TextKind, kind_of
from tertulia.store.index.tsvector import TABLES, WORD_COLUMNS, TsVector, title_vector, word_rows
from tertulia.store.postgres.connections import Connection, Statements, batch, connect, found, translated
from tertulia.store.postgres.locks import lock_store
from tertulia.store.postgres.schema import SCHEMA, STEPS
from tertulia.store.postgres.upgrade import schema_version, upgrade
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, StoreError
from tertulia.vocabulary.models import Role

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from tertulia.store.engine import Row
    from tertulia.vocabulary.location import PostgresUrl

_FETCHED = 100
"""How many rows are read at a time: some of them may be long."""
_OWN_INDEXES = f"""
SELECT CAST(i.indexrelid AS regclass), pg_get_indexdef(i.indexrelid)
FROM pg_index AS i JOIN pg_class AS t ON t.oid = i.indrelid
WHERE t.relnamespace = CAST('{SCHEMA}' AS regnamespace)
AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.indexrelid)
"""
"""The indexes that uphold no constraint, with the statements that make them."""
_COLUMNS = f"""
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = '{SCHEMA}' ORDER BY table_name, column_name
"""
_NUMBERED = f"""
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = '{SCHEMA}' AND is_identity = 'YES'
"""


class DatabaseEnd:
    """See `tertulia.store.copy.CopyEnd`.

    Raises:
        NotFoundError: it is no target, and the database has no store.
        InvalidInputError: it shall be opened again, and has not moved.
        StoreError: it is of a newer version, or has moved.
        UnavailableError: it cannot be reached, or others kept it locked.
    """

    def __init__(self, url: PostgresUrl, opening: Opening) -> None:
        self._url = url
        self._indexes: Sequence[str] = ()
        self._cursors = count()
        with translated(url):
            self._connection = connect(url)
            try:
                self._begin(opening)
            except BaseException:  # whatever it was: the connection must not stay open
                self.close()
                raise

    def _begin(self, opening: Opening) -> None:
        connection = self._connection
        (at,) = found(
            batch(
                connection,
                f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = {SCHEMA};"
                f" SET LOCAL lock_timeout = '{BUSY_SECONDS}s'; SET LOCAL statement_timeout = 0;"
                " SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL maintenance_work_mem = '256MB';"
                f" {lock_store()}; SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
            )
        )
        version = schema_version(connection)
        if not version and opening is not Opening.TARGET:
            raise NotFoundError(f"There is no store in {self._url}.")
        if opening is Opening.REOPENING:
            if version < MOVED:
                raise InvalidInputError(f"The store {self._url} has not moved.")
            self._set_version(version - MOVED)
            connection.execute("DELETE FROM meta WHERE name = 'moved_to'")
        upgrade(connection, STEPS, self._url)
        if opening is Opening.REOPENING:  # it may be a backup, which has the incarnation of another server
            connection.execute("DELETE FROM incarnations")
        self.tx = Transaction(Statements(connection), at, index=TsVector)
        self.columns = _columns(connection)

    def errors(self) -> AbstractContextManager[None]:
        """Raise PostgreSQL's errors as ours."""
        return translated(self._url)

    def rows(self, table: str) -> Iterator[Row]:
        """Yield the rows of a table."""
        order = " ORDER BY position" if table == "messages" else ""
        return self._read(f"SELECT {', '.join(self.columns[table])} FROM {table}{order}")

    def fill(self, table: str, rows: Iterable[Row]) -> None:
        """Put rows into a table; from then on it has the indexes only that uphold constraints."""
        with self._filling(table):
            self._drop_indexes()
            self._put(table, ", ".join(self.columns[table]), rows)

    def finish(self) -> None:
        """Index all messages and titles, and make the indexes that all tables have."""
        messages = self._read(
            "SELECT position, principal, role, type, scope, text FROM messages WHERE text IS NOT NULL"
        )
        while some := [_entry(row) for row in islice(messages, _FETCHED)]:
            for kind in TextKind:
                rows = (row for entry in some if entry.kind is kind for row in word_rows(entry))
                with self._filling(TABLES[kind]):
                    self._put(TABLES[kind], WORD_COLUMNS, rows)
        titles = self._read("SELECT number, principal, title FROM conversations WHERE title IS NOT NULL")
        while some := list(islice(titles, _FETCHED)):
            rows = ((number, principal, title_vector(principal, title)) for number, principal, title in some)
            with self._filling("title_words"):
                self._put("title_words", "number, principal, words", rows)
        with self._filling("an index"):
            for statement in self._indexes:
                self._connection.execute(statement.encode())
            for table, column in self._connection.execute(_NUMBERED).fetchall():
                self._connection.execute(
                    f"SELECT setval(pg_get_serial_sequence('{SCHEMA}.{table}', '{column}'), max({column}))"
                    f" FROM {table}".encode()
                )
            for table in (*self.columns, *TABLES.values(), "title_words"):
                self._connection.execute(f"ANALYZE {table}".encode())

    def mark_moved(self, where: str) -> None:
        """Give the tables a version that nobody knows."""
        with translated(self._url):
            self._set_version(MOVED + len(STEPS))
            self._connection.execute("INSERT INTO meta VALUES ('moved_to', $1)", (where,))

    def commit(self) -> None:
        """Commit the transaction."""
        with translated(self._url):
            batch(self._connection, "COMMIT")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _set_version(self, version: int) -> None:
        self._connection.execute("UPDATE meta SET value = $1 WHERE name = 'version'", (str(version),))

    def _drop_indexes(self) -> None:
        """Drop the indexes that `finish` makes again: to fill one row by row takes many times as long."""
        if not self._indexes:
            dropped = self._connection.execute(_OWN_INDEXES).fetchall()
            for name, _ in dropped:
                self._connection.execute(f"DROP INDEX {name}".encode())
            self._indexes = [statement for _, statement in dropped]

    def _read(self, sql: str) -> Iterator[Row]:
        with translated(self._url), self._connection.cursor(name=f"copy_{next(self._cursors)}") as cursor:
            cursor.itersize = _FETCHED
            cursor.execute(sql.encode())
            yield from cursor

    def _put(self, table: str, columns: str, rows: Iterable[Row]) -> None:
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy,
        ):
            for row in rows:
                copy.write_row(row)

    @contextmanager
    def _filling(self, table: str) -> Generator[None]:
        with translated(self._url):
            try:
                yield
            except psycopg.errors.ProgramLimitExceeded as error:
                raise StoreError(
                    f"PostgreSQL cannot keep a value of {table}: {error.diag.message_primary}.",
                    hint="Shorten or delete it in the source, and copy again.",
                ) from error


def _columns(connection: Connection) -> Mapping[str, Sequence[str]]:
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(_COLUMNS).fetchall():
        if table not in {*TABLES.values(), "title_words", "incarnations"}:
            columns.setdefault(table, []).append(column)
    return columns


def _entry(row: Row) -> Entry:
    position, principal, role, message_type, scope, text = row
    return Entry(position, principal, kind_of(Role(role), message_type), scope, text)
