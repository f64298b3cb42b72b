"""`acp`: conversations with an agent program on this machine. They are kept in the store; the sessions, by the agent.

A conversation is recorded at once, and its session opened by the worker when the first message is answered. The
conversation's `source` is the folder in which its agent works, and its `source_ref` the agent's id of the session.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tertulia.platforms.acp.answering import Answer, check_message
from tertulia.platforms.acp.nesting import check_chain, with_chain
from tertulia.platforms.acp.sessions import AgentHost
from tertulia.platforms.acp.settings import AGENT, PLATFORM, find_program, read_settings
from tertulia.platforms.base import Capabilities, Execution, Histories, Platform, RunContext
from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.directory import listed, no_such_agent
from tertulia.platforms.kit.records import Records
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import (
    Agent,
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationRecord,
    Message,
    MessageQuery,
    Page,
    Role,
)
from tertulia.vocabulary.states import Status

MESSAGE_CONTEXT = ("mode", "model", "options")
"""What the context of a message may name, and what can be changed in that of a conversation."""
CONTEXT = ("cwd", *MESSAGE_CONTEXT)
"""What the context of a conversation may name."""


class AcpPlatform(Platform):
    """Conversations with the agent of one instance."""

    kind = "acp"
    features = frozenset(
        {
            Feature.CREATE,
            Feature.GET,
            Feature.DELETE,
            Feature.SEND,
            Feature.STREAM,
            Feature.RESUME,
            Feature.MESSAGES,
            Feature.TITLE,
            Feature.METADATA,
            Feature.CONTEXT,
            Feature.ARCHIVE,
            Feature.CONFIRM,
            Feature.CANCEL,
        }
    )
    capabilities = Capabilities(execution=Execution.WORKER)

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._settings, missing = read_settings(instance, settings)
        super().__init__(instance, missing=missing)
        self.transcripts = self._settings.transcripts
        self._environment = settings.environment
        self._records = Records(store, instance)
        self._host = AgentHost(self._settings, clock)
        self._clock = clock
        self._agent = f"{instance}:{AGENT}"

    async def serve(self) -> None:
        """Keep the agent's program, for as long as this process is the worker."""
        await self._host.serve()

    @asynccontextmanager
    async def histories(self) -> AsyncGenerator[Histories]:
        """Give the agent's own sessions: its program runs for as long as they are read."""
        from tertulia.platforms.acp.histories import agent_histories  # for a sync alone

        async with agent_histories(self._settings, self._records, self._clock) as histories:
            yield histories

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the agent, without starting its program."""
        hint = self.missing
        if hint is None and find_program(self._settings.command, self._settings.environment) is None:
            hint = self._settings.how_to_install
        folders = ", ".join(map(str, self._settings.folders))
        description = (
            f"{self._settings.title} on this machine, in {folders or 'no folder yet'}. "
            f"{self._settings.where_to_begin}{'' if self._settings.mode is None else ' It asks before it acts.'}"
        )
        return listed(self.instance, [(AGENT, description)], features=self.features, hint=hint)

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        """Record a conversation; the worker opens its session with the first message.

        Raises:
            NotFoundError: there is no such agent.
            InvalidInputError: the context names no folder that the configuration allows.
        """
        if draft.agent != self._agent:
            raise no_such_agent(draft.agent, [self._agent])
        self._takes_none_of("entity_type", "source", "source_ref", "participants", draft=draft)
        context = draft.context or {}
        self._settings.check_options(context, names=CONTEXT)
        return Conversation(
            id=conversation_id(self.instance, draft.native_id),
            agent=self._agent,
            status=Status.SUBMITTED,
            title=draft.title,
            metadata=draft.metadata,
            context=context,
            source=str(self._settings.folder(context)),
            message_count=0,
        )

    async def get(self, principal: str, native_id: str) -> Conversation:
        """Return a conversation as the store has it."""
        found = await self._records.conversation(principal, native_id)
        if found is None:
            own_id = conversation_id(self.instance, native_id)
            raise NotFoundError(
                f"There is no conversation {own_id}.",
                hint="Find it with list_conversations or search_conversations.",
                conversation_id=own_id,
            )
        return found

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of a conversation's messages, as the store has them."""
        await self.get(principal, native_id)
        return await self._records.messages(principal, native_id, query)

    async def update(self, principal: str, native_id: str, changes: ConversationChanges) -> Conversation:
        """Change title, metadata, archived flag, or the context: what the next message is answered with."""
        before = await self.get(principal, native_id)
        changed = dict(changes.context or {})
        self._settings.check_options(_without_nulls(changed), names=MESSAGE_CONTEXT)
        known = before.context or {}
        if changed.get("options") is not None:
            changed["options"] = _without_nulls({**known.get("options", {}), **changed["options"]})
        return replace(
            before,
            title=before.title if changes.title is None else changes.title,
            metadata=_without_nulls({**before.metadata, **(changes.metadata or {})}),
            context=_without_nulls({**known, **changed}) if changed else before.context,
            archived=before.archived if changes.archived is None else changes.archived,
        )

    async def delete(self, principal: str, native_id: str) -> None:
        """Let a conversation be deleted from the store; the agent keeps its own session."""
        await self.get(principal, native_id)

    def check_can_send(self, conversation: Conversation) -> None:
        """Refuse an agent that would talk to itself, or through too many others."""
        check_chain(self._environment, conversation.id)

    def normalize(self, message: Message) -> Message:
        """Refuse what no agent takes: a message is a user's text, with links and images in `data`."""
        if message.role is not Role.USER:
            raise InvalidInputError(f"{PLATFORM} takes messages of the role `user` only.", valid=[Role.USER])
        for field in ("type", "parent_id"):
            if getattr(message, field):
                raise InvalidInputError(f"{PLATFORM} takes no `{field}` with a message.")
        check_message(message, self._settings)
        return replace(message, metadata=with_chain(self._environment, message.metadata))

    def check_context(self, context: Mapping[str, Any]) -> None:
        """Refuse a context that names anything but an allowed mode, a model and options."""
        self._settings.check_options(context, names=MESSAGE_CONTEXT)

    async def answer(self, context: RunContext) -> None:
        """Have the agent answer; or read what became of a run whose agent is gone."""
        attempt = Attempt.begin(context, platform=self._settings.title, clock=self._clock)
        await Answer(self._host, self._settings, self._records, attempt).produce()


def _without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
