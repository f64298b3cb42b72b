"""Connections to PostgreSQL: how they are made, how a statement gets there, and what errors mean to a caller."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg.errors
from psycopg.adapt import Dumper, Loader
from psycopg.conninfo import conninfo_to_dict, timeout_from_conninfo

from tertulia.store.engine import OverdueError, ReplacedError, Row
from tertulia.store.failures import locked_error, told
from tertulia.vocabulary.errors import InvalidInputError, StoreError, StoreUnavailableError, TertuliaError

if TYPE_CHECKING:
    from psycopg.abc import Buffer

    from tertulia.vocabulary.location import PostgresUrl

Connection = psycopg.Connection[Row]

_DEFAULTS = {
    "application_name": "tertulia",
    "connect_timeout": "5",
    # A server that is gone without a word is noticed within half a minute.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
"""What a URL may say otherwise."""
_PORT = "5432"
_PREPARE_AFTER = 5
"""A statement is prepared when a connection has executed it so often."""
_UNVERIFIED = re.compile("certificate verify failed|server certificate|root certificate")
"""What libpq says of a server that `sslmode` does not let us use."""
_ATTEMPT = re.compile(r"^- host: .*?, hostaddr: \S+: (.*)$", re.MULTILINE)
"""What psycopg says of each server that it could not connect to, if they are several."""
_MOST_WAITING = 100
"""How many statements wait at most for one whose result is read."""
_OURS = re.compile(r"\?(\d*)|\bCROSS JOIN\b|\bINDEXED BY \w+|\bNOT INDEXED\b")


class _Truth(Dumper):
    """Writes a truth value as the number that the columns have."""

    oid = psycopg.adapters.types["int2"].oid

    def dump(self, obj: bool) -> bytes:
        return b"1" if obj else b"0"


class _Number(Loader):
    """Reads what `sum` and `avg` return: a whole number, or a fraction."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


def parameters(url: PostgresUrl) -> dict[str, Any]:
    """Return what to connect with: of several servers, the one that takes writes.

    Raises:
        InvalidInputError: the URL has a parameter that libpq does not know, or that has no such value.
    """
    try:
        named = {**_DEFAULTS, **conninfo_to_dict(url.url)}
        timeout_from_conninfo(named)
    except psycopg.ProgrammingError:
        raise InvalidInputError(
            f"A parameter of the URL of the store {url} cannot be used.",
            hint="Its parameters are those of libpq, such as sslmode=verify-full, with & between them. In a value, "
            "& and = are written as %26 and %3D.",
        ) from None  # what libpq says quotes what it takes for a parameter: that may be of the password
    if "," in str(named.get("host")):
        named.setdefault("target_session_attrs", "read-write")
    return named


class Connector:
    """Connects to a database again and again. Of several servers, the one that was used last is tried first.

    A server that is switched off would else keep each connection waiting.
    """

    def __init__(self, url: PostgresUrl) -> None:
        self.prepare_threshold: int | None = None
        self._parameters = parameters(url)

    def connect(self) -> Connection:
        """Connect to it, with no transaction open."""
        connection = _connected(self._parameters, self.prepare_threshold)
        if "hostaddr" not in self._parameters:
            self._parameters = {**self._parameters, **self._ordered(connection)}
        return connection

    def _ordered(self, connection: Connection) -> dict[str, str]:
        """Return the hosts and ports as they are to be tried from now on."""
        hosts = str(self._parameters.get("host", "")).split(",")
        ports = str(self._parameters.get("port", "")).split(",")
        if len(hosts) == 1:
            return {}
        used, port = connection.info.host, str(connection.info.port)
        if len(ports) == 1:  # of all, or that of the environment
            return {"host": ",".join(sorted(hosts, key=lambda host: host != used))}
        servers = sorted(
            zip(hosts, ports, strict=True), key=lambda server: (server[0], server[1] or _PORT) != (used, port)
        )
        return {"host": ",".join(host for host, _ in servers), "port": ",".join(each for _, each in servers)}


def connect(url: PostgresUrl) -> Connection:
    """Connect to the database, with no transaction open."""
    return _connected(parameters(url), None)


def _connected(parameters: dict[str, Any], prepare_threshold: int | None) -> Connection:
    connection = psycopg.connect(**parameters, autocommit=True, prepare_threshold=prepare_threshold)
    connection.cursor_factory = psycopg.RawCursor
    connection.prepared_max = 500
    connection.adapters.register_dumper(bool, _Truth)
    connection.adapters.register_loader("numeric", _Number)
    return connection


def prepare_threshold(connection: Connection) -> int | None:
    """Return after how many executions a statement is prepared; None behind a pooler, where others prepare theirs.

    A pooler hands out process numbers of its own.
    """
    (process,) = found(connection.execute("SELECT pg_backend_pid()"))
    return _PREPARE_AFTER if process == connection.info.backend_pid else None


