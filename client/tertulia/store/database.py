"""One SQLite file that many processes share, through APSW.

Work with the store is written as plain functions that take a `Transaction` and run in a worker thread from begin to
commit: a cancelled caller leaves either everything or nothing, and no task of this process comes between two
statements. Reads have connections of their own, so that a long search never holds up a send, nor another read.

The file is opened at the first use and not before: a host lists our tools without touching it. SQLite itself sees to
it that one process at a time checkpoints the write-ahead log. `synchronous=NORMAL`: a commit survives the death of
every process; the last ones before a power cut may be lost. When nothing was written for `IDLE_SECONDS`, deleted words
are erased from the index, and the log is truncated; the last process that closes the file deletes it. The log is
truncated at once when contents were deleted that are not kept.

Each transaction first looks whether the file is still the one that was opened, of a version that we know.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
import anyio.abc

from tertulia.store import erasure, private_files
from tertulia.store.connections import (
    BUSY_SECONDS,
    READ_SECONDS,
    SIDE_FILES,
    Connection,
    Cursor,
    Deadline,
    ReplacedError,
    Row,
    Worker,
    connect,
    pragma,
    transaction,
    translated,
)
from tertulia.store.notices import Notices, Watch
from tertulia.store.readers import Readers
from tertulia.store.schema import STEPS
from tertulia.store.upgrade import check_version, epoch, upgrade
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import StoreError, StoreLockedError, TertuliaError
from tertulia.vocabulary.ranges import END, time_within

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")
logger = logging.getLogger(__name__)

Measure = Callable[[str, float], object]
"""Is told of a transaction: `read` or `write`, and how many seconds it took, with the wait for its turn."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_NUL = re.compile(r"((?<!\\)(?:\\\\)*)\\u0000")
BATCHES_AT_ONCE = 4
"""How much of what is left to be indexed is indexed before the file is used: some hundred milliseconds' worth."""
INDEXING_PAUSE = 0.05
"""How long this process lets others write before it indexes more of what is left to be indexed."""
IDLE_SECONDS = 5.0
"""How long nothing must have been written before this process erases what was deleted and truncates the log."""
_AGAIN_SECONDS = 0.2
"""How long to wait before the log is truncated again, where other processes used it."""
_SHARE = 100
"""Erasing may take one part in so many of the time: it rewrites the whole index."""


def to_datetime(at: int) -> datetime:
    """Return the time that the store wrote as `at` (`Clock.time`)."""
    return datetime.fromtimestamp(min(max(at, 0), _END) / 1_000_000, UTC)


def from_datetime(at: datetime) -> int:
    """Return `at`, or the nearest time that the store can have, as the store writes it."""
    return round(time_within(at, END).timestamp() * 1_000_000)


_END = from_datetime(END)


def encode(value: Any, *, in_order: bool = False) -> str:
    """Return `value` as JSON text without U+0000, which no text can hold; `in_order` sorts the keys of objects."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=in_order)
    if "\\u0000" in text:
        text = _ESCAPED_NUL.sub("\\1\ufffd", text)
    return storable(text)


def storable(text: str) -> str:
    """Return `text` as a file can keep it: a platform may send halves of surrogate pairs, which are not text."""
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _bound(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what is bound to a statement: U+0000, which ends a text for some of its readers, is replaced."""
    if any(isinstance(value, str) and "\0" in value for value in values):
        return tuple(value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in values)
    return values


