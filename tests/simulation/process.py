"""A server process of the simulation: it can die, and stand still, between any two things that it does."""

import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import apsw

import tertulia.client
import tertulia.vocabulary.identifiers
from tertulia import Client, ClientSettings
from tertulia.store.database import Store
from tertulia.store.sqlite.connections import Connection, Worker, configure
from tertulia.store.sqlite.engine import SqliteEngine
from tertulia.vocabulary.clock import SystemClock
from tertulia.vocabulary.location import PostgresUrl, StoreLocation

T = TypeVar("T")

CURRENT: ContextVar["Process"] = ContextVar("CURRENT")


class DiedError(Exception):
    """Raised in a process that is dead, by whatever it tries to do, and to those who called it."""


@dataclass
class Machine:
    """What the processes share: chance, and the clock on the wall, which somebody sets."""

    chance: random.Random
    trace: list[str] = field(default_factory=list[str])
    clock_ahead: float = 0.0
    full: bool = False
    """Whether the disk has no room."""
    calm: bool = False
    """Whether nothing goes wrong any more."""
    commits: int = 0
    """How many transactions were committed in a database, which tells whoever waits for news."""

    def note(self, what: str) -> None:
        """Note what happens, for the replay of a seed."""
        self.trace.append(f"{anyio.current_time():9.3f} {what}")

    def happens(self, probability: float) -> bool:
        """Decide whether something goes wrong."""
        return not self.calm and self.chance.random() < probability


class MachineClock(SystemClock):
    """The event loop's time, and the wall's."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def now(self) -> float:
        """Return the event loop's time."""
        return anyio.current_time()

    def time(self) -> int:
        """Return the wall's time."""
        return round((1_800_000_000 + anyio.current_time() + self._machine.clock_ahead) * 1_000_000)


@dataclass
class Process:
    """A server process. `call` is how hosts call it; `step` is what it passes whenever others can see what it does."""

    name: str
    machine: Machine
    client: Client | None = None
    dead: bool = False
    connections: list[Any] = field(default_factory=list[Any])
    _calls: dict[anyio.CancelScope, None] = field(default_factory=dict[anyio.CancelScope, None])
    _awake: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self._awake.set()

    async def step(self, seconds: float) -> None:
        """Take about this long, or longer if the process stands still meanwhile.

        Raises:
            DiedError: the process is dead.
        """
        for _ in range(self.machine.chance.randrange(3)):
            await anyio.lowlevel.checkpoint()
        if seconds:
            await anyio.sleep(self.machine.chance.random() * seconds)
        await self._awake.wait()
        if self.dead:
            raise DiedError(self.name)

    async def call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Make a call as a host does.

        Raises:
            DiedError: the process was dead, or died meanwhile.
        """
        if self.client is None or self.dead:
            raise DiedError(self.name)
        CURRENT.set(self)
        with anyio.CancelScope() as scope:
            self._calls[scope] = None
            try:
                return await work(self.client)
            finally:
                del self._calls[scope]
        raise DiedError(self.name)

    def stop(self) -> None:
        """Let the process stand still."""
        self._awake = anyio.Event()

    def go_on(self) -> None:
        """Let it go on."""
        self._awake.set()

    @asynccontextmanager
    async def running(self, settings: ClientSettings) -> AsyncGenerator[None]:
        """Be alive until the context is left, or until `die`."""
        CURRENT.set(self)
        try:
            async with Client.open(settings, clock=MachineClock(self.machine)) as self.client:
                yield
        finally:
            for connection in self.connections:
                connection.close()

    def die(self) -> None:
        """Die, as by `kill -9`: nothing is seen of it any more."""
        self.dead = True
        self._awake.set()
        for scope in list(self._calls):
            scope.cancel()


class _OnDisk:
    """A connection that can commit nothing while the disk is full."""

    def __init__(self, machine: Machine, connection: Any) -> None:
        self._machine = machine
        self._connection = connection
        self._writes = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Execute a statement."""
        if sql.startswith("BEGIN"):
            self._writes = sql == "BEGIN IMMEDIATE"
        elif sql == "COMMIT" and self._writes and self._machine.full:
            raise apsw.FullError("SQLITE_FULL")
        return self._connection.execute(sql, values)


class _InThisThread:
    """Calls a connection between two steps of its process."""

    def __init__(self, process: Process, connection: Any) -> None:
        self._process = process
        self._connection = connection

    async def async_run(self, call: Callable[..., T], /, *arguments: Any) -> T:
        """Make a call."""
        await self._process.step(0.002)
        result = call(*arguments)
        await self._process.step(0)
        return result

    async def aclose(self) -> None:
        """Close the connection."""
        self._connection.close()


async def _connect(process: Process, path: Path) -> Worker:
    connection: Any = apsw.Connection(str(path))
    configure(cast(Connection, connection))
    connection.execute("PRAGMA synchronous = OFF")
    process.connections.append(connection)
    on_disk = cast(Connection, _OnDisk(process.machine, connection))
    return Worker(_InThisThread(process, connection), on_disk)


class SimulatedStore(Store):
    """A store that is used in the event loop's own thread."""

    def __init__(self, location: StoreLocation, **options: Any) -> None:
        if isinstance(location, PostgresUrl):
            from tests.simulation.database import SimulatedPostgres

            super().__init__(location, **options, engine=SimulatedPostgres)
        else:
            connector = partial(_connect, CURRENT.get())
            super().__init__(location, **options, engine=partial(SqliteEngine, connector=connector))


def simulate_stores(replace: Callable[[object, str, object], None]) -> None:
    """Have clients open such stores and make ids by the seed; `replace` is the `setattr` of a monkeypatch."""
    replace(tertulia.client, "Store", SimulatedStore)
    replace(tertulia.vocabulary.identifiers, "secrets", SimpleNamespace(token_bytes=random.randbytes))
    replace(anyio.to_thread, "run_sync", _in_this_thread)


async def _in_this_thread(call: Callable[..., T], /, *arguments: Any, **_: Any) -> T:
    """Make a call between two steps of its process, and not in a thread."""
    process = CURRENT.get()
    await process.step(0.002)
    result = call(*arguments)
    await process.step(0)
    return result


def weighted(chance: random.Random, choices: Sequence[tuple[float, T]]) -> T:
    """Choose by weight."""
    left = chance.random() * math.fsum(weight for weight, _ in choices)
    for weight, choice in choices:
        left -= weight
        if left < 0:
            return choice
    return choices[-1][1]