@lru_cache(maxsize=4096)
def translation(sql: str) -> bytes:
    """Return a statement of ours as PostgreSQL takes it: its placeholders, and no hints for SQLite's planner."""
    highest = 0

    def replaced(match: re.Match[str]) -> str:
        nonlocal highest
        if not match[0].startswith("?"):
            return "JOIN" if match[0] == "CROSS JOIN" else ""
        number = int(match[1] or highest + 1)
        highest = max(highest, number)
        return f"${number}"

    return _OURS.sub(replaced, sql).encode()


class Statements:
    """The statements of a transaction. Those whose results nobody reads go together: the server is waited for once."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self._waiting: list[tuple[bytes, Sequence[Any]]] = []

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[Row]:
        """Execute a statement, after those that wait."""
        if self._waiting:
            self._cursor = self._execute_together((translation(sql), values))
            return self._cursor
        return self._cursor.execute(translation(sql), values)

    def later(self, sql: str, values: Sequence[Any], /) -> None:
        """Have a statement executed with the next one whose result is read; its error comes then."""
        self._waiting.append((translation(sql), values))
        if len(self._waiting) == _MOST_WAITING:
            self._execute_together()

    def changes(self) -> int:
        """Return how many rows the last statement changed."""
        return self._cursor.rowcount

    def commit(self, *telling: str) -> str | None:
        """Execute what waits and what tells others, and commit; return what the server says that it did."""
        ending = [*telling, "COMMIT"]
        if self._waiting:
            done = self._execute_together(*((each.encode(), ()) for each in ending))
        else:
            done = batch(self.connection, "; ".join(ending))
        return done.statusmessage

    def _execute_together(self, *further: tuple[bytes, Sequence[Any]]) -> psycopg.Cursor[Row]:
        """Execute what waits and further statements; return the result of the last one."""
        together, self._waiting = [*self._waiting, *further], []
        done: list[psycopg.Cursor[Row]] = []
        failed: psycopg.Error | None = None
        try:
            with self.connection.pipeline():
                try:
                    done += [self.connection.execute(sql, values) for sql, values in together]
                except psycopg.Error as error:  # else a warning would be logged of each that follows it
                    failed = error
        except psycopg.errors.PipelineAborted as error:
            failed = failed or error
        if failed is not None:
            raise failed
        return done[-1]


def batch(connection: Connection, sql: str) -> psycopg.Cursor[Row]:
    """Execute several statements without values, in one round trip; return the result of the last one."""
    cursor = connection.execute(sql.encode(), prepare=False)
    while cursor.nextset():
        pass
    return cursor


def found(cursor: psycopg.Cursor[Row]) -> Row:
    """Return the row of a result that has one."""
    row = cursor.fetchone()
    assert row is not None
    return row


@contextmanager
def translated(url: PostgresUrl) -> Generator[None]:
    """Raise PostgreSQL's errors about the database as errors that a caller understands."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise locked_error(url) from error
    except (OverdueError, ReplacedError) as error:
        raise told(url, error) from error
    except psycopg.errors.DiskFull as error:
        raise StoreError(
            f"There is no room left for the store {url}.", hint="Free some disk space of its server."
        ) from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise read_only_error(url) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(
            f"The user of the store {url} lacks a privilege: {_said(error)}.",
            hint="The user must own the schema `tertulia`, or be allowed to create it in the database.",
        ) from error
    except psycopg.OperationalError as error:
        raise _unreachable_error(url, error) from error


def read_only_error(url: PostgresUrl) -> StoreError:
    """Return the error for a server that takes no writes."""
    return StoreError(
        f"The store {url} takes no writes: its server is a standby, or was made read-only.",
        hint="Name the primary server, or add target_session_attrs=read-write to the URL.",
    )


def _unreachable_error(url: PostgresUrl, error: psycopg.OperationalError) -> TertuliaError:
    said = _said(error)
    if _UNVERIFIED.search(said):
        return StoreError(
            f"The server of the store {url} cannot be verified: {said}.",
            hint="Name in the URL, as sslrootcert, the certificate of who issued the server's; the URL must name the "
            "server as its certificate does. Do not set sslmode to what verifies less.",
        )
    return StoreUnavailableError(
        f"The store {url} cannot be reached now: {said}.",
        hint="Call again. If it stays so, see whether the server runs, and whether its address, the user and the "
        "password are right.",
    )


def _said(error: psycopg.Error) -> str:
    """Return the first sentence of an error, or that of each server that was tried; it names no password."""
    if error.diag.message_primary:
        return error.diag.message_primary.strip().rstrip(".")
    attempts = _ATTEMPT.findall(str(error)) or str(error).strip().splitlines()[:1]
    return "; ".join(dict.fromkeys(each.strip().rstrip(".") for each in attempts))
