"""A place for the tests of A2A: its double on a network with faults, and clients on one store."""

import json
from collections.abc import AsyncGenerator, MutableMapping, Sequence
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
    Sent,
)
from tertulia.platforms.base import Platform
from tertulia.platforms.registry import build
from tertulia.store.database import Store
from tests.doubles.a2a import A2ADouble
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import App, Fault, Faults, Receive, Scope, Send, served

SECONDS = 20
AGENT = "helper:agent"


class Place:
    """The double at `url`, and the store at `path`."""

    def __init__(self, path: Path, double: A2ADouble) -> None:
        self.path = path
        self.double = double
        self.faults = Faults(double.app)
        self.url = ""
        self.clock = SkippingClock()
        """The time that the platform goes by."""

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncGenerator[Client]:
        """Open a client, as a process does. Leaving it ends its work at once, as the end of a process does."""
        async with Client.open(self._settings(**options), clock=self.clock) as client:
            yield client

    @asynccontextmanager
    async def platform(self, **options: Any) -> AsyncGenerator[Platform]:
        """Open the platform alone, for what the client does not pass on."""
        async with Store(self.path) as store:
            platform = build(self._settings(**options).instances, store, clock=self.clock)["helper"]
            try:
                yield platform
            finally:
                await platform.close()

    def _settings(self, **options: Any) -> ClientSettings:
        given = {"card": self.url, **options}
        instances = {"helper": InstanceSettings(platform="a2a", options=given, environment={})}
        return ClientSettings(store=self.path, instances=instances)

    def count(self, *methods: str) -> int:
        """Return how often one of these was called."""
        return sum(call in methods for call in self.double.calls)


def only(*methods: str, fault: Fault) -> Fault:
    """Return a fault that meets the calls of these methods alone: all of A2A's go to one path."""

    async def chosen(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        told = False

        async def replayed() -> MutableMapping[str, Any]:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        meets = json.loads(body)["method"] in methods
        await (fault(app, scope, replayed, send) if meets else app(scope, replayed, send))

    return chosen


@asynccontextmanager
async def placed(path: Path, double: A2ADouble | None = None) -> AsyncGenerator[Place]:
    """Serve a double; the test has `SECONDS` to be done."""
    place = Place(path / "store.db", double or A2ADouble())
    with anyio.fail_after(SECONDS):
        async with served(place.faults) as place.url:
            yield place


async def start(client: Client, text: str, **more: Any) -> Sent:
    """Begin a conversation with a message."""
    return await client.runs.start(NewConversation(agent=AGENT), MessageDraft(text=text, **more))


async def answered(client: Client, text: str, **more: Any) -> RunResult:
    """Begin a conversation with a message; return what came of it."""
    return await client.runs.wait((await start(client, text, **more)).run, timeout=SECONDS)


async def journal(client: Client, outcome: RunResult | Sent) -> Sequence[JournalEntry]:
    """Return all that happened, after seeing that no `seq` is missing."""
    entries = (await client.conversations.events(outcome.run.conversation_id)).entries
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
