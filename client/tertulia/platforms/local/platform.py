"""`local`: the platform that needs no account. Its conversations are rows of the store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from tertulia.platforms.base import Admission, CallNotes, EmbeddedPlatform, EmbeddedRunContext
from tertulia.platforms.kit.directory import no_such_agent
from tertulia.platforms.kit.options import Options
from tertulia.platforms.kit.states import check_accepts, no_transition
from tertulia.platforms.local.changes import (
    add_message,
    rate_ended_conversation,
    rate_message,
    remove_branch,
    update_conversation,
    update_message,
)
from tertulia.platforms.local.idle import IdleEnding
from tertulia.platforms.local.mailboxes import admit, agents
from tertulia.platforms.local.roles import check_can_change_status, check_can_write, invite
from tertulia.settings import USER, InstanceSettings, address_of
from tertulia.store import (
    analytics,
    branches,
    conversation_pages,
    conversations,
    messages,
    participants,
    runs,
)
from tertulia.store.database import Store, Transaction
from tertulia.store.transitions import end_run, move
from tertulia.vocabulary import identifiers
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import ConflictError, InvalidInputError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import checked_mailbox
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
    StatusChange,
)
from tertulia.vocabulary.states import TRANSITIONS, RunStatus, Status

if TYPE_CHECKING:
    from tertulia.platforms.local.archivist import Archivist
    from tertulia.platforms.local.models.agents import ModelAgents

T = TypeVar("T")

_INSTEAD = " with create_conversation."
""""Start a new one", and how: the end of the hint for a conversation that accepts no message any more."""

ARCHIVIST = "archivist"
"""The name of the agent that is always there (`tertulia.platforms.local.archivist`)."""

AGENTS = "agents"
"""The option with the model agents by name (`[agents.NAME]` of the configuration file)."""

_FEATURES = frozenset(Feature) - {Feature.RESTORE, Feature.QUESTIONS}
_MAILBOX_FEATURES = _FEATURES - {Feature.CONFIRM, Feature.EDIT_ARGUMENTS, Feature.STREAM}
"""A person or another host answers: with a whole message, and without asking for approvals."""


class LocalPlatform(EmbeddedPlatform):
    """Conversations in the store, answered by the archivist, by a model, or by the owner of a mailbox."""

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
        described = options.table(AGENTS)
        options.finish()
        self._identity = None if settings.identity is None else checked_mailbox(settings.identity)
        self._store = store
        self._models = _model_agents(instance, described, settings, store, clock) if described else None
        if self._models is not None:
            self._models.check_names(
                dict.fromkeys(self._configured, f"`mailboxes` of [instances.{instance}]")
                | ({} if self._identity is None else {self._identity: f"--as {self._identity}"})
            )
        self._idle = None if idle is None else IdleEnding(instance, idle)
        self.maintenance_interval = None if self._idle is None else self._idle.interval_seconds

    @cached_property
    def _archivist(self) -> "Archivist":
        # Imported when it is first needed: a host waits for the first tools/list.
        from tertulia.platforms.local.archivist import Archivist

        return Archivist(self._store)

    async def announce(self, principal: str) -> None:
        """Register this process's mailbox name."""
        if self._models is not None and self._store.exists():
            registered = await self._store.read(partial(participants.mailboxes, principal=principal))
            self._models.check_names(
                {one.name: f"a server that ran with --as {one.name}" for one in registered}
            )
        if self._identity is not None:
            await self._store.write(partial(self._register, principal=principal), principal=principal)

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the archivist, the model agents and the mailboxes."""
        registered: Sequence[participants.Mailbox] = ()
        if self._store.exists():  # reading must not create the store's file
            registered = await self._store.read(partial(participants.mailboxes, principal=principal))
        archivist = Agent(
            address=self._archivist_address,
            description=self._archivist.description,
            features=self.features,
        )
        models = () if self._models is None else self._models.agents(principal, self.features)
        return [archivist, *models, *agents(self.instance, _MAILBOX_FEATURES, self._configured, registered)]

    async def maintain(self) -> None:
        """End the conversations that were idle for too long."""
        if self._idle is not None:
            await self._idle.end(self._store)

    async def create(self, principal: str, draft: ConversationDraft) -> Conversation:
        """Create a conversation under the draft's id; return an existing one that has it.

        Raises:
            NotFoundError: there is no such agent or participant; the error names those there are.
        """
        me = self._me(principal)
        known = [agent.address for agent in await self.agents(principal)]
        others = [address for address in known if address != me]
        if draft.agent == me:
            raise InvalidInputError(f"You are {me}: write to somebody else.", valid=others, agent=draft.agent)
        self._check_known(draft.agent, others)
        for address in draft.participants:
            self._check_known(address, [*known, USER])
        conversation_id = self._id(draft.native_id)

        def create(tx: Transaction) -> Conversation:
            if conversations.known(tx, principal, conversation_id):
                return conversations.get(tx, principal, conversation_id)
            self._register(tx, principal)
            conversations.insert(tx, principal, conversation_id, draft, Status.SUBMITTED)
            participants.enter(tx, principal, conversation_id, me, ParticipantRole.INITIATOR)
            participants.enter(tx, principal, conversation_id, draft.agent, ParticipantRole.RESPONDER)
            if draft.participants:
                invite(tx, principal, conversation_id, me, draft.participants)
            return conversations.get(tx, principal, conversation_id)

        return await self._store.write(create, principal=principal)

    async def get(self, principal: str, native_id: str) -> Conversation:
        """Return a conversation."""
        await self.maintain()
        conversation_id = self._id(native_id)
        return await self._store.read(lambda tx: conversations.get(tx, principal, conversation_id))

    async def list(self, principal: str, query: ConversationQuery) -> Page[Conversation]:
        """Return one page of conversations."""
        await self.maintain()
        query = replace(query, instance=self.instance)
        return await self._store.read(partial(conversation_pages.page, principal=principal, query=query))

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of the messages of a branch of a conversation."""
        return await self._read(principal, native_id, partial(messages.page, query=query))

    async def branches(self, principal: str, native_id: str) -> Sequence[Branch]:
        """Return the branches of a conversation, oldest first."""
        return await self._read(principal, native_id, branches.all_of)

    async def remove_branch(self, principal: str, native_id: str, branch_id: str) -> None:
        """Remove a branch, with the messages that no other branch has.

        Raises:
            ConflictError: it is the only branch, or a run is active.
        """
        await self._write(principal, native_id, partial(remove_branch, branch=branch_id))

    async def participants(self, principal: str, native_id: str) -> Sequence[Participant]:
        """Return the participants of a conversation."""
        return await self._read(principal, native_id, participants.all_of)

    async def invite(
        self, principal: str, native_id: str, participants: Mapping[str, ParticipantRole | None]
    ) -> Sequence[Participant]:
        """Invite participants, change their roles or remove them (see `local.roles`).

        Raises:
            NotFoundError: nobody has the address; the error names those who can be invited.
        """
        conversation_id, me = self._id(native_id), self._me(principal)
        known = [agent.address for agent in await self.agents(principal)]
        for address, role in participants.items():
            if role is not None:
                self._check_known(address, [*known, USER])

        def change(tx: Transaction) -> Sequence[Participant]:
            conversations.get(tx, principal, conversation_id)
            return invite(tx, principal, conversation_id, me, participants)

        return await self._store.write(change, principal=principal)

    async def add_message(
        self, principal: str, native_id: str, draft: MessageDraft, notes: CallNotes
    ) -> Message:
        """Add a message that nobody answers."""

        def write(tx: Transaction, principal: str, conversation_id: str) -> Message:
            self.check_can_send(conversations.get(tx, principal, conversation_id))
            return add_message(tx, principal, conversation_id, self._me(principal), draft)

        return await self._write(principal, native_id, write)

    async def update_message(
        self, principal: str, native_id: str, message_id: str, changes: MessageChanges
    ) -> Message:
        """Change a message's metadata in place, or its text in a new message on a new branch."""

        def write(tx: Transaction, principal: str, conversation_id: str) -> Message:
            if changes.text is not None:
                self.check_can_send(conversations.get(tx, principal, conversation_id))
            return update_message(tx, principal, conversation_id, self._me(principal), message_id, changes)

        return await self._write(principal, native_id, write)

    async def analytics(self, principal: str, native_id: str) -> Analytics:
        """Return the statistics of a conversation."""
        return await self._read(principal, native_id, analytics.of_conversation)

    async def rate_message(self, principal: str, native_id: str, message_id: str, rating: Rating) -> Message:
        """Rate a message; the last rating counts."""
        rate = partial(rate_message, message_id=message_id, rating=rating)
        return await self._write(principal, native_id, rate)

    async def generate_title(
        self, principal: str, native_id: str, *, seed_message: str | None, force: bool
    ) -> Conversation:
        """Make a title from `seed_message` or from the conversation's first messages, without a model.

        Raises:
            ConflictError: the conversation has no words yet.
        """
        # Imported when it is first needed: a host waits for the first tools/list.
        from tertulia.platforms.local.titles import generate_title

        generate = partial(generate_title, seed_message=seed_message, force=force)
        return await self._write(principal, native_id, generate)

    async def update(self, principal: str, native_id: str, changes: ConversationChanges) -> Conversation:
        """Change title, metadata or the archived flag."""
        return await self._write(principal, native_id, partial(update_conversation, changes=changes))

    async def update_status(self, principal: str, native_id: str, change: StatusChange) -> Conversation:
        """Change a conversation's status; ending it cancels its active run.

        A conversation that has ended can be rated once by a change to the status that it has.

        Raises:
            ConflictError: the change is not allowed, or a run is active.
        """
        conversation_id = self._id(native_id)
        status = change.status
        await self.maintain()

        def update(tx: Transaction) -> Conversation:
            conversation = conversations.get(tx, principal, conversation_id)
            check_can_change_status(tx, principal, conversation_id, self._me(principal))
            rating = change.rating
            if rating is not None and conversation.status is status and conversation.rating is None:
                return rate_ended_conversation(tx, principal, conversation_id, rating)
            if status not in TRANSITIONS[conversation.status]:
                raise no_transition(conversation_id, conversation.status, status, where="", instead=_INSTEAD)
            active = runs.active(tx, principal, conversation_id)
            if active is not None:
                if not status.terminal:
                    raise _still_active(active, status)
                canceled = Event(EventKind.RUN_CANCELED, {"reason": f"the conversation became {status}"})
                end_run(tx, principal, active, RunStatus.CANCELED, canceled)
            move(tx, principal, conversation_id, status, reason=change.reason, rating=change.rating)
            return conversations.get(tx, principal, conversation_id)

        return await self._store.write(update, principal=principal)

    async def delete(self, principal: str, native_id: str) -> None:
        """Delete a conversation with everything that belongs to it, and what the archivist has quoted of it."""

        def delete(tx: Transaction, principal: str, conversation_id: str) -> None:
            conversations.delete(tx, principal, conversation_id)
            self.forget(tx, principal, conversation_id)

        while await self._write(principal, native_id, conversations.clear_next):
            await self._clock.tick(conversations.CLEARING_PAUSE)
        await self._write(principal, native_id, delete)

    def forget(self, tx: Transaction, principal: str, conversation_id: str) -> None:
        """Withdraw what the archivist has quoted of a conversation."""
        from tertulia.platforms.local.archivist import withdraw_quotes

        withdraw_quotes(tx, principal, conversation_id)

    def check_can_send(self, conversation: Conversation) -> None:
        """Refuse messages to a conversation that is paused or has ended."""
        check_accepts(conversation, instead=_INSTEAD)

    def admit(
        self,
        tx: Transaction,
        principal: str,
        conversation: Conversation,
        message: Message,
        active: Run | None,
    ) -> Admission:
        """Place a message in a conversation with the archivist, or with a mailbox (see `local.mailboxes`).

        The archivist's commands are marked, so that its searches do not find them.

        Raises:
            NotAllowedError: the author may not write in the conversation.
            ConflictError: the conversation has nobody who could answer.
        """
        check_can_write(tx, principal, conversation.id, message.author)
        self._register(tx, principal)
        at_once = self._answers_at_once(conversation.agent)
        if self._models is not None:
            self._models.check_can_answer(principal, conversation.agent)
        if at_once and active is not None:  # the caller refuses it: an agent answers one message at a time
            return Admission(message=message, agent=conversation.agent)
        place = branches.place(tx, principal, conversation.id, message.parent_id)
        message = replace(message, parent_id=place.parent_id, branch=place.branch)
        if conversation.agent == self._archivist_address:
            message = self._archivist.mark(message)
        if at_once:
            return Admission(message=message, agent=conversation.agent)
        return admit(tx, principal, conversation, message, active)

    def produces_answer(self, agent: str | None) -> bool:
        """Whether it is an agent that answers: a run of a mailbox waits for a message of its owner."""
        return self._answers_at_once(agent)

    async def answer_in_store(self, context: EmbeddedRunContext) -> None:
        """Have the archivist answer, or a model."""
        if self._models is not None and context.run.agent in self._models:
            await self._models.answer(context)
        else:
            await self._archivist.answer(context)

    async def cancel(self, principal: str, run: Run) -> None:
        """Do nothing: a process that executes a run cannot write for it any more once the run has ended."""

    @property
    def _archivist_address(self) -> str:
        return f"{self.instance}:{ARCHIVIST}"

    def _answers_at_once(self, agent: str | None) -> bool:
        return agent == self._archivist_address or (self._models is not None and agent in self._models)

    def _register(self, tx: Transaction, principal: str) -> None:
        """Register this process's mailbox, if it has one: who writes can be written to."""
        if self._identity is not None:
            participants.register(tx, principal, self._identity)

    def _me(self, principal: str) -> str:
        return address_of(principal, self._identity)

    async def _read(self, principal: str, native_id: str, read: Callable[[Transaction, str, str], T]) -> T:
        conversation_id = self._id(native_id)

        def check_and_read(tx: Transaction) -> T:
            conversations.get(tx, principal, conversation_id)
            return read(tx, principal, conversation_id)

        return await self._store.read(check_and_read)

    async def _write(self, principal: str, native_id: str, change: Callable[[Transaction, str, str], T]) -> T:
        """Change a conversation in which this principal may write."""
        conversation_id, me = self._id(native_id), self._me(principal)
        await self.maintain()

        def write(tx: Transaction) -> T:
            conversations.get(tx, principal, conversation_id)
            check_can_write(tx, principal, conversation_id, me)
            return change(tx, principal, conversation_id)

        return await self._store.write(write, principal=principal)

    def _id(self, native_id: str) -> str:
        return identifiers.conversation_id(self.instance, native_id)

    def _check_known(self, address: str, known: Sequence[str]) -> None:
        if address not in known:
            hint = "list_agents shows who can be talked to; serving with --as NAME makes a name known."
            raise no_such_agent(address, known, hint=hint)


def _model_agents(
    instance: str, tables: Mapping[str, Any], settings: InstanceSettings, store: Store, clock: Clock
) -> "ModelAgents":
    # Imported only where a model agent is configured: a host waits for the first tools/list.
    from tertulia.platforms.local.models.agents import ModelAgents

    return ModelAgents(instance, tables, settings, store, clock)


def _still_active(run: Run, status: Status) -> ConflictError:
    return ConflictError(
        f"The conversation {run.conversation_id} cannot become {status} while its run {run.id} is {run.status}.",
        hint=(
            "Settle what it asks with confirm_tool, or stop it with cancel_run."
            if run.status is RunStatus.INPUT_REQUIRED
            else "Wait for it with stream_conversation, or stop it with cancel_run."
        ),
        conversation_id=run.conversation_id,
        run_id=run.id,
    )
