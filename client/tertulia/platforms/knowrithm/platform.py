"""`knowrithm`: conversations with the agents of a Knowrithm account."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from tertulia.platforms.base import RunContext
from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.options import Options
from tertulia.platforms.kit.paging import page_identity
from tertulia.platforms.knowrithm import records
from tertulia.platforms.knowrithm.answering import LOOKS, Answer
from tertulia.platforms.knowrithm.directory import Directory
from tertulia.platforms.knowrithm.older import OLDER, OlderWire
from tertulia.platforms.knowrithm.reading import Place
from tertulia.platforms.knowrithm.selecting import between, may_fit, wire_filters
from tertulia.platforms.knowrithm.server import BASE_URL, ERRORS, PLATFORM, Server
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    NotOffered,
    UncertainError,
)
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import (
    conversation_id,
    page_cursor,
    read_page_cursor,
    shown,
    split_agent_address,
)
from tertulia.vocabulary.models import (
    Agent,
    Analytics,
    Conversation,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    Message,
    MessageQuery,
    Page,
    SearchHit,
    SearchQuery,
    SearchResult,
    SortKey,
)
from tertulia.vocabulary.text import check_limit

KEY_VARIABLE = "KNOWRITHM_API_KEY"
SECRET_VARIABLE = "KNOWRITHM_API_SECRET"  # noqa: S105 - the name of a variable
URL_VARIABLE = "KNOWRITHM_API_BASE"
CONTEXT = "max_context_length"
"""What the context of a conversation may name (`services/conversation.py:192` of the SDK)."""
MAX_PAGE = 100
CLOCKS_APART = timedelta(minutes=2)
"""By how much Knowrithm's clock and ours may differ."""
UNKNOWN_MOMENT = datetime.fromtimestamp(0, UTC)
"""The time of a conversation of which Knowrithm tells none."""
_FEATURES = frozenset(
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


class KnowrithmPlatform(OlderWire):
    """Conversations at Knowrithm."""

    kind = "knowrithm"
    features = _FEATURES | OLDER

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        options = Options(instance, settings)
        key = options.secret("api_key", variable=KEY_VARIABLE)
        secret = options.secret("api_secret", variable=SECRET_VARIABLE)
        base_url = options.url("base_url", variable=URL_VARIABLE, default=BASE_URL)
        agents = _aliases(instance, options.table("agents"))
        options.finish()
        missing = None
        if key is None:
            missing = options.how_to_set("api_key", variable=KEY_VARIABLE)
        elif secret is None:
            missing = options.how_to_set("api_secret", variable=SECRET_VARIABLE)
        super().__init__(instance, missing=missing)
        self._clock = clock
        headers = {"x-api-key": key or "", "x-api-secret": secret or ""}
        self._http = Http(instance, ERRORS, base_url=base_url, headers=headers, missing=missing)
        self._server = Server(self._http, instance, base_url)
        self._directory = Directory(instance, agents, self._server, store)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the agents that the configuration names; any other of the account is addressed by its id."""
        unnamed = (
            f'Name the agents of the account in [instances.{self.instance}.agents], like `support = "ID"`; or put the '
            f"id of one in the place of AGENT_ID."
        )
        return [
            Agent(
                address=f"{self.instance}:{name}",
                description=(
                    "An agent of this Knowrithm account. Ending, rating, metadata and the archive are tried, and not "
                    "offered any more once the server turns out not to have them."
                ),
                features=self.features,
                available=self.missing is None and name in self._directory.agents,
                hint=self.missing or (None if name in self._directory.agents else unnamed),
            )
            for name in self._directory.agents or ["AGENT_ID"]
        ]

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        """Create a conversation. One that may have been created before is looked for first.

        Raises:
            NotFoundError: there is no such agent.
            UncertainError: whether it was created is not known.
        """
        self._takes_none_of("participants", "source", "source_ref", draft=draft)
        body = {"agent_id": self._directory.agent_id(draft.agent), **_creation(draft)}
        if draft.repeated:
            found = await self._directory.lookalikes(principal, draft)
            if found:
                return self._only(found, certain=draft.title is not None)
        begun = datetime.now(UTC)
        try:
            record = await self._server.create(body)
        except NotFoundError as error:
            raise NotFoundError(
                f"{PLATFORM} knows no agent {draft.agent}.",
                hint=f"Give an agent's id, or a name in [instances.{self.instance}.agents].",
                valid=[f"{self.instance}:{name}" for name in self._directory.agents],
                agent=draft.agent,
                **error.ids,
            ) from error
        except UncertainError:
            await anyio.sleep(LOOKS[0])
            record = None
        created = None if record is None else self._directory.conversation(record)
        if created is None:
            found = await self._directory.lookalikes(principal, draft)
            created = self._only(
                [one for one in found if one.created_at and one.created_at > begun - CLOCKS_APART]
            )
        return replace(created, agent=draft.agent, context=draft.context)

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        """Return a conversation, found by way of the list: there is no call for one."""
        found = self._directory.conversation(await self._directory.record(principal, native_id))
        if found is None:
            raise self._directory.missing(native_id)
        return found

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return one page, in Knowrithm's own order. What the wire cannot be asked for is looked at here.

        A page may be short, or empty, and have one behind it: only so much is read for one call.
        """
        if query.sort is SortKey.TITLE or not query.descending:
            raise NotOffered(
                f"{PLATFORM} lists the conversations of {self.instance} in its own order, and in no other.",
                hint="Leave out `instance` to list, in any order, what Tertulia knows of it.",
                instance=self.instance,
            )
        identity = page_identity(query)
        place = _place(query.cursor, query.limit, identity)
        filters = wire_filters(query)
        if filters is None or not self._asks_here(query.agent):
            return Page(items=[], total=0)
        found, behind = await self._directory.collect(
            self._server.walk({**filters, **self._agent_filter(query.agent)}, place),
            query.limit,
            lambda one: may_fit(one, query),
            enough=len(query.ids) or None,
        )
        return Page(
            items=found, next_cursor=None if behind is None else page_cursor(identity, behind.position)
        )

    async def search(self, principal: str, query: SearchQuery) -> SearchResult:
        """Return the conversations that Knowrithm's list finds for a text; what it looks at is not documented."""
        identity = {
            "search": query.text,
            "agent": query.agent,
            "conversation": query.conversation_id,
            "since": query.since,
            "until": query.until,
        }
        place = _place(query.cursor, query.limit, identity)
        if not self._asks_here(query.agent):
            return SearchResult(hits=[])
        params = {"search": query.text, **between(None, query.until), **self._agent_filter(query.agent)}
        walk = self._server.walk(params, place)

        def keeps(one: ConversationRecord) -> bool:
            return (
                query.conversation_id in {None, one.id}
                and (query.since is None or _moment(one) >= query.since)
                and (query.until is None or _moment(one) < query.until)
            )

        found, behind = await self._directory.collect(walk, query.limit, keeps)
        return SearchResult(
            hits=[SearchHit.of_title(one, _moment(one)) for one in found],
            next_cursor=None if behind is None else page_cursor(identity, behind.position),
        )

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of a conversation's messages."""
        if query.branch is not None:
            self._refuse(Feature.BRANCHES)
        check_limit(query.limit, MAX_PAGE)
        identity = {"messages": native_id, "newest_first": query.newest_first}
        position = None if query.cursor is None else int(read_page_cursor(query.cursor, identity))
        history = self._server.history(native_id)
        if query.newest_first:
            end = await history.count() if position is None else position
            start = max(0, end - query.limit)
            rows = (await history.rows(start, end))[::-1]
            rest = start or None
        else:
            start = position or 0
            rows = await history.rows(start, start + query.limit + 1)
            rest = start + query.limit if len(rows) > query.limit else None
            rows = rows[: query.limit]
        agent = await self._directory.agent_of(principal, native_id)
        own_id = conversation_id(self.instance, native_id)
        return Page(
            items=[records.message(row, conversation=own_id, agent=agent) for row in rows],
            next_cursor=None if rest is None else page_cursor(identity, rest),
            total=await history.total(),
        )

    async def analytics(self, principal: str, native_id: str) -> Analytics:
        """Return Knowrithm's figures about a conversation."""
        return records.analytics(await self._server.analytics(native_id))

    async def delete(self, principal: str, native_id: str) -> None:
        """Delete a conversation; `restore` brings it back."""
        await self._server.delete(native_id)

    async def restore(self, principal: str, native_id: str) -> ConversationRecord:
        """Bring a deleted conversation back."""
        record = await self._server.restore(native_id)
        restored = (
            None if record is None or str(record["id"]) != native_id else self._directory.conversation(record)
        )
        return await self.get(principal, native_id) if restored is None else restored

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
        """Have the agent answer; or find its task again, and tell the rest."""
        await Answer(self._server, context).produce()

    def _only(self, found: Sequence[ConversationRecord], *, certain: bool = True) -> ConversationRecord:
        if certain and len(found) == 1:
            return found[0]
        raise UncertainError(
            f"{PLATFORM} gave no answer to the call; whether the conversation was created is not known.",
            hint=f"list_conversations with the instance {self.instance} shows whether it is there.",
            instance=self.instance,
        )

    def _asks_here(self, agent: str | None) -> bool:
        return agent is None or self._directory.is_here(agent)

    def _agent_filter(self, agent: str | None) -> Mapping[str, str]:
        return {} if agent is None else {"agent_id": self._directory.agent_id(agent)}


def _aliases(instance: str, table: Mapping[str, Any]) -> Mapping[str, str]:
    for name, agent_id in table.items():
        if not isinstance(agent_id, str) or not agent_id.strip():
            raise InvalidInputError(
                f"`agents` of the instance {instance} must give the id of an agent, as text, to each name.",
                instance=instance,
            )
        split_agent_address(f"{instance}:{name}")
    return {name: agent_id.strip() for name, agent_id in table.items()}


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


def _place(cursor: str | None, limit: int, identity: Mapping[str, Any]) -> Place:
    check_limit(limit, MAX_PAGE)
    return Place() if cursor is None else Place.at(read_page_cursor(cursor, identity))


def _moment(conversation: ConversationRecord) -> datetime:
    return conversation.updated_at or conversation.created_at or UNKNOWN_MOMENT
