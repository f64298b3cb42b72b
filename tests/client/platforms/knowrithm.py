"""A place for the tests of Knowrithm: its double on a network with faults, and clients on one store."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from tertulia import (
    Client,
    ClientSettings,
    InstanceSettings,
    JournalEntry,
    MessageDraft,
    NewConversation,
    RunResult,
    Sent,
)
from tertulia.platforms.knowrithm.platform import KnowrithmPlatform
from tertulia.store.database import Store
from tests.doubles.clocks import SkippingClock
from tests.doubles.knowrithm import AGENT, KEY, SECRET, KnowrithmDouble
from tests.doubles.network import Faults, served

SECONDS = 20
SUPPORT = "knowrithm:support"


class Place:
    """The double at `url`, and the store at `path`."""

    def __init__(self, path: Path, double: KnowrithmDouble) -> None:
        self.path = path
        self.double = double
        self.faults = Faults(double.app)
        self.origin = ""
        self.clock = SkippingClock()
        """The time that the platform goes by."""

    @property
    def url(self) -> str:
        """What `base_url` is."""
        return f"{self.origin}/api"

    def settings(self, **options: Any) -> InstanceSettings:
        """Return the settings of an instance there."""
        given = {
            "api_key": KEY,
            "api_secret": SECRET,
            "base_url": self.url,
            "agents": {"support": AGENT},
            **options,
        }
        return InstanceSettings(platform="knowrithm", options=given, environment={})

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncGenerator[Client]:
        """Open a client, as a process does. Leaving it ends its work at once, as the end of a process does."""
        instances = {"knowrithm": self.settings(**options)}
        settings = ClientSettings(store=self.path, instances=instances)
        async with Client.open(settings, clock=self.clock) as client:
            yield client

    @asynccontextmanager
    async def platform(self, **options: Any) -> AsyncGenerator[KnowrithmPlatform]:
        """Open the platform alone, for what the façade does not hand through."""
        async with Store(self.path) as store:
            platform = KnowrithmPlatform("knowrithm", self.settings(**options), store, self.clock)
            try:
                yield platform
            finally:
                await platform.close()


@asynccontextmanager
async def placed(path: Path, double: KnowrithmDouble | None = None) -> AsyncGenerator[Place]:
    """Serve a double; the test has `SECONDS` to be done."""
    place = Place(path / "store.db", double or KnowrithmDouble())
    with anyio.fail_after(SECONDS):
        async with served(place.faults) as place.origin:
            yield place


async def start(client: Client, text: str, **more: Any) -> Sent:
    """Begin a conversation with a message."""
    sending = {name: more.pop(name) for name in ("idempotency_key", "join") if name in more}
    new = NewConversation(agent=SUPPORT, **more)
    return await client.runs.start(new, MessageDraft(text=text), **sending)


async def answered(client: Client, text: str, **more: Any) -> RunResult:
    """Begin a conversation with a message; return what came of it."""
    return await client.runs.wait((await start(client, text, **more)).run, timeout=SECONDS)


def native(sent: Sent | RunResult) -> str:
    """Return Knowrithm's own id of a conversation."""
    return sent.run.conversation_id.partition(":")[2]


async def journal(client: Client, conversation_id: str) -> Sequence[JournalEntry]:
    """Return all that happened, after seeing that no `seq` is missing."""
    entries = (await client.conversations.events(conversation_id)).entries
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return entries
