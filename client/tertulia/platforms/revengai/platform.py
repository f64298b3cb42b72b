"""`revengai`: conversations with the assistant of RevEng.AI."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

import anyio

from tertulia.platforms.base import Capabilities, Platform, RunContext
from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.options import Options
from tertulia.platforms.revengai import history
from tertulia.platforms.revengai.answering import LOOKS, Answer, checked_context
from tertulia.platforms.revengai.server import BASE_URL, ERRORS, PLATFORM, Server
from tertulia.settings import InstanceSettings
from tertulia.store import conversations
from tertulia.store.checkpoints import saved
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    MovedOnError,
    NotFoundError,
    UncertainError,
)
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import (
    conversation_id,
    page_cursor,
    read_page_cursor,
    split_conversation_id,
)
from tertulia.vocabulary.models import (
    Agent,
    Conversation,
    ConversationDraft,
    ConversationQuery,
    Decision,
    Message,
    MessageQuery,
    Page,
    Request,
    Run,
    Settlement,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit

KEY_VARIABLE = "REVENGAI_API_KEY"
URL_VARIABLE = "REVENGAI_API_BASE"
ASSISTANT = "assistant"
"""The agent's name: RevEng.AI has one, without a name of its own."""
MAX_PAGE = 100
SENDING_SECONDS = 5.0
"""How long a cancellation waits for a message that is on its way."""
CLOCKS_APART = timedelta(minutes=2)
"""By how much RevEng.AI's clock and ours may differ."""


