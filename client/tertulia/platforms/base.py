"""The seam between the client and a platform.

A platform subclasses `Platform`. It speaks its wire and maps what it reads onto the vocabulary. It has no table in the
store: it reports an answer to a `RunContext`, which journals it. Each call that a platform does not override raises
`NotOffered`, so a platform declares in `features` exactly the calls that it overrides: `offers` does that for it.
`Capabilities` says how the client must treat it.

`EmbeddedPlatform` adds what only the store's own platform does: it takes part in the store's transactions.

The argument `principal` says for whom a call is made. Most platforms know one account, that of the configuration.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol, TypeVar

from tertulia.settings import DEFAULT_LIMITS
from tertulia.vocabulary.errors import InvalidInputError, MovedOnError, NotOffered
from tertulia.vocabulary.events import Event, JournalEntry
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import new_id
from tertulia.vocabulary.models import (
    Agent,
    Analytics,
    Branch,
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    Message,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    MessageRecord,
    Page,
    Participant,
    ParticipantRole,
    Rating,
    Request,
    RequestDraft,
    Run,
    SearchQuery,
    SearchResult,
    Settlement,
    StatusChange,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.untrusted import named

if TYPE_CHECKING:
    from tertulia.store.database import Transaction


class ChangedRequestError(MovedOnError):
    """Raised by `Platform.settle` when the platform asks something else now, under the same id; nothing was decided."""

    def __init__(self, message: str, *, now: RequestDraft, **options: Any) -> None:
        super().__init__(message, **options)
        self.now = now
        """What it asks now."""


class RunContext(Protocol):
    """One run, as the code that produces its answer sees it; `tertulia.runs.context` implements it.

    Whatever is reported to it is in the store when the call returns. A call raises when this process has lost the run
    (somebody canceled it, or another process took it over): the platform lets that error pass and stops.
    """

    @property
    def principal(self) -> str:
        """The principal who sent the message."""
        ...

    @property
    def run(self) -> Run:
        """The run."""
        ...

    @property
    def conversation(self) -> Conversation:
        """Its conversation, as it was when this process took the run."""
        ...

    @property
    def message(self) -> Message:
        """The message to answer."""
        ...

    @property
    def message_context(self) -> Mapping[str, Any] | None:
        """The `context` that was sent with this message only."""
        ...

    @property
    def checkpoint(self) -> Mapping[str, Any]:
        """The checkpoint that the platform saved last, in whichever process; empty at the first attempt."""
        ...

    @property
    def entries(self) -> Sequence[JournalEntry]:
        """The journal's entries of this run from earlier attempts."""
        ...

    @property
    def requests(self) -> Sequence[Request]:
        """The requests of earlier attempts, settled or not."""
        ...

    async def emit(
        self,
        *events: Event,
        checkpoint: Mapping[str, Any] | None = None,
        awaiting: bool | None = None,
    ) -> None:
        """Journal events, in order. They are written together about every 100 ms; those in `URGENT` at once.

        The store takes the events, the checkpoint and `Conversation.awaiting` in one transaction, or none of them. When
        a call without events or with `awaiting` returns, everything is written, what was emitted before it as well.
        """
        ...

    async def ask(
        self, draft: RequestDraft, *events: Event, checkpoint: Mapping[str, Any] | None = None
    ) -> Request:
        """Ask a person, after `events`; the checkpoint is saved in the same transaction.

        A request that is pending under the same `upstream_id` is withdrawn: this one stands in its place.

        `answer` may return then: it is called again once the request is settled.
        """
        ...

    async def wait_settled(self, request_id: str) -> Request:
        """Wait until a request is settled, for a platform that keeps its connection meanwhile."""
        ...

    async def withdraw(self, request_id: str) -> None:
        """Record that a request was settled on the platform itself; a run that waited for it continues.

        Nothing happens to a request that is not pending.
        """
        ...

    def approved_arguments(self, request: Request) -> Mapping[str, Any]:
        """Return the arguments that a person approved."""
        ...

    async def identify(self, message_id: str) -> None:
        """Record the platform's own id of the message that is being answered."""
        ...

    async def finish(
        self,
        text: str | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        message_id: str | None = None,
        type: str | None = None,
    ) -> None:
        """Complete the run. `text` is the whole answer and overrides the deltas; None takes their sum.

        With `data`, None means that the answer has no text; the deltas are shown nevertheless.
        """
        ...

    async def fail(self, message: str, *, retryable: bool = False, unsent: bool = False) -> None:
        """End the run with an error, which `message` tells in one sentence.

        `unsent`: the platform has nothing of the message, so that the same call, repeated under its key, sends it.
        """
        ...

    async def interrupt(self, message: str) -> None:
        """End the run because the rest of the answer can no longer be had; what arrived of it stays."""
        ...

    async def cancel(self, reason: str) -> None:
        """End the run because somebody canceled it on the platform itself."""
        ...


