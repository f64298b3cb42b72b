"""A place for the tests of Rine: its double on a network with faults, clients on one store, the vendor's client."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import rine

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
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import Faults, served
from tests.doubles.rine import Agent, RineDouble

SECONDS = 20
BOB, CAROL = "rine:bob@beta.rine.network", "rine:carol@ceta.rine.network"


class Place:
    """The double at `url`, and the store at `path`."""

    def __init__(self, path: Path, double: RineDouble) -> None:
        self.path = path
        self.double = double
        self.faults = Faults(double.app)
        self.url = ""
        self.clock = SkippingClock()
        """The time that the platform goes by."""

    def settings(self, **options: Any) -> ClientSettings:
        """Return the settings of a client with one instance."""
        given = {"base_url": self.url, "config_dir": str(self.double.folder), **options}
        instance = InstanceSettings(platform="rine", options=given, environment={})
        return ClientSettings(store=self.path, instances={"rine": instance})

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncGenerator[Client]:
        """Open a client, as a process does. Leaving it ends its work at once, as the end of a process does."""
        async with Client.open(self.settings(**options), clock=self.clock) as client:
            yield client

    @asynccontextmanager
    async def sdk(self, agent: Agent) -> AsyncGenerator[rine.RineClient]:
        """Open the vendor's own client, as an agent."""
        folder = self.double.folder.with_name(f"rine-{agent.name}")
        if not folder.exists():
            self.double.home(agent, folder)
        async with rine.RineClient(config_dir=str(folder), api_url=self.url, max_retries=0) as client:
            yield client

    @property
    def sealed(self) -> Sequence[bytes]:
        """All that was ever sealed, as it is on the wire."""
        rows = [row for one in self.double.conversations.values() for row in one.rows]
        fields = ("encrypted_payload", "self_encrypted_payload")
        return [row[name].encode() for row in rows for name in fields if row[name]]


@asynccontextmanager
async def placed(path: Path) -> AsyncGenerator[Place]:
    """Serve a double; the test has `SECONDS` to be done."""
    place = Place(path / "store" / "store.db", RineDouble(path))
    with anyio.fail_after(SECONDS):
        async with served(place.faults) as place.url:
            yield place


async def start(client: Client, text: str, agent: str = BOB, **more: Any) -> Sent:
    """Begin a conversation with a message."""
    sending = {name: more.pop(name) for name in ("idempotency_key", "join") if name in more}
    return await client.runs.start(NewConversation(agent=agent, **more), MessageDraft(text=text), **sending)


async def answered(client: Client, text: str, **more: Any) -> RunResult:
    """Begin a conversation with a message; return what came of it."""
    return await client.runs.wait((await start(client, text, **more)).run, timeout=SECONDS)


async def sent(client: Client, conversation_id: str, text: str) -> RunResult:
    """Send a message into a conversation; return what came of it."""
    message = await client.runs.send(conversation_id, MessageDraft(text=text))
    return await client.runs.wait(message.run, timeout=SECONDS)


def native(of: Sent | RunResult) -> str:
    """Return Rine's own id of a conversation."""
    return of.run.conversation_id.partition(":")[2]


async def journal(client: Client, conversation_id: str) -> Sequence[JournalEntry]:
    """Return all that happened, after seeing that no `seq` is missing."""
    entries = (await client.conversations.events(conversation_id)).entries
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return entries
