"""A place for the tests of model agents: a scripted model, and clients on one store."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tertulia import Client, RunResult
from tests.doubles.chat_completions import MODEL, ChatCompletions
from tests.support import place
from tests.support.place import served_place

AGENT = "local:reviewer"

start = partial(place.start, agent=AGENT)
answered = partial(place.answered, agent=AGENT)


class Place(place.Place[ChatCompletions]):
    """A scripted model, and clients of a store with one agent, `reviewer`."""

    instance = "local"

    @property
    def options(self) -> Mapping[str, Any]:
        """The agent, without a tool."""
        return self.agent()

    def agent(self, **more: Any) -> Mapping[str, Any]:
        """Return the options of an instance whose agent has more than a model and instructions."""
        table = {"model": f"openai-chat:{MODEL}", "base_url": f"{self.url}/v1", "instructions": "Review."}
        return {"agents": {"reviewer": {**table, **more}}}

    def with_agent(self, **more: Any) -> "Any":
        """Open a client, as a process does, with such an agent."""
        return self.client(**self.agent(**more))


@asynccontextmanager
async def placed(path: Path) -> AsyncGenerator[Place]:
    """Serve a scripted model."""
    async with served_place(Place(path / "tertulia.db", ChatCompletions())) as served:
        yield served


async def said(client: Client, outcome: RunResult, text: str) -> RunResult:
    """Say more in the conversation; return what came of it."""
    sent = await client.runs.send(outcome.run.conversation_id, text)
    return await client.runs.wait(sent.run, timeout=place.SECONDS)
