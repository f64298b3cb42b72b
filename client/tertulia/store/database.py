"""The store of one process, and its transactions.

Work with the store is written as plain functions that take a `Transaction` and run in a worker thread from begin to
commit: a cancelled caller leaves either everything or nothing, and no task of this process comes between two
statements. The engine is opened at the first use and not before: a host lists our tools without touching the store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
import anyio.abc

from tertulia.store.engine import (
    READ_SECONDS,
    Cursor,
    Deadline,
    Engine,
    EngineOptions,
    Exclusion,
    Row,
    Statements,
)
from tertulia.store.notices import Notices, Watch
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import NotConfiguredError, UncertainError
from tertulia.vocabulary.location import check_file
from tertulia.vocabulary.ranges import END, time_within

if TYPE_CHECKING:
    from types import TracebackType

    from tertulia.store.index.base import Index
    from tertulia.vocabulary.location import PostgresUrl, StoreLocation

T = TypeVar("T")

Measure = Callable[[str, float], object]
"""Is told of a transaction: `read` or `write`, and how many seconds it took, with the wait for its turn."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_IN_ORDER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_ESCAPED_NUL = re.compile(r"((?<!\\)(?:\\\\)*)\\u0000")


def to_datetime(at: int) -> datetime:
    """Return the time that the store wrote as `at` (`Clock.time`)."""
    return datetime.fromtimestamp(min(max(at, 0), _END) / 1_000_000, UTC)


def from_datetime(at: datetime) -> int:
    """Return `at`, or the nearest time that the store can have, as the store writes it."""
    return round(time_within(at, END).timestamp() * 1_000_000)


_END = from_datetime(END)


def encode(value: Any, *, in_order: bool = False) -> str:
    """Return `value` as JSON text without U+0000, which no text can hold; `in_order` sorts the keys of objects."""
    return storable(without_escaped_nul((_IN_ORDER if in_order else _COMPACT).encode(value)))


def without_escaped_nul(text: str) -> str:
    """Return JSON text with another character in place of each U+0000."""
    return _ESCAPED_NUL.sub("\\1\ufffd", text) if "\\u0000" in text else text


