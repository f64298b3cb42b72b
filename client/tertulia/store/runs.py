"""Runs and what they wait for. The index `runs_active` holds that a conversation has at most one active run."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tertulia.store import leases
from tertulia.store.database import Row, Transaction, encode, storable, to_datetime
from tertulia.vocabulary.errors import NotFoundError
from tertulia.vocabulary.identifiers import new_id
from tertulia.vocabulary.models import Request, RequestDraft, RequestKind, Run, Settlement
from tertulia.vocabulary.states import RequestStatus, RunStatus
from tertulia.vocabulary.untrusted import named

_RUN = (
    "id, conversation_id, agent, status, message_id, first_seq, reply_id, error, retryable, created_at, ended_at,"
    " unsent"
)
_REQUEST = (
    "id, run_id, conversation_id, kind, prompt, status, tool, arguments, tool_call_id, upstream_id, declined,"
    " reason, answer, created_at, settled_at, data"
)
ACTIVE = ", ".join(
    f"'{status}'" for status in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.INPUT_REQUIRED)
)
"""The states of a run that may still produce something, for SQL's IN.

In the order that `runs_active` has them in: SQLite looks into that index only where it finds its very condition.
"""
UNDELIVERED = timedelta(hours=1)
"""How long a repeated call joins a run whose result was not delivered."""


def insert(
    tx: Transaction,
    principal: str,
    *,
    run_id: str,
    conversation_id: str,
    agent: str | None,
    message_id: str,
    call_digest: str,
    context: Mapping[str, Any] | None,
    first_seq: int,
    status: RunStatus = RunStatus.QUEUED,
    checkpoint: Mapping[str, Any] | None = None,
    delivered: bool = False,
) -> Run:
    """Insert a run."""
    tx.run(
        "INSERT INTO runs (id, principal, conversation_id, agent, status, message_id, call_digest, context, checkpoint,"
        " first_seq, delivered, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        run_id,
        principal,
        conversation_id,
        agent,
        status,
        message_id,
        call_digest,
        encode(context) if context is not None and tx.keeps_content(conversation_id) else None,
        encode(checkpoint or {}),
        first_seq,
        int(delivered),
        tx.at,
    )
    tx.touched.add(conversation_id)
    return Run(
        id=run_id,
        conversation_id=conversation_id,
        agent=agent,
        status=status,
        message_id=message_id,
        first_seq=first_seq,
        created_at=to_datetime(tx.at),
    )


def get(tx: Transaction, principal: str, run_id: str) -> Run:
    """Return a run.

    Raises:
        NotFoundError: this principal has none of that id.
    """
    run = find(tx, principal, run_id)
    if run is None:
        raise NotFoundError(
            f"There is no run {named(run_id)}.",
            hint="get_conversation shows the latest run of a conversation.",
            run_id=run_id,
        )
    return run


def find(tx: Transaction, principal: str, run_id: str) -> Run | None:
    """Return a run, or None where this principal has none of that id."""
    return _found(
        tx.one(f"SELECT {_RUN} FROM runs WHERE principal = ? AND id = ?", principal, storable(run_id))
    )


def is_active(tx: Transaction, principal: str, run_id: str) -> bool:
    """Whether a run has not ended, and was not deleted."""
    found = find(tx, principal, run_id)
    return found is not None and found.status.active


@dataclass(frozen=True, slots=True)
class Census:
    """How many runs a store has that have not ended."""

    active: Mapping[RunStatus, int]
    queue_seconds: float
    """How long the oldest run has been queued; 0 if none is."""


def active(tx: Transaction, principal: str, conversation_id: str) -> Run | None:
    """Return the conversation's active run, if it has one."""
    return _found(
        tx.one(
            f"SELECT {_RUN} FROM runs WHERE principal = ? AND conversation_id = ? AND status IN ({ACTIVE})",
            principal,
            conversation_id,
        )
    )


def replied_with(tx: Transaction, principal: str, conversation_id: str, message_id: str) -> Run | None:
    """Return the run whose answer a message is, or None."""
    return _found(
        tx.one(
            f"SELECT {_RUN} FROM runs WHERE principal = ? AND conversation_id = ? AND reply_id = ?",
            principal,
            conversation_id,
            message_id,
        )
    )


def active_of_another(tx: Transaction, principal: str, conversation_id: str) -> tuple[str, Run] | None:
    """Return an active run of another principal in a conversation that both reach at its platform, and whose it is."""
    row = tx.one(
        f"SELECT principal, {_RUN} FROM runs WHERE conversation_id = ? AND principal <> ? AND status IN ({ACTIVE})",
        conversation_id,
        principal,
    )
    return None if row is None else (str(row[0]), _run(row[1:]))


