"""A place for the tests of AgentFlow: its double on a network with faults, and clients on one store."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from tertulia import (
    Client,
    ClientSettings,
    EventKind,
    InstanceSettings,
    JournalEntry,
    MessageDraft,
    NewConversation,
    RunResult,
    RunStatus,
    Sent,
)
from tertulia.platforms.agentflow.platform import AgentFlowPlatform
from tertulia.store.database import Store
from tests.doubles.agentflow import TOKEN, AgentFlowDouble
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import Faults, served

SECONDS = 20
MAIN = "agentflow:MainAgent"


class Place:
    """The double at `url`, and the store at `path`."""

    def __init__(self, path: Path, double: AgentFlowDouble) -> None:
        self.path = path
        self.double = double
        self.faults = Faults(double.app)
        self.url = ""
        self.clock = SkippingClock()
        """The time that the platform goes by."""

    def settings(self, **options: Any) -> ClientSettings:
        """Return the settings of a client; an option that is None is left out."""
        given = {"base_url": self.url, "token": TOKEN, **options}
        instance = InstanceSettings(
            platform="agentflow",
            options={name: value for name, value in given.items() if value is not None},
            environment={},
        )
        return ClientSettings(store=self.path, instances={"agentflow": instance})

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncGenerator[Client]:
        """Open a client, as a process does. Leaving it ends its work at once, as the end of a process does."""
        async with Client.open(self.settings(**options), clock=self.clock) as client:
            yield client

    @asynccontextmanager
    async def platform(self, **options: Any) -> AsyncGenerator[AgentFlowPlatform]:
        """Open the platform alone, for what the client does not pass on."""
        settings = self.settings(**options).instances["agentflow"]
        async with Store(self.path) as store:
            platform = AgentFlowPlatform("agentflow", settings, store, self.clock)
            try:
                yield platform
            finally:
                await platform.close()

    def count(self, method: str, end: str) -> int:
        """Return how often something was asked for."""
        return sum(call.startswith(f"{method} ") and call.endswith(end) for call in self.double.calls)


@asynccontextmanager
async def placed(path: Path, double: AgentFlowDouble | None = None) -> AsyncGenerator[Place]:
    """Serve a double; the test has `SECONDS` to be done."""
    place = Place(path / "store.db", double or AgentFlowDouble())
    with anyio.fail_after(SECONDS):
        async with served(place.faults) as place.url:
            yield place


async def start(client: Client, text: str, **more: Any) -> Sent:
    """Begin a conversation with a message."""
    sending = {name: more.pop(name) for name in ("idempotency_key", "join") if name in more}
    new = NewConversation(agent=MAIN, **more)
    return await client.runs.start(new, MessageDraft(text=text), **sending)


async def answered(client: Client, text: str, **more: Any) -> RunResult:
    """Begin a conversation with a message; return what came of it."""
    return await client.runs.wait((await start(client, text, **more)).run, timeout=SECONDS)


async def ended(client: Client, outcome: RunResult) -> RunResult:
    """Wait for the rest of a run; return it."""
    later = await client.runs.wait(outcome.run, timeout=SECONDS)
    assert later.run.status not in {RunStatus.QUEUED, RunStatus.RUNNING}
    return later


def native(sent: Sent | RunResult) -> str:
    """Return AgentFlow's own id of a conversation."""
    return sent.run.conversation_id.partition(":")[2]


async def journal(client: Client, sent: Sent | RunResult) -> Sequence[JournalEntry]:
    """Return all that happened, after seeing that no `seq` is missing."""
    entries = (await client.conversations.events(sent.run.conversation_id)).entries
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return entries


def of(entries: Sequence[JournalEntry], *kinds: EventKind) -> list[dict[str, Any]]:
    """Return what entries of some kinds say."""
    return [dict(entry.data) for entry in entries if entry.kind in kinds]


async def until_told(client: Client, sent: Sent, text: str) -> None:
    """Wait until a text was told of an answer."""
    so_far = ""
    async for entries in client.runs.follow(sent.run):
        so_far += "".join(str(entry.data.get("delta", "")) for entry in entries)
        if text in so_far:
            return
