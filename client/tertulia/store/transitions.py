"""How conversations and runs move from state to state, as steps inside a transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tertulia.store import conversations, journal, leases, messages, ratings, runs
from tertulia.store.database import Transaction
from tertulia.store.journal import Alongside
from tertulia.vocabulary.entry import safe_message
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.models import (
    Conversation,
    ConversationRecord,
    Message,
    MessageRecord,
    Rating,
    Request,
    RequestDraft,
    RequestKind,
    Run,
)
from tertulia.vocabulary.states import TRANSITIONS, RequestStatus, RunStatus, Status
from tertulia.vocabulary.values import same_json


def store_record(
    tx: Transaction, principal: str, said: ConversationRecord, *, has_states: bool
) -> Conversation:
    """Store what a platform says of a conversation (see `conversations.remember`); journal its new status.

    `has_states`: the platform decides the conversation's status. Only such a status is journalled.
    """
    known = conversations.known(tx, principal, said.id)
    before = conversations.get(tx, principal, said.id).status if known else None
    stored = conversations.remember(tx, principal, said, has_states=has_states)
    if has_states and before is not None and before is not stored.status:
        moved = {"status": stored.status, "before": before}
        journal.append(tx, principal, said.id, [Event(EventKind.STATUS_CHANGED, moved)])
    return stored


def move(
    tx: Transaction,
    principal: str,
    conversation_id: str,
    status: Status,
    *,
    run_id: str | None = None,
    reason: str | None = None,
    rating: Rating | None = None,
) -> None:
    """Move a conversation to `status` if its state allows that, and journal it."""
    before = conversations.get(tx, principal, conversation_id).status
    if status in TRANSITIONS[before]:
        data: dict[str, Any] = {"status": status, "before": before}
        if reason is not None:
            data["reason"] = reason
        if rating is not None:
            ratings.rate_conversation(tx, principal, conversation_id, rating)
            data |= {"rating": rating.value} | ({"feedback": rating.feedback} if rating.feedback else {})
        moved = Event(EventKind.STATUS_CHANGED, data)
        journal.append(tx, principal, conversation_id, [moved], run_id, Alongside(status=status))


def answer_begins(before: Status, agent: str | None, *, opens: bool) -> tuple[Sequence[Event], Status | None]:
    """Return what tells that an agent begins to answer, and the status that the conversation has then; None: as before.

    `opens`: the beginning of an answer opens a conversation, if its state allows that.
    """
    started = Event(EventKind.RUN_STARTED, {"agent": agent})
    if not opens or Status.OPEN not in TRANSITIONS[before]:
        return [started], None
    return [Event(EventKind.STATUS_CHANGED, {"status": Status.OPEN, "before": before}), started], Status.OPEN


def ask(tx: Transaction, principal: str, run: Run, draft: RequestDraft, *events: Event) -> Request:
    """Ask a person what a run needs, after `events`: what its platform asks now, in place of what it asked before.

    So a request that is pending under the platform's same id is withdrawn; one that asks the same is returned instead.
    """
    before = runs.pending_under(tx, run.id, draft.kind, draft.upstream_id)
    same = next((request for request in before if _asks_alike(request, draft)), None)
    replaced = [_withdrawn(tx, request) for request in before if request is not same]
    request = same or runs.add_request(tx, principal, run, draft)
    asked = [] if same else [_request_asked(request)]
    journal.append(tx, principal, run.conversation_id, [*events, *replaced, *asked], run.id)
    return request


def withdraw(tx: Transaction, principal: str, request_id: str, *, run: RunStatus) -> Run:
    """Withdraw a request that was settled on its platform; its run continues with the status `run`. Return the run.

    What the platform asked under the same id instead, whichever process recorded that, is settled with it.
    """
    request = runs.get_request(tx, principal, request_id)
    waiting = runs.get(tx, principal, request.run_id)
    if waiting.status is RunStatus.QUEUED:
        runs.set_status(tx, waiting, run)
    instead = runs.pending_under(tx, waiting.id, request.kind, request.upstream_id)
    open_ones = {one.id: one for one in (request, *instead) if one.status is RequestStatus.PENDING}
    if open_ones:
        events = [_withdrawn(tx, one) for one in open_ones.values()]
        journal.append(tx, principal, request.conversation_id, events, request.run_id)
        if not any(other.status is RequestStatus.PENDING for other in runs.requests_of(tx, waiting.id)):
            runs.set_status(tx, waiting, run)
            move(tx, principal, request.conversation_id, Status.OPEN, run_id=request.run_id)
    return runs.get(tx, principal, request.run_id)


def replace_request(tx: Transaction, principal: str, request_id: str, draft: RequestDraft) -> None:
    """Ask what a platform asks instead of a request that is pending; its run waits for that now."""
    before = runs.get_request(tx, principal, request_id)
    if before.status is RequestStatus.PENDING:
        ask(tx, principal, runs.get(tx, principal, before.run_id), draft)


def _asks_alike(request: Request, draft: RequestDraft) -> bool:
    return request.tool == draft.tool and same_json(request.arguments, draft.arguments)


def _withdrawn(tx: Transaction, request: Request) -> Event:
    runs.withdraw(tx, request)
    return _settled_elsewhere(request)


def _request_asked(request: Request) -> Event:
    """Return the event for a new request."""
    shown: dict[str, Any] = {"request_id": request.id, "prompt": request.prompt}
    if request.kind is RequestKind.QUESTION:
        return Event(EventKind.QUESTION_ASKED, shown)
    shown |= {"tool": request.tool, "arguments": request.arguments, "tool_call_id": request.tool_call_id}
    return Event(EventKind.TOOL_CONFIRMATION_REQUIRED, shown)


def _settled_elsewhere(request: Request) -> Event:
    resolved: dict[str, Any] = {"request_id": request.id, "decision": "elsewhere"}
    if request.kind is RequestKind.QUESTION:
        return Event(EventKind.QUESTION_ANSWERED, resolved | {"answer": None})
    return Event(EventKind.TOOL_CONFIRMATION_RESOLVED, resolved)


def message_added(message: Message) -> Event:
    """Return the event for a new message."""
    data: dict[str, Any] = {"message_id": message.id, "author": message.author, "role": message.role}
    return Event(EventKind.MESSAGE_ADDED, data)


def add_to_run(
    tx: Transaction, principal: str, run: Run, message: Message, *, call_digest: str, reply: bool
) -> Run:
    """Add a message to an active run; its answer (`reply`) ends the run. Return the run."""
    runs.note_sent(tx, principal, run, message.id, call_digest)
    if not reply:
        added = Alongside(added_at=messages.add_uncounted(tx, principal, safe_message(message)))
        journal.append(tx, principal, run.conversation_id, [message_added(message)], run.id, added)
        return run
    move(tx, principal, run.conversation_id, Status.OPEN, run_id=run.id)
    about = {"message_id": message.id}
    text = [Event(EventKind.TEXT_MESSAGE_CONTENT, {**about, "delta": message.text})] if message.text else []
    events = [
        Event(EventKind.TEXT_MESSAGE_START, about),
        *text,
        Event(EventKind.TEXT_MESSAGE_END, about),
        message_added(message),
    ]
    added_at = messages.add_uncounted(tx, principal, safe_message(message))
    recorded = RecordedReply(message.id, events, added_at)
    end_run(tx, principal, run, RunStatus.COMPLETED, Event(EventKind.RUN_FINISHED), reply=recorded)
    return runs.get(tx, principal, run.id)


@dataclass(frozen=True, slots=True)
class RecordedReply:
    """The answer of a run that ends, whose message was added just now."""

    message_id: str
    events: Sequence[Event]
    """What tells it to whoever reads the journal."""
    added_at: int | None
    """The time of the message, which is not counted yet; None if the store had it."""


def record_reply(
    tx: Transaction, principal: str, run: Run, reply: Message, entries: Sequence[JournalEntry]
) -> RecordedReply:
    """Add the message with a run's whole answer, of which the run's `entries` may have told a part."""
    keeps_content = tx.keeps_content(run.conversation_id)
    rest = journal.rest_of_text(entries, reply.text) if reply.text and keeps_content else []
    added_at = messages.add_uncounted(tx, principal, safe_message(reply))
    return RecordedReply(reply.id, [*rest, message_added(reply)], added_at)


def complete_interrupted(tx: Transaction, principal: str, run: Run, said: MessageRecord) -> None:
    """Complete a run that was interrupted with the answer that its platform has finished since."""
    if runs.get(tx, principal, run.id).status is RunStatus.INTERRUPTED:
        entries = journal.read_all(tx, principal, run)
        reply = record_reply(tx, principal, run, messages.merged(tx, principal, said), entries)
        _journal_end(tx, principal, run, Event(EventKind.RUN_FINISHED), reply)
        runs.set_status(tx, run, RunStatus.COMPLETED, reply_id=reply.message_id)


def end_run(
    tx: Transaction,
    principal: str,
    run: Run,
    status: RunStatus,
    event: Event,
    *,
    reply: RecordedReply | None = None,
    error: str | None = None,
    retryable: bool = False,
    unsent: bool = False,
) -> None:
    """End a run: journal `event`, withdraw its pending requests, and open a conversation that waited for them.

    Its `reply` is journalled with it. The run's lease ends, so that the process that executes the run can write nothing
    more.
    """
    conversation_status = _journal_end(tx, principal, run, event, reply)
    reply_id = None if reply is None else reply.message_id
    runs.set_status(tx, run, status, error=error, retryable=retryable, unsent=unsent, reply_id=reply_id)
    if conversation_status is Status.INPUT_REQUIRED:
        move(tx, principal, run.conversation_id, Status.OPEN, run_id=run.id)
    leases.end(tx, principal, run.conversation_id)


def _journal_end(
    tx: Transaction, principal: str, run: Run, event: Event, reply: RecordedReply | None
) -> Status:
    """Journal the end of a run; return the status of its conversation."""
    events, added_at = ((), None) if reply is None else (reply.events, reply.added_at)
    added = Alongside(added_at=added_at)
    return journal.append(tx, principal, run.conversation_id, [*events, event], run.id, added).status