def latest(tx: Transaction, principal: str, conversation_id: str) -> Run | None:
    """Return the conversation's newest run, active or not."""
    return _found(
        tx.one(
            f"SELECT {_RUN} FROM runs WHERE principal = ? AND conversation_id = ?"
            " ORDER BY first_seq DESC, number DESC LIMIT 1",
            principal,
            conversation_id,
        )
    )


def unfinished(tx: Transaction, principal: str) -> list[Run]:
    """Return every active run of a principal, oldest first."""
    rows = tx.all(
        f"SELECT {_RUN} FROM runs WHERE principal = ? AND status IN ({ACTIVE}) ORDER BY created_at",
        principal,
    )
    return [_run(row) for row in rows]


def all_active(tx: Transaction) -> list[tuple[str, Run]]:
    """Return every active run with its principal, oldest first."""
    rows = tx.all(f"SELECT principal, {_RUN} FROM runs WHERE status IN ({ACTIVE}) ORDER BY created_at")
    return [(str(row[0]), _run(row[1:])) for row in rows]


def left(tx: Transaction) -> list[tuple[str, Run]]:
    """Return every active run with its principal that no process works on, oldest first."""
    rows = tx.all(
        f"SELECT principal, {_RUN} FROM runs WHERE status IN ({ACTIVE}) AND NOT EXISTS (SELECT 1 FROM leases"
        " WHERE leases.principal = runs.principal AND resource = conversation_id AND owner IS NOT NULL"
        " AND expires_at BETWEEN ? AND ?) ORDER BY created_at",
        *leases.alive(tx),
    )
    return [(str(row[0]), _run(row[1:])) for row in rows]


def census(tx: Transaction) -> Census:
    """Return how many runs are active, whosesoever they are."""
    rows = tx.all(
        f"SELECT status, count(*), min(created_at) FROM runs WHERE status IN ({ACTIVE}) GROUP BY status"
    )
    oldest = {RunStatus(row[0]): row[2] for row in rows}.get(RunStatus.QUEUED, tx.at)
    return Census({RunStatus(row[0]): row[1] for row in rows}, max(0.0, (tx.at - oldest) / 1_000_000))


def nth_newest(
    tx: Transaction, principal: str, number: int, since: int, except_of: Collection[str]
) -> int | None:
    """Return when a principal's `number`th newest run began, of those since a time and not of these instances.

    None if there are fewer.
    """
    if number < 1:
        return tx.at
    row = tx.one(
        "SELECT created_at FROM runs WHERE principal = ? AND created_at > ?"
        " AND substr(conversation_id, 1, instr(conversation_id, ':') - 1) NOT IN (SELECT value FROM json_each(?))"
        " ORDER BY created_at DESC LIMIT 1 OFFSET ?",
        principal,
        since,
        encode(sorted(except_of)),
        number - 1,
    )
    return None if row is None else int(row[0])


def active_in(tx: Transaction, instances: Sequence[str]) -> list[tuple[str, Run]]:
    """Return every active run of some instances with its principal, oldest first."""
    return [found for found in all_active(tx) if found[1].conversation_id.partition(":")[0] in instances]


def same_call(tx: Transaction, principal: str, call_digest: str) -> Run | None:
    """Return the run that the identical call began, or sent a message into.

    Only if the run is unfinished, or if its result was not delivered yet.
    """
    call = principal, call_digest, tx.at - UNDELIVERED // timedelta(microseconds=1)
    return _found(
        tx.one(
            f"SELECT {_RUN} FROM runs WHERE principal = ? AND id = coalesce((SELECT id FROM runs"
            f" WHERE principal = ? AND call_digest = ? AND (status IN ({ACTIVE}) OR (delivered = 0 AND created_at > ?))"
            " ORDER BY created_at DESC LIMIT 1), (SELECT run_id FROM sent_messages"
            " WHERE principal = ? AND call_digest = ? AND delivered = 0 AND created_at > ?"
            " ORDER BY created_at DESC LIMIT 1))",
            principal,
            *call,
            *call,
        )
    )


def note_sent(tx: Transaction, principal: str, run: Run, message_id: str, call_digest: str) -> None:
    """Record which call sent a message into a run that another call began."""
    tx.run(
        "INSERT INTO sent_messages (principal, call_digest, run_id, conversation_id, message_id, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        principal,
        call_digest,
        run.id,
        run.conversation_id,
        message_id,
        tx.at,
    )


