"""`local`: the platform that needs no account. Its conversations are our store's own rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from tertulia.platforms.base import Admission, EmbeddedPlatform, EmbeddedRunContext
from tertulia.platforms.kit.directory import no_such_agent
from tertulia.platforms.kit.options import Options
from tertulia.platforms.local.changes import apply, rate, rate_ended
from tertulia.platforms.local.idle import IdleEnding
from tertulia.platforms.local.mailboxes import admit, agents
from tertulia.platforms.local.roles import check_moves, check_writes, invite
from tertulia.platforms.local.writing import add, change, remove_branch
from tertulia.settings import USER, InstanceSettings, address_of
from tertulia.store import analytics, branches, conversations, messages, participants, runs
from tertulia.store.database import Store, Transaction
from tertulia.store.transitions import end_run, move
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import ConflictError, InvalidInputError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import checked_mailbox, conversation_id
from tertulia.vocabulary.models import (
    Agent,
    Analytics,
    Branch,
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    Message,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    Page,
    Participant,
    ParticipantRole,
    Rating,
    Run,
)
from tertulia.vocabulary.states import TRANSITIONS, RunStatus, Status

if TYPE_CHECKING:
    from tertulia.platforms.local.archivist import Archivist

T = TypeVar("T")

ARCHIVIST = "archivist"
"""The name of the agent that is always there (`tertulia.platforms.local.archivist`)."""

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
        Feature.ADD_MESSAGE,
        Feature.UPDATE_MESSAGE,
        Feature.BRANCHES,
        Feature.REMOVE_BRANCH,
        Feature.PARTICIPANTS,
        Feature.INVITE,
        Feature.TITLE,
        Feature.METADATA,
        Feature.ARCHIVE,
        Feature.STATUS,
        Feature.END,
        Feature.RATING,
        Feature.RATE_MESSAGE,
        Feature.GENERATE_TITLE,
        Feature.ANALYTICS,
        Feature.CONFIRM,
        Feature.EDIT_ARGUMENTS,
        Feature.CANCEL,
    }
)


_OF_MAILBOXES = _FEATURES - {Feature.CONFIRM, Feature.EDIT_ARGUMENTS, Feature.STREAM}
"""A person, or another host, answers: with a whole message, and without asking for approvals."""


class LocalPlatform(EmbeddedPlatform):
    """Conversations in the store, answered by the archivist, or by whoever serves under the name of a mailbox."""

    kind = "local"
    features = _FEATURES

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        super().__init__(instance)
        self._clock = clock
        options = Options(instance, settings)
        self._configured = tuple(map(checked_mailbox, options.names("mailboxes")))
        idle = options.duration("end_after_idle")
        options.finish()
        self._identity = None if settings.identity is None else checked_mailbox(settings.identity)
        self._store = store
        self._idle = None if idle is None else IdleEnding(instance, idle)
        self.maintenance_interval = None if self._idle is None else self._idle.every_seconds

    @cached_property
    def _archivist(self) -> "Archivist":
        # Imported when somebody asks for it: a host waits for the first tools/list.
        from tertulia.platforms.local.archivist import Archivist

        return Archivist(self._store)

    async def announce(self, principal: str) -> None:
        """Register the name under which this process serves."""
        if self._identity is not None:
            await self._store.write(partial(self._register, principal=principal))

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the archivist, and the mailboxes."""
        registered: Sequence[participants.Mailbox] = ()
        if self._store.path.exists():  # else nobody has registered, and asking must not make a file
            registered = await self._store.read(partial(participants.mailboxes, principal=principal))
        archivist = Agent(
            address=self._archivist_address,
            description=self._archivist.description,
            features=self.features,
        )
        return [archivist, *agents(self.instance, _OF_MAILBOXES, self._configured, registered)]

    async def maintain(self) -> None:
        """End the conversations that were idle for too long."""
        if self._idle is not None:
            await self._idle.end(self._store)

    async def create(self, principal: str, draft: ConversationDraft) -> Conversation:
        """Create a conversation under the draft's own id: creating it again finds the first.

        Raises:
            NotFoundError: there is no such agent; names those there are.
        """
        me = self._me(principal)
        known = [agent.address for agent in await self.agents(principal)]
        for address in (draft.agent, *draft.participants):
            self._know(address, known if address == draft.agent else [*known, USER])
        if draft.agent == me:
            raise InvalidInputError(
                f"{me} is who is writing.", valid=[each for each in known if each != me], agent=draft.agent
            )
        own_id = conversation_id(self.instance, draft.native_id)

        def create(tx: Transaction) -> Conversation:
            if conversations.known(tx, principal, own_id):
                return conversations.get(tx, principal, own_id)
            self._register(tx, principal)
            conversations.insert(tx, principal, own_id, draft, Status.SUBMITTED)
            participants.enter(tx, principal, own_id, me, ParticipantRole.INITIATOR)
            participants.enter(tx, principal, own_id, draft.agent, ParticipantRole.RESPONDER)
            if draft.participants:
                invite(tx, principal, own_id, me, draft.participants)
            return conversations.get(tx, principal, own_id)

        return await self._store.write(create)

    async def get(self, principal: str, native_id: str) -> Conversation:
        """Return a conversation."""
        await self.maintain()
        return await self._store.read(
            partial(conversations.get, principal=principal, conversation_id=self._id(native_id))
        )

    async def list(self, principal: str, query: ConversationQuery) -> Page[Conversation]:
        """Return one page of conversations."""
        await self.maintain()
        own = replace(query, instance=self.instance)
        return await self._store.read(lambda tx: conversations.page(tx, principal, own))

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of the messages of a query.branch of a conversation."""
        own_id = self._id(native_id)

        def read(tx: Transaction) -> Page[Message]:
            conversations.get(tx, principal, own_id)
            return messages.page(
                tx,
                principal,
                own_id,
                cursor=query.cursor,
                limit=query.limit,
                newest_first=query.newest_first,
                branch=query.branch,
            )

        return await self._store.read(read)

    async def branches(self, principal: str, native_id: str) -> Sequence[Branch]:
        """Return the branches of a conversation, oldest first."""
        return await self._read(principal, native_id, branches.all_of)

    async def remove_branch(self, principal: str, native_id: str, branch_id: str) -> None:
        """Remove a branch, with the messages that no other branch has.

        Raises:
            ConflictError: it is the only one, or an answer is being produced.
        """
        await self._write(
            principal, native_id, lambda tx, own_id: remove_branch(tx, principal, own_id, branch_id)
        )

    async def participants(self, principal: str, native_id: str) -> Sequence[Participant]:
        """Return who takes part in a conversation."""
        return await self._read(principal, native_id, participants.all_of)

    async def invite(
        self, principal: str, native_id: str, participants: Mapping[str, ParticipantRole | None]
    ) -> Sequence[Participant]:
        """Let people in, or go: see `tertulia.platforms.local.roles`.

        Raises:
            NotFoundError: there is nobody of that name; names those there are.
        """
        own_id, me = self._id(native_id), self._me(principal)
        known = [agent.address for agent in await self.agents(principal)]
        for address, role in participants.items():
            if role is not None:
                self._know(address, [*known, USER])

        def let_in(tx: Transaction) -> Sequence[Participant]:
            conversations.get(tx, principal, own_id)
            return invite(tx, principal, own_id, me, participants)

        return await self._store.write(let_in)

    async def add_message(
        self, principal: str, native_id: str, draft: MessageDraft, *, repeated: bool
    ) -> Message:
        """Add a message that starts no answer."""

        def write(tx: Transaction, own_id: str) -> Message:
            self.check_can_send(conversations.get(tx, principal, own_id))
            return add(tx, principal, own_id, self._me(principal), draft)

        return await self._write(principal, native_id, write)

    async def update_message(
        self, principal: str, native_id: str, message_id: str, changes: MessageChanges
    ) -> Message:
        """Change a message's metadata, or write it anew on a branch of its own: see `local.writing`."""

        def write(tx: Transaction, own_id: str) -> Message:
            if changes.text is not None:
                self.check_can_send(conversations.get(tx, principal, own_id))
            return change(tx, principal, own_id, self._me(principal), message_id, changes)

        return await self._write(principal, native_id, write)

    async def analytics(self, principal: str, native_id: str) -> Analytics:
        """Return the figures about a conversation."""
        return await self._read(principal, native_id, analytics.of_conversation)

    async def rate_message(self, principal: str, native_id: str, message_id: str, rating: Rating) -> Message:
        """Rate a message; the last rating counts."""
        return await self._write(
            principal, native_id, lambda tx, own_id: rate(tx, principal, own_id, message_id, rating)
        )

    async def generate_title(
        self, principal: str, native_id: str, *, seed_message: str | None, force: bool
    ) -> Conversation:
        """Make a title out of words of `seed_message`, or of the conversation's beginning, without a model.

        Raises:
            ConflictError: nothing was said yet that a title could be made from.
        """
        # Imported when somebody asks for it: a host waits for the first tools/list.
        from tertulia.platforms.local.titles import entitle

        return await self._write(
            principal, native_id, lambda tx, own_id: entitle(tx, principal, own_id, seed_message, force=force)
        )

    async def update(self, principal: str, native_id: str, changes: ConversationChanges) -> Conversation:
        """Change title, metadata or the archived flag."""
        return await self._write(
            principal, native_id, lambda tx, own_id: apply(tx, principal, own_id, changes)
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

        One that is over and was not rated can still be rated, by ending it alike.

        Raises:
            ConflictError: the transition is not allowed, or something has to be settled first.
        """
        own_id = self._id(native_id)
        await self.maintain()

        def update(tx: Transaction) -> Conversation:
            conversation = conversations.get(tx, principal, own_id)
            check_moves(tx, principal, own_id, self._me(principal))
            if rating is not None and conversation.status is status and conversation.rating is None:
                return rate_ended(tx, principal, own_id, rating)
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
            return move(tx, principal, own_id, status, reason=reason, rating=rating)

        return await self._store.write(update)

    async def delete(self, principal: str, native_id: str) -> None:
        """Delete a conversation with all that belongs to it."""
        await self._write(
            principal, native_id, lambda tx, own_id: conversations.delete(tx, principal, own_id)
        )

    def check_can_send(self, conversation: Conversation) -> None:
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

    def admit(
        self,
        tx: Transaction,
        principal: str,
        conversation: Conversation,
        message: Message,
        active: Run | None,
    ) -> Admission:
        """Put a message in its place: for the archivist, or for a mailbox (see `local.mailboxes`).

        What the archivist takes as a command is marked, so that it never finds its own instructions.

        Raises:
            NotAllowedError: its author may not write there.
            ConflictError: nobody answers there.
        """
        check_writes(tx, principal, conversation.id, message.author)
        self._register(tx, principal)
        at_once = self._answers_at_once(conversation.agent)
        if at_once and active is not None:  # it is refused: an agent answers one message at a time
            return Admission(message=message, agent=conversation.agent)
        place = branches.place(tx, principal, conversation.id, message.parent_id)
        message = replace(message, parent_id=place.parent_id, branch=place.branch)
        if at_once:
            return Admission(message=self._for_agent(message), agent=conversation.agent)
        return admit(tx, principal, conversation, message, active)

    def produces_answer(self, run: Run) -> bool:
        """Whether the archivist answers: a message in a mailbox waits for a message of the mailbox's owner."""
        return self._answers_at_once(run.agent)

    async def answer_in_store(self, context: EmbeddedRunContext) -> None:
        """Let the archivist answer."""
        await self._archivist.answer(context)

    async def cancel(self, principal: str, run: Run) -> None:
        """Nobody has to be told: whoever works on a run that was ended can write nothing more."""

    @property
    def _archivist_address(self) -> str:
        return f"{self.instance}:{ARCHIVIST}"

    def _answers_at_once(self, agent: str | None) -> bool:
        return agent == self._archivist_address

    def _for_agent(self, message: Message) -> Message:
        return self._archivist.mark(message)

    def _register(self, tx: Transaction, principal: str) -> None:
        """Whoever has a name and writes can be written to."""
        if self._identity is not None:
            participants.register(tx, principal, self._identity)

    def _me(self, principal: str) -> str:
        return address_of(principal, self._identity)

    async def _read(self, principal: str, native_id: str, read: Callable[[Transaction, str, str], T]) -> T:
        own_id = self._id(native_id)

        def look(tx: Transaction) -> T:
            conversations.get(tx, principal, own_id)
            return read(tx, principal, own_id)

        return await self._store.read(look)

    async def _write(self, principal: str, native_id: str, change: Callable[[Transaction, str], T]) -> T:
        """Have a conversation changed by who may write there."""
        own_id, me = self._id(native_id), self._me(principal)
        await self.maintain()

        def write(tx: Transaction) -> T:
            conversations.get(tx, principal, own_id)
            check_writes(tx, principal, own_id, me)
            return change(tx, own_id)

        return await self._store.write(write)

    def _id(self, native_id: str) -> str:
        return conversation_id(self.instance, native_id)

    def _know(self, address: str, known: Sequence[str]) -> None:
        if address not in known:
            hint = "list_agents shows who can be talked to; serving with --as NAME makes a name known."
            raise no_such_agent(address, known, hint=hint)


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