class Transaction:
    """An open transaction. `at` is its one moment; `touched` collects the conversations to wake readers of.

    Every statement raises `OverdueError` once the `deadline` has passed.
    """

    def __init__(
        self,
        connection: Connection,
        at: int,
        content_free: frozenset[str] = frozenset(),
        deadline: Deadline | None = None,
    ) -> None:
        self._connection = connection
        self._content_free = content_free
        self._deadline = deadline
        self.at = at
        self.touched: set[str] = set()
        self.wiped = False
        """Whether contents were deleted that must leave the write-ahead log at once."""

    def keeps_content(self, conversation_id: str) -> bool:
        """Whether what is said in a conversation may be written, rather than just that something was said."""
        return conversation_id.partition(":")[0] not in self._content_free

    def run(self, sql: str, *values: Any) -> int:
        """Execute one statement; return how many rows it changed."""
        self._execute(sql, values)
        return self._connection.changes()

    def one(self, sql: str, *values: Any) -> Row | None:
        """Return the first row, or None."""
        return self._execute(sql, values).fetchone()

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows."""
        return self._execute(sql, values).fetchall()

    def _execute(self, sql: str, values: tuple[Any, ...]) -> Cursor:
        if self._deadline is not None:
            self._deadline.check()
        return self._connection.execute(sql, _bound(values))


@dataclass(frozen=True, slots=True, eq=False)
class _OpenFile:
    """The file as it was opened, each time anew."""

    writer: Worker
    readers: Readers
    identity: tuple[int, int]


class Store:
    """The file at `path`, as one process sees it. Enter it once; it opens at the first use.

    `content_free` are the instances of which it keeps no contents (`InstanceSettings.keeps_content`). `connector`
    connects to the file. A read may take `read_seconds`. `measure` is told of each transaction.

    Raises (from every method):
        StoreError: the file is damaged, of a newer version, was replaced, or cannot be opened or written.
        UnavailableError: other processes kept it locked for `BUSY_SECONDS`.
    """

    def __init__(
        self,
        path: Path,
        *,
        steps: Sequence[str] = STEPS,
        content_free: frozenset[str] = frozenset(),
        clock: Clock = SYSTEM_CLOCK,
        connector: Callable[[Path], Awaitable[Worker]] = connect,
        read_seconds: float = READ_SECONDS,
        measure: Measure | None = None,
    ) -> None:
        self.path = path
        self.clock = clock
        """The time that all who wait for something in the store go by."""
        self._content_free = content_free
        self._connect = connector
        self._read_seconds = read_seconds
        self._measure = measure
        self.epoch = ""
        """Names this store, from its creation or restoration on. Empty until the first use."""
        self._steps = steps
        self._file: _OpenFile | None = None
        self._opening = anyio.Lock()
        self._opened = anyio.Event()
        self._written = anyio.Event()
        self._wiped = anyio.Event()
        self._erase_after = 0.0
        self._notices = Notices(self._data_version, clock)
        self._tasks: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._notices.poll)
        self._tasks.start_soon(self._tidy_when_idle)
        self._tasks.start_soon(self._truncate_when_wiped)
        self._tasks.start_soon(self._index_the_rest)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        try:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
        finally:  # a connection that stays open keeps its thread, and that the process
            await self._close()

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` makes of one consistent view of the store. It must not write.

        Raises:
            StoreTimeoutError: it took longer than a read may.
        """
        while True:
            file = self._file or await self._open()
            with translated(self.path):
                async with file.readers.reader() as reader:
                    if reader is not None:
                        return await self._run(file, reader, work, "BEGIN", seconds=self._read_seconds)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` returns, after its changes are committed; if it raises, nothing was changed.

        Readers of the conversations in `Transaction.touched` are woken.
        """
        file = self._file or await self._open()
        touched: set[str] = set()
        transactions: list[Transaction] = []

        def noting(transaction: Transaction) -> T:
            transaction.touched = touched
            transactions.append(transaction)
            return work(transaction)

        try:
            return await self._run(file, file.writer, noting, "BEGIN IMMEDIATE")
        finally:
            # Also when this caller was cancelled meanwhile: the commit may have happened all the same.
            self._notices.publish(touched)
            self._written.set()
            if any(transaction.wiped for transaction in transactions):
                self._wiped.set()

    async def opened(self) -> None:
        """Return once somebody has used the store; does not open it."""
        await self._opened.wait()

    def watch(self, conversation_id: str | None = None) -> AbstractContextManager[Watch]:
        """Watch a conversation, or everything: see `Watch.changed`."""
        return self._notices.watch(conversation_id)

    async def _run(
        self,
        file: _OpenFile,
        worker: Worker,
        work: Callable[[Transaction], T],
        begin: str,
        *,
        seconds: float | None = None,
    ) -> T:
        connection = worker.sync

        def in_thread() -> T:
            if _identity(self.path) != file.identity:
                raise ReplacedError
            # From now on: it may have waited for others.
            deadline = None if seconds is None else Deadline(seconds)
            interrupting = nullcontext() if deadline is None else deadline.interrupting(connection)
            with interrupting, transaction(connection, begin):
                check_version(connection, self._steps, self.path)
                self.epoch = epoch(connection)
                return work(Transaction(connection, self.clock.time(), self._content_free, deadline))

        import apsw

        begun = self.clock.now()
        with translated(self.path):
            try:
                return await worker.asynchronous.async_run(in_thread)
            except (ReplacedError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.IOError):
                # What was in the way may be gone when the next caller opens the file again.
                if self._file is file:
                    await self._close()
                raise
            finally:
                if self._measure is not None:
                    self._measure("read" if begin == "BEGIN" else "write", self.clock.now() - begun)

    async def _open(self) -> _OpenFile:
        async with self._opening:
            if self._file is not None:
                return self._file
            with translated(self.path):
                private_files.make_folder(self.path.parent)
                private_files.create_file(self.path)
                for suffix in ("", *SIDE_FILES):
                    sentence = private_files.close_to_others(self.path.with_name(self.path.name + suffix))
                    if sentence is not None:
                        logger.warning("%s", sentence)
                writer = await self._connect(self.path)
                try:
                    self.epoch = await writer.asynchronous.async_run(
                        upgrade, writer.sync, self._steps, self.path
                    )
                    await writer.asynchronous.async_run(self._index_some, writer.sync)
                    reader = await self._connect(self.path)
                except BaseException:  # whatever it was: the connection's thread must end
                    with anyio.CancelScope(shield=True):
                        await writer.asynchronous.aclose()
                    raise
                readers = Readers(reader, partial(self._connect, self.path))
                self._file = _OpenFile(writer, readers, _identity(self.path))
                self._opened.set()
                self._written.set()  # an earlier process may have left something to tidy up
                return self._file

    async def _close(self) -> None:
        """Close the file, the writer last: of all connections, the last one deletes the log, unless it only reads."""
        file, self._file = self._file, None
        if file is not None:
            with anyio.CancelScope(shield=True):
                await file.readers.aclose()
                await file.writer.asynchronous.aclose()

    async def _tidy_when_idle(self) -> None:
        """Erase what was deleted and truncate the log whenever this process has written nothing for a while."""
        while True:
            await self._written.wait()
            self._written = anyio.Event()
            await self.clock.tick(IDLE_SECONDS)
            if self._file is not None and not self._written.is_set():
                erased = await self._erase(self._file)
                if not (await self._truncate() and erased):
                    self._written.set()  # other processes were at work, or it was too early: try again

    async def _truncate_when_wiped(self) -> None:
        """Truncate the log whenever contents were deleted that are not kept."""
        while True:
            await self._wiped.wait()
            self._wiped = anyio.Event()
            while not await self._truncate():
                await self.clock.tick(_AGAIN_SECONDS)

    async def _truncate(self) -> bool:
        """Truncate the log; return whether that was done, or cannot be."""
        if self._file is None:
            return True
        writer = self._file.writer
        return await writer.asynchronous.async_run(_truncate_log, writer.sync)

    async def _erase(self, file: _OpenFile) -> bool:
        """Erase deleted words from the index, in many short transactions; return False where it is too early."""
        begun = self.clock.now()
        write = partial(self._run, file, file.writer, begin="BEGIN IMMEDIATE")
        try:
            indexes = await self._run(file, file.writer, erasure.due, "BEGIN")
            if indexes and begun < self._erase_after:
                return False
            for index, noted in indexes.items():
                more = await write(partial(erasure.begin, index=index))
                while more:
                    more = await write(partial(erasure.go_on, index=index))
                await write(partial(erasure.finish, index=index, noted=noted))
        except (StoreError, StoreLockedError):
            return True  # who writes next is told, and begins it anew
        self._erase_after = self.clock.now() + _SHARE * (self.clock.now() - begun)
        return True

    def _index_some(self, connection: Connection) -> None:
        """Index what a newer version has left to be indexed again, if it is soon done."""
        if len(self._steps) != len(STEPS):
            return
        from tertulia.store.message_index import index_next, is_complete

        tx = Transaction(connection, self.clock.time())
        for _ in range(BATCHES_AT_ONCE):
            if is_complete(tx):
                return
            with transaction(connection, "BEGIN IMMEDIATE"):
                index_next(tx)

    async def _index_the_rest(self) -> None:
        """Index what a newer version has left to be indexed again, a little at a time, so that nobody waits long."""
        from tertulia.store.message_index import index_next, is_complete

        await self._opened.wait()
        more = len(self._steps) == len(STEPS)
        while more:
            try:
                more = not await self.read(is_complete)
                if more:
                    await self.clock.tick(INDEXING_PAUSE)
                    await self.write(index_next)
            except TertuliaError:  # a full disk, a locked file: whoever calls is told
                await self.clock.tick(IDLE_SECONDS)

    async def _data_version(self) -> object:
        """Return a value that differs from the one before if another process has changed the file since.

        None: it cannot be read now, because the file is locked, or worse. Readers learn that from the store itself.
        """
        file = self._file
        if file is None:
            return "not open"
        import apsw

        try:
            return file, await file.writer.asynchronous.async_run(pragma, file.writer.sync, "data_version")
        except apsw.Error:
            return None


def _identity(path: Path) -> tuple[int, int]:
    """Return what tells a file from any other at the same path."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _truncate_log(connection: Connection) -> bool:
    """Bring the log into the file and truncate it, unless another process is at work; return whether it was done."""
    import apsw

    connection.set_busy_timeout(0)
    try:
        with suppress(apsw.BusyError, apsw.LockedError):
            row = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return row is not None and row[0] == 0
    except apsw.Error:  # a full disk, say: who writes next is told
        return True
    finally:
        connection.set_busy_timeout(BUSY_SECONDS * 1000)
    return False
