"""A conversation with the archivist, for tests: over a real store, with somebody who decides."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from tertulia import (
    Client,
    ClientSettings,
    Conversation,
    Decision,
    EventKind,
    JournalEntry,
    Message,
    MessageDraft,
    NewConversation,
    Request,
    Role,
    Run,
    Settlement,
    Status,
)
from tertulia.store import conversations, messages
from tertulia.store.database import Store
from tertulia.vocabulary.models import ConversationDraft

APPROVED = Settlement(decision=Decision.APPROVE)
LIMIT = 20
"""Seconds after which a test that waits has failed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a message."""

    text: str
    run: Run
    requests: Sequence[Request]
    entries: Sequence[JournalEntry]

    @property
    def calls(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The tools that were called, with their results."""
        names = {e.data["tool_call_id"]: e.data["tool"] for e in self.of(EventKind.TOOL_CALL_START)}
        return [(names[e.data["tool_call_id"]], e.data) for e in self.of(EventKind.TOOL_CALL_RESULT)]

    def of(self, kind: EventKind) -> list[JournalEntry]:
        """The run's entries of one kind."""
        return [entry for entry in self.entries if entry.kind is kind]


Decide = Callable[[Request], Settlement]


async def run_and_wait(client: Client, run: Run, decide: Decide | Settlement = APPROVED) -> Answer:
    """Wait for a run's end, and decide what it asks."""
    requests: list[Request] = []
    with anyio.fail_after(LIMIT):
        while (outcome := await client.runs.wait(run, timeout=LIMIT)).pending:
            for request in outcome.pending:
                requests.append(request)
                settlement = decide if isinstance(decide, Settlement) else decide(request)
                run = await client.runs.respond(request.id, settlement)
    happened = await client.conversations.events(run.conversation_id)
    entries = [entry for entry in happened.entries if entry.run_id == run.id]
    return Answer(outcome.reply, outcome.run, requests, entries)


@dataclass(frozen=True, slots=True)
class Talk:
    """A client, and the conversation with the archivist that a test is about."""

    path: Path
    client: Client
    here: Conversation

    async def say(self, text: str, decide: Decide | Settlement = APPROVED) -> Answer:
        """Say something and return what came of it, whatever it asked on the way."""
        run = (await self.client.runs.send(self.here.id, MessageDraft(text=text))).run
        return await run_and_wait(self.client, run, decide)

    async def ask(self, text: str) -> Request:
        """Say something that has to be confirmed, and return what is asked."""
        run = (await self.client.runs.send(self.here.id, MessageDraft(text=text))).run
        with anyio.fail_after(LIMIT):
            outcome = await self.client.runs.wait(run, timeout=LIMIT)
        [request] = outcome.pending
        return request

    async def conversation(self, title: str | None, *texts: str) -> Conversation:
        """Make another conversation in which these texts were sent to the archivist."""
        made = await self.client.conversations.create(NewConversation(agent="local:archivist", title=title))
        for text in texts:
            run = (await self.client.runs.send(made.id, MessageDraft(text=text))).run
            await run_and_wait(self.client, run)
        return await self.client.conversations.get(made.id)

    async def elsewhere(
        self, known: str, title: str, *texts: str, at: datetime | None = None
    ) -> Conversation:
        """Enter a conversation of another platform, as one that passed through; the last text is its agent's."""
        agent = f"{known.partition(':')[0]}:agent"
        draft = ConversationDraft(agent=agent, native_id=known.partition(":")[2], title=title)
        async with Store(self.path) as store:
            made = await store.write(
                lambda tx: conversations.insert(tx, self.client.principal, known, draft, Status.OPEN)
            )
            for number, text in enumerate(texts):
                last = number == len(texts) - 1
                message = Message(
                    id=f"m{number}",
                    conversation_id=known,
                    author=agent if last else "user",
                    role=Role.ASSISTANT if last else Role.USER,
                    text=text,
                    created_at=at,
                )
                await store.write(
                    lambda tx, message=message: messages.add(tx, self.client.principal, message)
                )
        return made


@asynccontextmanager
async def talk(path: Path) -> AsyncGenerator[Talk]:
    """Open a client on the store at `path`, with a new conversation."""
    async with Client.open(ClientSettings(store=path)) as client:
        yield Talk(
            path,
            client,
            await client.conversations.create(NewConversation(agent="local:archivist", title="Here")),
        )


def day(text: str) -> datetime:
    """Return noon of a day, in UTC."""
    return datetime.fromisoformat(f"{text}T12:00").replace(tzinfo=UTC)
