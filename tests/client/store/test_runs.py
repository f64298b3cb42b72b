"""Runs in the store, and what they ask."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import apsw
import psycopg.errors
import pytest

from tertulia import NotFoundError, RequestKind, RequestStatus, Run, RunStatus
from tertulia.store import runs
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.models import RequestDraft
from tests.client.making import ME, add_conversation, add_message, add_run

pytestmark = pytest.mark.anyio

C1 = "local:c1"
HOUR = timedelta(hours=1) // timedelta(microseconds=1)


def ended(tx: Transaction, run: Run, status: RunStatus = RunStatus.COMPLETED) -> None:
    """End a run."""
    runs.set_status(tx, run, status)


async def test_a_conversation_has_at_most_one_active_run(store: Store) -> None:
    """The database itself sees to that, whatever any process believes."""

    def two(tx: Transaction) -> None:
        add_conversation(tx)
        add_run(tx, "run_1")
        add_run(tx, "run_2")

    with pytest.raises((apsw.ConstraintError, psycopg.errors.UniqueViolation)):
        await store.write(two)


async def test_after_a_run_has_ended_there_can_be_another(store: Store) -> None:
    """The active one is told from those before."""

    def two(tx: Transaction) -> list[str | None]:
        add_conversation(tx)
        ended(tx, add_run(tx, "run_1"))
        none = runs.active(tx, ME, C1)
        add_run(tx, "run_2")
        active = runs.active(tx, ME, C1)
        return [none and none.id, active and active.id]

    assert await store.write(two) == [None, "run_2"]


async def test_the_newest_run_is_the_last_that_began_whatever_the_clock_says(store: Store) -> None:
    """Who stops an answer stops that one."""

    def begin(tx: Transaction) -> Run | None:
        add_conversation(tx)
        for number in range(3):
            run = add_run(tx, f"run_{number}")
            runs.set_status(tx, run, RunStatus.COMPLETED)
            add_message(tx, "next")
            tx.run("UPDATE conversations SET last_seq = last_seq + 1")
            tx.at -= HOUR
        return runs.latest(tx, ME, C1)

    newest = await store.write(begin)
    assert newest is not None
    assert newest.id == "run_2"


@pytest.mark.parametrize(
    "find",
    [
        runs.left,
        runs.all_active,
        runs.census,
        partial(runs.active, principal=ME, conversation_id=C1),
        partial(runs.active_of_another, principal=ME, conversation_id=C1),
        partial(runs.unfinished, principal=ME),
        partial(runs.addressed_to, principal=ME, agent="local:a"),
    ],
)
async def test_active_runs_are_found_without_a_look_at_those_that_have_ended(
    file_store: Store, monkeypatch: pytest.MonkeyPatch, find: Callable[[Transaction], object]
) -> None:
    """A conversation, or a store, can have had very many."""
    asked = list[tuple[str, tuple[Any, ...]]]()
    read = Transaction.all

    def all_rows(tx: Transaction, sql: str, *values: Any) -> Any:
        asked.append((sql, values))
        return read(tx, sql, *values)

    def first_row(tx: Transaction, sql: str, *values: Any) -> Any:
        return next(iter(all_rows(tx, sql, *values)), None)

    def plan(tx: Transaction) -> list[str]:
        find(tx)
        ((sql, values),) = asked
        return [str(row[-1]) for row in read(tx, f"EXPLAIN QUERY PLAN {sql}", *values)]

    await file_store.read(lambda _: None)
    monkeypatch.setattr(Transaction, "all", all_rows)
    monkeypatch.setattr(Transaction, "one", first_row)
    steps = [step for step in await file_store.read(plan) if " runs " in step]
    assert steps
    assert all("INDEX runs_active" in step for step in steps)


@pytest.mark.parametrize("end", [status for status in RunStatus if not status.active])
async def test_what_a_run_still_asked_is_withdrawn_at_its_end(store: Store, end: RunStatus) -> None:
    """However it ends; what was decided stays decided."""

    def ask(tx: Transaction) -> list[RequestStatus]:
        add_conversation(tx)
        run = add_run(tx)
        draft = RequestDraft(kind=RequestKind.QUESTION, prompt="Which?")
        first = runs.add_request(tx, ME, run, draft)
        runs.add_request(tx, ME, run, draft)
        tx.run("UPDATE requests SET status = 'answered' WHERE id = ?", first.id)
        ended(tx, run, end)
        return [request.status for request in runs.requests_of(tx, run.id)]

    assert await store.write(ask) == [RequestStatus.ANSWERED, RequestStatus.WITHDRAWN]
    assert await store.read(lambda tx: runs.pending_requests(tx, ME)) == []


async def test_an_unknown_request_is_told_with_those_that_are_pending(store: Store) -> None:
    """Ten of them at most."""

    def ask(tx: Transaction) -> list[str]:
        add_conversation(tx)
        run = add_run(tx)
        draft = RequestDraft(kind=RequestKind.QUESTION, prompt="Which?")
        return [runs.add_request(tx, ME, run, draft).id for _ in range(12)]

    asked = await store.write(ask)

    with pytest.raises(NotFoundError, match="There is no request") as raised:
        await store.read(lambda tx: runs.get_request(tx, ME, "req_x"))
    assert raised.value.valid == tuple(asked[:10])
    with pytest.raises(NotFoundError) as hers:
        await store.read(lambda tx: runs.get_request(tx, "alice", asked[0]))
    assert hers.value.valid == ()


def begun(tx: Transaction, *, status: RunStatus, delivered: bool, hours_ago: int) -> None:
    """Begin a run by the call `d`, some hours ago."""
    now = tx.at
    tx.at -= hours_ago * HOUR
    add_conversation(tx)
    run = add_run(tx, call="d")
    runs.set_status(tx, run, status)
    if delivered:
        runs.mark_delivered(tx, run)
    tx.at = now


@pytest.mark.parametrize(
    ("status", "delivered", "hours_ago", "joined"),
    [
        (RunStatus.RUNNING, False, 0, True),
        (RunStatus.RUNNING, True, 0, True),
        (RunStatus.INPUT_REQUIRED, True, 48, True),
        (RunStatus.COMPLETED, False, 0, True),
        (RunStatus.FAILED, False, 0, True),
        (RunStatus.COMPLETED, True, 0, False),
        (RunStatus.COMPLETED, False, 2, False),
    ],
)
async def test_the_identical_call_is_the_same_while_unfinished_or_undelivered(
    store: Store, status: RunStatus, delivered: bool, hours_ago: int, joined: bool
) -> None:
    """An approval may take days; an answer that nobody fetched for an hour is nobody's."""
    await store.write(partial(begun, status=status, delivered=delivered, hours_ago=hours_ago))

    found = await store.read(lambda tx: runs.same_call(tx, ME, "d"))

    assert (found is not None) is joined
    assert await store.read(lambda tx: runs.same_call(tx, ME, "e")) is None
    assert await store.read(lambda tx: runs.same_call(tx, "alice", "d")) is None