class CallNotes(Protocol):
    """What a call notes under its idempotency key (without one: nothing) for the attempt after this one's death."""

    @property
    def saved(self) -> Mapping[str, Any]:
        """What an earlier attempt noted; empty at the first."""
        ...

    async def save(self, notes: Mapping[str, Any]) -> None:
        """Note this, in place of what was noted. It is in the store when the call returns."""
        ...


class EmbeddedRunContext(RunContext, Protocol):
    """The run context of an embedded platform, whose answer changes the store itself."""

    async def commit(
        self, change: "Callable[[Transaction], object]", *events: Event, checkpoint: Mapping[str, Any]
    ) -> None:
        """Make a change of the store, journal events and save the checkpoint in one transaction."""
        ...


class Execution(StrEnum):
    """Which process can produce a platform's answers."""

    ANY_PROCESS = "any_process"
    """Every process that takes the conversation's lease. The process of the caller tells the platform decisions
    (`Platform.settle`) and cancellations (`Platform.cancel`)."""
    WORKER = "worker"
    """A worker process only, since the agent is a program that it runs. Every other process records decisions and
    cancellations in the store; the worker that holds the lease carries them out (`RunContext.wait_settled`, and the
    cancellation of `Platform.answer`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """How the client must treat a platform, beside the calls that its `features` declare."""

    lists_unfiltered: bool = False
    """`Platform.list` ignores its query and returns all there are: the client filters, sorts and pages."""
    lists_all_users: bool = False
    """`Platform.list` can return the conversations of all users of the platform's tenant."""
    refresh_before_send: bool = False
    """`Platform.check_can_send` needs the conversation as the platform has it now: it is read before each send."""
    opens_with_message: bool = False
    """A conversation comes into being by its first message: `Platform.open` is offered, and `create` is not."""
    execution: Execution = Execution.ANY_PROCESS
    """Which process can produce the platform's answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A conversation that came into being by its first message, which has reached the platform."""

    conversation: ConversationRecord
    checkpoint: Mapping[str, Any]
    """The checkpoint that `Platform.answer` will find: that the message was sent, and under which id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What the embedded platform does with a message that is sent into a conversation."""

    message: Message
    """The message as it is recorded."""
    agent: str | None
    """Who is to answer it."""
    run: Run | None = None
    """The active run that it belongs to, where it begins none of its own."""
    reply: bool = False
    """Whether it is that run's answer."""