def went_into(tx: Transaction, principal: str, message_id: str) -> Run | None:
    """Return the run that a message was sent into without beginning it."""
    return _found(
        tx.one(
            f"SELECT {_RUN} FROM runs WHERE principal = ?"
            " AND id = (SELECT run_id FROM sent_messages WHERE principal = ? AND message_id = ?)",
            principal,
            principal,
            message_id,
        )
    )


def addressed_to(tx: Transaction, principal: str, agent: str) -> set[str]:
    """Return the conversations with an active run that `agent` is to answer."""
    rows = tx.all(
        f"SELECT conversation_id FROM runs WHERE principal = ? AND status IN ({ACTIVE}) AND agent = ?",
        principal,
        agent,
    )
    return {row[0] for row in rows}


def mark_delivered(tx: Transaction, run: Run, *, to_answerer: bool = False) -> None:
    """Mark a run's result as delivered: the identical call is a new one from now on.

    `to_answerer`: it was delivered to the caller who answered the run with a message, not to the one who began it.
    """
    comparison = "=" if to_answerer else "IS DISTINCT FROM"
    tx.run(
        f"UPDATE sent_messages SET delivered = 1 WHERE run_id = ? AND delivered = 0 AND message_id {comparison} ?",
        run.id,
        run.reply_id,
    )
    if not to_answerer:
        tx.run("UPDATE runs SET delivered = 1 WHERE id = ? AND delivered = 0", run.id)


def set_status(
    tx: Transaction,
    run: Run,
    status: RunStatus,
    *,
    error: str | None = None,
    retryable: bool = False,
    unsent: bool = False,
    reply_id: str | None = None,
) -> None:
    """Write the run's status; at an end also its time and its reply, and withdraw the pending requests.

    Where contents are not kept, an end deletes the contents of the run's requests.
    """
    ended = not status.active
    tx.run(
        "UPDATE runs SET status = ?, error = ?, retryable = ?, unsent = ?, ended_at = ?,"
        " reply_id = coalesce(?, reply_id) WHERE id = ?",
        status,
        None if error is None else storable(error),
        int(retryable),
        int(unsent),
        tx.at if ended else None,
        reply_id,
        run.id,
    )
    if ended:
        tx.run(
            "UPDATE requests SET status = ?, settled_at = ? WHERE run_id = ? AND status = ?",
            RequestStatus.WITHDRAWN,
            tx.at,
            run.id,
            RequestStatus.PENDING,
        )
        if not tx.keeps_content(run.conversation_id):
            tx.run(
                "UPDATE requests SET prompt = '', arguments = '{}', data = '{}', reason = NULL, answer = NULL,"
                " approved_arguments = NULL WHERE run_id = ?",
                run.id,
            )
            tx.wiped = True
    tx.touched.add(run.conversation_id)


def checkpoint(tx: Transaction, run_id: str) -> dict[str, Any]:
    """Return what the platform saved last for this run."""
    row = tx.one("SELECT checkpoint FROM runs WHERE id = ?", run_id)
    return {} if row is None else json.loads(row[0])


def saved(tx: Transaction, run_id: str) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
    """Return the context that was sent with the run's message, and what the platform saved last."""
    row = tx.one("SELECT context, checkpoint FROM runs WHERE id = ?", run_id)
    context, checkpoint = (None, "{}") if row is None else row
    return None if context is None else json.loads(context), json.loads(checkpoint)


def save_checkpoint(tx: Transaction, run_id: str, value: Mapping[str, Any]) -> None:
    """Save what the platform needs in order to continue this run in another process."""
    saved = tx.one(
        "UPDATE runs SET checkpoint = ? WHERE id = ? RETURNING conversation_id", encode(value), run_id
    )
    if saved is not None:
        tx.touched.add(saved[0])


def add_request(tx: Transaction, principal: str, run: Run, draft: RequestDraft) -> Request:
    """Insert a request of a run."""
    request_id = new_id("req_")
    tx.run(
        "INSERT INTO requests (id, principal, run_id, conversation_id, kind, prompt, tool, arguments, tool_call_id,"
        " upstream_id, data, status, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        request_id,
        principal,
        run.id,
        run.conversation_id,
        draft.kind,
        storable(draft.prompt),
        draft.tool,
        encode(draft.arguments),
        draft.tool_call_id,
        draft.upstream_id,
        encode(draft.data),
        RequestStatus.PENDING,
        tx.at,
    )
    tx.touched.add(run.conversation_id)
    return get_request(tx, principal, request_id)


