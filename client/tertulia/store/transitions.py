"""How conversations and runs move from state to state, as steps inside a transaction."""

from collections.abc import Sequence
from typing import Any

from tertulia.store import conversations, journal, leases, messages, ratings, runs
from tertulia.store.database import Transaction
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
) -> Conversation:
    """Move a conversation to `status` if its state allows that, and journal it; return it as it is then."""
    before = conversations.get(tx, principal, conversation_id).status
    if status in TRANSITIONS[before]:
        conversations.set_status(tx, principal, conversation_id, status)
        data: dict[str, Any] = {"status": status, "before": before}
        if reason is not None:
            data["reason"] = reason
        if rating is not None:
            ratings.rate_conversation(tx, principal, conversation_id, rating)
            data |= {"rating": rating.value} | ({"feedback": rating.feedback} if rating.feedback else {})
        journal.append(tx, principal, conversation_id, [Event(EventKind.STATUS_CHANGED, data)], run_id)
    return conversations.get(tx, principal, conversation_id)


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
    messages.add(tx, principal, message)
    runs.note_sent(tx, principal, run, message.id, call_digest)
    if not reply:
        journal.append(tx, principal, run.conversation_id, [message_added(message)], run.id)
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
    journal.append(tx, principal, run.conversation_id, events, run.id)
    runs.set_reply(tx, run.id, message.id)
    return end_run(tx, principal, run, RunStatus.COMPLETED, Event(EventKind.RUN_FINISHED))


def record_reply(
    tx: Transaction, principal: str, run: Run, reply: Message, entries: Sequence[JournalEntry]
) -> list[Event]:
    """Record a run's whole answer; return the events that tell it to whoever has read the run's `entries`."""
    keeps_content = tx.keeps_content(run.conversation_id)
    rest = journal.rest_of_text(entries, reply.text) if reply.text and keeps_content else []
    messages.add(tx, principal, reply)
    runs.set_reply(tx, run.id, reply.id)
    return [*rest, message_added(reply)]


def complete_interrupted(tx: Transaction, principal: str, run: Run, said: MessageRecord) -> None:
    """Complete a run that was interrupted with the answer that its platform has finished since."""
    if runs.get(tx, principal, run.id).status is RunStatus.INTERRUPTED:
        entries = journal.read_all(tx, principal, run)
        told = record_reply(tx, principal, run, messages.merged(tx, principal, said), entries)
        journal.append(tx, principal, run.conversation_id, [*told, Event(EventKind.RUN_FINISHED)], run.id)
        runs.set_status(tx, run, RunStatus.COMPLETED)


def end_run(
    tx: Transaction,
    principal: str,
    run: Run,
    status: RunStatus,
    event: Event,
    *,
    before: Sequence[Event] = (),
    error: str | None = None,
    retryable: bool = False,
    unsent: bool = False,
) -> Run:
    """End a run: journal `event`, withdraw its pending requests, and open a conversation that waited for them.

    What happened just `before` is journalled with it. The run's lease ends, so that the process that executes the run
    can write nothing more.
    """
    journal.append(tx, principal, run.conversation_id, [*before, event], run.id)
    runs.set_status(tx, run, status, error=error, retryable=retryable, unsent=unsent)
    if conversations.get(tx, principal, run.conversation_id).status is Status.INPUT_REQUIRED:
        move(tx, principal, run.conversation_id, Status.OPEN, run_id=run.id)
    leases.end(tx, principal, run.conversation_id)
    return runs.get(tx, principal, run.id)