class Histories(Protocol):
    """What a sync reads of a platform: its list of conversations, and the messages of each."""

    @property
    def lists(self) -> bool:
        """Whether `list` returns all that there are."""
        ...

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """See `Platform.list`."""
        ...

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[MessageRecord]:
        """See `Platform.messages`; what the store has already may be left out."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptedRun:
    """A run that was interrupted, with what the store has of it."""

    run: Run
    message: Message
    checkpoint: Mapping[str, Any]
    entries: Sequence[JournalEntry]


class Platform:
    """A configured platform: what one instance offers. Subclasses override what they declare in `features`."""

    kind: ClassVar[str]
    """The platform's name in the configuration."""
    features: frozenset[Feature] = frozenset()
    capabilities: Capabilities = Capabilities()
    transcripts: str | None = None
    """The transcript format (`tertulia import`) in which a program of the platform's keeps the same conversations."""
    first_checkpoint: ClassVar[Mapping[str, Any]] = {}
    """The checkpoint of a run that begins a conversation which `create` has made just now, and which is empty."""

    def __init__(self, instance: str, *, missing: str | None = None) -> None:
        self.instance = instance
        self.missing = missing
        """The one thing to set before the instance can be used; None when it can."""
        self.principals: Collection[str] = ()
        """The principals whom the instance serves: nobody, until the registry names them."""
        self.accounts: dict[str, Platform] = {}
        """The instance as it is for those principals who have an account of their own, by principal."""
        self.open_account: Callable[[str], Platform] | None = None
        """Returns the instance as it is for a principal who is not named; None where it is not there for them."""
        self.peers: Mapping[str, Platform] = {}
        """All the configured instances, by name."""
        self.limits = DEFAULT_LIMITS
        """How much of what the platform sends is taken."""

    def serves(self, principal: str) -> bool:
        """Whether a principal may use the shared account: whoever does acts with its credentials."""
        return principal in self.principals

    def used_by(self, principal: str) -> "Platform | None":
        """Return the instance as it is for a principal: with their own account or the shared one; None without one."""
        found = self.accounts.get(principal) or (self if self.serves(principal) else None)
        if found is not None or self.open_account is None:
            return found
        return self.open_account(principal)

    async def close(self) -> None:
        """Give back connections; called once, at the end."""

    async def serve(self) -> None:
        """Do what the platform's answers need beside them (`Execution.WORKER`), until this is cancelled.

        The runner of a worker calls this once, in a task of its own, before the first `answer`.
        """

    @property
    def lists(self) -> bool:
        """Whether `list` returns all that there are."""
        return Feature.LIST in self.features

    @asynccontextmanager
    async def histories(self) -> AsyncGenerator[Histories]:
        """Give what a sync reads, for as long as it does: the platform itself, unless that needs preparation."""
        yield self

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return who can be talked to, without failing when the platform cannot be reached."""
        raise NotImplementedError

    def new_native_id(self) -> str:
        """Return the native id of a conversation that is to be created (`ConversationDraft.native_id`)."""
        return new_id(length=10)

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        """Create a conversation.

        Raises:
            NotFoundError: there is no such agent.
            UncertainError: whether it was created is not known.
        """
        if not self.capabilities.opens_with_message:
            self._refuse(Feature.CREATE)
        raise NotOffered(
            f"The instance {self.instance} ({self.kind}) does not offer {Feature.CREATE}: it has no conversation "
            "without a message.",
            hint=f"Send the first message: send_message with the agent {named(draft.agent)}.",
            instance=self.instance,
            feature=Feature.CREATE,
        )

    async def open(self, principal: str, draft: ConversationDraft, message: Message) -> Opened:
        """Send the first message of a new conversation (`Capabilities.opens_with_message`).

        The ids of draft and message are ours and stay the same when it is tried again (`draft.tried_at`): sent twice,
        it must arrive once.

        Raises:
            NotFoundError: there is no such agent.
            UncertainError: whether it arrived is not known.
        """
        self._refuse(Feature.CREATE)

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        """Return what the platform says of a conversation now; what it does not say is UNKNOWN."""
        self._refuse(Feature.GET)

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return one page of conversations; all of them, with `Capabilities.lists_unfiltered`."""
        self._refuse(Feature.LIST)

    async def discover(self, principal: str) -> Sequence[ConversationRecord]:
        """Return the conversations that others began or continued, as far as the platform tells of them.

        The client calls this before it makes a list from the store, where `Feature.LIST` is not offered.
        """
        return ()

    async def search(self, principal: str, query: SearchQuery) -> SearchResult:
        """Return what the platform itself finds; `query.instance` is this one, and `query.cursor` its own."""
        self._refuse(Feature.SEARCH)

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[MessageRecord]:
        """Return one page of a conversation's messages; what the platform does not say of one is UNKNOWN."""
        self._refuse(Feature.MESSAGES)

    async def branches(self, principal: str, native_id: str) -> Sequence[Branch]:
        """Return the lines of messages that a conversation has, oldest first."""
        self._refuse(Feature.BRANCHES)

    async def remove_branch(self, principal: str, native_id: str, branch_id: str) -> None:
        """Remove a branch, with the messages that no other branch has."""
        self._refuse(Feature.REMOVE_BRANCH)

    async def participants(self, principal: str, native_id: str) -> Sequence[Participant]:
        """Return who takes part in a conversation."""
        self._refuse(Feature.PARTICIPANTS)

    async def invite(
        self, principal: str, native_id: str, participants: Mapping[str, ParticipantRole | None]
    ) -> Sequence[Participant]:
        """Bring participants in, or give them another role; a role of None lets them go. Return who takes part then.

        Raises:
            NotAllowedError: who calls may not do that.
        """
        self._refuse(Feature.INVITE)

    async def analytics(self, principal: str, native_id: str) -> Analytics:
        """Return the platform's own figures about a conversation."""
        self._refuse(Feature.ANALYTICS)

    async def add_message(
        self, principal: str, native_id: str, draft: MessageDraft, notes: CallNotes
    ) -> MessageRecord:
        """Add a message that starts no answer; one that an earlier attempt has added, by its notes, is not added again.

        Raises:
            InvalidInputError: the platform cannot keep it as it is.
        """
        self._refuse(Feature.ADD_MESSAGE)

    async def update_message(
        self, principal: str, native_id: str, message_id: str, changes: MessageChanges
    ) -> MessageRecord:
        """Change a message's text or metadata; return it, under a new id where that begins a branch.

        Raises:
            InvalidInputError: the platform cannot keep it as it is.
        """
        self._refuse(Feature.UPDATE_MESSAGE)

    async def rate_message(
        self, principal: str, native_id: str, message_id: str, rating: Rating
    ) -> MessageRecord:
        """Rate a message; the last rating counts. Return it as it is then."""
        self._refuse(Feature.RATE_MESSAGE)

    async def generate_title(
        self, principal: str, native_id: str, *, seed_message: str | None, force: bool
    ) -> ConversationRecord:
        """Have a title made, from `seed_message` or from what was said; one that is there stays, unless `force`."""
        self._refuse(Feature.GENERATE_TITLE)

    def check_changes(self, changes: ConversationChanges) -> None:
        """Check, before `update`, that none of the changes would be passed over.

        Raises:
            NotOffered: the platform cannot change a conversation's context.
        """
        if changes.context is not None and Feature.CONTEXT not in self.features:
            self._refuse(Feature.CONTEXT)

    async def update(
        self, principal: str, native_id: str, changes: ConversationChanges
    ) -> ConversationRecord:
        """Change title, metadata, context or the archived flag."""
        other = Feature.METADATA if changes.metadata is not None else Feature.ARCHIVE
        self._refuse(Feature.TITLE if changes.title is not None else other)

    async def update_status(self, principal: str, native_id: str, change: StatusChange) -> ConversationRecord:
        """Move a conversation to another state.

        A platform that offers `END` without `STATUS` takes `completed` and nothing else.

        Raises:
            ConflictError: the transition is not allowed; names those that are.
        """
        self._refuse(Feature.END if change.status is Status.COMPLETED else Feature.STATUS)

    async def delete(self, principal: str, native_id: str) -> None:
        """Delete a conversation: for good, unless the platform offers `RESTORE`."""
        self._refuse(Feature.DELETE)

    async def restore(self, principal: str, native_id: str) -> ConversationRecord:
        """Bring a deleted conversation back."""
        self._refuse(Feature.RESTORE)

    def agent_for(self, conversation: Conversation, chosen: str | None) -> str | None:
        """Return who answers a message; `chosen` is whom the caller wants to answer this one.

        Raises:
            InvalidInputError: the platform does not let a caller choose.
        """
        if chosen in {None, conversation.agent}:
            return conversation.agent
        raise InvalidInputError(
            f"The conversation {conversation.id} is with {named(conversation.agent or self.instance)}, and nobody else "
            "answers in it.",
            hint=f"Leave `agent` out; or leave `conversation_id` out, to start one with {named(chosen or '')}.",
            conversation_id=conversation.id,
        )

    def check_can_send(self, conversation: Conversation) -> None:
        """Check, from stored state alone, that the conversation accepts a message.

        Raises:
            ConflictError: it does not; the hint says how to continue.
        """

    def normalize(self, message: Message) -> Message:
        """Return the message as the store will record it and the platform will get it, before anything happens.

        Raises:
            InvalidInputError: the platform cannot take it.
        """
        return message

    def check_context(self, context: Mapping[str, Any]) -> None:
        """Check that this can be sent along with a message, before anything happens.

        Raises:
            InvalidInputError: the platform does not know it; names what it knows.
        """

    async def answer(self, context: RunContext) -> None:
        """Produce the answer to a message and report it to `context`, up to an end or to a question.

        The runner calls this in a task of its own, at first and again whenever the run must continue: after a request
        was settled, or after the process that had the run died. A platform that cannot continue calls
        `context.interrupt`.

        It may return when the run has ended (`finish`, `fail`, `interrupt`, `cancel`) or when one of its requests is
        pending. The runner fails a run whose `answer` returns otherwise.
        """
        self._refuse(Feature.SEND)

    async def late_answer(self, principal: str, interrupted: InterruptedRun) -> MessageRecord | None:
        """Return the answer that the platform has finished after the run was interrupted; None where there is none.

        The client asks for it whenever the run's result is wanted: an answer that is found completes the run.
        """
        return None

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Tell the platform a decision, before the store records it. Deciding may begin the conversation's next run.

        Raises:
            MovedOnError: the request is no longer pending there: another may be, or the answer continues without it.
        """

    async def cancel(self, principal: str, run: Run) -> None:
        """Tell the platform to stop an answer, before the store records the cancellation.

        Raises:
            MovedOnError: the answer has ended there.
        """
        self._refuse(Feature.CANCEL)

    def _takes_none_of(self, *fields: str, draft: ConversationDraft) -> None:
        """Refuse a draft which has something in one of these fields, for which the platform has no place."""
        for field in fields:
            if getattr(draft, field):
                raise InvalidInputError(
                    f"The instance {self.instance} ({self.kind}) has no place for `{field}` of a conversation.",
                    hint=f"Leave `{field}` out.",
                    instance=self.instance,
                )

    def _refuse(self, feature: Feature) -> NoReturn:
        # Whoever reads the error may be any of those whom this instance serves.
        offering = sorted(
            name
            for name, peer in self.peers.items()
            if feature in peer.features and peer.missing is None and all(map(peer.used_by, self.principals))
        )
        raise NotOffered(
            f"The instance {self.instance} ({self.kind}) does not offer {feature}.",
            hint=(
                f"It is offered by: {', '.join(offering)}. list_agents shows what each instance offers."
                if offering
                else "No configured instance offers it."
            ),
            instance=self.instance,
            feature=feature,
        )


P = TypeVar("P", bound=Platform)


def offers(*beside: Feature) -> Callable[[type[P]], type[P]]:
    """Declare the features of a platform's class: those whose calls it overrides, and these beside."""

    def declare(platform: type[P]) -> type[P]:
        overridden = {
            feature
            for feature in Feature
            if getattr(platform, feature, None) is not getattr(Platform, feature, None)
        }
        sends = set[Feature]() if platform.answer is Platform.answer else {Feature.SEND}
        platform.features = frozenset(overridden | sends | set(beside))
        return platform

    return declare


