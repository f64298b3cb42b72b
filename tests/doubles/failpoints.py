"""Failpoints of a server process: it is killed after the n-th thing that others can see of it.

Others see two things of a process: what it commits, and what it sends, over HTTP or to an agent program. Whatever else
it does dies with it. So each state that a crash can leave behind is that after one commit or one request. `FAILPOINT`
says after which one the process kills itself; it writes all of them to the file `EFFECTS`, one a line.

Such a process goes by a clock on which nobody sleeps: what waits for minutes is seen in a moment.
"""

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import httpx

import tertulia.client
from tertulia.platforms.acp import connection as acp
from tertulia.store.database import Store, Transaction
from tertulia.store.engine import Cursor, Engine, EngineOptions
from tertulia.store.sqlite.connections import Connection, Worker, connect
from tertulia.store.sqlite.engine import SqliteEngine
from tertulia.vocabulary.clock import SystemClock
from tertulia.vocabulary.location import PostgresUrl, StoreLocation
from tests.doubles.clocks import SkippingClock

T = TypeVar("T")

FAILPOINT = "TEST_FAILPOINT"
EFFECTS = "TEST_EFFECTS"
WRITE = "BEGIN IMMEDIATE"


def install(environment: Mapping[str, str]) -> None:
    """Install the failpoint that the environment names, if it names one."""
    if EFFECTS in environment:
        effects = Effects(Path(environment[EFFECTS]), int(environment.get(FAILPOINT, "-1")))
        _skip_pauses()
        _watch_commits(effects)
        _watch_requests(effects)
        _watch_programs(effects)


@dataclass
class Effects:
    """Counts what others can see of this process, and kills it after the one that is numbered `last`."""

    file: Path
    last: int
    number: int = 0
    work: ContextVar[str] = field(default_factory=lambda: ContextVar("work", default=""))
    """What is being written, in the thread that writes it."""
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def happened(self, what: str) -> None:
        """Note an effect."""
        with self._one_at_a_time:
            with self.file.open("a") as file:
                file.write(f"{what}\n")
            if self.number == self.last:
                _die()
            self.number += 1


def _die() -> NoReturn:
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    raise AssertionError("nobody survives this")


def _skip_pauses() -> None:
    clock = SkippingClock()
    for name in ("now", "sleep", "tick", "move_on_after"):
        setattr(SystemClock, name, getattr(clock, name))


class _WatchedConnection:
    """A connection that tells what it commits."""

    def __init__(self, connection: Connection, effects: Effects) -> None:
        self._connection = connection
        self._effects = effects
        self._writes = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Cursor:
        """Execute a statement; a commit is an effect."""
        cursor = self._connection.execute(sql, values)
        if sql == WRITE:
            self._writes = True
        elif sql == "COMMIT" and self._writes:
            self._writes = False
            self._effects.happened(f"commit {self._effects.work.get()}")
        return cursor


def _watch_commits(effects: Effects) -> None:
    async def connect_watched(path: Path) -> Worker:
        worker = await connect(path)
        watched = _WatchedConnection(worker.sync, effects)
        return Worker(worker.asynchronous, cast(Connection, watched))

    class WatchedStore(Store):
        def __init__(self, location: StoreLocation, **options: Any) -> None:
            watched = (
                _watched_postgres(effects)
                if isinstance(location, PostgresUrl)
                else partial(SqliteEngine, connector=connect_watched)
            )
            super().__init__(location, **options, engine=watched)

        async def write(self, work: Callable[[Transaction], T], **exclusion: Any) -> T:
            def named(tx: Transaction) -> T:
                effects.work.set(_name(work))
                return work(tx)

            return await super().write(named, **exclusion)

    cast(Any, tertulia.client).Store = WatchedStore


def _watched_postgres(effects: Effects) -> Callable[[Any, EngineOptions], Engine]:
    from tertulia.store.postgres.engine import PostgresEngine

    class Watched(PostgresEngine):
        def _commit(self, statements: Any, touched: set[str], mark: Any) -> None:
            super()._commit(statements, touched, mark)
            effects.happened(f"commit {effects.work.get()}")

    return Watched


def _name(work: Callable[..., Any]) -> str:
    if isinstance(work, partial):
        return _name(work.func)
    name = str(getattr(work, "__qualname__", type(work).__name__))
    return f"{work.__module__}.{name}".removeprefix("tertulia.").replace(".<locals>", "")


def _watch_requests(effects: Effects) -> None:
    send: Callable[..., Any] = httpx.AsyncHTTPTransport.handle_async_request

    async def handle(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        response = await send(self, request)
        effects.happened(f"{request.method} {request.url.path}")
        return response

    cast(Any, httpx.AsyncHTTPTransport).handle_async_request = handle


def _watch_programs(effects: Effects) -> None:
    send: Callable[..., Any] = vars(acp.Connection)["_send"]

    def watched(self: acp.Connection, message: Mapping[str, Any]) -> None:
        send(self, message)
        effects.happened(f"to the program: {message.get('method', 'an answer')}")

    cast(Any, acp.Connection)._send = watched
