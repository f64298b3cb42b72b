"""Many runs in one process: what they say, and what is read of them, shares transactions, and nothing else."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import pytest

from tertulia import Client, Event, EventKind, NewConversation, NotFoundError, Run, RunStatus
from tertulia.platforms.base import EmbeddedRunContext
from tertulia.runs.event_queue import COALESCE_SECONDS
from tertulia.runs.shared_reads import MOST_AT_ONCE, SharedReads
from tertulia.store.database import Store, Transaction
from tertulia.store.leases import RENEWAL, TTL
from tests.client.inside import change
from tests.doubles.clocks import SkippingClock
from tests.doubles.scripted import AGENT, SECONDS, Held, Script, echo, piece, says, scripted

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class Unprintable:
    """What is no JSON."""


class Chorus:
    """Answers that begin together, and then say what a test has them say."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self.together = anyio.Event()
        self.contexts: list[EmbeddedRunContext] = []

    async def __call__(self, context: EmbeddedRunContext) -> None:
        """Begin, and go on for good."""
        self.contexts.append(context)
        self._missing -= 1
        if self._missing == 0:
            self.together.set()
        await anyio.sleep_forever()


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of what is written, one for each transaction."""
    found: list[str] = []
    write = Store.write

    async def noted(self: Store, work: Callable[[Transaction], T], **exclusion: Any) -> T:
        function: Callable[..., object] = work
        while isinstance(function, partial):
            function = cast(Callable[..., object], function.func)
        found.append(function.__qualname__)
        return await write(self, work, **exclusion)

    monkeypatch.setattr(Store, "write", noted)
    return found


async def begun(client: Client, chorus: Chorus, size: int) -> list[Run]:
    """Begin so many runs, and return them once all are being executed."""
    runs = [(await client.runs.start(NewConversation(agent=AGENT), says("Sing"))).run for _ in range(size)]
    await chorus.together.wait()
    return runs


async def said(client: Client, run: Run) -> str:
    """Return what a run has said, by the journal."""
    return (await client.runs.result(run)).reply


async def until_written(client: Client, run: Run, text: str) -> None:
    """Wait until a run has said something, by the journal."""
    while await said(client, run) != text:
        await anyio.lowlevel.checkpoint()


async def test_what_many_runs_say_is_written_in_one_transaction(path: Path, writes: list[str]) -> None:
    """A transaction for each would be most of what they cost."""
    clock, chorus = SkippingClock(factor=0, every=COALESCE_SECONDS), Chorus(20)
    async with scripted(path, chorus, clock=clock) as client:
        runs = await begun(client, chorus, 20)
        writes.clear()

        for context in chorus.contexts:
            await context.emit(piece("la"), checkpoint={"sung": 1})
        await until_written(client, runs[0], "la")

        assert [await said(client, run) for run in runs] == ["la"] * 20
        assert len([name for name in writes if not name.startswith("renew")]) == 1


async def test_a_run_that_was_lost_takes_nothing_that_others_say_with_it(path: Path) -> None:
    """What it says itself is not written any more."""
    clock, chorus = SkippingClock(factor=0, every=COALESCE_SECONDS), Chorus(3)
    async with scripted(path, chorus, clock=clock) as client:
        runs = await begun(client, chorus, 3)
        lost = next(run for run in runs if run.id == chorus.contexts[1].run.id)
        await change(path, "UPDATE leases SET owner = 'another' WHERE resource = ?", lost.conversation_id)

        for context in chorus.contexts:
            await context.emit(piece("la"))
        for run in runs:
            if run is not lost:
                await until_written(client, run, "la")

        assert await said(client, lost) == ""


async def test_what_cannot_be_written_fails_its_own_run_and_no_other(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others' events are written all the same, each once."""
    clock, chorus = SkippingClock(factor=0, every=COALESCE_SECONDS), Chorus(3)
    async with scripted(path, chorus, clock=clock) as client:
        runs = await begun(client, chorus, 3)
        failing = next(run for run in runs if run.id == chorus.contexts[1].run.id)

        for context in chorus.contexts:
            await context.emit(piece("la"))
        await chorus.contexts[1].emit(Event(EventKind.RAW, {"payload": Unprintable()}))
        while (await client.runs.get(failing.id)).status is not RunStatus.FAILED:
            await anyio.lowlevel.checkpoint()
        for run in runs:
            if run is not failing:
                await until_written(client, run, "la")

    assert "Unprintable" in caplog.text


