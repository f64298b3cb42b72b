"""`local`: the platform that needs no account. Its conversations are our store's own rows."""

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property, partial
from typing import TYPE_CHECKING

from tertulia.lifecycle import end_run, move
from tertulia.platforms.base import Platform, Work
from tertulia.platforms.local.changes import apply
from tertulia.settings import InstanceSettings
from tertulia.store import conversations, messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.errors import ConflictError, NotFoundError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import conversation_id, split_agent_address
from tertulia.vocabulary.models import (
    Agent,
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    Message,
    Page,
    Rating,
)
from tertulia.vocabulary.states import TRANSITIONS, RunStatus, Status

if TYPE_CHECKING:
    from tertulia.platforms.local.archivist import Archivist

_FEATURES = frozenset(
    {
        Feature.CREATE,
        Feature.GET,
        Feature.LIST,
        Feature.SEARCH,
        Feature.DELETE,
        Feature.SEND,
        Feature.STREAM,
        Feature.RESUME,
        Feature.MESSAGES,
        Feature.TITLE,
        Feature.METADATA,
        Feature.ARCHIVE,
        Feature.STATUS,
        Feature.END,
        Feature.CONFIRM,
        Feature.EDIT_ARGUMENTS,
        Feature.CANCEL,
    }
)


class LocalPlatform(Platform):
    """Conversations in the store, answered by the archivist."""

    kind = "local"
    features = _FEATURES
    kept_here = True

    def __init__(self, instance: str, settings: InstanceSettings, store: Store) -> None:
        super().__init__(instance)
        self._store = store

    @cached_property
    def _archivist(self) -> "Archivist":
        # Imported when somebody asks for it: a host waits for the first tools/list.
        from tertulia.platforms.local.archivist import Archivist

        return Archivist(self._store)

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the archivist."""
        return [
            Agent(
                address=f"{self.instance}:{self._archivist.name}",
                description=self._archivist.description,
                features=self.features,
            )
        ]

    async def create(self, principal: str, draft: ConversationDraft) -> Conversation:
        """Create a conversation under the draft's own id: creating it again finds the first.

        Raises:
            NotFoundError: there is no such agent; names those there are.
        """
        self._know(draft.agent, [agent.address for agent in await self.agents(principal)])
        own_id = conversation_id(self.instance, draft.native_id)
        return await self._store.write(
            lambda tx: conversations.insert(tx, principal, own_id, draft, Status.SUBMITTED)
        )

    async def get(self, principal: str, native_id: str) -> Conversation:
        """Return a conversation."""
        return await self._store.read(
            partial(conversations.get, principal=principal, conversation_id=self._id(native_id))
        )

    async def list(self, principal: str, query: ConversationQuery) -> Page[Conversation]:
        """Return one page of conversations."""
        own = replace(query, instance=self.instance)
        return await self._store.read(lambda tx: conversations.page(tx, principal, own))

    async def messages(
        self,
        principal: str,
        native_id: str,
        *,
        cursor: str | None,
        limit: int,
        newest_first: bool,
        branch: str | None = None,
    ) -> Page[Message]:
        """Return one page of a conversation's messages."""
        if branch is not None:
            self._refuse(Feature.BRANCHES)
        own_id = self._id(native_id)

        def read(tx: Transaction) -> Page[Message]:
            conversations.get(tx, principal, own_id)
            return messages.page(tx, principal, own_id, cursor=cursor, limit=limit, newest_first=newest_first)

        return await self._store.read(read)

    async def update(self, principal: str, native_id: str, changes: ConversationChanges) -> Conversation:
        """Change title, metadata or the archived flag."""
        return await self._store.write(
            partial(apply, principal=principal, own_id=self._id(native_id), changes=changes)
        )

    async def update_status(
        self,
        principal: str,
        native_id: str,
        status: Status,
        *,
        reason: str | None,
        rating: Rating | None = None,
    ) -> Conversation:
        """Move a conversation to another state; an ending stops what is being answered.

        Raises:
            ConflictError: the transition is not allowed, or something has to be settled first.
        """
        own_id = self._id(native_id)

        def update(tx: Transaction) -> Conversation:
            conversation = conversations.get(tx, principal, own_id)
            _allow(conversation, status)
            active = runs.active(tx, principal, own_id)
            if active is not None:
                if not status.terminal:
                    raise ConflictError(
                        f"The conversation {own_id} cannot become {status} while its run {active.id} is "
                        f"{active.status}.",
                        hint=(
                            "Settle what it asks with confirm_tool, or stop it with cancel_run."
                            if active.status is RunStatus.INPUT_REQUIRED
                            else "Wait for it with stream_conversation, or stop it with cancel_run."
                        ),
                        conversation_id=own_id,
                        run_id=active.id,
                    )
                canceled = Event(EventKind.RUN_CANCELED, {"reason": f"the conversation became {status}"})
                end_run(tx, principal, active, RunStatus.CANCELED, canceled)
            return move(tx, principal, own_id, status, reason=reason)

        return await self._store.write(update)

    async def delete(self, principal: str, native_id: str) -> None:
        """Delete a conversation with all that belongs to it."""
        await self._store.write(
            partial(conversations.delete, principal=principal, conversation_id=self._id(native_id))
        )

    def admits(self, conversation: Conversation) -> None:
        """Refuse messages to a conversation that is paused or over."""
        if conversation.status is Status.PAUSED:
            raise ConflictError(
                f"The conversation {conversation.id} is paused.",
                hint="Open it with update_status (status `open`), then send again.",
                conversation_id=conversation.id,
            )
        if conversation.status.terminal:
            raise ConflictError(
                f"The conversation {conversation.id} is {conversation.status}, which is final.",
                hint="Start a new one with create_conversation.",
                conversation_id=conversation.id,
            )

    def prepare(self, message: Message) -> Message:
        """Mark what the archivist takes as a command, so that it never finds its own instructions."""
        return self._archivist.prepare(message)

    async def answer(self, work: Work) -> None:
        """Have the archivist answer."""
        await self._archivist.answer(work)

    def _id(self, native_id: str) -> str:
        return conversation_id(self.instance, native_id)

    def _know(self, address: str, known: Sequence[str]) -> None:
        if address in known:
            return
        _, name = split_agent_address(address)
        near = get_close_matches(name, [split_agent_address(agent)[1] for agent in known], n=1)
        raise NotFoundError(
            f"There is no agent {address}." + (f" Did you mean {self.instance}:{near[0]}?" if near else ""),
            valid=known,
            hint="list_agents shows who can be talked to.",
            agent=address,
        )


def _allow(conversation: Conversation, status: Status) -> None:
    allowed = sorted(TRANSITIONS[conversation.status])
    if status not in allowed:
        raise ConflictError(
            f"The conversation {conversation.id} is {conversation.status} and cannot become {status}.",
            valid=allowed,
            hint=None
            if allowed
            else f"{conversation.status} is final: start a new one with create_conversation.",
            conversation_id=conversation.id,
        )
