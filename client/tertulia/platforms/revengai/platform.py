"""`revengai`: conversations with the assistant of RevEng.AI."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tertulia.platforms.base import Capabilities, RunContext, offers
from tertulia.platforms.kit.decisions import decide, moved_on
from tertulia.platforms.kit.delivery import DELIVERED
from tertulia.platforms.kit.directory import listed, no_such_agent
from tertulia.platforms.kit.paging import message_page
from tertulia.platforms.kit.platform import HttpPlatform
from tertulia.platforms.revengai import mapping
from tertulia.platforms.revengai.answering import Answer
from tertulia.platforms.revengai.mapping import ASSISTANT, CONTEXT, PLATFORM
from tertulia.platforms.revengai.settings import connect
from tertulia.platforms.revengai.wire import Wire
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import ConflictError, MovedOnError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.models import (
    Agent,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    Decision,
    Message,
    MessageQuery,
    Page,
    Request,
    Run,
    Settlement,
)

SENDING_SECONDS = 5.0
"""How long a cancellation waits for a message that is on its way."""


@offers(Feature.STREAM, Feature.RESUME, Feature.CONFIRM)
class RevEngAIPlatform(HttpPlatform):
    """Conversations at RevEng.AI. They cannot be renamed or deleted there, and have no states and no metadata."""

    kind = "revengai"
    capabilities = Capabilities(lists_unfiltered=True)
    context_fields = CONTEXT

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        super().__init__(instance, connect(instance, settings, clock), store, clock)
        self._wire = Wire(self._http, clock)
        self._agent = f"{instance}:{ASSISTANT}"

    async def agents(self, principal: str) -> Sequence[Agent]:
        description = (
            "RevEng.AI's assistant for binary analysis. `context` scopes a conversation or a message to an analysis "
            "and a function (analysis_id, function_id)."
        )
        return listed(self.instance, [(ASSISTANT, description)], features=self.features, hint=self.missing)

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        if draft.agent != self._agent:
            raise no_such_agent(draft.agent, [self._agent])
        if draft.metadata:
            self._refuse(Feature.METADATA)
        self._takes_none_of("entity_type", "source", "source_ref", "participants", draft=draft)
        context = CONTEXT.check(draft.context)

        async def create() -> ConversationRecord:
            return self._conversation(await self._wire.create(draft.title, context))

        async def alike() -> Sequence[ConversationRecord]:
            return [
                one
                for one in map(self._conversation, await self._wire.list())
                if draft.title in {None, one.title} and context.items() <= (one.context or {}).items()
            ]

        return await self._creator.create(principal, draft, create, alike)

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        record = await self._wire.get(native_id)
        count = len(mapping.messages(record, instance=self.instance))
        return replace(self._conversation(record), message_count=count)

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        return Page(items=[self._conversation(record) for record in await self._wire.list()])

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of a conversation's messages, made from its events (see `mapping`)."""
        if query.branch is not None:
            self._refuse(Feature.BRANCHES)
        found = mapping.messages(await self._wire.get(native_id), instance=self.instance)
        items, cursor = message_page(
            found, query, native_id=native_id, id_of=lambda one: one.id, platform=PLATFORM
        )
        return Page(items=items, next_cursor=cursor, total=len(found))

    async def answer(self, context: RunContext) -> None:
        await Answer(self._wire, self._attempt(context)).produce()

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Approve or reject what is pending, if that is still what was shown: the wire's call has no id for it."""
        _, native_id = split_conversation_id(request.conversation_id)

        async def is_pending() -> bool:
            number = int(request.upstream_id or 0)
            pending = await self._wire.pending(native_id, shown=number)
            if pending is not None and pending.number == number:
                return True
            now = "waits for nobody's decision" if pending is None else "asks for another decision"
            raise moved_on(request, platform=PLATFORM, now=f"{now} by now")

        async def tell() -> None:
            await self._wire.confirm(native_id, approved=settlement.decision is Decision.APPROVE)

        await decide(request, tell, platform=PLATFORM, is_pending=is_pending)

    async def cancel(self, principal: str, run: Run) -> None:
        """Stop the run, if its message was sent.

        Raises:
            MovedOnError: RevEng.AI is not answering any more.
        """
        _, native_id = split_conversation_id(run.conversation_id)
        sent = (await self._records.checkpoint(run, DELIVERED, within=SENDING_SECONDS)).get(DELIVERED)
        try:
            await self._wire.cancel(native_id)
        except ConflictError as error:
            if sent:
                raise MovedOnError(error.message, hint=error.hint, **error.ids) from error

    def _conversation(self, record: Mapping[str, object]) -> ConversationRecord:
        return mapping.conversation(record, instance=self.instance)
