"""`agentflow`: conversations with the agents of one deployment of AgentFlow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tertulia.platforms.agentflow import mapping
from tertulia.platforms.agentflow.answering import produce
from tertulia.platforms.agentflow.mapping import CONTEXT, PLATFORM, Record
from tertulia.platforms.agentflow.paths import FEATURES, SHAPES, CallName
from tertulia.platforms.agentflow.settings import connect
from tertulia.platforms.agentflow.wire import PAGE_SIZE, Wire
from tertulia.platforms.base import Capabilities, RunContext, offers
from tertulia.platforms.kit import hits, paging
from tertulia.platforms.kit.decisions import asks_something_else, decide
from tertulia.platforms.kit.directory import AgentDirectory, AgentEntry
from tertulia.platforms.kit.http.inferred import InferredCalls
from tertulia.platforms.kit.http.values import text
from tertulia.platforms.kit.paging import Stretch, message_window
from tertulia.platforms.kit.platform import HttpPlatform
from tertulia.platforms.kit.requests import asks_otherwise
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    UncertainError,
)
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import (
    COUNT,
    page_cursor,
    read_page_cursor,
    split_agent_address,
    split_conversation_id,
)
from tertulia.vocabulary.models import (
    Agent,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    Decision,
    MessageQuery,
    MessageRecord,
    Page,
    Request,
    RequestKind,
    Run,
    SearchQuery,
    SearchResult,
    Settlement,
    SortKey,
)
from tertulia.vocabulary.states import RunStatus
from tertulia.vocabulary.text import check_limit

CALLING_SECONDS = 5.0
"""How long a cancellation waits for the id of the call that is to be stopped."""
MOST_READ = 5_000
"""How many conversations are read at most in order to filter or sort them here."""


_CALLS = frozenset[Feature]().union(*FEATURES.values())


@offers(Feature.STREAM, Feature.RESUME, *_CALLS)
class AgentFlowPlatform(HttpPlatform):
    """Conversations at one deployment. A feature leaves once the deployment turns out not to have the call for it."""

    kind = "agentflow"
    capabilities = Capabilities(lists_all_users=True)
    context_fields = CONTEXT
    refused_with_message = ("data", "type", "parent_id")  # metadata go with it, as `source_metadata`

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._connection = connect(instance, settings, clock)
        super().__init__(instance, self._connection.http, store, clock)
        calls = InferredCalls(self._http, SHAPES, self._connection.paths, clock)
        self._wire = Wire(self._http, calls, self._remove_feature)
        self._directory = AgentDirectory(instance, self._read_agents, platform=PLATFORM, clock=clock)

    async def agents(self, principal: str) -> Sequence[Agent]:
        nobody = f"Create an agent in {PLATFORM}: this account sees none."
        return await self._directory.agents(self.features, nobody=nobody)

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        """Create a conversation. Its source goes with each message: the call takes no more than agent and title."""
        if draft.metadata:
            self._refuse(Feature.METADATA)
        self._takes_none_of("entity_type", "participants", draft=draft)
        context = CONTEXT.check(draft.context)
        agent_id = await self._directory.id_of(draft.agent)

        async def create() -> ConversationRecord:
            return await self._conversation(await self._wire.create(agent_id, draft.title))

        async def alike() -> Sequence[ConversationRecord]:
            records, _ = await self._wire.page({"agent_id": agent_id}, offset=0, limit=PAGE_SIZE)
            return [one for one in await self._conversations(records) if one.title == draft.title]

        created = await self._creator.create(principal, draft, create, alike)
        return replace(
            created,
            agent=draft.agent,
            context=context or None,
            source=draft.source or created.source,
            source_ref=draft.source_ref or created.source_ref,
        )

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        return await self._conversation(await self._wire.record(native_id))

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return one page of conversations.

        As long as the query asks for nothing that the wire lacks, the page is AgentFlow's own, in its own order (which
        it does not document). Otherwise all that the wire's filters leave is read, filtered, sorted and paged here.

        Raises:
            NotAllowedError: this principal may not list those of all users.
            InvalidInputError: all users' are to be listed without `source_ref`, or there are too many to filter here.
            NotFoundError: there is no such agent.
        """
        check_limit(query.limit, PAGE_SIZE)
        if query.all_users:
            self._check_all_users(principal, query)
        if query.agent is not None and split_agent_address(query.agent)[0] != self.instance:
            return Page(items=[], total=0)
        filters: dict[str, Any] = {
            "agent_id": None if query.agent is None else await self._directory.id_of(query.agent),
            "source": query.source,
            "exclude_source": query.exclude_source,
            "source_ref_id": query.source_ref,
            "all_users": "true" if query.all_users else None,
        }
        filters = {name: value for name, value in filters.items() if value is not None}
        if _fits_wire(query):
            return await self._page(query, filters)
        found = await (self._each(query) if query.ids else self._all(query, filters))
        return paging.page(await self._records.remember(principal, found), query)

    async def search(self, principal: str, query: SearchQuery) -> SearchResult:
        """Return the conversations that AgentFlow finds, the first hundred at most, in its own order.

        AgentFlow finds conversations, not messages. What its wire cannot filter, the platform filters.
        """
        check_limit(query.limit, PAGE_SIZE)
        identity = {
            "search": self.instance,
            "text": query.text,
            "agent": query.agent,
            "conversation_id": query.conversation_id,
            "since": query.since,
            "until": query.until,
        }
        start = 0 if query.cursor is None else read_page_cursor(query.cursor, identity, COUNT)
        limit = PAGE_SIZE if hits.is_filtered(query) else min(PAGE_SIZE, start + query.limit + 1)
        conversations = await self._conversations(await self._wire.search(query.text, limit))
        found = [one for one in conversations if hits.fits(one, query)]
        shown = found[start : start + query.limit]
        end = start + len(shown)
        complete = len(conversations) < limit and query.cursor is None
        return SearchResult(
            hits=hits.hits(shown),
            next_cursor=page_cursor(identity, end) if shown and len(found) > end else None,
            total=len(found) if complete else None,
        )

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[MessageRecord]:
        if query.branch is not None:
            self._refuse(Feature.BRANCHES)

        async def count() -> int:
            _, total = await self._wire.messages(native_id, offset=0, limit=1)
            return total

        async def read(start: int, limit: int) -> Stretch[Record]:
            records, total = await self._wire.messages(native_id, offset=start, limit=limit)
            return Stretch(records, total, more=bool(records) and start + len(records) < total)

        found, first, cursor = await message_window(query, native_id=native_id, count=count, read=read)
        known = await self._records.conversation(principal, native_id)
        author = (known and known.agent) or self.instance
        own_id = self._own_id(native_id)
        items = [mapping.message(own_id, first + n, record, author) for n, record in enumerate(found.rows)]
        if query.newest_first:
            items.reverse()
        return Page(items=items, next_cursor=cursor, total=found.total)

    async def update(
        self, principal: str, native_id: str, changes: ConversationChanges
    ) -> ConversationRecord:
        if changes.title is None or changes.metadata is not None or changes.archived is not None:
            self._refuse(Feature.METADATA if changes.metadata is not None else Feature.ARCHIVE)
        try:
            await self._wire.rename(native_id, changes.title)
        except UncertainError:
            if (await self.get(principal, native_id)).title != changes.title:
                raise
        return replace(await self.get(principal, native_id), title=changes.title)

    async def generate_title(
        self, principal: str, native_id: str, *, seed_message: str | None, force: bool
    ) -> ConversationRecord:
        before = await self.get(principal, native_id)
        if isinstance(before.title, str) and not force:
            return before
        title = await self._wire.generate_title(native_id, seed_message, force=force)
        after = await self.get(principal, native_id)
        return replace(after, title=title or after.title)

    async def delete(self, principal: str, native_id: str) -> None:
        await self._wire.delete(native_id)

    async def answer(self, context: RunContext) -> None:
        await produce(self._wire, self._directory, self._attempt(context), self._connection.defaults)

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Tell a decision about an approval that is still pending as it was shown, or the answer to a question.

        Raises:
            InvalidInputError: a question is to be rejected.
        """
        _, native_id = split_conversation_id(request.conversation_id)
        upstream_id = request.upstream_id or ""
        if request.kind is not RequestKind.QUESTION:

            async def is_pending() -> bool | None:
                approvals = await self._wire.approvals()
                if approvals is None or upstream_id not in approvals:
                    return None if approvals is None else False
                now = mapping.listed_request(approvals[upstream_id], upstream_id)
                if asks_otherwise(request, now):
                    raise asks_something_else(request, now, platform=PLATFORM)
                return True

            tell = partial(self._wire.respond, native_id, request, settlement)
            await decide(request, tell, platform=PLATFORM, is_pending=is_pending)
        elif settlement.decision is not Decision.ANSWER:
            raise InvalidInputError(
                f"{PLATFORM} takes an answer to a question, and no refusal.",
                valid=[Decision.ANSWER],
                hint="Answer it, or stop the run with cancel_run.",
                request_id=request.id,
            )
        else:
            tell = partial(self._wire.reply, native_id, upstream_id, settlement.answer or "")
            await decide(request, tell, platform=PLATFORM)

    async def cancel(self, principal: str, run: Run) -> None:
        """Stop the run, by the id of its call. One that AgentFlow does not work on any more is stopped only here.

        Raises:
            ConflictError: AgentFlow has not named the call yet.
            NotOffered: the deployment cannot stop a run.
        """
        _, native_id = split_conversation_id(run.conversation_id)
        checkpoint = await self._records.checkpoint(run, "call", within=CALLING_SECONDS)
        if not checkpoint:
            return  # nothing was sent
        if "call" not in checkpoint:
            if not (await self._wire.record(native_id)).get("has_active_generation"):
                return
            raise ConflictError(
                f"{PLATFORM} has not named the call that answers in {run.conversation_id} yet.",
                hint=(
                    "Reject with confirm_tool what it asks: it names the call as soon as it goes on."
                    if run.status is RunStatus.INPUT_REQUIRED
                    else "Call again in a moment."
                ),
                conversation_id=run.conversation_id,
                run_id=run.id,
            )
        try:
            await self._wire.cancel(native_id, checkpoint["call"])
        except (NotFoundError, ConflictError):
            await self._wire.record(native_id)  # the conversation is there, and nothing is being answered

    def _remove_feature(self, name: CallName) -> None:
        self.features -= FEATURES[name]

    async def _read_agents(self) -> Sequence[AgentEntry]:
        found = [
            (text(record.get("id")) or text(record.get("agent_id")), record)
            for record in await self._wire.agents()
        ]
        return [
            AgentEntry(agent_id, text(record.get("name")), text(record.get("description")))
            for agent_id, record in found
            if agent_id is not None
        ]

    async def _conversation(self, record: Record) -> ConversationRecord:
        agent = await self._directory.address_of(text(record.get("agent_id")))
        return mapping.conversation(self.instance, record, agent)

    async def _conversations(self, records: Sequence[Record]) -> Sequence[ConversationRecord]:
        """Return the conversations of those records that have an id."""
        return [await self._conversation(record) for record in records if text(record.get("id"))]

    def _check_all_users(self, principal: str, query: ConversationQuery) -> None:
        if principal not in self._connection.all_users:
            raise NotAllowedError(
                f"You may not list what other users have at the instance {self.instance}.",
                hint=f"Whoever runs this server allows it with `all_users` in [instances.{self.instance}]; leave "
                "`all_users` out of the call to list your own.",
                instance=self.instance,
            )
        if query.source_ref is None:
            raise InvalidInputError(
                f"{PLATFORM} lists the conversations of all users only together with a `source_ref`.",
                hint="Give `source_ref`, or leave `all_users` out to list your own.",
                instance=self.instance,
            )

    async def _page(self, query: ConversationQuery, filters: Mapping[str, Any]) -> Page[ConversationRecord]:
        identity = paging.page_identity(query)
        offset = 0 if query.cursor is None else read_page_cursor(query.cursor, identity, COUNT)
        records, total = await self._wire.page(filters, offset=offset, limit=query.limit)
        end = offset + len(records)
        more = bool(records) and (end < total if total is not None else len(records) == query.limit)
        return Page(
            items=[_as_filtered(one, query) for one in await self._conversations(records)],
            next_cursor=page_cursor(identity, end) if more else None,
            total=total,
        )

    async def _all(
        self, query: ConversationQuery, filters: Mapping[str, Any]
    ) -> Sequence[ConversationRecord]:
        found: dict[str, ConversationRecord] = {}
        offset = 0
        while True:
            records, total = await self._wire.page(filters, offset=offset, limit=PAGE_SIZE)
            for one in await self._conversations(records):
                found.setdefault(one.id, _as_filtered(one, query))
            offset += len(records)
            if not records or (len(records) < PAGE_SIZE if total is None else offset >= total):
                return [*found.values()]
            if offset >= MOST_READ:
                raise InvalidInputError(
                    f"{PLATFORM} ({self.instance}) has more than {MOST_READ:,} such conversations, and cannot "
                    "filter or sort them so itself.",
                    hint="Narrow it down by `agent`, `source` or `source_ref`; or leave out `instance` to list what "
                    "Tertulia knows of it.",
                    instance=self.instance,
                )

    async def _each(self, query: ConversationQuery) -> Sequence[ConversationRecord]:
        found: list[ConversationRecord] = []
        for instance, native_id in map(split_conversation_id, sorted(query.ids)):
            if instance == self.instance:
                try:
                    found.append(await self._conversation(await self._wire.record(native_id)))
                except NotFoundError:
                    continue
        return found


def _as_filtered(one: ConversationRecord, query: ConversationQuery) -> ConversationRecord:
    """Return a conversation that the wire's filters left, with what those say of it."""
    return replace(
        one,
        agent=one.agent or query.agent,
        source=query.source or one.source,
        source_ref=query.source_ref or one.source_ref,
    )


def _fits_wire(query: ConversationQuery) -> bool:
    """Whether a query asks for nothing that the wire lacks."""
    lacking = (query.ids, query.statuses, query.metadata, query.entity_type, query.awaiting, query.archived)
    times = (query.created_after, query.created_before)
    return not any(lacking) and times == (None, None) and query.sort is SortKey.UPDATED and query.descending
