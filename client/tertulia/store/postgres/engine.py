"""One PostgreSQL database that the processes of several machines share.

Statements are executed in worker threads, each transaction in a connection of a pool. One that reads sees one view of
the store. One that writes first takes its locks (see `locks`), so that nobody else writes between what it reads and
what it writes; it sees what others have committed until then. Its moment is the server's, the same for all machines.
What it writes goes to the server with the next statement whose result it reads, or with the commit: it waits less for
the server, and others for its locks.

A transaction is repeated whose connection was lost before the commit, or that the server refused since it met another.
Where the connection was lost during the commit, the server is asked what became of it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
import psycopg
import psycopg.errors
from psycopg.pq import TransactionStatus

from tertulia.store.database import Transaction
from tertulia.store.engine import (
    BUSY_SECONDS,
    EVERYTHING,
    Deadline,
    EngineOptions,
    Exclusion,
    OverdueError,
    ReplacedError,
    Row,
)
from tertulia.store.index.tsvector import TsVector
from tertulia.store.postgres.connections import (
    Connection,
    Connector,
    Statements,
    batch,
    found,
    parameters,
    prepare_threshold,
    translated,
)
from tertulia.store.postgres.listener import Listener
from tertulia.store.postgres.locks import lock
from tertulia.store.postgres.outcomes import MARK, NUMBERING, Mark, begin_incarnation, was_committed
from tertulia.store.postgres.pool import IDLE_SECONDS, Pool
from tertulia.store.postgres.schema import SCHEMA, STEPS
from tertulia.store.postgres.upgrade import check_version, upgrade
from tertulia.vocabulary.clock import SYSTEM_CLOCK
from tertulia.vocabulary.tasks import task_group

if TYPE_CHECKING:
    from tertulia.store.notices import Notices
    from tertulia.vocabulary.location import PostgresUrl

T = TypeVar("T")
logger = logging.getLogger(__name__)

READERS = WRITERS = 4
"""How many transactions of a process read at once, and how many write: none of one kind waits for the other."""
ATTEMPTS = 6
"""How often a transaction is tried that met another one, or lost its connection before its commit."""
_SETTINGS = f"""
SET LOCAL search_path = {SCHEMA};
SET LOCAL lock_timeout = '{BUSY_SECONDS}s';
SET LOCAL idle_in_transaction_session_timeout = '1min';
SET LOCAL client_connection_check_interval = '1s';
SET LOCAL jit = off;
"""
"""They end with the transaction: behind a pooler, the connection is another client's then.

A transaction whose process or machine is gone must not keep its locks; compiling pays for no statement of ours.
"""
_STATE = """
SELECT (SELECT value FROM meta WHERE name = 'version'), (SELECT value FROM meta WHERE name = 'epoch'),
    CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)
