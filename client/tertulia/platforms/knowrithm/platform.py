"""`knowrithm`: conversations with the agents of a Knowrithm account.

Ending with a rating, rating a message, setting metadata and the archive are calls that the SDK 0.1.3 has and 0.1.22 has
not; which deployment still has them is not documented. So each is offered and tried, about something that was seen to
be there, until this deployment has answered that it does not have the call.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tertulia.platforms.base import RunContext, offers
from tertulia.platforms.kit import hits
from tertulia.platforms.kit.directory import NAMELESS, listed
from tertulia.platforms.kit.fields import ContextFields
from tertulia.platforms.kit.numbered_pages import MOST_PAGES, Record
from tertulia.platforms.kit.paging import Stretch, message_window, page_identity
from tertulia.platforms.kit.platform import HttpPlatform
from tertulia.platforms.kit.states import check_accepts
from tertulia.platforms.knowrithm import mapping
from tertulia.platforms.knowrithm.answering import Answer
from tertulia.platforms.knowrithm.directory import MAX_PAGE, Directory, created_between, may_fit, wire_filters
from tertulia.platforms.knowrithm.mapping import PLATFORM
from tertulia.platforms.knowrithm.settings import connect
from tertulia.platforms.knowrithm.wire import NOT_THERE, PAGE_SIZE
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, NotOffered, TertuliaError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import (
    Agent,
    Analytics,
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    MessageQuery,
    MessageRecord,
    Page,
    Rating,
    SearchQuery,
    SearchResult,
    StatusChange,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit
from tertulia.vocabulary.unknown import known_or
from tertulia.vocabulary.untrusted import named

CONTEXT = ContextFields(PLATFORM, ["max_context_length"], numbers=["max_context_length"], least=1)
"""What the context of a conversation may name (`services/conversation.py:192` of the SDK)."""
OLDER = frozenset({Feature.END, Feature.RATING, Feature.RATE_MESSAGE, Feature.METADATA, Feature.ARCHIVE})
"""The features that only the older wire has."""


@offers(Feature.STREAM, Feature.RESUME, *OLDER)
class KnowrithmPlatform(HttpPlatform):
    """Conversations at Knowrithm."""

    kind = "knowrithm"

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._wire, agents = connect(instance, settings, clock)
        super().__init__(instance, self._wire.http, store, clock)
        self._directory = Directory(instance, self._wire, self._records, agents)

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the agents that the configuration names; any other of the account is addressed by its id."""
        description = (
            "An agent of this Knowrithm account. Ending, rating, metadata and the archive are tried, and not "
            "offered any more once the server turns out not to have them."
        )
        unnamed = (
            f'Name the agents of the account in [instances.{self.instance}.agents], like `support = "ID"`; or address '
            f"one by its id, as {self.instance}:ID."
        )
        names = [*self._directory.agents]
        hint = self.missing or (None if names else unnamed)
        described = [(name, description) for name in names or [NAMELESS]]
        return listed(self.instance, described, features=self.features, hint=hint)

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        self._takes_none_of("participants", "source", "source_ref", draft=draft)
        agent = {"agent_id": self._directory.agent_id(draft.agent)}
        body = {**agent, **_creation(draft)}

        async def create() -> ConversationRecord | None:
            try:
                record = await self._wire.create(body)
            except NotFoundError as error:
                raise NotFoundError(
                    f"{PLATFORM} knows no agent {named(draft.agent)}.",
                    hint=f"Give an agent's id, or a name in [instances.{self.instance}.agents].",
                    valid=[f"{self.instance}:{name}" for name in self._directory.agents],
                    agent=draft.agent,
                    **error.ids,
                ) from error
            return None if record is None else self._directory.conversation(record)

        def is_alike(one: ConversationRecord) -> bool:
            metadata = known_or(one.metadata, {})
            return draft.title in {None, one.title} and draft.metadata.items() <= metadata.items()

        async def alike() -> Sequence[ConversationRecord]:
            return (await self._directory.page(agent, is_alike, limit=MAX_PAGE, identity={})).items

        created = await self._creator.create(principal, draft, create, alike)
        return replace(created, agent=draft.agent, context=draft.context)

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        """Return a conversation, found by way of the list: there is no call for one."""
        return self._conversation(await self._directory.find(principal, native_id), native_id)

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return one page, in Knowrithm's own order. What the wire has no filter for is filtered here.

        A page may be short, or empty, and have another after it: only so much is read for one call.
        """
        self._lists_only("in its own order", query)
        check_limit(query.limit, MAX_PAGE)
        filters, agent = wire_filters(query), self._directory.agent_filter(query.agent)
        if filters is None or agent is None:
            return Page(items=[], total=0)
        return await self._directory.page(
            {**filters, **agent},
            lambda one: may_fit(one, query),
            limit=query.limit,
            cursor=query.cursor,
            identity=page_identity(query),
            enough=len(query.ids) or None,
        )

    async def search(self, principal: str, query: SearchQuery) -> SearchResult:
        """Return the conversations that Knowrithm's list finds for a text; what it looks at is not documented."""
        agent = self._directory.agent_filter(query.agent)
        if agent is None:
            return SearchResult(hits=[])
        page = await self._directory.page(
            {"search": query.text, **created_between(None, query.until), **agent},
            lambda one: hits.fits(one, replace(query, agent=None)),
            limit=query.limit,
            cursor=query.cursor,
            identity={
                "search": query.text,
                "agent": query.agent,
                "conversation": query.conversation_id,
                "since": query.since,
                "until": query.until,
            },
        )
        return SearchResult(hits=hits.hits(page.items), next_cursor=page.next_cursor)

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[MessageRecord]:
        if query.branch is not None:
            self._refuse(Feature.BRANCHES)
        history = self._wire.history(native_id)

        async def read(start: int, limit: int) -> Stretch[Record]:
            rows = await history.records(start, start + limit + 1)
            return Stretch(rows[:limit], await history.total(), more=len(rows) > limit)

        found, _, cursor = await message_window(query, native_id=native_id, count=history.count, read=read)
        agent = await self._directory.agent_of(principal, native_id)
        items = [
            mapping.message(row, conversation=self._own_id(native_id), agent=agent) for row in found.rows
        ]
        if query.newest_first:
            items.reverse()
        return Page(items=items, next_cursor=cursor, total=found.total)

    async def analytics(self, principal: str, native_id: str) -> Analytics:
        return mapping.analytics(await self._wire.analytics(native_id))

    async def delete(self, principal: str, native_id: str) -> None:
        await self._wire.delete(native_id)

    async def restore(self, principal: str, native_id: str) -> ConversationRecord:
        record = await self._wire.restore(native_id)
        shows_it = record is not None and str(record["id"]) == native_id
        restored = self._directory.conversation(record) if record is not None and shows_it else None
        return await self.get(principal, native_id) if restored is None else restored

    async def update(
        self, principal: str, native_id: str, changes: ConversationChanges
    ) -> ConversationRecord:
        """Change metadata, or put a conversation into the archive; both on the older wire only.

        That sets all the metadata at once: it is read first, and merged here.
        """
        if changes.title is not None:
            self._refuse(Feature.TITLE)
        if changes.archived is False:
            raise NotOffered(
                f"{PLATFORM} has no call that brings a conversation back from its archive.",
                hint="Create a new one with create_conversation.",
                instance=self.instance,
                feature=Feature.ARCHIVE,
            )
        for feature, asked in ((Feature.METADATA, changes.metadata), (Feature.ARCHIVE, changes.archived)):
            if asked is not None:
                self._require(feature)
        record: Record = await self._directory.find(principal, native_id)
        if changes.metadata is not None:
            merged = {**await self._directory.metadata(principal, native_id, record), **changes.metadata}
            merged = {key: value for key, value in merged.items() if value is not None}
            changed = await self._try(
                Feature.METADATA, lambda: self._wire.replace_metadata(native_id, merged)
            )
            record = {**record, **(changed or {}), "metadata": merged}
        if changes.archived:
            changed = await self._try(Feature.ARCHIVE, lambda: self._wire.archive(native_id))
            record = {**record, **(changed or {}), "status": "archived"}
        return self._conversation(record, native_id)

    async def update_status(self, principal: str, native_id: str, change: StatusChange) -> ConversationRecord:
        """End a conversation, with a rating or without; on the older wire only."""
        rating = change.rating
        if change.status is not Status.COMPLETED:
            self._refuse(Feature.STATUS)
        if change.reason is not None:
            raise InvalidInputError(
                f"{PLATFORM} keeps no reason for an end.",
                hint="Leave `reason` out, or give it as `feedback`.",
            )
        self._require(Feature.END)
        record = await self._directory.find(principal, native_id)
        body: Mapping[str, Any] = {} if rating is None else _rating("satisfaction_rating", rating)
        changed = await self._try(Feature.END, lambda: self._wire.end(native_id, body))
        ended = self._conversation({**record, **(changed or {}), "status": "ended"}, native_id)
        return ended if rating is None else replace(ended, rating=rating)

    async def rate_message(
        self, principal: str, native_id: str, message_id: str, rating: Rating
    ) -> MessageRecord:
        self._require(Feature.RATE_MESSAGE)
        rows = await self._wire.history(native_id).newest({message_id}, most=MOST_PAGES * PAGE_SIZE)
        if not rows or str(rows[0]["id"]) != message_id:
            raise self._no_message(native_id, message_id)
        body = _rating("rating", rating)
        await self._try(Feature.RATE_MESSAGE, lambda: self._wire.rate(native_id, message_id, body))
        agent = await self._directory.agent_of(principal, native_id)
        rated = mapping.message(rows[0], conversation=self._own_id(native_id), agent=agent)
        return replace(rated, rating=rating)

    def check_can_send(self, conversation: Conversation) -> None:
        check_accepts(conversation, instead=" with create_conversation.")

    def check_context(self, context: Mapping[str, Any]) -> None:
        if context:
            raise InvalidInputError(
                f"{PLATFORM} takes no `context` with a message.",
                hint=f"A conversation takes one when it is created, with `{CONTEXT.names[0]}`.",
            )

    async def answer(self, context: RunContext) -> None:
        await Answer(self._wire, self._attempt(context)).produce()

    def _require(self, feature: Feature) -> None:
        if feature not in self.features:
            raise self._lacking(feature)

    async def _try(self, feature: Feature, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call of the older wire, about something that is there."""
        try:
            return await call()
        except TertuliaError as error:
            if error.ids.get("status") not in NOT_THERE:
                raise
            self.features -= {feature, Feature.RATING} if feature is Feature.END else {feature}
            raise self._lacking(feature) from error

    def _lacking(self, feature: Feature) -> NotOffered:
        try:
            self._refuse(feature)
        except NotOffered as refused:
            return NotOffered(
                f"The {PLATFORM} server of {self.instance} does not have {feature}: its wire is newer than that call.",
                hint=refused.hint,
                **refused.ids,
            )

    def _conversation(self, record: Record, native_id: str) -> ConversationRecord:
        found = self._directory.conversation({**record, "id": native_id})
        if found is None:
            raise self._directory.missing(native_id)
        return found


def _creation(draft: ConversationDraft) -> Mapping[str, Any]:
    """Return what a conversation is created with, beside its agent."""
    body = {
        "title": draft.title,
        "metadata": dict(draft.metadata) or None,
        "entity_type": draft.entity_type,
        **CONTEXT.check(draft.context),
    }
    return {name: value for name, value in body.items() if value is not None}


def _rating(name: str, rating: Rating) -> Mapping[str, Any]:
    return {name: rating.value, **({} if rating.feedback is None else {"feedback": rating.feedback})}