class EmbeddedPlatform(Platform):
    """A platform whose conversations live in the store: it knows all of each, and nothing of it is UNKNOWN."""

    maintenance_interval: float | None = None
    """Seconds between two calls of `maintain` while nobody asks for anything; None where there is nothing to do."""

    def serves(self, principal: str) -> bool:
        """Whether a principal may use it: everybody may, since each sees rows of their own only."""
        return True

    async def get(self, principal: str, native_id: str) -> Conversation:
        """Return a conversation."""
        self._refuse(Feature.GET)

    async def list(self, principal: str, query: ConversationQuery) -> Page[Conversation]:
        """Return one page of conversations."""
        self._refuse(Feature.LIST)

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of a conversation's messages."""
        self._refuse(Feature.MESSAGES)

    async def announce(self, principal: str) -> None:
        """Register this server's mailbox name so that other servers can address it."""

    async def maintain(self) -> None:
        """Do what is due by now, for every principal: what only the passing of time brings about.

        The runner calls this from the store's first use on, and every caller before it reads or writes the store
        alone. It must be cheap when nothing is due. Several processes may call it at once.
        """

    def forget(self, tx: "Transaction", principal: str, conversation_id: str) -> None:
        """Withdraw what other conversations quote of one that was deleted, in the transaction that deletes it."""

    def admit(
        self,
        tx: "Transaction",
        principal: str,
        conversation: Conversation,
        message: Message,
        active: Run | None,
    ) -> Admission:
        """Decide what becomes of a message, in the transaction that records it; `active` is the conversation's run.

        Raises:
            NotAllowedError: its author may not write there.
            NotFoundError: the message that it is to follow is not there.
        """
        return Admission(message=message, agent=conversation.agent)

    def produces_answer(self, agent: str | None) -> bool:
        """Whether `answer_in_store` produces the answers of this agent; False where somebody answers with a message."""
        return True

    async def answer_in_store(self, context: EmbeddedRunContext) -> None:
        """Produce the answer to a message under the contract of `answer`, in transactions of the store."""
        self._refuse(Feature.SEND)
