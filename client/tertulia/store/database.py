"""One SQLite file that many processes share, through APSW.

Work with the store is written as plain functions that take a `Transaction` and run in a worker thread from begin to
commit: a cancelled caller leaves either everything or nothing, and no task of this process comes between two
statements. Reads have a connection of their own, so that a long search never holds up a send.

The file is opened at the first use and not before: a host lists our tools without touching it. SQLite itself sees to
it that one process at a time checkpoints the write-ahead log. `synchronous=NORMAL`: a commit survives the death of
every process; the last ones before a power cut may be lost.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeVar, cast

import anyio
import anyio.abc

from tertulia.store.notices import Notices, Watch
from tertulia.store.schema import APPLICATION_ID, STEPS
from tertulia.store.words import tokenizer
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import StoreError, UnavailableError
from tertulia.vocabulary.values import same_json

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")
Row = tuple[Any, ...]


class _Cursor(Protocol):
    def fetchone(self) -> Row | None: ...
    def fetchall(self) -> list[Row]: ...


class _Connection(Protocol):
    """What we use of a connection: APSW's own stubs leave its types half unknown."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> _Cursor: ...
    def changes(self) -> int: ...
    def set_busy_timeout(self, milliseconds: int, /) -> None: ...
    def register_fts5_tokenizer(self, name: str, factory: Any, /) -> None: ...
    def create_scalar_function(
        self, name: str, function: Callable[..., Any], arguments: int, /, *, deterministic: bool
    ) -> None: ...
    def close(self) -> None: ...


class _AsyncConnection(Protocol):
    async def async_run(self, call: Callable[..., T], /, *arguments: Any) -> T: ...
    async def aclose(self) -> None: ...


class _Worker(NamedTuple):
    """A connection with its worker thread: `sync` may be used in that thread only."""

    asynchronous: _AsyncConnection
    sync: _Connection


BUSY_SECONDS = 10
"""How long a transaction waits for another process's before it gives up."""


