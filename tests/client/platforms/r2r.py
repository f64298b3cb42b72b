"""A place for the tests of R2R."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tertulia import Client, EventKind, JournalEntry, MessageDraft, NewConversation, Role, Run, RunResult
from tests.doubles.r2r import R2RDouble
from tests.support import place
from tests.support.place import SECONDS, served_place

RAG = "r2r:rag"
NOWHERE = "r2r:00000000-0000-0000-0000-000000000001"
AGENT = "/retrieval/agent"

answered = partial(place.answered, agent=RAG)


class Place(place.Place[R2RDouble]):
    """The double of R2R, and clients."""

    instance = "r2r"

    def sent(self, method: str) -> list[str]:
        """Return the paths of the requests that came with a method."""
        return [path for sent, path in self.double.requests if sent == method]


@asynccontextmanager
async def placed(path: Path, double: R2RDouble | None = None) -> AsyncGenerator[Place]:
    """Serve a double, with a store at `path`."""
    async with served_place(Place(path, double or R2RDouble())) as served:
        yield served


async def ask(talk: Client, text: str, agent: str = RAG, **draft: Any) -> RunResult:
    """Ask in a new conversation; return what came of it."""
    sent = await talk.runs.start(NewConversation(agent=agent), MessageDraft(text=text, **draft))
    return await talk.runs.wait(sent.run, timeout=SECONDS)


async def journal(talk: Client, outcome: RunResult) -> Sequence[JournalEntry]:
    """Return what happened in a run."""
    return (await talk.conversations.events(outcome.run.conversation_id)).entries


async def history(talk: Client, conversation_id: str) -> list[tuple[Role, str | None]]:
    """Return who said what."""
    return [(one.role, one.text) for one in (await talk.messages.list(conversation_id)).items]


def native(conversation_id: str) -> str:
    """Return R2R's own id."""
    return conversation_id.removeprefix("r2r:")


async def begun(talk: Client, run: Run) -> None:
    """Wait for the first words of an answer."""
    async for entries in talk.runs.follow(run):
        if any(entry.kind is EventKind.TEXT_MESSAGE_CONTENT for entry in entries):
            return