"""


class _AbortedError(Exception):
    """Raised when a transaction was not committed, and can be tried again."""


class PostgresEngine:
    """The store in the database at `url`. `steps` make its tables.

    Raises (from `read` and `write`):
        StoreUncertainError: the connection was lost during a commit, and the server does not tell what became of it.
    """

    def __init__(
        self,
        url: PostgresUrl,
        options: EngineOptions,
        *,
        steps: Sequence[str] = STEPS,
    ) -> None:
        for each in (url, options.listen_url):
            if each is not None:
                parameters(each)  # what cannot be used is told at once
        self._url = url
        self._clock = options.clock
        self._content_free = options.content_free
        self._read_seconds = options.read_seconds
        self._steps = steps
        self.epoch = ""
        self._pool: Pool | None = None
        self._opening = anyio.Lock()
        self._opened = anyio.Event()
        self._reading = anyio.CapacityLimiter(READERS)
        self._writing = anyio.CapacityLimiter(WRITERS)
        self._process = secrets.token_hex(4)
        self._listener = Listener(options.listen_url or url, self._process, self._clock)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Read in a connection that nobody else uses meanwhile; a caller who is cancelled does not wait for the end."""
        return await self._in_thread(partial(self._read, work), self._reading, abandon_on_cancel=True)

    async def write(self, work: Callable[[Transaction], T], exclusion: Exclusion = EVERYTHING) -> T:
        """Write under the locks of what nobody else may write meanwhile."""
        return await self._in_thread(partial(self._write, work, lock(exclusion)), self._writing)

    def exists(self) -> bool:
        """Whether a database is configured: its tables are made when they are missing."""
        return True

    async def opened(self) -> None:
        """Wait for the first use."""
        await self._opened.wait()

    async def run(self, notices: Notices) -> None:
        """Listen for changes by other processes once somebody wants to know of them; close idle connections."""
        await self._opened.wait()
        async with task_group() as tasks:
            tasks.start_soon(self._close_unused)
            await self._listener.listen(notices, self._snapshot, self._execute)

    async def aclose(self) -> None:
        """Close all connections, those that are in use after their transactions."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(pool.close)

    async def _in_thread(
        self,
        transact: Callable[[Pool], T],
        limiter: anyio.CapacityLimiter,
        *,
        abandon_on_cancel: bool = False,
    ) -> T:
        pool = self._pool or await self._open()
        with translated(self._url):
            try:
                return await anyio.to_thread.run_sync(
                    transact, pool, limiter=limiter, abandon_on_cancel=abandon_on_cancel
                )
            except ReplacedError:
                # The next caller makes what is missing.
                if self._pool is pool:
                    await self.aclose()
                raise

    async def _open(self) -> Pool:
        async with self._opening:
            if self._pool is None:
                with translated(self._url):
                    self._pool = await anyio.to_thread.run_sync(self._connect)
                self._opened.set()
            return self._pool

    def _connect(self) -> Pool:
        connector = Connector(self._url)
        with connector.connect() as connection:
            self.epoch = upgrade(connection, self._steps, self._url)
            connector.prepare_threshold = prepare_threshold(connection)
        return Pool(connector.connect)

    def _read(self, work: Callable[[Transaction], T], pool: Pool) -> T:
        milliseconds = max(1, round(self._read_seconds * 1000))
        begin = (
            f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_SETTINGS}"
            f" SET LOCAL statement_timeout = {milliseconds}; {_STATE}"
        )

        def attempt(connection: Connection) -> T:
            deadline = Deadline(self._read_seconds)
            try:
                with self._transaction(Statements(connection), begin, deadline) as (transaction, _):
                    result = work(transaction)
                    batch(connection, "COMMIT")
                    return result
            except psycopg.errors.QueryCanceled as error:
                raise OverdueError(self._read_seconds) from error

        return self._repeat(pool, attempt)

    def _write(self, work: Callable[[Transaction], T], locks: str, pool: Pool) -> T:
        begin = f"BEGIN ISOLATION LEVEL READ COMMITTED; {_SETTINGS} {locks}; {NUMBERING}; {_STATE}, {MARK}"

        def attempt(connection: Connection) -> T:
            statements = Statements(connection)
            with self._transaction(statements, begin) as (transaction, state):
                mark = Mark(*state[3:])
                if mark.incarnation is None:
                    begin_incarnation(connection)
                result = work(transaction)
                self._commit(statements, transaction.touched, mark)
                return result

        return self._repeat(pool, attempt)

    def _repeat(self, pool: Pool, attempt: Callable[[Connection], T]) -> T:
        for left in reversed(range(ATTEMPTS)):
            with pool.connection() as connection:
                try:
                    return attempt(connection)
                except (psycopg.Error, _AbortedError) as error:
                    if not left or not _is_repeatable(error, connection):
                        raise
            if connection.broken:
                pool.lost()
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _transaction(
        self, statements: Statements, begin: str, deadline: Deadline | None = None
    ) -> Generator[tuple[Transaction, Row]]:
        """Begin a transaction; whoever has it commits it, or it is rolled back."""
        connection = statements.connection
        try:
            state = self._begun(connection, begin)
            moment = int(state[2]) if self._clock is SYSTEM_CLOCK else self._clock.time()
            yield (
                Transaction(
                    statements,
                    moment,
                    index=TsVector,
                    later=statements.later,
                    row_lock="" if deadline else "FOR UPDATE",
                    content_free=self._content_free,
                    deadline=deadline,
                ),
                state,
            )
        finally:
            if connection.info.transaction_status not in {TransactionStatus.IDLE, TransactionStatus.UNKNOWN}:
                with suppress(psycopg.OperationalError):
                    connection.rollback()

    def _begun(self, connection: Connection, begin: str) -> Row:
        try:
            state = found(batch(connection, begin))
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise ReplacedError from error
        version = int(state[0] or 0)
        check_version(connection, version, self._steps, self._url)
        if version < len(self._steps):
            raise ReplacedError
        self.epoch = str(state[1])
        return state

    def _commit(self, statements: Statements, touched: set[str], mark: Mark) -> None:
        """Commit a transaction, and tell other processes what it touched.

        Raises:
            _AbortedError: it was not committed.
            StoreUncertainError: the connection was lost meanwhile, and it is not known whether it was committed.
        """
        try:
            done = statements.commit(*self._listener.telling(statements.connection, touched))
        except psycopg.OperationalError as error:
            if not statements.connection.broken:
                raise
            if not was_committed(self._url, mark):
                raise _AbortedError from error
            return
        if done != "COMMIT":
            raise RuntimeError("a statement of the transaction had failed, and its error was not raised")

    async def _close_unused(self) -> None:
        while True:
            await self._clock.tick(IDLE_SECONDS)
            if self._pool is not None:
                self._pool.close_unused()

    async def _snapshot(self) -> object:
        """Return what differs once another transaction was committed; None if the server cannot be asked."""

        def ask(pool: Pool) -> Any:
            with pool.connection() as connection:
                return found(connection.execute("SELECT CAST(pg_current_snapshot() AS text)"))[0]

        pool = self._pool
        if pool is None:
            return "not open"
        try:
            return await anyio.to_thread.run_sync(ask, pool, abandon_on_cancel=True)
        except psycopg.Error:
            return None

    async def _execute(self, sql: str) -> None:
        """Execute a statement by itself."""

        def execute(pool: Pool) -> None:
            with pool.connection() as connection:
                batch(connection, sql)

        if self._pool is not None:
            await anyio.to_thread.run_sync(execute, self._pool)


def _is_repeatable(error: Exception, connection: Connection) -> bool:
    """Whether a transaction that was not committed can be tried again, and may succeed then."""
    if isinstance(error, psycopg.errors.UniqueViolation):
        # Positions and numbers are free among all principals, and another one has just taken this one.
        return error.diag.constraint_name in {"messages_pkey", "conversations_pkey"}
    return connection.broken or isinstance(
        error, _AbortedError | psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected
    )
