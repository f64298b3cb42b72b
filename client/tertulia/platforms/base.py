"""The seam between the client and a platform.

A platform is one module (or one small package) that subclasses `Platform`. It speaks its wire, maps what it reads onto
the vocabulary, and keeps no table of ours: answers are told to a `Work`, which journals them. Everything a platform
does not override raises `NotOffered`, so a platform declares in `features` exactly what it overrides.

`principal` says for whom something is done. Most platforms know one account, ours, and only pass it by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

from tertulia.vocabulary.errors import InvalidInputError, NotOffered
from tertulia.vocabulary.events import Event, JournalEntry
from tertulia.vocabulary.features import Feature
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
    Page,
    Participant,
    ParticipantRole,
    Rating,
    Request,
    RequestDraft,
    Role,
    Run,
    SearchQuery,
    SearchResult,
    Settlement,
)
from tertulia.vocabulary.states import Status

if TYPE_CHECKING:
    from tertulia.store.database import Transaction


class Work(Protocol):
    """One answer to be produced, handed to `Platform.answer`; implemented by the runner.

    Everything told to it is in the store when the call returns, or the call raises because this process has lost the
    run (it was canceled, or another process took it over): let that pass, and stop.
    """

    @property
    def principal(self) -> str:
        """For whom."""
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
    def context(self) -> Mapping[str, Any] | None:
        """What was sent along for this message only."""
        ...

    @property
    def checkpoint(self) -> Mapping[str, Any]:
        """What the platform saved last with `emit`; empty at the first attempt. Another process may have saved it."""
        ...

    @property
    def entries(self) -> Sequence[JournalEntry]:
        """What the journal has of this run from earlier attempts."""
        ...

    @property
    def requests(self) -> Sequence[Request]:
        """What earlier attempts asked, settled or not."""
        ...

    async def emit(
        self,
        *events: Event,
        checkpoint: Mapping[str, Any] | None = None,
        together: "Callable[[Transaction], object] | None" = None,
    ) -> None:
        """Journal events, in order. Deltas are joined and written about every 100 ms.

        `checkpoint` and whatever `together` does become true in the same transaction as the events, or not at all.
        """
        ...

    async def ask(self, draft: RequestDraft, *events: Event) -> Request:
        """Ask a person, after `events`. `answer` may return then: it is called again once the request is settled."""
        ...

    async def settled(self, request_id: str) -> Request:
        """Wait until a request is settled, for a platform that keeps its connection meanwhile."""
        ...

    async def withdraw(self, request_id: str) -> None:
        """Say that a request was settled on the platform itself; a run that waited for it goes on.

        Nothing happens to a request that is not pending.
        """
        ...

    def approved_arguments(self, request: Request) -> Mapping[str, Any]:
        """Return the arguments that an approval was given for."""
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
        """End the run well. `text` is the whole answer and overrides the deltas; None takes their sum.

        With `data`, None means that the answer has no text; what the deltas say of it is shown nevertheless.
        """
        ...

    async def fail(self, message: str, *, retryable: bool = False) -> None:
        """End the run with an error, told in one sentence."""
        ...

    async def interrupt(self, message: str) -> None:
        """End the run because the rest of the answer cannot be had any more; what came of it stays."""
        ...

    async def cancel(self, reason: str) -> None:
        """End the run because somebody canceled it on the platform itself."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A conversation that came into being by its first message, which has reached the platform."""

    conversation: Conversation
    checkpoint: Mapping[str, Any]
    """What `Platform.answer` will find as `Work.checkpoint`: that the message was sent, and as what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """What becomes of a message that is sent into a conversation."""

    message: Message
    """The message as it is recorded."""
    agent: str | None
    """Who is to answer it."""
    run: Run | None = None
    """The active run that it belongs to, where it begins none of its own."""
    reply: bool = False
    """Whether it is that run's answer."""


