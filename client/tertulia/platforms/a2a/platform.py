"""A2A as a platform: an instance is one agent, found by its card.

A conversation is a context of A2A's, and a run is a task in it. An agent keeps tasks and no conversations: titles,
metadata and the messages that were sent from here live in the store.
"""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tertulia.platforms.a2a import mapping
from tertulia.platforms.a2a.answering import CONTEXT, TASK, Answer
from tertulia.platforms.a2a.mapping import OutgoingMessage, Task
from tertulia.platforms.a2a.settings import read_settings
from tertulia.platforms.a2a.wire import Wire
from tertulia.platforms.base import Platform, RunContext, offers
from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.decisions import decide, moved_on
from tertulia.platforms.kit.delivery import DELIVERED
from tertulia.platforms.kit.directory import listed, no_such_agent, probe
from tertulia.platforms.kit.paging import message_page
from tertulia.platforms.kit.records import Records
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    MovedOnError,
    NotFoundError,
    NotOffered,
    TertuliaError,
)
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import (
    Agent,
    ConversationChanges,
    ConversationDraft,
    ConversationRecord,
    Decision,
    Message,
    MessageQuery,
    MessageRecord,
    Page,
    Request,
    RequestKind,
    Role,
    Run,
    Settlement,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.unknown import known_or

AGENT = "agent"
"""The agent's name: an instance has one, and its card may call it anything."""
SENDING_SECONDS = 5.0
"""How long a cancellation waits for the response to a message that is being sent."""
AUTHORIZED = "The authorization was given."
"""What an agent is told when a person has given it the authorization that it asked for."""
_USER = "user"
_STORE_PAGE = 100
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@offers(
    Feature.STREAM,
    Feature.RESUME,
    Feature.TITLE,
    Feature.METADATA,
    Feature.ARCHIVE,
    Feature.CONFIRM,
    Feature.QUESTIONS,
)
class A2APlatform(Platform):
    """Conversations with the agent of one instance."""

    kind = "a2a"

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        options = read_settings(instance, settings)
        super().__init__(instance, missing=options.missing)
        self._wire = Wire(options, clock)
        self._records = Records(store, instance)
        self._clock = clock
        self._agent = f"{instance}:{AGENT}"
        self._title = f"A2A agent {instance}"
        """The agent as a sentence names it."""

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the agent, as its card describes it."""
        description = "An agent that speaks A2A; its card has not been read."
        hint = self.missing

        async def read() -> None:
            nonlocal description
            description = (await self._wire.card()).about

        if hint is None:
            hint = await probe(read, platform=self._title, clock=self._clock)
        return listed(self.instance, [(AGENT, description)], features=self.features, hint=hint)

    def new_native_id(self) -> str:
        """Return an id as agents make them for contexts."""
        return str(uuid.uuid4())

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        """Record a conversation; its context begins with the first message.

        Raises:
            NotFoundError: there is no such agent.
        """
        if draft.agent != self._agent:
            raise no_such_agent(draft.agent, [self._agent])
        self._takes_none_of("entity_type", "source", "source_ref", "participants", draft=draft)
        self.check_context(draft.context or {})
        return ConversationRecord(
            id=conversation_id(self.instance, draft.native_id),
            agent=self._agent,
            status=Status.SUBMITTED,
            title=draft.title,
            metadata=draft.metadata,
            message_count=0,
        )

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        """Return a conversation as the store has it, or a context that the agent has tasks of."""
        known = await self._records.conversation(principal, native_id)
        if known is not None:
            return known
        with suppress(NotOffered):
            found = self._contexts(await self._wire.tasks(native_id)).get(native_id)
            if found is not None:
                return found
        own_id = conversation_id(self.instance, native_id)
        raise NotFoundError(
            f"There is no conversation {own_id}.",
            hint=f"list_conversations with the instance {self.instance} shows those there are.",
            conversation_id=own_id,
        )

    async def discover(self, principal: str) -> Sequence[ConversationRecord]:
        """Return the contexts of the agent's tasks that the store does not know, where the agent lists tasks."""
        if self.missing is not None:
            return ()
        try:
            found = self._contexts(await self._wire.tasks())
        except NotOffered:
            return ()
        known = set((await self._records.newest_in_checkpoints(principal, CONTEXT)).values())
        new = [record for native_id, record in found.items() if native_id not in known]
        return await self._records.unknown(principal, new)

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[MessageRecord]:
        """Return one page of a conversation's messages: those that the store has, and others of the agent's tasks."""
        if query.branch is not None:
            self._refuse(Feature.BRANCHES)
        await self.get(principal, native_id)
        stored = await self._stored_messages(principal, native_id)
        by_id = {message.id: message for message in stored}
        for message in await self._told_messages(principal, native_id, needed=not stored):
            known = by_id.get(message.id)
            if known is None:
                by_id[message.id] = message
            elif known.text is None and known.data is None:  # the store keeps no contents
                by_id[message.id] = replace(message, created_at=known.created_at)
        found = sorted(by_id.values(), key=lambda message: message.created_at or _LONG_AGO)
        items, cursor = message_page(
            found, query, native_id=native_id, id_of=lambda message: message.id, platform=self._title
        )
        return Page(items=items, next_cursor=cursor, total=len(found))

    async def update(
        self, principal: str, native_id: str, changes: ConversationChanges
    ) -> ConversationRecord:
        """Change title, metadata or the archived flag, which the store alone has."""
        before = await self.get(principal, native_id)
        metadata = {**known_or(before.metadata, {}), **(changes.metadata or {})}
        return replace(
            before,
            title=before.title if changes.title is None else changes.title,
            metadata={name: value for name, value in metadata.items() if value is not None},
            archived=before.archived if changes.archived is None else changes.archived,
        )

    def normalize(self, message: Message) -> Message:
        """Refuse what A2A has no place for: a message is a user's text or data, with metadata."""
        if message.role is not Role.USER:
            raise InvalidInputError("A2A takes messages of the role `user` only.", valid=[Role.USER])
        for field in ("type", "parent_id"):
            if getattr(message, field):
                raise InvalidInputError(
                    f"A2A takes no `{field}` with a message.", hint=f"Leave `{field}` out."
                )
        return message

    def check_context(self, context: Mapping[str, Any]) -> None:
        """Refuse any context: what an agent is told beside the text goes into `metadata` or `data` of a message."""
        if context:
            raise InvalidInputError(
                "A2A takes no `context`.", hint="Put it into the message: `text`, `data` or `metadata`."
            )

    async def answer(self, context: RunContext) -> None:
        """Have the agent answer; or find its task again, and report the rest."""
        attempt = Attempt.begin(context, platform=self._title, clock=self._clock)
        contexts = await self._records.newest_in_checkpoints(context.principal, CONTEXT)
        await Answer(self._wire, attempt, contexts.get(attempt.native_id)).produce()

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Answer what a task waits for, in the same task; a rejected authorization stops the task.

        Raises:
            InvalidInputError: a question is to be rejected.
            MovedOnError: the task does not wait for it any more; nothing was sent.
            UncertainError: whether the answer arrived is not known.
        """
        if request.kind is RequestKind.QUESTION and settlement.decision is not Decision.ANSWER:
            raise InvalidInputError(
                "A2A takes an answer to a question, and no refusal.",
                valid=[Decision.ANSWER],
                hint="Answer it, or stop the run with cancel_run.",
                request_id=request.id,
            )
        task_id = str(request.data[mapping.TASK_ID])
        said = settlement.answer if request.kind is RequestKind.QUESTION else AUTHORIZED
        outgoing = OutgoingMessage(
            id=f"m_{request.id}", text=said, context_id=request.data[mapping.CONTEXT_ID], task_id=task_id
        )

        async def is_pending() -> bool:
            task = await self._wire.task(task_id)
            return task.state in mapping.WAITING and task.question_id == request.upstream_id

        async def tell() -> None:
            try:
                if settlement.decision is Decision.REJECT:
                    await self._wire.cancel(task_id)
                else:
                    await self._wire.send(outgoing)
            except NotOffered as error:  # the task has ended since it was looked at
                raise moved_on(request, platform=self._title) from error

        await decide(request, tell, platform=self._title, is_pending=is_pending)

    async def cancel(self, principal: str, run: Run) -> None:
        """Stop the task. Where the agent cannot stop it, the wait for its answer ends.

        Raises:
            MovedOnError: the task has ended.
        """
        checkpoint = await self._records.checkpoint(run, DELIVERED, within=SENDING_SECONDS)
        task_id = checkpoint.get(TASK)
        if task_id is None:
            return
        try:
            await self._wire.cancel(task_id)
        except NotFoundError:
            return
        except (ConflictError, NotOffered) as error:
            if (await self._wire.task(task_id)).state.final:
                raise MovedOnError(
                    f"{self._title} has ended the task of the run {run.id} already.",
                    hint="stream_conversation shows how it ended.",
                    conversation_id=run.conversation_id,
                    run_id=run.id,
                ) from error

    def _contexts(self, tasks: Sequence[Task]) -> Mapping[str, ConversationRecord]:
        """Return the contexts of tasks, by their ids; the newest task comes first."""
        found: dict[str, ConversationRecord] = {}
        for task in tasks:
            if task.context_id is not None and task.context_id not in found:
                found[task.context_id] = ConversationRecord(
                    id=conversation_id(self.instance, task.context_id),
                    agent=self._agent,
                    status=Status.OPEN,
                    updated_at=task.at,
                )
        return found

    async def _stored_messages(self, principal: str, native_id: str) -> Sequence[MessageRecord]:
        found: list[MessageRecord] = []
        query = MessageQuery(limit=_STORE_PAGE)
        while True:
            page = await self._records.messages(principal, native_id, query)
            found += page.items
            if page.next_cursor is None:
                return found
            query = replace(query, cursor=page.next_cursor)

    async def _told_messages(
        self, principal: str, native_id: str, *, needed: bool
    ) -> Sequence[MessageRecord]:
        """Return the messages of the context's tasks, oldest first; none where the agent lists no tasks.

        An agent that cannot be asked is a failure only where the messages are `needed`.
        """
        contexts = await self._records.newest_in_checkpoints(principal, CONTEXT)
        try:
            tasks = await self._wire.tasks(contexts.get(native_id, native_id))
        except NotOffered:
            return ()
        except TertuliaError:
            if needed:
                raise
            return ()
        own_id = conversation_id(self.instance, native_id)
        return [
            message
            for task in reversed(tasks)
            for message in mapping.messages(task, conversation_id=own_id, agent=self._agent, user=_USER)
        ]