async def test_who_says_more_than_can_be_written_waits(path: Path) -> None:
    """Else memory would hold what the disk does not take."""
    clock, chorus = SkippingClock(factor=0, every=math.inf), Chorus(1)  # nothing is written in time
    async with scripted(path, chorus, clock=clock) as client:
        (run,) = await begun(client, chorus, 1)
        (context,) = chorus.contexts

        await context.emit(piece("a"))
        assert await said(client, run) == ""
        clock.skip(COALESCE_SECONDS)
        await context.emit(piece("b"))

        assert await said(client, run) == "ab"


async def test_a_run_that_its_process_left_is_taken_up_by_who_follows_it(path: Path) -> None:
    """Though nothing is written when its lease runs out."""
    held = Held("Half, ")
    async with scripted(path, held) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()
    # The process is dead, and its lease is as long as that of a living one.
    alive = "INSERT INTO leases VALUES ('local', ?, 'own_dead', 1, ?)"
    clock = SkippingClock(every=0.01)
    await change(path, alive, sent.run.conversation_id, clock.time() + round(TTL * 1_000_000))

    script = Script(echo)
    async with scripted(path, script, clock=clock) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(client.runs.wait_idle, sent.run, timeout=SECONDS))
        for _ in range(20):
            await client.runs.get(sent.run.id)
        assert script.works == []

        clock.set_ahead(TTL + RENEWAL)
        await client.runs.wait_idle(sent.run, timeout=SECONDS)
        assert (await client.runs.get(sent.run.id)).status is RunStatus.COMPLETED


async def test_an_accepted_message_takes_one_transaction(path: Path, writes: list[str]) -> None:
    """The answer begins in it, and the caller is told so. The same message after that is another one."""
    held = Held()
    async with scripted(path, Script(held, echo)) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        writes.clear()

        sent = await client.runs.send(conversation.id, "Hello", wait=False)

        assert len(writes) == 1
        assert sent.result is not None
        assert (sent.result.run.status, sent.result.reply) == (RunStatus.RUNNING, "")
        await held.reached.wait()
        held.go_on.set()
        await client.runs.wait_idle(sent.run, timeout=SECONDS)
        page = await client.conversations.events(conversation.id, cursor=sent.result.cursor)
        assert page.entries[0].seq == sent.result.seq + 1
        assert not (await client.runs.send(conversation.id, "Hello")).joined


async def test_reads_at_the_same_moment_are_made_in_one_transaction(path: Path) -> None:
    """Each has its own outcome, and its own error."""
    transactions: set[int] = set()
    outcomes: dict[int, object] = {}

    def read(tx: Transaction, number: int) -> int:
        transactions.add(id(tx))
        if number == 1:
            raise NotFoundError("There is no such thing.")
        return number

    async def ask(reads: SharedReads, number: int) -> None:
        try:
            outcomes[number] = await reads.read(partial(read, number=number))
        except NotFoundError as error:
            outcomes[number] = error.message

    async with Store(path) as store, anyio.create_task_group() as tasks:
        reads = SharedReads(store)
        for number in range(MOST_AT_ONCE):
            tasks.start_soon(ask, reads, number)

    assert outcomes == {number: number for number in range(MOST_AT_ONCE)} | {1: "There is no such thing."}
    assert len(transactions) == 1


async def test_a_read_that_goes_wrong_is_nobody_elses_fault(path: Path) -> None:
    """Even if it breaks off the transaction."""
    outcomes: list[object] = []

    def read(tx: Transaction, number: int) -> int:
        if number == 1:
            tx.one("SELECT nothing FROM nowhere")
        return number

    async def ask(reads: SharedReads, number: int) -> None:
        try:
            outcomes.append(await reads.read(partial(read, number=number)))
        except Exception as error:  # noqa: BLE001 - whatever the engine raises
            outcomes.append(type(error).__name__)

    async with Store(path) as store, anyio.create_task_group() as tasks:
        reads = SharedReads(store)
        for number in range(3):
            tasks.start_soon(ask, reads, number)

    assert sorted(map(str, outcomes)) == ["0", "2", "SQLError"]


async def test_who_does_not_wait_any_more_keeps_nobody_from_reading(path: Path) -> None:
    """The first of several makes the read for all."""
    outcomes: list[int] = []

    async with Store(path) as store:
        reads = SharedReads(store)

        async def ask() -> None:
            outcomes.append(await reads.read(lambda _: 1))

        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as first:
                async with anyio.create_task_group() as leaving:
                    leaving.start_soon(ask)
                    await anyio.lowlevel.checkpoint()
                    tasks.start_soon(ask)
                    await anyio.lowlevel.checkpoint()
                    first.cancel()

    assert outcomes == [1]