def storable(text: str) -> str:
    """Return `text` as a file can keep it: a platform may send halves of surrogate pairs, which are not text."""
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def bindable(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return values as a statement takes them: U+0000, which ends a text for some of its readers, is replaced."""
    for value in values:  # no generator: it would take most of the time of many a statement
        if isinstance(value, str) and "\0" in value:
            return tuple(each.replace("\0", "\ufffd") if isinstance(each, str) else each for each in values)
    return values


class Transaction:
    """An open transaction. `at` is its one moment; `touched` collects the conversations to wake readers of.

    `row_lock` ends a SELECT whose rows nobody else may change before the transaction has ended. It is empty where
    nobody else writes meanwhile, or this transaction does not.

    `later` executes a statement whose result nobody reads, at the latest before the next one. Every statement raises
    `OverdueError` once the `deadline` has passed.
    """

    def __init__(
        self,
        statements: Statements,
        at: int,
        *,
        index: Callable[[Transaction], Index],
        later: Callable[[str, Sequence[Any]], object] | None = None,
        row_lock: str = "",
        content_free: frozenset[str] = frozenset(),
        deadline: Deadline | None = None,
    ) -> None:
        self._statements = statements
        self._later = later or statements.execute
        self._content_free = content_free
        self._deadline = deadline
        self.at = at
        self._index = index
        self.row_lock = row_lock
        self.touched: set[str] = set()
        self.wiped = False
        """Whether contents were deleted that must leave the write-ahead log at once."""

    def keeps_content(self, conversation_id: str) -> bool:
        """Whether what is said in a conversation may be written, rather than just that something was said."""
        return conversation_id.partition(":")[0] not in self._content_free

    @cached_property
    def index(self) -> Index:
        """The full-text index."""
        return self._index(self)

    def run(self, sql: str, *values: Any) -> None:
        """Execute one statement, at the latest before the next one whose result is read; its error may come then."""
        self._check_deadline()
        self._later(sql, bindable(values))

    def changed(self, sql: str, *values: Any) -> int:
        """Execute one statement; return how many rows it changed."""
        self._execute(sql, values)
        return self._statements.changes()

    def one(self, sql: str, *values: Any) -> Row | None:
        """Return the first row, or None."""
        return self._execute(sql, values).fetchone()

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows."""
        return self._execute(sql, values).fetchall()

    def _execute(self, sql: str, values: tuple[Any, ...]) -> Cursor:
        self._check_deadline()
        return self._statements.execute(sql, bindable(values))

    def _check_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.check()


class Store:
    """The store at `location`, as one process sees it. Enter it once; it opens at the first use.

    `content_free` are the instances of which it keeps no contents (`InstanceSettings.keeps_content`). `engine` makes
    the engine. A read may take `read_seconds`. `measure` is told of each transaction. `listen_url` is
    `ClientSettings.store_listen_url`.

    Raises:
        InvalidInputError: a URL was given as the path of a file. Every method raises what `Engine` raises.
    """

    def __init__(
        self,
        location: StoreLocation,
        *,
        content_free: frozenset[str] = frozenset(),
        clock: Clock = SYSTEM_CLOCK,
        read_seconds: float = READ_SECONDS,
        measure: Measure | None = None,
        engine: Callable[[Any, EngineOptions], Engine] | None = None,
        listen_url: PostgresUrl | None = None,
    ) -> None:
        if isinstance(location, Path):
            check_file(location)
        self.location = location
        self.clock = clock
        """The time that all who wait for something in the store go by."""
        self._measure = measure
        options = EngineOptions(
            clock=clock, content_free=content_free, read_seconds=read_seconds, listen_url=listen_url
        )
        self._engine = (engine or engine_of)(location, options)
        self._notices = Notices(clock)
        self._tasks: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._engine.run, self._notices)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        try:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
        finally:  # a connection that stays open keeps its thread, and that the process
            await self._engine.aclose()

    @property
    def epoch(self) -> str:
        """What names this store, from its creation or restoration on. Empty until the first use."""
        return self._engine.epoch

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` makes of one consistent view of the store. It must not write.

        Raises:
            StoreTimeoutError: it took longer than a read may.
        """
        begun = self.clock.now()
        try:
            return await self._engine.read(work)
        finally:
            self._measured("read", begun)

    async def write(
        self,
        work: Callable[[Transaction], T],
        *,
        principal: str | frozenset[str] | None = None,
        conversation_id: str | None = None,
    ) -> T:
        """Return what `work` returns, after its changes are committed; if it raises, nothing was changed.

        Readers of the conversations in `Transaction.touched` are woken, unless it fails. `work` may be called more than
        once, and has no effect but on the store.

        What it reads and changes is the `principal`'s (or that of several) alone, and others may write what is theirs
        meanwhile. None: it may be anybody's, and nobody else writes at all. Of none (an empty set): whatever it changes
        is right whoever else writes. With a `conversation_id`, it also reads what other principals have in that
        conversation, and nobody else who names it writes meanwhile.
        """
        principals = frozenset([principal]) if isinstance(principal, str) else principal
        touched: set[str] = set()

        def noting(transaction: Transaction) -> T:
            transaction.touched = touched
            return work(transaction)

        begun = self.clock.now()
        committed = True  # maybe: also where this caller is cancelled meanwhile
        try:
            return await self._engine.write(noting, Exclusion(principals, conversation_id))
        except UncertainError:
            raise
        except Exception:  # whatever it is, nothing was committed
            committed = False
            raise
        finally:
            if committed:
                self._notices.publish(touched)
            self._measured("write", begun)

    def exists(self) -> bool:
        """Whether there is a store already, which the first use would open and not create."""
        return self._engine.exists()

    async def opened(self) -> None:
        """Return once somebody has used the store; does not open it."""
        await self._engine.opened()

    def watch(self, conversation_id: str | None = None) -> AbstractContextManager[Watch]:
        """Watch a conversation, or everything: see `Watch.changed`."""
        return self._notices.watch(conversation_id)

    def _measured(self, kind: str, begun: float) -> None:
        if self._measure is not None:
            self._measure(kind, self.clock.now() - begun)


def engine_of(location: StoreLocation, options: EngineOptions) -> Engine:
    """Return the engine for what a store is in.

    Raises:
        NotConfiguredError: it is not installed.
    """
    if isinstance(location, Path):
        from tertulia.store.sqlite.engine import SqliteEngine

        return SqliteEngine(location, options)
    with needing_psycopg(location):
        from tertulia.store.postgres.engine import PostgresEngine
    return PostgresEngine(location, options)


@contextmanager
def needing_psycopg(store: PostgresUrl) -> Generator[None]:
    """Import in the context what a store in a database needs.

    Raises:
        NotConfiguredError: psycopg is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise NotConfiguredError(
            f"The store {store} needs psycopg, which is not installed.",
            hint="Install it with pip install 'tertulia[postgres]'.",
        ) from error
