"""The admission of a message: one transaction decides what becomes of it and records that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tertulia.platforms.base import Admission, EmbeddedPlatform, Platform
from tertulia.runs.limits import Limits
from tertulia.store import conversations, journal, leases, messages, runs
from tertulia.store.database import Transaction
from tertulia.store.journal import Alongside
from tertulia.store.leases import Lease
from tertulia.store.transitions import add_to_run, answer_begins, message_added
from tertulia.vocabulary.entry import safe_message
from tertulia.vocabulary.errors import ConflictError
from tertulia.vocabulary.events import Event
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import Conversation, Message, Run, SentAs
from tertulia.vocabulary.states import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A message that is to be recorded, under ids that stay the same when the call is repeated."""

    message: Message
    run_id: str
    call_digest: str
    repeated: bool
    """Whether an earlier attempt of the call may have been admitted."""
    agent: str | None = None
    """Whom the caller chose to answer this message."""
    context: Mapping[str, Any] | None = None
    """The context that was sent with this message only."""
    join: bool = False
    """Whether to join an identical call that is unfinished, or whose result nobody has taken yet."""
    waits: bool = True
    """Whether the caller takes the result later; else it has taken what there is of it at the beginning."""
    checkpoint: Mapping[str, Any] | None = None
    """The run's first checkpoint, if the conversation was created just now, or came into being by this message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The run that a submission began, joined or was added to."""

    run: Run
    sent_as: SentAs
    message: Message | None = None
    """The recorded message, if it began a run."""
    lease: Lease | None = None
    """The lease under which this process executes the run, if it took that in this transaction."""
    taken: bool = False
    """Whether the caller has taken what there is of the run's result, which began just now."""


@dataclass(frozen=True, slots=True)
class Executor:
    """How the process that admits a message executes the run: it takes the lease as `owner`."""

    owner: str
    has_place: bool
    """Whether the answer begins at once, rather than when another one has ended."""


class AnsweredElsewhereError(ConflictError):
    """Raised when another principal is being answered in a conversation that both reach at its platform."""

    def __init__(self, principal: str, run: Run) -> None:
        super().__init__(
            f"Somebody else is being answered in the conversation {run.conversation_id}, which you share.",
            hint="Send your message again when that is over; list_messages shows what was said.",
            retryable=True,
            conversation_id=run.conversation_id,
        )
        self.principal = principal
        self.run = run


def admit(
    tx: Transaction,
    principal: str,
    platform: Platform,
    submission: Submission,
    limits: Limits,
    executor: Executor | None = None,
) -> Admitted:
    """Record a message, and the run that answers it unless it is added to an active one.

    If the same ids were admitted before, return what became of them. With an `executor`, its process has the lease from
    this transaction on, and the answer begins in it where there is a place.

    Raises:
        NotFoundError: there is no such conversation.
        ConflictError: the conversation accepts no message now, or another run is active.
        AnsweredElsewhereError: another run is active, of another principal.
        QuotaExceededError: the principal may begin no run now.
    """
    conversation = conversations.get(tx, principal, submission.message.conversation_id)
    earlier = _earlier(tx, principal, submission)
    if earlier is not None:
        return earlier
    if submission.checkpoint is None:
        platform.check_can_send(conversation)
    message = platform.normalize(submission.message)
    agent = platform.agent_for(conversation, submission.agent)
    active = runs.active(tx, principal, conversation.id)
    if isinstance(platform, EmbeddedPlatform):
        admission = platform.admit(tx, principal, conversation, message, active)
    else:
        admission = Admission(message=message, agent=agent)
    if admission.run is not None:
        run = add_to_run(
            tx,
            principal,
            admission.run,
            admission.message,
            call_digest=submission.call_digest,
            reply=admission.reply,
        )
        return Admitted(run=run, sent_as=SentAs.REPLY if admission.reply else SentAs.ADDED)
    if active is not None:
        raise _still_active(tx, active)
    if not isinstance(platform, EmbeddedPlatform):
        another = runs.active_of_another(tx, principal, conversation.id)
        if another is not None:
            raise AnsweredElsewhereError(*another)
    if submission.checkpoint is None:  # else it was checked before the platform had anything of it
        limits.check_run(tx, principal, platform.instance)
    if not produces_answer(platform, admission.agent):
        executor = None
    opens = opens_at_start(platform)
    return _begin(tx, principal, conversation, admission, submission, executor, opens=opens)


def produces_answer(platform: Platform, agent: str | None) -> bool:
    """Whether a process produces the answers of an agent, rather than somebody who writes a message."""
    return not isinstance(platform, EmbeddedPlatform) or platform.produces_answer(agent)


def opens_at_start(platform: Platform) -> bool:
    """Whether the start of a run opens the conversation; other platforms keep the status themselves."""
    return isinstance(platform, EmbeddedPlatform) or Feature.STATUS not in platform.features


def _earlier(tx: Transaction, principal: str, submission: Submission) -> Admitted | None:
    """Return what an earlier attempt of this call did, or the identical call that it may join."""
    if submission.repeated:
        run = runs.find(tx, principal, submission.run_id)
        if run is not None:
            return Admitted(run=run, sent_as=SentAs.BEGUN)
        message_id = submission.message.id
        run = runs.went_into(tx, principal, message_id)
        if run is not None:
            return Admitted(run=run, sent_as=SentAs.REPLY if run.reply_id == message_id else SentAs.ADDED)
    run = runs.same_call(tx, principal, submission.call_digest) if submission.join else None
    return None if run is None else Admitted(run=run, sent_as=SentAs.JOINED)


def _begin(
    tx: Transaction,
    principal: str,
    conversation: Conversation,
    admission: Admission,
    submission: Submission,
    executor: Executor | None,
    *,
    opens: bool,
) -> Admitted:
    added_at = messages.add_uncounted(tx, principal, safe_message(admission.message))
    lease = None if executor is None else leases.take(tx, principal, conversation.id, executor.owner)
    started: Sequence[Event] = ()
    run_status, status = RunStatus.QUEUED, None
    if executor is not None and executor.has_place and lease is not None:
        run_status = RunStatus.RUNNING
        started, status = answer_begins(conversation.status, admission.agent, opens=opens)
    events = [message_added(admission.message), *started]
    alongside = Alongside(added_at=added_at, status=status)
    end = journal.append(tx, principal, conversation.id, events, submission.run_id, alongside)
    run = runs.insert(
        tx,
        principal,
        run_id=submission.run_id,
        conversation_id=conversation.id,
        agent=admission.agent,
        message_id=admission.message.id,
        call_digest=submission.call_digest,
        context=submission.context,
        first_seq=end.seq - len(started),
        status=run_status,
        checkpoint=submission.checkpoint,
        delivered=not submission.waits,
    )
    return Admitted(
        run=run,
        sent_as=SentAs.BEGUN,
        message=admission.message,
        lease=lease,
        taken=not submission.waits,
    )


def _still_active(tx: Transaction, run: Run) -> ConflictError:
    pending = [request.id for request in runs.requests_of(tx, run.id) if request.status == "pending"]
    if pending:
        state = f"waits for a decision on {pending[0]} first."
        hint = "Settle that with confirm_tool, or stop the run with cancel_run."
    else:
        state = "is still answering an earlier message."
        hint = "Wait for it with stream_conversation, or stop it with cancel_run."
    return ConflictError(
        f"The conversation {run.conversation_id} {state}",
        hint=hint,
        conversation_id=run.conversation_id,
        run_id=run.id,
    )
