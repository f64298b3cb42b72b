"""One SQLite file that many processes share, through APSW.

The file is opened at the first use and not before: a host lists our tools without touching it. SQLite itself sees to
it that one process at a time checkpoints the write-ahead log. `synchronous=NORMAL`: a commit survives the death of
every process; the last ones before a power cut may be lost. When nothing was written for `IDLE_SECONDS`, deleted words
are erased from the index, and the log is truncated; the last process that closes the file deletes it. The log is
truncated at once when contents were deleted that are not kept.

Reads have connections of their own, so that a long search never holds up a send, nor another read. Each transaction
first looks whether the file is still the one that was opened, of a version that we know.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from tertulia.store import private_files
from tertulia.store.database import Transaction
from tertulia.store.engine import BUSY_SECONDS, EVERYTHING, Deadline, EngineOptions, Exclusion, ReplacedError
from tertulia.store.index.fts5 import Fts5
from tertulia.store.sqlite import erasure
from tertulia.store.sqlite.connections import (
    SIDE_FILES,
    Connection,
    Worker,
    connect,
    interrupting,
    pragma,
    transaction,
    translated,
)
from tertulia.store.sqlite.readers import Readers
from tertulia.store.sqlite.schema import STEPS
from tertulia.store.sqlite.upgrade import check_version, epoch, upgrade
from tertulia.vocabulary.errors import StoreError, StoreUnavailableError, TertuliaError
from tertulia.vocabulary.tasks import task_group

if TYPE_CHECKING:
    from pathlib import Path

    from tertulia.store.notices import Notices

T = TypeVar("T")
logger = logging.getLogger(__name__)

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


@dataclass(frozen=True, slots=True, eq=False)
class _OpenFile:
    """The file as it was opened, each time anew."""

    writer: Worker
    readers: Readers
    identity: tuple[int, int]


class SqliteEngine:
    """The file at `path`. `steps` make its tables, and `connector` connects to it.

    The folder and the file are made for their owner alone, if they are missing.
    """

    def __init__(
        self,
        path: Path,
        options: EngineOptions,
        *,
        steps: Sequence[str] = STEPS,
        connector: Callable[[Path], Awaitable[Worker]] = connect,
    ) -> None:
        self._path = path
        self._clock = options.clock
        self._content_free = options.content_free
        self._read_seconds = options.read_seconds
        self._steps = steps
        self._connect = connector
        self.epoch = ""
        self._file: _OpenFile | None = None
        self._opening = anyio.Lock()
        self._opened = anyio.Event()
        self._written = anyio.Event()
        self._wiped = anyio.Event()
        self._erase_after = 0.0

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Read in a connection that nobody else uses meanwhile."""
        while True:
            file = self._file or await self._open()
            with translated(self._path):
                async with file.readers.reader() as reader:
                    if reader is not None:
                        return await self._run(file, reader, work, "BEGIN", seconds=self._read_seconds)

    async def write(self, work: Callable[[Transaction], T], exclusion: Exclusion = EVERYTHING) -> T:
        """Write in the one connection that writes, one transaction after the other, whatever they write."""
        file = self._file or await self._open()
        transactions: list[Transaction] = []

        def noting(transaction: Transaction) -> T:
            transactions.append(transaction)
            return work(transaction)

        try:
            return await self._run(file, file.writer, noting, "BEGIN IMMEDIATE")
        finally:
            # Also when this caller was cancelled meanwhile: the commit may have happened all the same.
            self._written.set()
            if any(transaction.wiped for transaction in transactions):
                self._wiped.set()

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    async def opened(self) -> None:
        """Wait for the first use."""
        await self._opened.wait()

    async def run(self, notices: Notices) -> None:
        """Look for changes while somebody wants to know of them; tidy up what was deleted."""
        async with task_group() as tasks:
            tasks.start_soon(notices.poll, self._data_version)
            tasks.start_soon(self._tidy_when_idle)
            tasks.start_soon(self._truncate_when_wiped)
            tasks.start_soon(self._index_the_rest)

    async def aclose(self) -> None:
        """Close the file, the writer last: of all connections, the last one deletes the log, unless it only reads."""
        file, self._file = self._file, None
        if file is not None:
            with anyio.CancelScope(shield=True):
                await file.readers.aclose()
                await file.writer.asynchronous.aclose()

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
            if _identity(self._path) != file.identity:
                raise ReplacedError
            # From now on: it may have waited for others.
            deadline = None if seconds is None else Deadline(seconds)
            limited = nullcontext() if deadline is None else interrupting(connection, deadline)
            with limited, transaction(connection, begin):
                check_version(connection, self._steps, self._path)
                self.epoch = epoch(connection)
                return work(
                    Transaction(
                        connection,
                        self._clock.time(),
                        index=Fts5,
                        content_free=self._content_free,
                        deadline=deadline,
                    )
                )

        import apsw

        with translated(self._path):
            try:
                return await worker.asynchronous.async_run(in_thread)
            except (ReplacedError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.IOError):
                # What was in the way may be gone when the next caller opens the file again.
                if self._file is file:
                    await self.aclose()
                raise

    async def _open(self) -> _OpenFile:
        async with self._opening:
            if self._file is not None:
                return self._file
            with translated(self._path):
                private_files.make_folder(self._path.parent)
                private_files.create_file(self._path)
                for suffix in ("", *SIDE_FILES):
                    sentence = private_files.close_to_others(self._path.with_name(self._path.name + suffix))
                    if sentence is not None:
                        logger.warning("%s", sentence)
                writer = await self._connect(self._path)
                try:
                    self.epoch = await writer.asynchronous.async_run(
                        upgrade, writer.sync, self._steps, self._path
                    )
                    await writer.asynchronous.async_run(self._index_some, writer.sync)
                    reader = await self._connect(self._path)
                except BaseException:  # whatever it was: the connection's thread must end
                    with anyio.CancelScope(shield=True):
                        await writer.asynchronous.aclose()
                    raise
                readers = Readers(reader, partial(self._connect, self._path))
                self._file = _OpenFile(writer, readers, _identity(self._path))
                self._opened.set()
                self._written.set()  # an earlier process may have left something to tidy up
                return self._file

    async def _tidy_when_idle(self) -> None:
        """Erase what was deleted and truncate the log whenever this process has written nothing for a while."""
        while True:
            await self._written.wait()
            self._written = anyio.Event()
            await self._clock.tick(IDLE_SECONDS)
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
                await self._clock.tick(_AGAIN_SECONDS)

    async def _truncate(self) -> bool:
        """Truncate the log; return whether that was done, or cannot be."""
        if self._file is None:
            return True
        writer = self._file.writer
        return await writer.asynchronous.async_run(_truncate_log, writer.sync)

    async def _erase(self, file: _OpenFile) -> bool:
        """Erase deleted words from the index, in many short transactions; return False where it is too early."""
        begun = self._clock.now()
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
        except (StoreError, StoreUnavailableError):
            return True  # who writes next is told, and begins it anew
        self._erase_after = self._clock.now() + _SHARE * (self._clock.now() - begun)
        return True

    def _index_some(self, connection: Connection) -> None:
        """Index what a newer version has left to be indexed again, if it is soon done."""
        if len(self._steps) != len(STEPS):
            return
        from tertulia.store.index.filling import index_next

        tx = Transaction(connection, self._clock.time(), index=Fts5)
        for _ in range(BATCHES_AT_ONCE):
            if tx.index.is_complete():
                return
            with transaction(connection, "BEGIN IMMEDIATE"):
                index_next(tx)

    async def _index_the_rest(self) -> None:
        """Index what a newer version has left to be indexed again, a little at a time, so that nobody waits long."""
        from tertulia.store.index.filling import index_next

        await self._opened.wait()
        more = len(self._steps) == len(STEPS)
        while more:
            try:
                more = not await self.read(lambda tx: tx.index.is_complete())
                if more:
                    await self._clock.tick(INDEXING_PAUSE)
                    await self.write(index_next)
            except TertuliaError:  # a full disk, a locked file: whoever calls is told
                await self._clock.tick(IDLE_SECONDS)

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
