"""Finding conversations and reading them.

A list is AgentFlow's own, page by page, in its own order (which it does not document), as long as the query asks for
nothing that the wire lacks. Otherwise all that the wire's filters leave is read, and filtered, sorted and paged here.
A search there finds conversations, not messages, and returns the first hundred at most.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tertulia.platforms.agentflow import rows
from tertulia.platforms.agentflow.access import PLATFORM
from tertulia.platforms.agentflow.directory import Directory
from tertulia.platforms.agentflow.rows import Record
from tertulia.platforms.agentflow.server import MOST, Server
from tertulia.platforms.kit import paging
from tertulia.platforms.kit.http.values import text
from tertulia.store import conversations
from tertulia.store.database import Store
from tertulia.vocabulary.errors import InvalidInputError, NotAllowedError, NotFoundError
from tertulia.vocabulary.identifiers import (
    conversation_id,
    page_cursor,
    read_page_cursor,
    split_agent_address,
    split_conversation_id,
)
from tertulia.vocabulary.models import (
    ConversationQuery,
    ConversationRecord,
    Message,
    Page,
    SearchHit,
    SearchQuery,
    SearchResult,
    SortKey,
)
from tertulia.vocabulary.text import check_limit

MOST_READ = 5_000
"""How many conversations are read at most in order to filter or sort them here."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Browsing:
    """Reading at one deployment. `all_users` are the principals that may list what other users have."""

    def __init__(
        self, instance: str, server: Server, directory: Directory, store: Store, all_users: Collection[str]
    ) -> None:
        self._instance = instance
        self._server = server
        self._directory = directory
        self._store = store
        self._all_users = all_users

    async def conversation(self, record: Record) -> ConversationRecord:
        """Return a conversation from its record."""
        agent = await self._directory.address_of(record.get("agent_id"))
        return rows.conversation(self._instance, record, agent)

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return one page of conversations.

        Raises:
            NotAllowedError: this principal may not list those of all users.
            InvalidInputError: all users' are to be listed without `source_ref`, or there are too many to filter here.
            NotFoundError: there is no such agent.
        """
        self._check(principal, query)
        if query.agent is not None and split_agent_address(query.agent)[0] != self._instance:
            return Page(items=[], total=0)
        filters: dict[str, Any] = {
            "agent_id": None if query.agent is None else await self._directory.id_of(query.agent),
            "source": query.source,
            "exclude_source": query.exclude_source,
            "source_ref_id": query.source_ref,
            "all_users": "true" if query.all_users else None,
        }
        filters = {name: value for name, value in filters.items() if value is not None}
        if _plain(query):
            return await self._own_page(query, filters)
        found = await (self._each(query) if query.ids else self._all(query, filters))
        known = await self._store.write(
            lambda tx: [conversations.remember(tx, principal, one) for one in found]
        )
        return paging.page(known, query)

    async def search(self, query: SearchQuery) -> SearchResult:
        """Return the conversations that AgentFlow finds, in its own order; what its wire cannot filter, we do."""
        check_limit(query.limit, MOST)
        identity = {
            "search": self._instance,
            "text": query.text,
            "agent": query.agent,
            "conversation_id": query.conversation_id,
            "since": query.since,
            "until": query.until,
        }
        start = 0 if query.cursor is None else int(read_page_cursor(query.cursor, identity))
        filtered = any((query.agent, query.conversation_id, query.since, query.until))
        asked = MOST if filtered else min(MOST, start + query.limit + 1)
        records = usable(await self._server.search(query.text, asked))
        found = [
            one for one in [await self.conversation(record) for record in records] if _matches(one, query)
        ]
        shown = found[start : start + query.limit]
        more = len(found) > start + len(shown)
        return SearchResult(
            hits=[SearchHit.of_title(one, _moved(one)) for one in shown],
            next_cursor=page_cursor(identity, start + len(shown)) if more and shown else None,
            total=len(found) if len(records) < asked and query.cursor is None else None,
        )

    async def messages(
        self, principal: str, native_id: str, *, cursor: str | None, limit: int, newest_first: bool
    ) -> Page[Message]:
        """Return one page of a conversation's messages."""
        check_limit(limit, MOST)
        own_id = conversation_id(self._instance, native_id)
        identity: dict[str, Any] = {"messages": own_id, "newest_first": newest_first}
        place = None if cursor is None else int(read_page_cursor(cursor, identity))
        if newest_first:
            if place is None:
                _, place = await self._server.messages(native_id, offset=0, limit=1)
            start = max(0, place - limit)
            wanted = place - start
        else:
            start, wanted = place or 0, limit
        records: Sequence[Record] = []
        total = 0
        if wanted:
            records, total = await self._server.messages(native_id, offset=start, limit=wanted)
        author = await self._author(principal, own_id)
        found = [rows.message(own_id, start + n, record, author) for n, record in enumerate(records)]
        if newest_first:
            following = start or None
            found.reverse()
        else:
            end = start + len(found)
            following = end if found and end < total else None
        return Page(
            items=found,
            next_cursor=None if following is None else page_cursor(identity, following),
            total=total,
        )

    def _check(self, principal: str, query: ConversationQuery) -> None:
        check_limit(query.limit, MOST)
        if not query.all_users:
            return
        if principal not in self._all_users:
            raise NotAllowedError(
                f"You may not list what other users have at the instance {self._instance}.",
                hint=f"Whoever runs this server allows it with `all_users` in [instances.{self._instance}]; leave "
                "`all_users` out of the call to list your own.",
                instance=self._instance,
            )
        if query.source_ref is None:
            raise InvalidInputError(
                f"{PLATFORM} lists the conversations of all users only together with a `source_ref`.",
                hint="Give `source_ref`, or leave `all_users` out to list your own.",
                instance=self._instance,
            )

    async def _own_page(self, query: ConversationQuery, filters: dict[str, Any]) -> Page[ConversationRecord]:
        identity = paging.page_identity(query)
        offset = 0 if query.cursor is None else int(read_page_cursor(query.cursor, identity))
        records, total = await self._server.page(filters, offset=offset, limit=query.limit)
        end = offset + len(records)
        more = bool(records) and (end < total if total is not None else len(records) == query.limit)
        return Page(
            items=[await self._filtered(record, query) for record in usable(records)],
            next_cursor=page_cursor(identity, end) if more else None,
            total=total,
        )

    async def _all(self, query: ConversationQuery, filters: dict[str, Any]) -> Sequence[ConversationRecord]:
        found: dict[str, ConversationRecord] = {}
        offset = 0
        while True:
            records, total = await self._server.page(filters, offset=offset, limit=MOST)
            for record in usable(records):
                found.setdefault(record["id"], await self._filtered(record, query))
            offset += len(records)
            if not records or (len(records) < MOST if total is None else offset >= total):
                return [*found.values()]
            if offset >= MOST_READ:
                raise InvalidInputError(
                    f"{PLATFORM} ({self._instance}) has more than {MOST_READ:,} such conversations, and cannot "
                    "filter or sort them so itself.",
                    hint="Narrow it down by `agent`, `source` or `source_ref`; or leave out `instance` to list what "
                    "Tertulia knows of it.",
                    instance=self._instance,
                )

    async def _each(self, query: ConversationQuery) -> Sequence[ConversationRecord]:
        found: list[ConversationRecord] = []
        for one in sorted(query.ids):
            instance, native_id = split_conversation_id(one)
            if instance == self._instance:
                try:
                    found.append(await self.conversation(await self._server.record(native_id)))
                except NotFoundError:
                    continue
        return found

    async def _filtered(self, record: Record, query: ConversationQuery) -> ConversationRecord:
        """Return a conversation that the wire's filters left, with what those say of it where its record does not."""
        found = await self.conversation(record)
        return replace(
            found,
            agent=found.agent or query.agent,
            source=query.source or found.source,
            source_ref=query.source_ref or found.source_ref,
        )

    async def _author(self, principal: str, own_id: str) -> str:
        """Return who answers in a conversation, as far as is known here."""

        def agent(tx: Any) -> str | None:
            if not conversations.known(tx, principal, own_id):
                return None
            return conversations.get(tx, principal, own_id).agent

        return await self._store.read(agent) or self._instance


def usable(records: Sequence[Record]) -> Sequence[Record]:
    """Return the records that have an id."""
    return [record for record in records if text(record.get("id"))]


def _plain(query: ConversationQuery) -> bool:
    """Whether a query asks for nothing that the wire lacks."""
    ours = (query.ids, query.statuses, query.metadata, query.entity_type, query.awaiting, query.archived)
    times = (query.created_after, query.created_before)
    return not any(ours) and times == (None, None) and query.sort is SortKey.UPDATED and query.descending


def _matches(one: ConversationRecord, query: SearchQuery) -> bool:
    return (
        query.agent in {None, one.agent}
        and query.conversation_id in {None, one.id}
        and (query.since is None or _moved(one) >= query.since)
        and (query.until is None or _moved(one) < query.until)
    )


def _moved(one: ConversationRecord) -> datetime:
    return one.updated_at or one.created_at or _LONG_AGO
