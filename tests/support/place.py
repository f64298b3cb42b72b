"""Where the tests of a remote platform happen: its double on a network with faults, and clients on one store.

What is peculiar to a platform is in its own module (`tests.client.platforms`): its options, and what its double counts.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import anyio

from tertulia import (
    Client,
    ClientSettings,
    InstanceSettings,
    JournalEntry,
    MessageDraft,
    NewConversation,
    RunResult,
    RunStatus,
    Sent,
)
from tertulia.platforms.base import Platform
from tertulia.platforms.registry import build
from tertulia.store.database import Store
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import App, Faults, served

SECONDS = 30
"""How long a test waits for what must come."""


class Double(Protocol):
    """A double of a platform's server."""

    @property
    def app(self) -> App:
        """What answers requests."""
        ...


DoubleT = TypeVar("DoubleT", bound=Double)


class Place(Generic[DoubleT]):
    """A double at `origin`, and a store at `path`. A platform's class says what an instance needs (`options`)."""

    instance: str
    """The name of the instance, and of its platform."""

    def __init__(self, path: Path, double: DoubleT) -> None:
        self.path = path
        self.double = double
        self.faults = Faults(double.app)
        self.origin = ""
        self.clock = SkippingClock()
        """The time that everything goes by but the test."""

    @property
    def url(self) -> str:
        """What `base_url` is."""
        return self.origin

    @property
    def options(self) -> Mapping[str, Any]:
        """What a client is configured with, unless a test says otherwise."""
        return {"base_url": self.url}

    def instance_settings(
        self, environment: Mapping[str, str] | None = None, /, **options: Any
    ) -> InstanceSettings:
        """Return the settings of an instance; an option that is None is left out."""
        given = {name: value for name, value in {**self.options, **options}.items() if value is not None}
        return InstanceSettings(platform=self.instance, options=given, environment=environment or {})

    def settings(self, environment: Mapping[str, str] | None = None, /, **options: Any) -> ClientSettings:
        """Return the settings of a client with one instance."""
        instances = {self.instance: self.instance_settings(environment, **options)}
        return ClientSettings(store=self.path, instances=instances)

    @asynccontextmanager
    async def client(
        self, environment: Mapping[str, str] | None = None, /, **options: Any
    ) -> AsyncGenerator[Client]:
        """Open a client, as a process does. Leaving it ends its work at once, as the end of a process does."""
        async with Client.open(self.settings(environment, **options), clock=self.clock) as client:
            yield client

    @asynccontextmanager
    async def platform(self, **options: Any) -> AsyncGenerator[Platform]:
        """Open the platform alone, for what the client does not pass on."""
        async with Store(self.path) as store:
            instances = self.settings(**options).instances
            platform = build(instances, store, clock=self.clock)[self.instance]
            try:
                yield platform
            finally:
                await platform.close()

    def count(self, method: str, end: str) -> int:
        """Return how often something was asked for: by the method and the end of the path."""
        calls: Sequence[str] = getattr(self.double, "calls", ())
        return sum(call.startswith(f"{method} ") and call.endswith(end) for call in calls)


PlaceT = TypeVar("PlaceT", bound=Place[Any])


@asynccontextmanager
async def served_place(place: PlaceT) -> AsyncGenerator[PlaceT]:
    """Serve the double of a place; the test has `SECONDS` to be done."""
    with anyio.fail_after(SECONDS):
        async with served(place.faults) as place.origin:
            yield place


async def start(client: Client, text: str, *, agent: str, **more: Any) -> Sent:
    """Begin a conversation with a message."""
    sending = {name: more.pop(name) for name in ("idempotency_key", "join") if name in more}
    return await client.runs.start(NewConversation(agent=agent, **more), MessageDraft(text=text), **sending)


async def answered(client: Client, text: str, *, agent: str, **more: Any) -> RunResult:
    """Begin a conversation with a message; return what came of it."""
    return await client.runs.wait((await start(client, text, agent=agent, **more)).run, timeout=SECONDS)


async def ended(client: Client, outcome: RunResult) -> RunResult:
    """Wait for the rest of a run; return it."""
    later = await client.runs.wait(outcome.run, timeout=SECONDS)
    assert later.run.status not in {RunStatus.QUEUED, RunStatus.RUNNING}
    return later


def native(of: Sent | RunResult) -> str:
    """Return the platform's own id of a conversation."""
    return of.run.conversation_id.partition(":")[2]


async def journal(client: Client, of: str | Sent | RunResult) -> Sequence[JournalEntry]:
    """Return all that happened in a conversation, after seeing that no `seq` is missing."""
    conversation_id = of if isinstance(of, str) else of.run.conversation_id
    entries = (await client.conversations.events(conversation_id)).entries
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return entries
