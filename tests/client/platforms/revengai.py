"""A place for the tests of RevEng.AI: its double on a network with faults, and clients on one store."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from tertulia import (
    Client,
    ClientSettings,
    Event,
    InstanceSettings,
    JournalEntry,
    MessageDraft,
    NewConversation,
    RunResult,
    RunStatus,
    Sent,
)
from tertulia.runs.context import coalesced
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import Faults, served
from tests.doubles.revengai import KEY, RevEngAIDouble

SECONDS = 20
ASSISTANT = "revengai:assistant"


class Place:
    """The double at `url`, and the store at `path`."""

    def __init__(self, path: Path, double: RevEngAIDouble) -> None:
        self.path = path
        self.double = double
        self.faults = Faults(double.app)
        self.url = ""
        self.clock = SkippingClock()
        """The time that the platform goes by."""

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncGenerator[Client]:
        """Open a client, as a process does. Leaving it ends its work at once, as the end of a process does."""
        given = {"api_key": KEY, "base_url": self.url, **options}
        settings = InstanceSettings(platform="revengai", options=given, environment={})
        instances = {"revengai": settings}
        async with Client.open(
            ClientSettings(store=self.path, instances=instances), clock=self.clock
        ) as client:
            yield client

    def posts(self, action: str) -> int:
        """Return how often something was asked for: `messages`, `confirm`, `cancel`, or `conversations`."""
        return sum(call.startswith("POST") and call.endswith(f"/{action}") for call in self.double.calls)


@asynccontextmanager
async def placed(path: Path, double: RevEngAIDouble | None = None) -> AsyncGenerator[Place]:
    """Serve a double; the test has `SECONDS` to be done."""
    place = Place(path / "store.db", double or RevEngAIDouble())
    with anyio.fail_after(SECONDS):
        async with served(place.faults) as place.url:
            yield place


async def start(client: Client, text: str, **more: Any) -> Sent:
    """Begin a conversation with a message."""
    sending = {name: more.pop(name) for name in ("idempotency_key", "join") if name in more}
    new = NewConversation(agent=ASSISTANT, **more)
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
    """Return RevEng.AI's own id of a conversation."""
    return sent.run.conversation_id.partition(":")[2]


async def journal(client: Client, conversation_id: str) -> Sequence[JournalEntry]:
    """Return all that happened, after seeing that no `seq` is missing."""
    entries = (await client.conversations.events(conversation_id)).entries
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return entries


def told(entries: Sequence[JournalEntry]) -> list[tuple[str, dict[str, Any]]]:
    """Return what happened without what differs each time: our ids, and how text was divided into pieces."""
    joined = coalesced([Event(entry.kind, entry.data) for entry in entries])
    ours = {"message_added", "tool_confirmation_required", "tool_confirmation_resolved"}
    return [
        (
            event.kind,
            {
                name: value
                for name, value in event.data.items()
                if event.kind not in ours or name != _id(name)
            },
        )
        for event in joined
    ]


def _id(name: str) -> str:
    return name if name in {"message_id", "request_id"} else ""
