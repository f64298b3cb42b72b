"""The conversations of an account: which there are, whose agent has which name, and how one is found.

There is no call for one conversation: it is found by way of the list, which is read page by page. What the store knows
of it (its agent, its time, whether it is in the archive) says where to look first.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from tertulia.platforms.knowrithm import records
from tertulia.platforms.knowrithm.reading import Place, Walk
from tertulia.platforms.knowrithm.records import Record
from tertulia.platforms.knowrithm.selecting import between
from tertulia.platforms.knowrithm.server import PLATFORM, Server
from tertulia.store import conversations
from tertulia.store.database import Store
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError
from tertulia.vocabulary.identifiers import conversation_id, split_agent_address
from tertulia.vocabulary.models import Conversation, ConversationDraft, ConversationRecord
from tertulia.vocabulary.unknown import known_or

MOST_ALIKE = 100
_ARCHIVED: Mapping[str, Any] = {"status": "archived"}


class Directory:
    """The conversations of one instance. `agents` are the ids of its agents, by the names in the configuration."""

    def __init__(self, instance: str, agents: Mapping[str, str], server: Server, store: Store) -> None:
        self.agents = agents
        self._instance = instance
        self._server = server
        self._store = store

    def agent_id(self, address: str) -> str:
        """Return the id of the agent at an address: the one that its name stands for, or else the name itself."""
        name = split_agent_address(address)[1]
        return self.agents.get(name, name)

    def is_here(self, address: str) -> bool:
        """Whether an agent's address is one of this instance."""
        return split_agent_address(address)[0] == self._instance

    def conversation(self, record: Record) -> ConversationRecord | None:
        """Return a conversation; None for one that is deleted."""
        agent_id = record.get("agent_id")
        named = next((name for name, known in self.agents.items() if known == agent_id), agent_id)
        agent = f"{self._instance}:{named}" if isinstance(named, str) and named else None
        return records.conversation(record, instance=self._instance, agent=agent)

    async def known(self, principal: str, native_id: str) -> Conversation | None:
        """Return what the store knows of a conversation."""
        own_id = conversation_id(self._instance, native_id)
        with suppress(NotFoundError):
            return await self._store.read(
                partial(conversations.get, principal=principal, conversation_id=own_id)
            )
        return None

    async def agent_of(self, principal: str, native_id: str) -> str:
        """Return who answers in a conversation, as far as the store knows."""
        known = await self.known(principal, native_id)
        return self._instance if known is None or known.agent is None else known.agent

    async def metadata(self, principal: str, native_id: str, record: Record) -> Mapping[str, Any]:
        """Return the metadata of a conversation; what the store knows of it, where the list does not show it."""
        told = records.mapping(record.get("metadata"))
        if told is None:
            known = await self.known(principal, native_id)
            return {} if known is None else known.metadata
        return told

    async def record(self, principal: str, native_id: str) -> Record:
        """Return a conversation from the list: looked for where the store knows that it is, and then everywhere.

        Raises:
            NotFoundError: it is not there, or too far back.
        """
        refused, whole = False, True
        whereabouts = [*await self._whereabouts(principal, native_id)]
        while whereabouts:
            filters = whereabouts.pop(0)
            walk = self._server.walk(filters)
            try:
                while (record := await walk.next()) is not None:
                    if str(record["id"]) == native_id:
                        return record
                whole = whole and walk.ended
            except InvalidInputError:  # a filter that this server does not take: it is done without, once
                if not filters:
                    raise
                if not refused and {} not in whereabouts:
                    whereabouts.append({})
                refused = True
        raise self.missing(native_id, whole=whole)

    async def collect(
        self,
        walk: Walk,
        limit: int,
        keeps: Callable[[ConversationRecord], bool],
        *,
        enough: int | None = None,
    ) -> tuple[Sequence[ConversationRecord], Place | None]:
        """Return what is kept of a list, and the place to go on from, if there may be more.

        There is no more where `enough` were found.
        """
        found: list[ConversationRecord] = []
        behind = walk.place
        while (record := await walk.next()) is not None:
            conversation = self.conversation(record)
            if conversation is None or not keeps(conversation):
                continue
            if len(found) == limit:
                return found, behind
            found.append(conversation)
            behind = walk.place
            if len(found) == enough:
                return found, None
        return found, None if walk.ended else walk.place

    async def lookalikes(self, principal: str, draft: ConversationDraft) -> Sequence[ConversationRecord]:
        """Return the conversations that may be the one of this draft: alike, and unknown here."""

        def alike(one: ConversationRecord) -> bool:
            return (
                draft.title in {None, one.title}
                and draft.metadata.items() <= known_or(one.metadata, {}).items()
            )

        walk = self._server.walk({"agent_id": self.agent_id(draft.agent)})
        found, _ = await self.collect(walk, MOST_ALIKE, alike)
        return await self._store.read(partial(conversations.unknown, principal=principal, found=found))

    def missing(self, native_id: str, *, whole: bool = True) -> NotFoundError:
        """Return the error for a conversation that is not in the list, of which the whole was read, or the first."""
        own_id = conversation_id(self._instance, native_id)
        hint = f"list_conversations with the instance {self._instance} shows those there are"
        return NotFoundError(
            f"{PLATFORM} has no conversation {own_id}."
            if whole
            else f"The conversation {own_id} is not among the first of {PLATFORM}'s list, the only way to it.",
            hint=f"{hint}; a deleted one can be restored."
            if whole
            else f"{hint}; narrow them down by agent or time.",
            conversation_id=own_id,
        )

    async def _whereabouts(self, principal: str, native_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the filters to look with, in turn: whether a list has the archive unasked is not documented."""
        known = await self.known(principal, native_id)
        if known is None:
            return [{}, _ARCHIVED]
        agent = {} if known.agent is None else {"agent_id": self.agent_id(known.agent)}
        day = timedelta(days=1)
        around = between(known.created_at - day, known.created_at + day) if known.created_at else {}
        near = {**agent, **around, **(_ARCHIVED if known.archived else {})}
        return [near, agent, {**agent, **_ARCHIVED}]
