"""A place for the tests of ACP: the double's folder, a folder to work in, and clients that are the worker."""

import json
import sys
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
    RunStatus,
    Sent,
)
from tertulia.runs.runner import Worker
from tests.doubles import acp_agent
from tests.doubles.clocks import SkippingClock

SECONDS = 30
AGENT = "double:agent"


class Place:
    """The store at `path`, the double's folder, and the folder `work` in which it works."""

    def __init__(self, path: Path) -> None:
        self.path = path / "store.db"
        self.double = path / "double"
        self.work = path / "work"
        self.version = 1
        """The version of the protocol that the double speaks."""
        self.double.mkdir(exist_ok=True)
        self.work.mkdir(exist_ok=True)
        self.clock = SkippingClock()

    def knobs(self, **knobs: Any) -> None:
        """Say how the double is to behave from its next start on."""
        self.version = knobs.get("version", 1)
        (self.double / "knobs.json").write_text(json.dumps(knobs))

    def settings(self, **options: Any) -> ClientSettings:
        """Return the settings of a process on this store."""
        command = [sys.executable, acp_agent.__file__, str(self.double)]
        given = {"command": command, "mode": "ask", "folders": [str(self.work)], **options}
        given = {name: value for name, value in given.items() if value is not None}
        environment = {"PATH": "/usr/bin:/bin", "HOST_SECRET": "of the host"}
        instance = InstanceSettings(platform="acp", options=given, environment=environment)
        return ClientSettings(store=self.path, instances={"double": instance})

    @asynccontextmanager
    async def client(self, *, worker: bool = True, **options: Any) -> AsyncGenerator[Client]:
        """Open a client that is the worker, or that is not."""
        how = Worker() if worker else None
        async with Client.open(self.settings(**options), worker=how, clock=self.clock) as client:
            yield client

    @property
    def received(self) -> Sequence[dict[str, Any]]:
        """What the double was sent, in order."""
        log = self.double / "received.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def prompts(self) -> Sequence[dict[str, Any]]:
        """The prompts that it was given."""
        return self.calls("session/prompt")

    def calls(self, method: str) -> Sequence[dict[str, Any]]:
        """Return the parameters with which a method was called."""
        return [one["params"] for one in self.received if one.get("method") == method]


@asynccontextmanager
async def placed(path: Path, *, seconds: float = SECONDS) -> AsyncGenerator[Place]:
    """Give a place; the test has `seconds` to be done."""
    with anyio.fail_after(seconds):
        yield Place(path)


async def start(client: Client, place: Place, text: str, **more: Any) -> Sent:
    """Begin a conversation with a message."""
    context = {"cwd": str(place.work), **more.pop("context", {})}
    new = NewConversation(agent=AGENT, context=context, **more)
    return await client.runs.start(new, MessageDraft(text=text))


async def answered(client: Client, place: Place, text: str, **more: Any) -> RunResult:
    """Begin a conversation with a message; return what came of it."""
    return await client.runs.wait((await start(client, place, text, **more)).run, timeout=SECONDS)


async def ended(client: Client, outcome: RunResult) -> RunResult:
    """Wait for the rest of a run; return it."""
    later = await client.runs.wait(outcome.run, timeout=SECONDS)
    assert later.run.status not in {RunStatus.QUEUED, RunStatus.RUNNING}
    return later


async def journal(client: Client, conversation_id: str) -> Sequence[JournalEntry]:
    """Return all that happened, after seeing that no `seq` is missing."""
    entries = (await client.conversations.events(conversation_id)).entries
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return entries
