"""`revengai`: conversations with the assistant of RevEng.AI."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tertulia.platforms.base import Capabilities, Platform, RunContext
from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.creation import Creator
from tertulia.platforms.kit.decisions import decide, moved_on
from tertulia.platforms.kit.delivery import DELIVERED
from tertulia.platforms.kit.directory import listed
from tertulia.platforms.kit.paging import message_page
from tertulia.platforms.kit.records import Records
from tertulia.platforms.revengai import mapping
from tertulia.platforms.revengai.answering import Answer, checked_context
from tertulia.platforms.revengai.mapping import ASSISTANT, PLATFORM
from tertulia.platforms.revengai.settings import connect
from tertulia.platforms.revengai.wire import Wire
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import ConflictError, NotFoundError
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
        self._http = connect(instance, settings, clock)
        super().__init__(instance, missing=self._http.missing)
        self._wire = Wire(self._http, clock)
        self._records = Records(store, instance)
        self._creator = Creator(PLATFORM, instance, self._records, clock)
        self._clock = clock
        self._agent = f"{instance}:{ASSISTANT}"

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the assistant."""
        description = (
            "RevEng.AI's assistant for binary analysis. `context` scopes a conversation or a message to an analysis "
            "and a function (analysis_id, function_id)."
        )
        return listed(self.instance, [(ASSISTANT, description)], features=self.features, hint=self.missing)

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
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

        async def create() -> ConversationRecord:
            return self._conversation(await self._wire.create(draft.title, context))

        async def alike() -> Sequence[ConversationRecord]:
            return [
                one
                for one in map(self._conversation, await self._wire.list())
                if draft.title in {None, one.title} and (context or {}).items() <= (one.context or {}).items()
            ]

        return await self._creator.create(principal, draft, create, alike)

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        """Return a conversation."""
        record = await self._wire.get(native_id)
        count = len(mapping.messages(record, instance=self.instance))
        return replace(self._conversation(record), message_count=count)

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return all conversations: the wire has neither filters nor pages."""
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

    def normalize(self, message: Message) -> Message:
        """Refuse what RevEng.AI has no place for: a message is a user's text."""
        self._takes_text_only(message, PLATFORM)
        return message

    def check_context(self, context: Mapping[str, Any]) -> None:
        """Refuse a context that names anything but an analysis and a function, by their numbers."""
        checked_context(context)

    async def answer(self, context: RunContext) -> None:
        """Have RevEng.AI answer; or find its run again, and tell the rest."""
        await Answer(self._wire, Attempt.begin(context, platform=PLATFORM, clock=self._clock)).produce()

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Approve or reject what is pending, if that is still what was shown: the wire's call has no id for it.

        Raises:
            MovedOnError: it is not; nothing was decided.
            UncertainError: whether the decision arrived is not known, and it is still pending.
        """
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
            ConflictError: RevEng.AI is not answering any more.
        """
        _, native_id = split_conversation_id(run.conversation_id)
        sent = (await self._records.checkpoint(run, DELIVERED, within=SENDING_SECONDS)).get(DELIVERED)
        try:
            await self._wire.cancel(native_id)
        except ConflictError:
            if sent:
                raise

    def _conversation(self, record: Mapping[str, object]) -> ConversationRecord:
        return mapping.conversation(record, instance=self.instance)