class Platform:
    """A configured platform: what one instance offers. Subclasses override what they declare in `features`."""

    kind: ClassVar[str]
    """The platform's name in the configuration."""
    features: frozenset[Feature] = frozenset()
    kept_here: bool = False
    """Whether our store is where this platform's conversations live, rather than a record of what we saw of them."""
    lists_all: bool = False
    """Whether `list` heeds nothing of its query and returns all there are: filters, order and pages are then ours."""

    lists_all_users: bool = False
    """Whether `list` can return the conversations of all users of the platform's tenant."""
    looks_before_sending: bool = False
    """Whether `admits` needs to know how things stand on the platform: a conversation is then read before each send."""
    opens_with_message: bool = False
    """Whether a conversation comes into being by its first message: then `create` is not offered, and `open` is."""

    tend_seconds: float | None = None
    """How often `tend` is called while nobody asks for anything; None where there is nothing to tend."""

    def __init__(self, instance: str, *, missing: str | None = None) -> None:
        self.instance = instance
        self.missing = missing
        """The one thing to set before the instance can be used; None when it can."""
        self.peers: Mapping[str, Platform] = {}
        """All the configured instances, by name."""

    async def close(self) -> None:
        """Give back connections; called once, at the end."""

    async def present(self, principal: str) -> None:
        """Make known that we are there, where others can write to us."""

    async def tend(self) -> None:
        """Do what is due by now, for every principal: what only the time that has passed brings about.

        Called again and again from the store's first use on, and before the store alone is read or written to: it must
        be cheap when nothing is due, and several processes may do it at once.
        """

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return who can be talked to, without failing when the platform cannot be reached."""
        raise NotImplementedError

    async def create(self, principal: str, draft: ConversationDraft) -> Conversation:
        """Create a conversation.

        Raises:
            NotFoundError: there is no such agent.
        """
        self._refuse(Feature.CREATE)

    async def open(self, principal: str, draft: ConversationDraft, message: Message) -> Opened:
        """Send the first message of a new conversation, where `opens_with_message`.

        The ids of draft and message are ours and stay the same when it is tried again (`draft.repeated`): sent twice,
        it must arrive once.

        Raises:
            NotFoundError: there is no such agent.
        """
        self._refuse(Feature.CREATE)

    async def get(self, principal: str, native_id: str) -> Conversation:
        """Return a conversation as the platform has it now."""
        self._refuse(Feature.GET)

    async def list(self, principal: str, query: ConversationQuery) -> Page[Conversation]:
        """Return one page of conversations; or all of them, where `lists_all`."""
        self._refuse(Feature.LIST)

    async def discover(self, principal: str) -> Sequence[Conversation]:
        """Return the conversations that others began or went on with, as far as the platform tells of them.

        Called before a list is served from our index, where `Feature.LIST` is not offered.
        """
        return ()

    async def search(self, principal: str, query: SearchQuery) -> SearchResult:
        """Return what the platform itself finds; `query.instance` is this one, and `query.cursor` its own."""
        self._refuse(Feature.SEARCH)

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
        """Return one page of a conversation's messages: of one of its branches, or of the newest."""
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
        self, principal: str, native_id: str, draft: MessageDraft, *, repeated: bool
    ) -> Message:
        """Add a message that starts no answer. `repeated`: an earlier attempt may have reached the platform.

        Raises:
            InvalidInputError: the platform cannot keep it as it is.
        """
        self._refuse(Feature.ADD_MESSAGE)

    async def update_message(
        self, principal: str, native_id: str, message_id: str, changes: MessageChanges
    ) -> Message:
        """Change a message's text or metadata; return it, under a new id where that begins a branch.

        Raises:
            InvalidInputError: the platform cannot keep it as it is.
        """
        self._refuse(Feature.UPDATE_MESSAGE)

    async def rate_message(self, principal: str, native_id: str, message_id: str, rating: Rating) -> Message:
        """Rate a message; the last rating counts. Return it as it is then."""
        self._refuse(Feature.RATE_MESSAGE)

    async def generate_title(
        self, principal: str, native_id: str, *, seed_message: str | None, force: bool
    ) -> Conversation:
        """Have a title made, from `seed_message` or from what was said; one that is there stays, unless `force`."""
        self._refuse(Feature.GENERATE_TITLE)

    async def update(self, principal: str, native_id: str, changes: ConversationChanges) -> Conversation:
        """Change title, metadata or the archived flag."""
        other = Feature.METADATA if changes.metadata is not None else Feature.ARCHIVE
        self._refuse(Feature.TITLE if changes.title is not None else other)

    async def update_status(
        self,
        principal: str,
        native_id: str,
        status: Status,
        *,
        reason: str | None,
        rating: Rating | None = None,
    ) -> Conversation:
        """Move a conversation to another state; `rating` comes with an ending only.

        A platform that offers `END` without `STATUS` takes `completed` and nothing else.
        """
        self._refuse(Feature.END if status is Status.COMPLETED else Feature.STATUS)

    async def delete(self, principal: str, native_id: str) -> None:
        """Delete a conversation: for good, unless the platform offers `RESTORE`."""
        self._refuse(Feature.DELETE)

    async def restore(self, principal: str, native_id: str) -> Conversation:
        """Bring a deleted conversation back."""
        self._refuse(Feature.RESTORE)

    def admits(self, conversation: Conversation) -> None:
        """See whether a message can be sent now, from what the store knows.

        Raises:
            ConflictError: it cannot; says how to go on.
        """

    def prepare(self, message: Message) -> Message:
        """Return the message as it will be recorded and sent, before anything happens."""
        return message

    def receive(
        self,
        tx: "Transaction",
        principal: str,
        conversation: Conversation,
        message: Message,
        active: Run | None,
    ) -> Reception:
        """Say what becomes of a message, in the transaction that records it; `active` is the conversation's run.

        Raises:
            NotAllowedError: its author may not write there.
            NotFoundError: the message that it is to follow is not there.
        """
        return Reception(message=message, agent=conversation.agent)

    def check_context(self, context: Mapping[str, Any]) -> None:
        """See whether this can be sent along with a message, before anything happens.

        Raises:
            InvalidInputError: the platform knows something else; names that.
        """

    def answers(self, run: Run) -> bool:
        """Whether `answer` has this run answered; not so where somebody else does by a message of theirs."""
        return True

    async def answer(self, work: Work) -> None:
        """Have the message answered and tell `work` what happens, up to an end or to a question.

        Called in a task of its own, at first and again whenever the run must go on: after a request was settled, or
        after the process that had it died. A platform that cannot go on calls `work.interrupt`.
        """
        self._refuse(Feature.SEND)

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Tell the platform a decision, before it is recorded.

        Raises:
            MovedOnError: it is not pending any more: something else may be, or the answer goes on without it.
        """

    async def cancel(self, principal: str, run: Run) -> None:
        """Tell the platform to stop an answer, before it is recorded."""
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

    def _takes_text_only(
        self,
        message: Message,
        name: str,
        *,
        refused: Sequence[str] = ("data", "type", "parent_id", "metadata"),
    ) -> None:
        """Refuse a message that is more than a text of the user's; `name` is what the platform is called."""
        for field in refused:
            if getattr(message, field):
                raise InvalidInputError(f"{name} takes no `{field}` with a message.", hint="Send text only.")
        if message.role is not Role.USER or message.text is None:
            raise InvalidInputError(f"{name} takes text of the role `user` only.", valid=[Role.USER])

    def _refuse(self, feature: Feature) -> NoReturn:
        offering = sorted(
            name for name, peer in self.peers.items() if feature in peer.features and peer.missing is None
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
