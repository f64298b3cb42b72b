"""The conversations of an account: whose agent has which name, what a list is asked for, how one conversation is found.

The wire's filters are those of the documentation: `agent_id`, `status`, `search`, `created_after`, `created_before`.
They only narrow down what comes; the rest is filtered here. A time is asked for with a margin, since whether it
includes its bound is not told.

There is no call for one conversation: it is found by way of the list, which is read page by page. What the store knows
of it (its agent, its time, whether it is in the archive) says where to look first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tertulia.platforms.kit.http.liberal import as_record
from tertulia.platforms.kit.numbered_pages import Place, Record
from tertulia.platforms.kit.paging import fits
from tertulia.platforms.kit.records import Records
from tertulia.platforms.knowrithm import mapping
from tertulia.platforms.knowrithm.mapping import PLATFORM
from tertulia.platforms.knowrithm.wire import Wire
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError
from tertulia.vocabulary.identifiers import (
    conversation_id,
    page_cursor,
    split_agent_address,
)
from tertulia.vocabulary.models import ConversationQuery, ConversationRecord, Page
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit

MAX_PAGE = 100
_MARGIN = timedelta(seconds=1)
_DAY = timedelta(days=1)
_POSSIBLE = frozenset({Status.OPEN, Status.COMPLETED})
_ARCHIVED: Mapping[str, Any] = {"status": "archived"}


@dataclass(frozen=True, slots=True)
class Directory:
    """The conversations of one instance."""

    instance: str
    wire: Wire
    records: Records
    agents: Mapping[str, str]
    """The ids of its agents, by the names in the configuration."""

    def agent_id(self, address: str) -> str:
        """Return the id of the agent at an address: the one that its name stands for, or else the name itself."""
        name = split_agent_address(address)[1]
        return self.agents.get(name, name)

    def agent_filter(self, address: str | None) -> Mapping[str, str] | None:
        """Return the filter for the conversations of an agent; None where the agent is of another instance."""
        if address is None:
            return {}
        return (
            {"agent_id": self.agent_id(address)} if split_agent_address(address)[0] == self.instance else None
        )

    def conversation(self, record: Record) -> ConversationRecord | None:
        """Return a conversation; None for one that is deleted."""
        agent_id = record.get("agent_id")
        named = next((name for name, known in self.agents.items() if known == agent_id), agent_id)
        agent = f"{self.instance}:{named}" if isinstance(named, str) and named else None
        return mapping.conversation(record, instance=self.instance, agent=agent)

    async def agent_of(self, principal: str, native_id: str) -> str:
        """Return who answers in a conversation, as far as the store knows."""
        known = await self.records.conversation(principal, native_id)
        return self.instance if known is None or known.agent is None else known.agent

    async def metadata(self, principal: str, native_id: str, record: Record) -> Mapping[str, Any]:
        """Return the metadata of a conversation; what the store knows of it, where the list does not show it."""
        if "metadata" in record:
            return as_record(record["metadata"]) or {}
        known = await self.records.conversation(principal, native_id)
        return {} if known is None else known.metadata

    async def page(
        self,
        filters: Mapping[str, Any],
        keeps: Callable[[ConversationRecord], bool],
        *,
        limit: int,
        cursor: str | None = None,
        identity: Mapping[str, Any],
        enough: int | None = None,
    ) -> Page[ConversationRecord]:
        """Return a page of the conversations that the wire's `filters` select and that `keeps` keeps.

        Only so much is read for one call, so that a page may be short and have another after it; there is no other
        where `enough` conversations were found. `identity` is what the cursor belongs to.
        """
        check_limit(limit, MAX_PAGE)
        place = Place() if cursor is None else Place.at(cursor, identity)
        reader = self.wire.conversations(filters, place)
        found: list[ConversationRecord] = []
        async for record in reader:
            conversation = self.conversation(record)
            if conversation is None or not keeps(conversation):
                continue
            if len(found) == limit:
                return Page(items=found, next_cursor=page_cursor(identity, place.position))
            found.append(conversation)
            place = reader.place
            if len(found) == enough:
                return Page(items=found)
        ended = reader.ended
        return Page(items=found, next_cursor=None if ended else page_cursor(identity, reader.place.position))

    async def find(self, principal: str, native_id: str) -> Record:
        """Return a conversation's record from the list: looked for where the store knows that it is, then everywhere.

        Raises:
            NotFoundError: it is not there, or too far back.
        """
        refused, whole = False, True
        places = [*await self._places(principal, native_id)]
        while places:
            filters = places.pop(0)
            reader = self.wire.conversations(filters)
            try:
                async for record in reader:
                    if str(record["id"]) == native_id:
                        return record
                whole = whole and reader.ended
            except InvalidInputError:  # a filter that this server does not take: it is done without, once
                if not filters:
                    raise
                if not refused and {} not in places:
                    places.append({})
                refused = True
        raise self.missing(native_id, whole=whole)

    def missing(self, native_id: str, *, whole: bool = True) -> NotFoundError:
        """Return the error for a conversation that is not in the list, of which the whole was read, or the first."""
        own_id = conversation_id(self.instance, native_id)
        hint = f"list_conversations with the instance {self.instance} shows those there are"
        if whole:
            message, rest = f"{PLATFORM} has no conversation {own_id}.", "a deleted one can be restored."
        else:
            message = (
                f"The conversation {own_id} is not among the first of {PLATFORM}'s list, the only way to it."
            )
            rest = "narrow them down by agent or time."
        return NotFoundError(message, hint=f"{hint}; {rest}", conversation_id=own_id)

    async def _places(self, principal: str, native_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the filters to look with, in turn: whether a list has the archive unasked is not documented."""
        known = await self.records.conversation(principal, native_id)
        if known is None:
            return [{}, _ARCHIVED]
        agent = {} if known.agent is None else {"agent_id": self.agent_id(known.agent)}
        at = known.created_at
        around: Mapping[str, str] = {} if at is None else created_between(at - _DAY, at + _DAY)
        near = {**agent, **around, **(_ARCHIVED if known.archived else {})}
        return [near, agent, {**agent, **_ARCHIVED}]


def wire_filters(query: ConversationQuery) -> Mapping[str, Any] | None:
    """Return what the wire can be asked for, the agent aside; None where nothing at Knowrithm fits the query."""
    possible = query.statuses & _POSSIBLE if query.statuses else _POSSIBLE
    if not possible or query.awaiting or (query.archived is True and Status.COMPLETED not in possible):
        return None
    active = {"status": "active"} if possible == frozenset({Status.OPEN}) else {}
    return {
        **created_between(query.created_after, query.created_before),
        **(_ARCHIVED if query.archived is True else active),
    }


def created_between(after: datetime | None, before: datetime | None) -> Mapping[str, str]:
    """Return the filters for a time of creation."""
    bounds = {
        "created_after": None if after is None else after - _MARGIN,
        "created_before": None if before is None else before + _MARGIN,
    }
    return {name: at.isoformat() for name, at in bounds.items() if at is not None}


def may_fit(conversation: ConversationRecord, query: ConversationQuery) -> bool:
    """Whether a conversation may fit a query, as far as Knowrithm tells; the store may know more of it."""
    known = replace(
        query,
        agent=query.agent if conversation.agent else None,
        created_after=query.created_after if conversation.created_at else None,
        created_before=query.created_before if conversation.created_at else None,
    )
    return fits(conversation, known)
