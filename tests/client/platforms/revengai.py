"""A place for the tests of RevEng.AI."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tertulia import Decision, Event, JournalEntry, RunResult, Settlement
from tertulia.runs.context import coalesced
from tests.doubles.revengai import KEY, RevEngAIDouble
from tests.support import place
from tests.support.place import served_place

ASSISTANT = "revengai:assistant"
YES = Settlement(decision=Decision.APPROVE)

start = partial(place.start, agent=ASSISTANT)
answered = partial(place.answered, agent=ASSISTANT)


class Place(place.Place[RevEngAIDouble]):
    """The double of RevEng.AI, and clients."""

    instance = "revengai"

    @property
    def options(self) -> Mapping[str, Any]:
        """An address and a key."""
        return {"api_key": KEY, "base_url": self.url}

    def posts(self, action: str) -> int:
        """Return how often something was asked for: `messages`, `confirm`, `cancel`, or `conversations`."""
        return self.count("POST", f"/{action}")


@asynccontextmanager
async def placed(path: Path, double: RevEngAIDouble | None = None) -> AsyncGenerator[Place]:
    """Serve a double."""
    async with served_place(Place(path / "store.db", double or RevEngAIDouble())) as served:
        yield served


def request_of(outcome: RunResult) -> str:
    """Return the id of the one request that waits for a person."""
    (request,) = outcome.pending
    return request.id


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
