"""What a sync reads of an agent: the sessions that it has, also those that were begun in its own program.

A session becomes a conversation that a message continues. It is one with the conversation that an import has made of
the program's transcript: that is taken over, with its messages. What was said is told apart by its words, since
imports, replays and Tertulia itself give the same message different ids.
"""

import builtins
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tertulia.platforms.acp.mapping import Turn, fingerprint, turns
from tertulia.platforms.acp.sessions import Agent, AgentHost
from tertulia.platforms.acp.settings import AGENT, AgentSettings
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.values import text
from tertulia.platforms.kit.records import Records
from tertulia.store.messages import OWN_ID
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import NotFoundError, NotOffered
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import (
    Conversation,
    ConversationQuery,
    ConversationRecord,
    Message,
    MessageQuery,
    Page,
    Role,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.tasks import task_group

_LONGEST_TITLE = 200
_PAGE = 100
_UNLISTED = "unlisted"
"""The cursor of the page after the agent's own: what it does not list."""


@asynccontextmanager
async def agent_histories(
    settings: AgentSettings, records: Records, clock: Clock
) -> AsyncGenerator["AgentHistories"]:
    """Run the agent's program for as long as its sessions are read.

    Raises:
        NotOffered: its sessions cannot be read without harm.
        NotConfiguredError: it is not installed, or not signed in.
        UnavailableError: it does not start.
    """
    if settings.files_by_minute:
        raise _not_offered(settings)
    async with task_group() as tasks:
        host = AgentHost(settings, clock)
        await tasks.start(host.serve)
        agent = await host.agent()
        if not agent.protocol.offers("load"):
            raise _not_offered(settings)
        yield AgentHistories(agent, settings, records)
        tasks.cancel_scope.cancel()


def _not_offered(settings: AgentSettings) -> NotOffered:
    return NotOffered(
        f"The sessions of {settings.title} cannot be read by another program.",
        hint="`tertulia import` reads the transcripts that it writes.",
        instance=settings.instance,
        feature=Feature.LIST,
    )


class AgentHistories:
    """The sessions of a running agent."""

    lists = True

    def __init__(self, agent: Agent, settings: AgentSettings, records: Records) -> None:
        self._agent = agent
        self._settings = settings
        self._records = records
        self._listed: set[str] = set()

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return the sessions in the folders that the agent may work in; last, those that it has and does not list."""
        known = await self._records.by_source_ref(principal)
        if query.cursor == _UNLISTED or not self._agent.protocol.offers("list"):
            return Page(items=await self._unlisted(principal, known), next_cursor=None)
        sessions, cursor = await self._agent.list_sessions(query.cursor)
        items: list[ConversationRecord] = []
        for session in sessions:
            session_id, folder = text(session.get("sessionId")), self._folder(session.get("cwd"))
            if session_id is None or folder is None:
                continue
            self._listed.add(session_id)
            record = self._record(session_id, folder, known)
            title = " ".join((text(session.get("title")) or "").split())[:_LONGEST_TITLE]
            if title and session_id not in known:
                record = replace(record, title=title)
            items.append(replace(record, updated_at=moment(session.get("updatedAt"))))
        return Page(items=items, next_cursor=cursor or _UNLISTED)

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return what a session has that the store has not; take over what was imported of it.

        Raises:
            NotFoundError: the agent does not have the session any more.
        """
        own_id = conversation_id(self._settings.instance, native_id)
        conversation = await self._records.conversation(principal, native_id)
        if conversation is None or conversation.source_ref is None:
            raise NotFoundError(f"{own_id} has no session yet.", conversation_id=own_id)
        if await self._records.is_active(principal, native_id):
            return Page(items=[], next_cursor=None)  # the next sync reads what comes of it
        replayed = await self._replay(conversation.source_ref, Path(conversation.source or ""))
        if self._settings.transcripts is not None:
            source = (self._settings.transcripts, conversation.source_ref)
            await self._records.adopt(principal, native_id, source)
        found = self._new(turns(replayed), await self._stored(principal, native_id), conversation)
        return Page(items=found[::-1] if query.newest_first else found, next_cursor=None)

    async def _replay(self, session_id: str, folder: Path) -> Sequence[Mapping[str, Any]]:
        session, replayed = await self._agent.load_session(session_id, folder, [])
        await self._agent.close_session(session)
        return replayed

    def _folder(self, given: Any) -> Path | None:
        named = text(given)
        return self._settings.allowed(None if named is None else Path(named))

    async def _unlisted(self, principal: str, known: Mapping[str, str]) -> Sequence[ConversationRecord]:
        """Return what the agent can load and does not list: threads known from their transcripts, or from before."""
        before = [native_id for session_id, native_id in known.items() if session_id not in self._listed]
        records: builtins.list[ConversationRecord] = [
            replace(one, updated_at=None, message_count=None)  # nothing tells whether they have changed
            for one in (await self._records.conversations(principal, before)).values()
        ]
        source = self._settings.transcripts
        imported: Sequence[Conversation] = ()
        if source is not None:
            imported = await self._records.imported(principal, source)
        for one in imported:
            session_id, folder = one.source_ref, self._folder(one.metadata.get("folder"))
            if session_id is None or folder is None or session_id in known or session_id in self._listed:
                continue
            try:
                await self._replay(session_id, folder)
            except NotFoundError:
                continue  # it stays what was imported
            record = self._record(session_id, folder, known)
            records.append(replace(record, created_at=one.created_at))
        return records

    def _record(self, session_id: str, folder: Path, known: Mapping[str, str]) -> ConversationRecord:
        instance = self._settings.instance
        own_id = conversation_id(instance, known.get(session_id, session_id))
        if session_id in known:
            return ConversationRecord(id=own_id, agent=f"{instance}:{AGENT}", status=Status.OPEN)
        return ConversationRecord(
            id=own_id,
            agent=f"{instance}:{AGENT}",
            status=Status.OPEN,
            context={"cwd": str(folder)},
            source=str(folder),
            source_ref=session_id,
        )

    async def _stored(self, principal: str, native_id: str) -> Sequence[Message]:
        """Return all messages that the store has of a conversation, oldest first."""
        stored: list[Message] = []
        query = MessageQuery(limit=_PAGE)
        while True:
            page = await self._records.messages(principal, native_id, query)
            stored += page.items
            if page.next_cursor is None:
                return stored
            query = replace(query, cursor=page.next_cursor)

    def _new(
        self, history: Sequence[Turn], stored: Sequence[Message], conversation: Conversation
    ) -> Sequence[Message]:
        """Return the messages of a session's history that the store has not, or has from Tertulia itself.

        The latter get the agent's ids. What is new was said before the session was last updated, and nobody tells when.
        """
        known = _Known(stored)
        at = conversation.updated_at
        if stored and stored[-1].created_at is not None and at is not None:
            at = max(at, stored[-1].created_at)
        found: builtins.list[Message] = []

        def add(own_id: str, role: Role, said: str, before: Message | None) -> None:
            if before is None and said.strip():
                author = "user" if role is Role.USER else conversation.agent or self._settings.instance
                new = Message(id=own_id, conversation_id=conversation.id, author=author, role=role, text=said)
                found.append(replace(new, created_at=at if stored else None))
            elif before is not None and before.id.startswith(OWN_ID):
                found.append(replace(before, id=own_id))

        for number, turn in enumerate(history):
            own_id = turn.message_id or f"turn-{number}"
            message, answer = known.turn(turn.said)
            add(own_id, Role.USER, turn.said, message)
            said = turn.answer(names_messages=self._settings.names_messages)
            add(f"{own_id}-answer", Role.ASSISTANT, said, answer)
        return found


class _Known:
    """What the store has of a session, to be found by the words of its user, in order."""

    def __init__(self, stored: Sequence[Message]) -> None:
        self._turns: list[tuple[Message, Message | None]] = []
        for message in stored:
            if message.role is Role.USER:
                self._turns.append((message, None))
            elif message.role is Role.ASSISTANT and self._turns:
                self._turns[-1] = (self._turns[-1][0], message)
        self._at = 0

    def turn(self, said: str) -> tuple[Message | None, Message | None]:
        """Return the next message of the user's with these words, and the last message of its answer."""
        for place in range(self._at, len(self._turns)):
            if fingerprint(self._turns[place][0].text or "") == fingerprint(said):
                self._at = place + 1
                return self._turns[place]
        return None, None