def now() -> int:
    """Return the present as the store writes it: microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def to_datetime(at: int) -> datetime:
    """Return the time that the store wrote as `at`."""
    return datetime.fromtimestamp(at / 1_000_000, UTC)


def from_datetime(at: datetime) -> int:
    """Return `at` as the store writes it."""
    return round(at.timestamp() * 1_000_000)


def encode(value: Any, *, in_order: bool = False) -> str:
    """Return `value` as JSON text; `in_order` sorts the keys of objects."""
    return storable(json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=in_order))


def storable(text: str) -> str:
    """Return `text` as a file can keep it: a platform may send halves of surrogate pairs, which are not text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class Transaction:
    """An open transaction. `at` is its one moment; `touched` collects the conversations to wake readers of."""

    def __init__(self, connection: _Connection, content_free: frozenset[str] = frozenset()) -> None:
        self._connection = connection
        self._content_free = content_free
        self.at = now()
        self.touched: set[str] = set()

    def keeps_content(self, conversation_id: str) -> bool:
        """Whether what is said in a conversation may be written, rather than just that something was said."""
        return conversation_id.partition(":")[0] not in self._content_free

    def run(self, sql: str, *values: Any) -> int:
        """Execute one statement; return how many rows it changed."""
        self._connection.execute(sql, values)
        return self._connection.changes()

    def one(self, sql: str, *values: Any) -> Row | None:
        """Return the first row, or None."""
        return self._connection.execute(sql, values).fetchone()

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows."""
        return self._connection.execute(sql, values).fetchall()


class Store:
    """The file at `path`, as one process sees it. Enter it once; it opens at the first use.

    `content_free` are the instances of which it keeps no contents (`InstanceSettings.keeps_content`).

    Raises (from every method):
        StoreError: the file is damaged, of a newer version, or cannot be opened or written.
        UnavailableError: other processes kept it locked for `BUSY_SECONDS`.
    """

    def __init__(
        self,
        path: Path,
        *,
        steps: Sequence[str] = STEPS,
        content_free: frozenset[str] = frozenset(),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.path = path
        self.clock = clock
        """The time that all who wait for something in the store go by."""
        self._content_free = content_free
        self.epoch = ""
        """Names this store, from its creation on. Empty until the first use."""
        self._steps = steps
        self._writer: _Worker | None = None
        self._reader: _Worker | None = None
        self._watcher: _Connection | None = None
        self._opening = anyio.Lock()
        self._opened = anyio.Event()
        self._notices = Notices(self._data_version, clock)
        self._tasks: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._notices.poll)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        try:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
        finally:  # a connection that stays open keeps its thread, and that the process
            with anyio.CancelScope(shield=True):
                for worker in (self._reader, self._writer):
                    if worker is not None:
                        await worker.asynchronous.aclose()
            if self._watcher is not None:
                self._watcher.close()

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` makes of one consistent view of the store. It must not write."""
        if self._reader is None:
            await self._open()
        assert self._reader is not None
        return await self._run(self._reader, work, "BEGIN")

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` returns, after its changes are committed; if it raises, nothing was changed.

        Readers of the conversations in `Transaction.touched` are woken.
        """
        if self._writer is None:
            await self._open()
        assert self._writer is not None
        touched: set[str] = set()

        def noting(transaction: Transaction) -> T:
            transaction.touched = touched
            return work(transaction)

        try:
            return await self._run(self._writer, noting, "BEGIN IMMEDIATE")
        finally:
            # Also when this caller was cancelled meanwhile: the commit may have happened all the same.
            self._notices.publish(touched)

    async def opened(self) -> None:
        """Return once somebody has used the store; does not open it."""
        await self._opened.wait()

    def watch(self, conversation_id: str | None = None) -> AbstractContextManager[Watch]:
        """Watch a conversation, or everything: see `Watch.changed`."""
        return self._notices.watch(conversation_id)

    async def _run(self, worker: _Worker, work: Callable[[Transaction], T], begin: str) -> T:
        connection = worker.sync

        def in_thread() -> T:
            with _transaction(connection, begin):
                return work(Transaction(connection, self._content_free))

        with self._translated():
            return await worker.asynchronous.async_run(in_thread)

    async def _open(self) -> None:
        async with self._opening:
            if self._writer is not None:
                return
            with self._translated():
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                if not self.path.exists():
                    self.path.touch(mode=0o600)
                writer = await _connect(self.path)
                try:
                    self.epoch = await writer.asynchronous.async_run(
                        _prepare, writer.sync, self._steps, self.path
                    )
                    self._reader = await _connect(self.path)
                except BaseException:  # whatever it was: the connection's thread must end
                    with anyio.CancelScope(shield=True):
                        await writer.asynchronous.aclose()
                    raise
                self._writer = writer
                self._opened.set()

    def _data_version(self) -> int:
        if self._writer is None:
            return -1
        import apsw

        try:
            if self._watcher is None:
                self._watcher = cast(
                    _Connection, apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
                )
            row = self._watcher.execute("PRAGMA data_version").fetchone()
        except apsw.Error:  # locked for a moment, or worse: those who watch learn it from the store itself
            return -1
        assert row is not None
        return int(row[0])

    @contextmanager
    def _translated(self) -> Generator[None]:
        import apsw

        try:
            yield
        except (apsw.BusyError, apsw.LockedError) as error:
            raise UnavailableError(
                f"The store {self.path} was locked by another process for {BUSY_SECONDS} seconds.",
                hint="Call again.",
            ) from error
        except apsw.FullError as error:
            raise StoreError(
                f"There is no room left for the store {self.path}.", hint="Free some disk space."
            ) from error
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise StoreError(
                f"The file {self.path} is not a store of ours, or is damaged.",
                hint="Move it away, or name another with --store.",
            ) from error
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.IOError, OSError) as error:
            raise StoreError(
                f"The store {self.path} cannot be opened for writing.",
                hint="Check the folder and its permissions, or name another file with --store.",
            ) from error


async def _connect(path: Path) -> _Worker:
    import apsw
    import apsw.aio

    class Controller(apsw.aio.AsyncIO):
        """Left to itself, APSW chooses by who started the event loop; one choice makes a caller's deadline an error.

        APSW's own thread keeps the process alive for as long as a connection is open; this one never does.
        """

        def __init__(self) -> None:
            self.queue = queue.SimpleQueue()
            self.loop = asyncio.get_running_loop()
            threading.Thread(name="store", target=self.worker_thread_run, daemon=True).start()

    with cast(Any, apsw.aio).contextvar_set(apsw.async_controller, Controller):
        connection: Any = await apsw.Connection.as_async(str(path))
    worker = _Worker(connection, connection)
    try:
        await worker.asynchronous.async_run(_configure, worker.sync)
    except BaseException:  # whatever it was: the connection's thread must end
        with anyio.CancelScope(shield=True):
            await worker.asynchronous.aclose()
        raise
    return worker


def _configure(connection: _Connection) -> None:
    connection.set_busy_timeout(BUSY_SECONDS * 1000)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten in the file
    connection.register_fts5_tokenizer("words", tokenizer)
    connection.create_scalar_function("json_has", _json_has, 3, deterministic=True)


def _json_has(text: str, key: str, value: str) -> bool:
    """Tell SQL whether an object has this value (JSON text) under a key: SQLite's own paths cannot name every key."""
    found: dict[str, Any] = json.loads(text)
    return key in found and same_json(found[key], json.loads(value))


def _prepare(connection: _Connection, steps: Sequence[str], path: Path) -> str:
    """Bring the file to the present version and return its epoch; a file of another program is not touched."""
    with _transaction(connection, "BEGIN"):
        version = _version(connection, steps, path)
    _log_ahead(connection)
    if version != len(steps):
        with _transaction(connection, "BEGIN IMMEDIATE"):
            # Looked at again: another process may have done it while we waited for the lock.
            version = _version(connection, steps, path)
            for step in steps[version:]:
                connection.execute(step)
            connection.execute(f"PRAGMA user_version = {len(steps)}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    row = connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
    assert row is not None
    return str(row[0])


def _version(connection: _Connection, steps: Sequence[str], path: Path) -> int:
    """Return the version of the file's schema, 0 where there is none yet."""
    version = _pragma(connection, "user_version")
    is_store = _pragma(connection, "application_id") == APPLICATION_ID
    if not is_store and (version or connection.execute("SELECT 1 FROM sqlite_schema").fetchone()):
        raise StoreError(
            f"The file {path} is another program's database.", hint="Name another file with --store."
        )
    if version > len(steps):
        raise StoreError(
            f"The store {path} was written by a newer Tertulia (schema {version}; this one knows {len(steps)}).",
            hint="Upgrade Tertulia, or name another file with --store.",
        )
    return version


def _log_ahead(connection: _Connection) -> None:
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


@contextmanager
def _transaction(connection: _Connection, begin: str) -> Generator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # a cancelled caller's too: the transaction must not stay open
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: _Connection, name: str) -> int:
    row = connection.execute(f"PRAGMA {name}").fetchone()
    assert row is not None
    return int(row[0])
