"""A platform whose answers only a worker can produce: every other process records, and the worker carries out."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from tertulia import Client, Decision, RunStatus, Settlement, Worker
from tertulia.platforms.base import Capabilities, Execution, RunContext
from tertulia.runs.runner import NO_WORKER
from tests.doubles.remote import CONVERSATION, SECONDS, Remote, remote
from tests.doubles.scripted import may_i

pytestmark = pytest.mark.anyio

WORKER_ONLY = Capabilities(execution=Execution.WORKER)


async def asks_and_waits(context: RunContext) -> None:
    """Ask whether a tool may run, keep the connection meanwhile, and say what was decided."""
    request = await context.ask(may_i())
    settled = await context.wait_settled(request.id)
    await context.finish(f"It was {settled.status}.")


@dataclass
class Processes:
    """The host's process, which is no worker, and the worker's, on one store; each has the platform for itself."""

    host: Client
    host_side: Remote
    worker: Client
    worker_side: Remote
    launched: list[str]
    """One entry for each time that the host's process started a worker."""


@pytest.fixture
async def processes(path: Path) -> AsyncGenerator[Processes]:
    """Open both; the worker executes a run once somebody there reads it."""
    launched: list[str] = []

    async def launch() -> None:
        launched.append("worker")

    host_side = Remote(asks_and_waits, capabilities=WORKER_ONLY)
    worker_side = Remote(asks_and_waits, capabilities=WORKER_ONLY)
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(remote(path, host_side, worker=Worker(launch=launch)))
        worker = await stack.enter_async_context(remote(path, worker_side, worker=Worker()))
        yield Processes(host, host_side, worker, worker_side, launched)


async def test_a_process_that_is_no_worker_launches_one_and_executes_nothing(processes: Processes) -> None:
    """The run waits for the worker."""
    sent = await processes.host.runs.send(CONVERSATION, "Shred it")
    waited = await processes.host.runs.wait(sent.run, timeout=0.2)

    assert waited.run.status is RunStatus.QUEUED
    assert processes.host_side.executed == []
    assert processes.launched


async def test_without_a_way_to_launch_a_worker_the_run_fails_with_a_sentence(path: Path) -> None:
    """It is not executed, and nobody waits for it in vain; sending again later is no double."""
    other_side = Remote(asks_and_waits, capabilities=WORKER_ONLY)
    async with remote(path, other_side) as client:
        sent = await client.runs.send(CONVERSATION, "Shred it")
        waited = await client.runs.wait(sent.run, timeout=20)

    assert (waited.run.status, waited.run.retryable) == (RunStatus.FAILED, True)
    assert (waited.run.error or "").startswith(NO_WORKER)
    assert other_side.executed == []


async def test_a_decision_is_recorded_by_the_host_and_carried_out_by_the_worker(processes: Processes) -> None:
    """The answer that waits in the worker learns it; nobody calls `Platform.settle`."""
    sent = await processes.host.runs.send(CONVERSATION, "Shred it")
    asked = await processes.worker.runs.wait(sent.run, timeout=SECONDS)
    (request,) = asked.pending
    await processes.host.runs.respond(request.id, Settlement(decision=Decision.APPROVE))
    answered = await processes.host.runs.wait(sent.run, timeout=SECONDS)

    assert (answered.run.status, answered.reply) == (RunStatus.COMPLETED, "It was approved.")
    assert (len(processes.host_side.executed), len(processes.worker_side.executed)) == (0, 1)
    assert processes.host_side.settled == processes.worker_side.settled == []


async def test_an_answer_that_goes_on_after_a_decision_is_running(processes: Processes) -> None:
    """It is queued only until the worker has learnt what was decided."""
    learnt, go_on = anyio.Event(), anyio.Event()

    async def answer(context: RunContext) -> None:
        request = await context.ask(may_i())
        await context.wait_settled(request.id)
        learnt.set()
        await go_on.wait()
        await context.finish("Done.")

    processes.worker_side.answer = answer
    sent = await processes.host.runs.send(CONVERSATION, "Shred it")
    (request,) = (await processes.worker.runs.wait(sent.run, timeout=SECONDS)).pending
    await processes.host.runs.respond(request.id, Settlement(decision=Decision.APPROVE))
    with anyio.fail_after(SECONDS):
        await learnt.wait()
    assert (await processes.host.runs.get(sent.run.id)).status is RunStatus.RUNNING
    go_on.set()

    assert (await processes.host.runs.wait(sent.run, timeout=SECONDS)).run.status is RunStatus.COMPLETED


async def test_a_cancellation_is_recorded_by_the_host_and_stops_the_answer_in_the_worker(
    processes: Processes,
) -> None:
    """It is canceled, or learns that its request was withdrawn; nobody calls `Platform.cancel`."""
    stopped = anyio.Event()

    async def answer(context: RunContext) -> None:
        try:
            await asks_and_waits(context)
        finally:
            stopped.set()

    processes.worker_side.answer = answer
    sent = await processes.host.runs.send(CONVERSATION, "Shred it")
    await processes.worker.runs.wait(sent.run, timeout=SECONDS)
    canceled = await processes.host.runs.cancel(CONVERSATION)
    with anyio.fail_after(SECONDS):
        await stopped.wait()

    assert canceled.status is RunStatus.CANCELED
    assert processes.host_side.canceled == processes.worker_side.canceled == []


async def test_a_platform_of_any_process_is_told_decisions_and_cancellations(path: Path) -> None:
    """By the process of the caller."""
    other_side = Remote(asks_and_waits)
    async with remote(path, other_side) as client:
        sent = await client.runs.send(CONVERSATION, "Shred it")
        (request,) = (await client.runs.wait(sent.run, timeout=SECONDS)).pending
        approval = Settlement(decision=Decision.APPROVE)
        await client.runs.respond(request.id, approval)
        await client.runs.wait(sent.run, timeout=SECONDS)
        second = await client.runs.send(CONVERSATION, "And that")
        await client.runs.wait(second.run, timeout=SECONDS)
        await client.runs.cancel(CONVERSATION)

    assert other_side.settled == [approval]
    assert [run.id for run in other_side.canceled] == [second.run.id]