def get_request(tx: Transaction, principal: str, request_id: str) -> Request:
    """Return a request.

    Raises:
        NotFoundError: this principal has none of that id.
    """
    row = tx.one(
        f"SELECT {_REQUEST} FROM requests WHERE principal = ? AND id = ?", principal, storable(request_id)
    )
    if row is None:
        pending = [request.id for request in pending_requests(tx, principal)][:10]
        raise NotFoundError(
            f"There is no request {named(request_id)}.",
            valid=pending,
            hint="These are pending now." if pending else "Nothing is pending now.",
            request_id=request_id,
        )
    return _request(row)


def requests_of(tx: Transaction, run_id: str) -> list[Request]:
    """Return all requests of a run, oldest first."""
    rows = tx.all(f"SELECT {_REQUEST} FROM requests WHERE run_id = ? ORDER BY created_at, number", run_id)
    return [_request(row) for row in rows]


def pending_under(
    tx: Transaction, run_id: str, kind: RequestKind, upstream_id: str | None
) -> Sequence[Request]:
    """Return a run's pending requests of a kind under an id of its platform; none without an id."""
    return [
        request
        for request in requests_of(tx, run_id)
        if request.status is RequestStatus.PENDING
        and upstream_id is not None
        and (request.kind, request.upstream_id) == (kind, upstream_id)
    ]


def pending_requests(tx: Transaction, principal: str, conversation_id: str | None = None) -> list[Request]:
    """Return the pending requests, oldest first: of one conversation, or of all."""
    only, values = ("", []) if conversation_id is None else (" AND conversation_id = ?", [conversation_id])
    rows = tx.all(
        f"SELECT {_REQUEST} FROM requests WHERE principal = ? AND status = 'pending'{only} ORDER BY created_at, number",
        principal,
        *values,
    )
    return [_request(row) for row in rows]


def settle(tx: Transaction, request: Request, status: RequestStatus, settlement: Settlement) -> None:
    """Write the decision about a pending request."""
    tx.run(
        "UPDATE requests SET status = ?, reason = ?, answer = ?, approved_arguments = ?, settled_at = ? WHERE id = ?",
        status,
        settlement.reason,
        settlement.answer,
        None if settlement.arguments is None else encode(settlement.arguments),
        tx.at,
        request.id,
    )
    tx.touched.add(request.conversation_id)


def withdraw(tx: Transaction, request: Request) -> None:
    """Mark a request as withdrawn: it can no longer be settled."""
    tx.run(
        "UPDATE requests SET status = ?, settled_at = ? WHERE id = ?",
        RequestStatus.WITHDRAWN,
        tx.at,
        request.id,
    )
    tx.touched.add(request.conversation_id)


def approved_arguments(tx: Transaction, request: Request) -> Mapping[str, Any]:
    """Return the arguments that were approved: those that the request showed, or the changed ones."""
    row = tx.one("SELECT approved_arguments FROM requests WHERE id = ?", request.id)
    return request.arguments if row is None or row[0] is None else json.loads(row[0])


def decline(tx: Transaction, request: Request) -> None:
    """Record that a person declined the form of a pending request, which stays pending."""
    tx.run("UPDATE requests SET declined = 1 WHERE id = ? AND status = 'pending'", request.id)
    tx.touched.add(request.conversation_id)


def _found(row: Row | None) -> Run | None:
    return None if row is None else _run(row)


def _run(row: Row) -> Run:
    return Run(
        id=row[0],
        conversation_id=row[1],
        agent=row[2],
        status=RunStatus(row[3]),
        message_id=row[4],
        first_seq=row[5],
        reply_id=row[6],
        error=row[7],
        retryable=bool(row[8]),
        created_at=to_datetime(row[9]),
        ended_at=None if row[10] is None else to_datetime(row[10]),
        unsent=bool(row[11]),
    )


def _request(row: Row) -> Request:
    return Request(
        id=row[0],
        run_id=row[1],
        conversation_id=row[2],
        kind=RequestKind(row[3]),
        prompt=row[4],
        status=RequestStatus(row[5]),
        tool=row[6],
        arguments=json.loads(row[7]),
        tool_call_id=row[8],
        upstream_id=row[9],
        declined=bool(row[10]),
        reason=row[11],
        answer=row[12],
        created_at=to_datetime(row[13]),
        settled_at=None if row[14] is None else to_datetime(row[14]),
        data=json.loads(row[15]),
    )
