"""Runs that nobody waits for go on in another process, and no process executes more of them than it may."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import pytest

from tertulia import Client, InstanceSettings, NewConversation, Run, RunStatus
from tertulia.runs.context import StoredRunContext
from tertulia.runs.leases import LeaseHolder
from tertulia.runs.limits import Limits
from tertulia.runs.orphans import continue_orphans
from tertulia.runs.runner import Runner
from tertulia.store import leases
from tertulia.store.database import Store, Transaction
from tertulia.store.leases import Lease
from tertulia.vocabulary.errors import StoreError
from tertulia.vocabulary.models import LOCAL_PRINCIPAL
from tests.doubles.clocks import SkippingClock
from tests.doubles.scripted import (
    AGENT,
    KIND,
    SECONDS,
    Held,
    Script,
    ScriptedPlatform,
    asks_first,
    echo,
    says,
    scripted,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@asynccontextmanager
async def staying(path: Path, script: Script, *, max_runs: int | None = None) -> AsyncGenerator[Client]:
    """Open a client of a process that looks for orphans, in quick succession."""
    async with (
        scripted(path, script, clock=SkippingClock(every=0.01), max_runs=max_runs) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.continue_orphans)
        yield client
        tasks.cancel_scope.cancel()


async def left(path: Path, held: Held, count: int = 1) -> list[str]:
    """Have a process begin some runs, and end before they do; return their ids."""
    async with scripted(path, held) as client:
        sent = [await client.runs.start(NewConversation(agent=AGENT), says("Hello")) for _ in range(count)]
        await held.reached.wait()
    return [each.run.id for each in sent]


async def ended(client: Client, run_id: str) -> None:
    """Wait until a run has ended, without waiting for its answer, which would continue it."""
    while (await client.runs.get(run_id)).status.active:
        await anyio.lowlevel.checkpoint()


async def test_a_run_whose_process_has_ended_goes_on_though_nobody_waits_for_it(path: Path) -> None:
    """Whosesoever it is: the process that looks is nobody's."""
    (run_id,) = await left(path, Held())
    held = Held(after=echo)
    async with staying(path, Script(held)) as client:
        await held.reached.wait()
        held.go_on.set()
        await ended(client, run_id)


async def test_a_process_that_has_no_store_yet_waits_until_somebody_uses_it(path: Path) -> None:
    """Looking creates none."""
    async with staying(path, Script()) as client:
        await anyio.wait_all_tasks_blocked()
        assert not path.exists()
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        assert (await client.runs.wait(sent.run, timeout=10)).run.status is RunStatus.COMPLETED


async def test_what_another_process_executes_or_a_person_must_decide_is_left_alone(path: Path) -> None:
    """Only what nobody holds is an orphan: of three runs the third, whose process has ended."""
    held = Held()
    async with scripted(path, Script(asks_first, held)) as other:
        asking = await other.runs.start(NewConversation(agent=AGENT), says("Ask"))
        await other.runs.wait(asking.run, timeout=10)
        await other.runs.start(NewConversation(agent=AGENT), says("Hold"))
        await held.reached.wait()
        (orphan,) = await left(path, Held())
        here = Script()
        async with staying(path, here) as client:
            await ended(client, orphan)
            assert [each.run.id for each in here.works] == [orphan]


async def test_only_as_many_are_continued_as_there_are_places(path: Path) -> None:
    """The others are left to processes that have some."""
    all_of_them = await left(path, Held(), count=3)
    first, second = Held(), Held()
    one = Script(first, echo)
    async with staying(path, one, max_runs=1) as client:
        await first.reached.wait()
        async with staying(path, Script(second, echo), max_runs=2):
            await second.reached.wait()
            assert len(one.works) == 1
            assert client.waiting_runs == 0
            second.go_on.set()
            first.go_on.set()
            for each in all_of_them:
                await ended(client, each)


async def test_a_process_executes_no_more_runs_than_it_may(path: Path) -> None:
    """The next one waits for a place, and begins when there is one."""
    held = Held()
    script = Script(held, echo)
    async with scripted(path, script, max_runs=1) as client:
        await client.runs.start(NewConversation(agent=AGENT), says("First"))
        await held.reached.wait()
        second = await client.runs.start(NewConversation(agent=AGENT), says("Second"))
        waited = await client.runs.wait(second.run, timeout=0.1)
        assert (waited.run.status, client.waiting_runs) == (RunStatus.QUEUED, 1)

        held.go_on.set()
        assert (await client.runs.wait(second.run, timeout=10)).reply == "You said: Second"
        assert client.waiting_runs == 0


