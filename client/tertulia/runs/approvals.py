"""Decisions about a run's requests: which can be taken, and how they are recorded."""

from collections.abc import Sequence
from typing import Any

from tertulia.settings import Approvals
from tertulia.store import journal, runs
from tertulia.store.database import Transaction
from tertulia.store.transitions import move
from tertulia.vocabulary.errors import ConflictError, InvalidInputError, NotAllowedError, NotOffered
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import Decision, Request, RequestKind, Run, Settlement
from tertulia.vocabulary.states import RequestStatus, RunStatus, Status
from tertulia.vocabulary.text import checked_json, checked_text
from tertulia.vocabulary.values import same_json

_STATUS = {
    Decision.APPROVE: RequestStatus.APPROVED,
    Decision.REJECT: RequestStatus.REJECTED,
    Decision.ANSWER: RequestStatus.ANSWERED,
}
_FITTING = {
    RequestKind.CONFIRMATION: (Decision.APPROVE, Decision.REJECT),
    RequestKind.QUESTION: (Decision.ANSWER, Decision.REJECT),
}
MAX_REASON = 4_000


def find_pending(tx: Transaction, principal: str, request_id: str) -> Request:
    """Return a request that is still pending.

    Raises:
        NotFoundError: there is no such request.
        ConflictError: it was settled; the error says how, and names the pending requests.
    """
    request = runs.get_request(tx, principal, request_id)
    if request.status is not RequestStatus.PENDING:
        pending = runs.pending_requests(tx, principal, request.conversation_id)
        raise _settled(request, pending, runs.get(tx, principal, request.run_id))
    return request


def check_settlement(
    request: Request, settlement: Settlement, approvals: Approvals, features: frozenset[Feature]
) -> None:
    """Check that a decision can be taken about a pending request.

    Raises:
        InvalidInputError: the decision does not fit the kind of the request.
        NotOffered: the platform accepts no changed arguments.
        NotAllowedError: only a person's approval counts.
        ConflictError: the form was declined, so that only an accepted form can approve.
    """
    ids: dict[str, Any] = {
        "request_id": request.id,
        "conversation_id": request.conversation_id,
        "run_id": request.run_id,
    }
    fitting = _FITTING[request.kind]
    if settlement.decision not in fitting:
        raise InvalidInputError(
            f"The request {request.id} is a {request.kind}; it cannot be settled with `{settlement.decision}`.",
            valid=fitting,
            **ids,
        )
    if settlement.decision is Decision.ANSWER:
        checked_text("answer", settlement.answer or "")
    if settlement.reason is not None:
        checked_text("reason", settlement.reason, limit=MAX_REASON)
    if settlement.arguments is not None:
        if settlement.decision is not Decision.APPROVE:
            raise InvalidInputError("Only an approval can change the arguments of a tool.", **ids)
        if Feature.EDIT_ARGUMENTS not in features:
            raise NotOffered(
                "This platform runs a tool with the arguments it asked for, or not at all.",
                hint="Approve without `arguments`, or reject and say in `reason` what should be different.",
                **ids,
            )
        checked_json("arguments", settlement.arguments)
    if settlement.decision is Decision.APPROVE and approvals is Approvals.ELSEWHERE:
        raise NotAllowedError(
            "No agent approves what another one wants to do: the person does, in the host in which they talk to you.",
            hint="End your turn, and say that the request waits for them. They find it with list_conversations "
            "(awaiting_me) or `tertulia approve`.",
            **ids,
        )
    if settlement.decision is Decision.APPROVE and not settlement.by_person:
        if approvals is Approvals.PERSON:
            raise NotAllowedError(
                "Here only a person can approve: in a form that the host shows, or with `tertulia approve`.",
                hint="Let your user run `tertulia approve` in a terminal, or reject the request.",
                **ids,
            )
        if request.declined:
            raise ConflictError(
                f"The form for the request {request.id} was declined: only an accepted form can approve it now.",
                hint="Ask your user before it is shown again, let them run `tertulia approve`, or reject the request.",
                **ids,
            )


def record_settlement(tx: Transaction, principal: str, request: Request, settlement: Settlement) -> None:
    """Record a decision; queue the run again once none of its requests is pending."""
    runs.settle(tx, request, _STATUS[settlement.decision], settlement)
    data: dict[str, object] = {"request_id": request.id, "decision": settlement.decision, "by": principal}
    if settlement.channel is not None:
        data["channel"] = settlement.channel
    if settlement.reason is not None:
        data["reason"] = settlement.reason
    kind = EventKind.TOOL_CONFIRMATION_RESOLVED
    if request.kind is RequestKind.QUESTION:
        kind = EventKind.QUESTION_ANSWERED
        data["answer"] = settlement.answer
    journal.append(tx, principal, request.conversation_id, [Event(kind, data)], request.run_id)
    if not any(other.status is RequestStatus.PENDING for other in runs.requests_of(tx, request.run_id)):
        runs.set_status(tx, runs.get(tx, principal, request.run_id), RunStatus.QUEUED)
        move(tx, principal, request.conversation_id, Status.OPEN, run_id=request.run_id)


def settled_alike(tx: Transaction, principal: str, request_id: str, settlement: Settlement) -> bool:
    """Whether a request was settled with this very decision: the call that decided it may be repeated."""
    request = runs.get_request(tx, principal, request_id)
    if request.status is not _STATUS[settlement.decision] or request.answer != settlement.answer:
        return False
    return settlement.arguments is None or same_json(
        settlement.arguments, runs.approved_arguments(tx, request)
    )


def _settled(request: Request, pending: Sequence[Request], run: Run) -> ConflictError:
    how = str(request.status)
    if request.status is RequestStatus.WITHDRAWN:
        # The run's end withdraws what is pending in the same transaction; an agent that went on did so before.
        ended = (
            run.ended_at is not None and request.settled_at is not None and request.settled_at >= run.ended_at
        )
        how += f" when its run was {run.status}" if ended else ", since the agent went on without it,"
    when = "" if request.settled_at is None else f" on {request.settled_at:%Y-%m-%d at %H:%M:%S} UTC"
    return ConflictError(
        f"The request {request.id} was {how}{when}.",
        valid=[other.id for other in pending],
        hint="These requests are pending in its conversation now."
        if pending
        else "Nothing else is pending there; stream_conversation with this conversation shows what came of it.",
        request_id=request.id,
        conversation_id=request.conversation_id,
        run_id=request.run_id,
    )
