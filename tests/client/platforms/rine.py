"""A place for the tests of Rine, with the vendor's client."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import rine

from tertulia import Client, MessageDraft, RunResult
from tests.doubles.rine import Agent, RineDouble
from tests.support import place
from tests.support.place import SECONDS, served_place

BOB, CAROL = "rine:bob@beta.rine.network", "rine:carol@ceta.rine.network"

start = partial(place.start, agent=BOB)
answered = partial(place.answered, agent=BOB)


class Place(place.Place[RineDouble]):
    """The double of Rine, and clients."""

    instance = "rine"

    @property
    def options(self) -> Mapping[str, Any]:
        """An address, and the folder with the keys."""
        return {"base_url": self.url, "config_dir": str(self.double.folder)}

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
    """Serve a double."""
    async with served_place(Place(path / "store" / "store.db", RineDouble(path))) as served:
        yield served


async def sent(client: Client, conversation_id: str, text: str) -> RunResult:
    """Send a message into a conversation; return what came of it."""
    message = await client.runs.send(conversation_id, MessageDraft(text=text))
    return await client.runs.wait(message.run, timeout=SECONDS)
