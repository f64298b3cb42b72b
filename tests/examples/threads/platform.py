"""`threads`: conversations with the assistants of a server whose wire is like that of LangGraph's."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tertulia.platforms.base import Capabilities, RunContext, offers
from tertulia.platforms.kit.decisions import decide
from tertulia.platforms.kit.delivery import DELIVERED
from tertulia.platforms.kit.directory import AgentDirectory
from tertulia.platforms.kit.http.values import table, text
from tertulia.platforms.kit.paging import message_page
from tertulia.platforms.kit.platform import HttpPlatform
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import ConflictError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import conversation_id, split_conversation_id
from tertulia.vocabulary.models import (
    Agent,
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    MessageQuery,
    MessageRecord,
    Page,
    Request,
    Run,
    Settlement,
)
from tests.examples.threads import mapping
from tests.examples.threads.answering import INTERRUPTED, RUN, Answer
from tests.examples.threads.mapping import ASSISTANT_ID, TITLE
from tests.examples.threads.settings import connect
from tests.examples.threads.wire import PLATFORM, Record, Wire

SENDING_SECONDS = 5.0
"""How long a cancellation waits for a message that is on its way."""


@offers(
    Feature.STREAM,
    Feature.RESUME,
    Feature.TITLE,
    Feature.METADATA,
    Feature.CONFIRM,
    Feature.EDIT_ARGUMENTS,
    Feature.QUESTIONS,
)
class ThreadsPlatform(HttpPlatform):
    """Conversations as threads. A thread has metadata, in which its title and its assistant are kept."""

    kind = "threads"
    capabilities = Capabilities(lists_unfiltered=True)

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        super().__init__(instance, connect(instance, settings, clock), store, clock)
        self._wire = Wire(self._http)
        self._assistants = AgentDirectory(instance, self._wire.assistants, platform=PLATFORM, clock=clock)

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the assistants."""
        return await self._assistants.agents(self.features, nobody="Deploy an assistant on this server.")

    def new_native_id(self) -> str:
        """Return the id of a new thread: Threads takes UUIDs only."""
        return str(uuid.uuid4())

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        """Create a thread under the draft's id, so that it is created once however often this is called."""
        self._takes_none_of("context", "entity_type", "source", "source_ref", "participants", draft=draft)
        metadata = {**draft.metadata, ASSISTANT_ID: await self._assistants.id_of(draft.agent)}
        if draft.title is not None:
            metadata[TITLE] = draft.title
        return await self._conversation(await self._wire.create(draft.native_id, metadata))

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        """Return a thread."""
        return await self._conversation(await self._wire.get(native_id))

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return all threads: the client filters, sorts and pages."""
        return Page(items=[await self._conversation(thread) for thread in await self._wire.list()])

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[MessageRecord]:
        """Return one page of the messages in a thread's state."""
        if query.branch is not None:
            self._refuse(Feature.BRANCHES)
        agent = (await self.get(principal, native_id)).agent
        own_id = conversation_id(self.instance, native_id)
        found = mapping.messages(await self._wire.state(native_id), own_id=own_id, agent=agent)
        items, cursor = message_page(
            found, query, native_id=native_id, id_of=lambda one: one.id, platform=PLATFORM
        )
        return Page(items=items, next_cursor=cursor, total=len(found))

    async def update(
        self, principal: str, native_id: str, changes: ConversationChanges
    ) -> ConversationRecord:
        """Change the title or the metadata."""
        if changes.archived is not None:
            self._refuse(Feature.ARCHIVE)
        metadata: dict[str, Any] = dict(changes.metadata or {})
        if changes.title is not None:
            metadata[TITLE] = changes.title
        return await self._conversation(await self._wire.update(native_id, metadata))

    async def delete(self, principal: str, native_id: str) -> None:
        """Delete a thread for good."""
        await self._wire.delete(native_id)

    def check_can_send(self, conversation: Conversation) -> None:
        """Check that the thread says whose it is: a run needs an assistant."""
        if conversation.agent is None:
            raise ConflictError(
                f"{PLATFORM} does not say which agent answers in {conversation.id}.",
                hint="Start a new conversation with an agent of list_agents.",
                conversation_id=conversation.id,
            )

    def check_context(self, context: Mapping[str, Any]) -> None:
        """Take any context: a run passes it on to its assistant."""

    async def answer(self, context: RunContext) -> None:
        """Begin a run with the message, or find that run again, and follow it."""
        await Answer(self._wire, self._assistants, self._attempt(context)).produce()

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Resume the interrupted run with a decision, which begins the thread's next run.

        Raises:
            MovedOnError: the thread does not wait for this decision any more.
            UncertainError: whether the decision arrived is not known.
        """
        _, native_id = split_conversation_id(request.conversation_id)

        async def is_pending() -> bool:
            return request.upstream_id in mapping.interrupts(await self._wire.state(native_id))

        async def tell() -> None:
            await self._wire.start(native_id, mapping.resumption(request, settlement))

        await decide(request, tell, platform=PLATFORM, is_pending=is_pending)

    async def cancel(self, principal: str, run: Run) -> None:
        """Stop the run, if its message was sent; nothing works on one that waits for a person.

        Raises:
            ConflictError: Threads is not answering any more.
        """
        _, native_id = split_conversation_id(run.conversation_id)
        checkpoint = await self._records.checkpoint(run, DELIVERED, within=SENDING_SECONDS)
        if RUN in checkpoint:
            current = mapping.latest(await self._wire.runs(native_id), checkpoint[RUN])
            if current is not None and current["status"] != INTERRUPTED:
                await self._wire.cancel(native_id, current["run_id"])

    async def _conversation(self, thread: Record) -> ConversationRecord:
        assistant_id = text(table(thread.get("metadata")).get(ASSISTANT_ID))
        agent = await self._assistants.address_of(assistant_id)
        return mapping.conversation(thread, instance=self.instance, agent=agent)