async def test_of_messages_at_the_same_moment_only_those_begin_that_have_a_place(path: Path) -> None:
    """The others stay queued, so that another process may take them."""
    statuses = list[RunStatus]()

    async def send(client: Client, conversation_id: str) -> None:
        statuses.append((await client.runs.send(conversation_id, "Hello", wait=False)).run.status)

    async with scripted(path, Held(), max_runs=1) as client:
        new = NewConversation(agent=AGENT)
        conversations = [(await client.conversations.create(new)).id for _ in range(3)]
        async with anyio.create_task_group() as tasks:
            for each in conversations:
                tasks.start_soon(send, client, each)
    assert sorted(statuses) == [RunStatus.QUEUED, RunStatus.QUEUED, RunStatus.RUNNING]


async def test_whoever_follows_a_conversation_leaves_its_run_to_the_call_that_begins_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may see the run before that call goes on; its lease is the call's."""
    tried = anyio.Event()
    outcomes = list[bool]()
    execute, write = Runner.execute_run, Store.write

    def noting(runner: Runner, principal: str, run: Run, begun: StoredRunContext | None = None) -> bool:
        outcome = execute(runner, principal, run, begun)
        if begun is None:
            tried.set()
        else:
            outcomes.append(outcome)
        return outcome

    async def late(store: Store, work: Callable[[Transaction], T], **more: Any) -> T:
        written = await write(store, work, **more)
        if "conversation_id" in more:
            await tried.wait()
        return written

    script = Script(echo)
    async with scripted(path, script) as client, anyio.create_task_group() as tasks:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))

        async def follow() -> None:
            async for _ in client.conversations.watch(conversation.id, after=0):
                pass

        tasks.start_soon(follow)
        monkeypatch.setattr(Runner, "execute_run", noting)
        monkeypatch.setattr(Store, "write", late)
        sent = await client.runs.send(conversation.id, "Hello")
        assert outcomes == [True]
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "You said: Hello"
        tasks.cancel_scope.cancel()
    assert len(script.works) == 1


async def test_nobody_takes_the_lease_of_a_run_that_has_ended(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has seen that it was active just before its end finds that it is over."""
    taken = list[str]()
    take = leases.take

    def noting(tx: Transaction, principal: str, resource: str, owner: str) -> Lease | None:
        taken.append(resource)
        return take(tx, principal, resource, owner)

    script = Script(echo)
    async with scripted(path, script) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await client.runs.wait(sent.run, timeout=SECONDS)
    monkeypatch.setattr(leases, "take", noting)
    async with Store(path) as store:
        settings = InstanceSettings(platform=KIND, options={"script": script})
        platforms = {KIND: ScriptedPlatform(KIND, settings, store)}
        async with Runner(store, LeaseHolder(store), platforms, Limits(store, {}, ())) as runner:
            assert runner.execute_run(LOCAL_PRINCIPAL, sent.run)
            await runner.wait_until_done()
    assert taken == []
    assert len(script.works) == 1


async def test_a_run_that_waits_for_a_place_can_begin_in_another_process(path: Path) -> None:
    """Its own finds it done."""
    held = Held()
    async with scripted(path, held, max_runs=1) as client, staying(path, Script()):
        first = await client.runs.start(NewConversation(agent=AGENT), says("First"))
        await held.reached.wait()
        second = await client.runs.start(NewConversation(agent=AGENT), says("Second"))
        assert (await client.runs.wait(second.run, timeout=10)).reply == "You said: Second"

        held.go_on.set()
        await client.runs.wait(first.run, timeout=10)


async def test_no_other_process_begins_a_run_whose_message_only_its_own_has(path: Path) -> None:
    """It would have nothing to send. The run is held from the moment in which it is recorded, also while it waits."""
    held = Held()
    there = Script()
    async with (
        scripted(path, Script(held, echo), max_runs=1, store_content=False) as client,
        scripted(path, there, store_content=False) as other,
    ):
        await client.runs.start(NewConversation(agent=AGENT), says("First"))
        await held.reached.wait()
        second = await client.runs.start(NewConversation(agent=AGENT), says("Second"))
        assert (await other.runs.wait(second.run, timeout=0.2)).run.status is RunStatus.QUEUED
        assert there.works == []

        held.go_on.set()
        await other.runs.wait(second.run, timeout=10)
        assert there.works == []


class Unreachable(Store):
    """A store that cannot be read for the first looks."""

    failures = 3

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Fail, or read."""
        if self.failures:
            self.failures -= 1
            raise StoreError("out of reach")
        return await super().read(work)


async def test_a_store_that_cannot_be_used_now_is_looked_at_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so once."""
    caplog.set_level(logging.WARNING)
    (run_id,) = await left(path, Held())
    clock = SkippingClock(every=0.01)
    async with (
        scripted(path, clock=clock) as client,
        Unreachable(path, clock=clock) as store,
        Runner(store, LeaseHolder(store), {}, Limits(store, {}, ())) as runner,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(continue_orphans, store, runner, ["scripted"])
        while store.failures:
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(client.continue_orphans)
        await ended(client, run_id)
        tasks.cancel_scope.cancel()
    assert caplog.text.count("cannot be looked for now") == 1
