"""A place for the tests of AgentFlow."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tertulia import Client, EventKind, JournalEntry, Sent
from tests.doubles.agentflow import TOKEN, AgentFlowDouble
from tests.support import place
from tests.support.place import served_place

MAIN = "agentflow:MainAgent"

start = partial(place.start, agent=MAIN)
answered = partial(place.answered, agent=MAIN)


class Place(place.Place[AgentFlowDouble]):
    """The double of AgentFlow, and clients."""

    instance = "agentflow"

    @property
    def options(self) -> Mapping[str, Any]:
        """An address and a token."""
        return {"base_url": self.url, "token": TOKEN}


@asynccontextmanager
async def placed(path: Path, double: AgentFlowDouble | None = None) -> AsyncGenerator[Place]:
    """Serve a double."""
    async with served_place(Place(path / "store.db", double or AgentFlowDouble())) as served:
        yield served


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
