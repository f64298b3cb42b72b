"""`knowrithm`: conversations with the agents of a Knowrithm account.

Ending with a rating, rating a message, setting metadata and the archive are calls that the SDK 0.1.3 has and 0.1.22 has
not; which deployment still has them is not documented. So each is offered and tried, about something that was seen to
be there, until this deployment has answered that it does not have the call.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tertulia.platforms.base import Platform, RunContext
from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.creation import Creator
from tertulia.platforms.kit.directory import listed
from tertulia.platforms.kit.numbered_pages import MOST_PAGES, Record
from tertulia.platforms.kit.paging import page_identity
from tertulia.platforms.kit.records import Records
from tertulia.platforms.knowrithm import mapping
from tertulia.platforms.knowrithm.answering import Answer
from tertulia.platforms.knowrithm.directory import MAX_PAGE, Directory, created_between, may_fit, wire_filters
from tertulia.platforms.knowrithm.mapping import PLATFORM
from tertulia.platforms.knowrithm.settings import connect
from tertulia.platforms.knowrithm.wire import NOT_THERE, PAGE_SIZE
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    NotOffered,
    TertuliaError,
)
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import conversation_id, page_cursor, read_page_cursor, shown
from tertulia.vocabulary.models import (
    Agent,
    Analytics,
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    Message,
    MessageQuery,
    Page,
    Rating,
    SearchHit,
    SearchQuery,
    SearchResult,
    SortKey,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit
from tertulia.vocabulary.unknown import known_or

CONTEXT = "max_context_length"
"""What the context of a conversation may name (`services/conversation.py:192` of the SDK)."""
UNKNOWN_MOMENT = datetime.fromtimestamp(0, UTC)
"""The time of a conversation of which Knowrithm tells none."""
OLDER = frozenset({Feature.END, Feature.RATING, Feature.RATE_MESSAGE, Feature.METADATA, Feature.ARCHIVE})
"""The features that only the older wire has."""
FEATURES = frozenset(
    {
        Feature.CREATE,
        Feature.GET,
        Feature.LIST,
        Feature.SEARCH,
        Feature.DELETE,
        Feature.RESTORE,
        Feature.SEND,
        Feature.STREAM,
        Feature.RESUME,
        Feature.MESSAGES,
        Feature.ANALYTICS,
    }
)
"""The features of the wire as it is documented."""


class KnowrithmPlatform(Platform):
    """Conversations at Knowrithm."""

    kind = "knowrithm"
    features = FEATURES | OLDER

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        account = connect(instance, settings, clock)
        super().__init__(instance, missing=account.wire.http.missing)
        self._wire = account.wire
        records = Records(store, instance)
        self._directory = Directory(instance, account.wire, records, account.agents)
        self._creator = Creator(PLATFORM, instance, records, clock)
        self._clock = clock

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.http.close()

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the agents that the configuration names; any other of the account is addressed by its id."""
        description = (
            "An agent of this Knowrithm account. Ending, rating, metadata and the archive are tried, and not "
            "offered any more once the server turns out not to have them."
        )
        unnamed = (
            f'Name the agents of the account in [instances.{self.instance}.agents], like `support = "ID"`; or put the '
            f"id of one in the place of AGENT_ID."
        )
        names = [*self._directory.agents]
        hint = self.missing or (None if names else unnamed)
        described = [(name, description) for name in names or ["AGENT_ID"]]
        return listed(self.instance, described, features=self.features, hint=hint)

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        """Create a conversation. One that may have been created before is looked for first.

        Raises:
            NotFoundError: there is no such agent.
            UncertainError: whether it was created is not known.
        """
        self._takes_none_of("participants", "source", "source_ref", draft=draft)
        agent = {"agent_id": self._directory.agent_id(draft.agent)}
        body = {**agent, **_creation(draft)}

        async def create() -> ConversationRecord | None:
            try:
                record = await self._wire.create(body)
            except NotFoundError as error:
                raise NotFoundError(
                    f"{PLATFORM} knows no agent {draft.agent}.",
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
        if query.sort is SortKey.TITLE or not query.descending:
            raise NotOffered(
                f"{PLATFORM} lists the conversations of {self.instance} in its own order, and in no other.",
                hint="Leave out `instance` to list, in any order, what Tertulia knows of it.",
                instance=self.instance,
            )
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

        def keeps(one: ConversationRecord) -> bool:
            return (
                query.conversation_id in {None, one.id}
                and (query.since is None or _moment(one) >= query.since)
                and (query.until is None or _moment(one) < query.until)
            )

        page = await self._directory.page(
            {"search": query.text, **created_between(None, query.until), **agent},
            keeps,
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
        hits = [SearchHit.of_title(one, _moment(one)) for one in page.items]
        return SearchResult(hits=hits, next_cursor=page.next_cursor)

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of a conversation's messages."""
        if query.branch is not None:
            self._refuse(Feature.BRANCHES)
        check_limit(query.limit, MAX_PAGE)
        identity = {"messages": native_id, "newest_first": query.newest_first}
        position = None if query.cursor is None else int(read_page_cursor(query.cursor, identity))
        history = self._wire.history(native_id)
        if query.newest_first:
            end = await history.count() if position is None else position
            start = max(0, end - query.limit)
            rows = (await history.records(start, end))[::-1]
            rest = start or None
        else:
            start = position or 0
            rows = await history.records(start, start + query.limit + 1)
            rest = start + query.limit if len(rows) > query.limit else None
            rows = rows[: query.limit]
        agent = await self._directory.agent_of(principal, native_id)
        own_id = conversation_id(self.instance, native_id)
        return Page(
            items=[mapping.message(row, conversation=own_id, agent=agent) for row in rows],
            next_cursor=None if rest is None else page_cursor(identity, rest),
            total=await history.total(),
        )

    async def analytics(self, principal: str, native_id: str) -> Analytics:
        """Return Knowrithm's figures about a conversation."""
        return mapping.analytics(await self._wire.analytics(native_id))

    async def delete(self, principal: str, native_id: str) -> None:
        """Delete a conversation; `restore` brings it back."""
        await self._wire.delete(native_id)

    async def restore(self, principal: str, native_id: str) -> ConversationRecord:
        """Bring a deleted conversation back."""
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

    async def update_status(
        self,
        principal: str,
        native_id: str,
        status: Status,
        *,
        reason: str | None,
        rating: Rating | None = None,
    ) -> ConversationRecord:
        """End a conversation, with a rating or without; on the older wire only."""
        if status is not Status.COMPLETED:
            self._refuse(Feature.STATUS)
        if reason is not None:
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

    async def rate_message(self, principal: str, native_id: str, message_id: str, rating: Rating) -> Message:
        """Rate a message; on the older wire only."""
        self._require(Feature.RATE_MESSAGE)
        own_id = conversation_id(self.instance, native_id)
        rows = await self._wire.history(native_id).newest({message_id}, most=MOST_PAGES * PAGE_SIZE)
        if not rows or str(rows[0]["id"]) != message_id:
            raise NotFoundError(
                f"The conversation {own_id} has no message {shown(message_id)}.",
                hint="list_messages shows its messages.",
                conversation_id=own_id,
                message_id=message_id,
            )
        body = _rating("rating", rating)
        await self._try(Feature.RATE_MESSAGE, lambda: self._wire.rate(native_id, message_id, body))
        agent = await self._directory.agent_of(principal, native_id)
        return replace(mapping.message(rows[0], conversation=own_id, agent=agent), rating=rating)

    def check_can_send(self, conversation: Conversation) -> None:
        """Refuse messages to a conversation that has ended or is in the archive."""
        if conversation.status.terminal:
            where = "in the archive" if conversation.archived else conversation.status
            raise ConflictError(
                f"The conversation {conversation.id} is {where}, which is final.",
                hint="Start a new one with create_conversation.",
                conversation_id=conversation.id,
            )

    def normalize(self, message: Message) -> Message:
        """Refuse what Knowrithm has no place for: a message is a user's text."""
        self._takes_text_only(message, PLATFORM)
        return message

    def check_context(self, context: Mapping[str, Any]) -> None:
        """Refuse a context: Knowrithm takes none with a message."""
        if context:
            raise InvalidInputError(
                f"{PLATFORM} takes no `context` with a message.",
                hint=f"A conversation takes one when it is created, with `{CONTEXT}`.",
            )

    async def answer(self, context: RunContext) -> None:
        """Have the agent answer; or find its task again, and follow that."""
        await Answer(self._wire, Attempt.begin(context, platform=PLATFORM, clock=self._clock)).produce()

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
    for name, value in (draft.context or {}).items():
        if name != CONTEXT:
            raise InvalidInputError(f"{PLATFORM} takes no {shown(name)} in `context`.", valid=[CONTEXT])
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidInputError(f"`{CONTEXT}` in `context` must be a whole number above 0.")
    body = {
        "title": draft.title,
        "metadata": dict(draft.metadata) or None,
        "entity_type": draft.entity_type,
        **(draft.context or {}),
    }
    return {name: value for name, value in body.items() if value is not None}


def _rating(name: str, rating: Rating) -> Mapping[str, Any]:
    return {name: rating.value, **({} if rating.feedback is None else {"feedback": rating.feedback})}


def _moment(conversation: ConversationRecord) -> datetime:
    return conversation.updated_at or conversation.created_at or UNKNOWN_MOMENT