class RevEngAIPlatform(Platform):
    """Conversations at RevEng.AI. They cannot be renamed or deleted there, and have no states and no metadata."""

    kind = "revengai"
    features = frozenset(
        {
            Feature.CREATE,
            Feature.GET,
            Feature.LIST,
            Feature.SEND,
            Feature.STREAM,
            Feature.RESUME,
            Feature.MESSAGES,
            Feature.CONFIRM,
            Feature.CANCEL,
        }
    )
    capabilities = Capabilities(lists_unfiltered=True)

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        options = Options(instance, settings)
        key = options.secret("api_key", variable=KEY_VARIABLE)
        base_url = options.url("base_url", variable=URL_VARIABLE, default=BASE_URL)
        options.finish()
        missing = options.how_to_set("api_key", variable=KEY_VARIABLE) if key is None else None
        super().__init__(instance, missing=missing)
        self._clock = clock
        # The key stands alone, without `Bearer`: `configuration.py` of the SDK.
        headers = {"authorization": key or ""}
        self._http = Http(instance, ERRORS, base_url=base_url, headers=headers, missing=self.missing)
        self._server = Server(self._http, instance)
        self._store = store
        self._agent = f"{instance}:{ASSISTANT}"

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the assistant."""
        return [
            Agent(
                address=self._agent,
                description=(
                    "RevEng.AI's assistant for binary analysis. `context` scopes a conversation or a message to an "
                    "analysis and a function (analysis_id, function_id)."
                ),
                features=self.features,
                available=self.missing is None,
                hint=self.missing,
            )
        ]

    async def create(self, principal: str, draft: ConversationDraft) -> Conversation:
        """Create a conversation. One that may have been created before is looked for first.

        Raises:
            NotFoundError: there is no such agent.
            UncertainError: whether it was created is not known.
        """
        if draft.agent != self._agent:
            raise NotFoundError(f"There is no agent {draft.agent}.", valid=[self._agent], agent=draft.agent)
        if draft.metadata:
            self._refuse(Feature.METADATA)
        self._takes_none_of("entity_type", "source", "source_ref", "participants", draft=draft)
        context = checked_context(draft.context)
        if draft.repeated:
            found = await self._lookalikes(principal, draft)
            if found:
                return self._only(found, certain=draft.title is not None)
        begun = datetime.now(UTC)
        try:
            return self._conversation(await self._server.create(draft.title, context))
        except UncertainError:
            await anyio.sleep(LOOKS[0])
            found = await self._lookalikes(principal, draft)
            return self._only(
                [one for one in found if one.created_at and one.created_at > begun - CLOCKS_APART]
            )

    async def get(self, principal: str, native_id: str) -> Conversation:
        """Return a conversation."""
        record = await self._server.get(native_id)
        return self._conversation(record, message_count=len(self._messages(record)))

    async def list(self, principal: str, query: ConversationQuery) -> Page[Conversation]:
        """Return all conversations: the wire has neither filters nor pages."""
        return Page(items=[self._conversation(record) for record in await self._server.list()])

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of a conversation's messages, made from its events (see `history`)."""
        if query.branch is not None:
            self._refuse(Feature.BRANCHES)
        check_limit(query.limit, MAX_PAGE)
        identity: dict[str, Any] = {"messages": native_id, "newest_first": query.newest_first}
        passed = None if query.cursor is None else int(read_page_cursor(query.cursor, identity))
        found = self._messages(await self._server.get(native_id))
        total = len(found)
        if query.newest_first:
            found = found[::-1]
        if passed is not None:
            found = [
                one for one in found if (int(one.id) < passed if query.newest_first else int(one.id) > passed)
            ]
        page = found[: query.limit]
        return Page(
            items=page,
            next_cursor=page_cursor(identity, int(page[-1].id)) if len(found) > query.limit else None,
            total=total,
        )

    def normalize(self, message: Message) -> Message:
        """Refuse what RevEng.AI has no place for: a message is a user's text."""
        self._takes_text_only(message, PLATFORM)
        return message

    def check_context(self, context: Mapping[str, Any]) -> None:
        """Refuse a context that names anything but an analysis and a function, by their numbers."""
        checked_context(context)

    async def answer(self, context: RunContext) -> None:
        """Have RevEng.AI answer; or find its run again, and tell the rest."""
        await Answer(self._server, context).produce()

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Approve or reject what is pending, if that is still what was shown: the wire's call has no id for it.

        Raises:
            MovedOnError: it is not; nothing was decided.
            UncertainError: whether the decision arrived is not known, and it is still pending.
        """
        _, native_id = split_conversation_id(request.conversation_id)
        await self._see_pending(native_id, request)
        try:
            await self._server.confirm(native_id, approved=settlement.decision is Decision.APPROVE)
        except UncertainError as error:
            try:
                await self._see_pending(native_id, request)
            except MovedOnError:
                return  # it was pending a moment ago: the decision has arrived
            raise UncertainError(
                f"{PLATFORM} gave no answer to the decision about {request.id}, and still waits for it.",
                hint="Decide again in a moment.",
                **error.ids,
            ) from error

    async def cancel(self, principal: str, run: Run) -> None:
        """Stop the run, if its message was sent.

        Raises:
            ConflictError: RevEng.AI is not answering any more.
        """
        _, native_id = split_conversation_id(run.conversation_id)
        sent = (await saved(self._store, run, "sent", within=SENDING_SECONDS)).get("sent")
        try:
            await self._server.cancel(native_id)
        except ConflictError:
            if sent:
                raise

    async def _see_pending(self, native_id: str, request: Request) -> None:
        number = int(request.upstream_id or 0)
        pending = await self._server.pending(native_id, shown=number)
        if pending is None or pending.number != number:
            now = "waits for nobody's decision" if pending is None else "asks for another decision"
            raise MovedOnError(
                f"{PLATFORM} {now} in {request.conversation_id} by now: {request.id} was settled elsewhere.",
                hint="stream_conversation shows how the answer goes on, and what it asks.",
                conversation_id=request.conversation_id,
                request_id=request.id,
                run_id=request.run_id,
            )

    async def _lookalikes(self, principal: str, draft: ConversationDraft) -> Sequence[Conversation]:
        """Return the conversations that may be the one of this draft: alike, and unknown here."""
        found = [self._conversation(record) for record in await self._server.list()]
        alike = [
            one
            for one in found
            if draft.title in {None, one.title}
            and (draft.context or {}).items() <= (one.context or {}).items()
        ]
        return await self._store.read(partial(conversations.unknown, principal=principal, found=alike))

    def _only(self, found: Sequence[Conversation], *, certain: bool = True) -> Conversation:
        if certain and len(found) == 1:
            return found[0]
        raise UncertainError(
            f"{PLATFORM} gave no answer to the call; whether the conversation was created is not known.",
            hint=f"list_conversations with the instance {self.instance} shows whether it is there.",
            instance=self.instance,
        )

    def _conversation(self, record: Mapping[str, Any], *, message_count: int | None = None) -> Conversation:
        title, context = record.get("title"), record.get("context")
        return Conversation(
            id=conversation_id(self.instance, record["conversation_uuid"]),
            agent=self._agent,
            status=Status.OPEN,
            title=title if isinstance(title, str) and title else None,
            context=cast(Mapping[str, Any], context) if isinstance(context, Mapping) else None,
            message_count=message_count,
            created_at=moment(record.get("created_at")),
            updated_at=moment(record.get("updated_at")),
        )

    def _messages(self, record: Mapping[str, Any]) -> Sequence[Message]:
        own_id = conversation_id(self.instance, record["conversation_uuid"])
        return history.messages(record, conversation_id=own_id, agent=self._agent)
