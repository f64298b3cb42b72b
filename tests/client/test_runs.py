"""Runs: how an answer ends, how it is stopped, and how it survives the process that began it."""

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConflictError,
    ConversationQuery,
    Decision,
    Event,
    EventKind,
    JournalEntry,
    NewConversation,
    NotFoundError,
    Run,
    RunStatus,
    Settlement,
    Status,
    UnavailableError,
)
from tertulia.platforms.base import EmbeddedRunContext, RunContext
from tertulia.runs.runner import FAULT
from tertulia.store.leases import LostLeaseError
from tertulia.vocabulary.errors import StoreError, StoreUnavailableError, StoreUncertainError
from tests.client.elsewhere import elsewhere, say, told
from tests.client.inside import change, leases_run_out, rows
from tests.doubles.clocks import SkippingClock
from tests.doubles.remote import CONVERSATION, SECONDS, Remote, remote
from tests.doubles.scripted import AGENT, Answer, Held, Script, asks_first, echo, may_i, piece, says, scripted

pytestmark = pytest.mark.anyio

WORDS = [f"word{number} " for number in range(20)]


async def entries_of(client: Client, run: Run) -> list[JournalEntry]:
    """Return all that a run's conversation has in its journal."""
    return [*(await client.conversations.events(run.conversation_id)).entries]


async def ended(client: Client, answer: str = "Hello") -> Run:
    """Send a message, and return its run when that is over or waits."""
    sent = await client.runs.start(NewConversation(agent=AGENT), says(answer))
    return (await client.runs.wait(sent.run, timeout=15)).run


async def resumable(work: EmbeddedRunContext, held: Held | None = None) -> None:
    """Say the words, one after the other, behind those that were said before. Wait after half of them, if told."""
    for number in range(int(work.checkpoint.get("said", 0)), len(WORDS)):
        if held is not None and number == len(WORDS) // 2:
            await work.emit()
            held.reached.set()
            await held.go_on.wait()
        word = Event(
            EventKind.TEXT_MESSAGE_CONTENT, {"message_id": "m", "delta": WORDS[number]}, f"word-{number}"
        )
        step = Event(EventKind.STEP_FINISHED, {"name": str(number)})
        await work.emit(word, step, checkpoint={"said": number + 1})
    await work.finish()


# How an answer ends


def raises(error: Exception) -> Answer:
    """Return an answer that fails after its first words."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.emit(piece("So far, "))
        raise error

    return answer


async def test_a_platform_that_crashes_fails_its_run_and_nothing_else(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What happened is in the log; the caller reads one sentence, and no traceback."""
    async with scripted(path, Script(raises(ZeroDivisionError("secret detail")), echo)) as client:
        run = await ended(client)

        assert (run.status, run.error, run.retryable) == (RunStatus.FAILED, FAULT, False)
        assert (await client.runs.result(run)).reply == "So far, "
        assert (await client.conversations.get(run.conversation_id)).status is Status.OPEN
        assert (await ended(client)).status is RunStatus.COMPLETED

    assert "secret detail" in caplog.text


async def test_what_a_platform_says_is_wrong_is_what_the_caller_reads(path: Path) -> None:
    """With the next step, and whether trying again may help."""
    error = UnavailableError("The platform is down.", hint="Try again in a minute.")
    async with scripted(path, raises(error)) as client:
        run = await ended(client)

        assert (run.status, run.retryable) == (RunStatus.FAILED, True)
        assert run.error is not None
        assert run.error.startswith("The platform is down.")
        last = (await entries_of(client, run))[-1]
        assert (last.kind, last.data) == (EventKind.RUN_ERROR, {"message": run.error, "retryable": True})


async def test_an_error_in_one_of_a_platforms_tasks_is_no_fault_of_ours(path: Path) -> None:
    """Streams are read in tasks; their errors come in groups."""

    async def answer(_work: EmbeddedRunContext) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(raises(UnavailableError("The platform is down.")), _work)

    async with scripted(path, answer) as client:
        run = await ended(client)

        assert (run.status, run.retryable) == (RunStatus.FAILED, True)
        assert run.error is not None
        assert "The platform is down." in run.error


async def test_a_platform_that_forgets_to_end_its_run_fails_it(path: Path) -> None:
    """Nobody waits for it in vain."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.emit(piece("So far, "))

    async with scripted(path, answer) as client:
        assert (await ended(client)).status is RunStatus.FAILED


async def test_an_answer_that_was_cut_off_keeps_what_came_of_it(path: Path) -> None:
    """It may be asked for again."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.emit(piece("So far, "))
        await work.interrupt("The connection broke.")

    async with scripted(path, answer) as client:
        run = await ended(client)

        assert (run.status, run.error, run.retryable) == (
            RunStatus.INTERRUPTED,
            "The connection broke.",
            True,
        )
        assert (await client.runs.result(run)).reply == "So far, "
        assert (await entries_of(client, run))[-1].kind is EventKind.RUN_INTERRUPTED


class Unprintable:
    """What is no JSON."""


@pytest.mark.parametrize("kind", [EventKind.TEXT_MESSAGE_CONTENT, EventKind.RAW])
async def test_an_event_that_cannot_be_written_fails_its_run_and_nothing_else(
    path: Path, kind: EventKind, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when it is held back and written by nobody who could hear of it."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.emit(piece("So far, "))
        await work.emit(Event(kind, {"message_id": "other", "delta": "x", "payload": Unprintable()}))
        await anyio.sleep_forever()

    async with scripted(path, Script(answer, echo)) as client:
        assert (await ended(client)).status is RunStatus.FAILED
        assert (await ended(client)).status is RunStatus.COMPLETED

    assert "Unprintable" in caplog.text


async def test_nothing_can_be_said_after_the_end(path: Path) -> None:
    """The run is over for its platform as well."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.finish("Done.")
        await work.emit(Event(EventKind.RAW, {"name": "late"}))

    script = Script(answer)
    async with scripted(path, script) as client:
        run = await ended(client)

        with pytest.raises(LostLeaseError):
            await script.works[0].emit(Event(EventKind.RAW, {"name": "later still"}))
        assert run.status is RunStatus.COMPLETED
        assert (await entries_of(client, run))[-1].kind is EventKind.RUN_FINISHED


# How it is stopped


async def test_a_canceled_run_is_over_at_once(path: Path) -> None:
    """With what was said; the conversation goes on."""
    answer = Held("So far, ")
    script = Script(answer, echo)
    async with scripted(path, script) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await answer.reached.wait()

        run = await client.runs.cancel(sent.conversation.id)

        assert (run.id, run.status) == (sent.run.id, RunStatus.CANCELED)
        assert [told.id for told in script.canceled] == [run.id]
        assert (await client.runs.result(run)).reply == "So far, "
        assert (await client.conversations.get(run.conversation_id)).status is Status.OPEN
        again = await client.runs.send(run.conversation_id, says("Again"))
        assert (await client.runs.wait(again.run, timeout=10)).reply == "You said: Again"


async def test_a_canceled_run_cannot_be_written_to(path: Path) -> None:
    """Even if its platform does not notice that it was stopped."""
    held, failure = Held(), anyio.Event()

    async def answer(work: EmbeddedRunContext) -> None:
        with anyio.CancelScope(shield=True):
            await held(work)

    async def late(work: EmbeddedRunContext) -> None:
        try:
            await work.emit(Event(EventKind.RAW, {"name": "late"}), awaiting=False)
        except LostLeaseError:
            failure.set()
            raise

    held = Held("So far, ", after=late)
    async with scripted(path, answer) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()
        run = await client.runs.cancel(sent.conversation.id)
        held.go_on.set()
        await failure.wait()

        assert (await client.runs.get(run.id)).status is RunStatus.CANCELED
        assert (await entries_of(client, run))[-1].kind is EventKind.RUN_CANCELED


async def test_canceling_withdraws_what_the_run_asked(path: Path) -> None:
    """And opens the conversation again."""
    async with scripted(path, asks_first) as client:
        run = await ended(client)
        assert (await client.conversations.get(run.conversation_id)).status is Status.INPUT_REQUIRED

        assert (await client.runs.cancel(run.conversation_id)).status is RunStatus.CANCELED

        assert await client.runs.pending() == []
        assert (await client.conversations.get(run.conversation_id)).status is Status.OPEN


async def test_canceling_twice_is_canceling_once(path: Path) -> None:
    """The second finds it stopped."""
    async with scripted(path, Held()) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))

        assert await client.runs.cancel(sent.conversation.id) == await client.runs.cancel(
            sent.conversation.id
        )


async def test_where_nothing_is_answered_nothing_can_be_canceled(path: Path) -> None:
    """The error says how the last run ended."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        with pytest.raises(ConflictError, match="it had no message yet"):
            await client.runs.cancel(conversation.id)

        run = await ended(client)
        with pytest.raises(ConflictError, match=f"its last run {run.id} is completed"):
            await client.runs.cancel(run.conversation_id)


async def test_a_run_is_canceled_wherever_it_is_worked_on(path: Path) -> None:
    """Another process has it stopped, and its own notices."""
    answer, stopped = Held("So far, "), anyio.Event()

    async def answering(work: EmbeddedRunContext) -> None:
        try:
            await answer(work)
        finally:
            stopped.set()

    async with scripted(path, answering) as here, scripted(path, echo) as there:
        sent = await here.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await answer.reached.wait()

        await there.runs.cancel(sent.conversation.id)

        await stopped.wait()
        assert (await here.runs.wait(sent.run, timeout=10)).run.status is RunStatus.CANCELED


async def test_of_an_end_and_a_stop_at_once_one_wins(path: Path) -> None:
    """The journal has one end, whichever."""
    async with scripted(path, Script(*[held := Held(after=echo)])) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()
        async with anyio.create_task_group() as tasks:
            held.go_on.set()

            async def stop() -> None:
                with suppress(ConflictError):
                    await client.runs.cancel(sent.conversation.id)

            tasks.start_soon(stop)
        outcome = await client.runs.wait(sent.run, timeout=10)

        ends = {EventKind.RUN_FINISHED, EventKind.RUN_CANCELED, EventKind.RUN_ERROR}
        assert len([entry for entry in await entries_of(client, outcome.run) if entry.kind in ends]) == 1
        assert outcome.run.status in {RunStatus.COMPLETED, RunStatus.CANCELED}


# How it survives


def told_once(entries: list[JournalEntry]) -> bool:
    """Whether the journal has no gap, and each word and each step once."""
    steps = [entry.data["name"] for entry in entries if entry.kind is EventKind.STEP_FINISHED]
    return (
        [entry.seq for entry in entries] == [*range(1, len(entries) + 1)]
        and steps == [str(number) for number in range(len(WORDS))]
        and "".join(entry.data["delta"] for entry in entries if "delta" in entry.data) == "".join(WORDS)
        and [entry.kind for entry in entries].count(EventKind.RUN_STARTED) == 1
        and [entry.kind for entry in entries].count(EventKind.RUN_FINISHED) == 1
    )


async def test_leaving_stops_the_work_and_the_next_reader_has_it_resumed(path: Path) -> None:
    """At once: nobody has to wait for a lease to run out."""
    held = Held()
    async with scripted(path, partial(resumable, held=held)) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()
    assert await rows(path, "SELECT status FROM runs") == [("running",)]

    async with scripted(path, resumable) as client:
        outcome = await client.runs.wait(sent.run, timeout=15)

        assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "".join(WORDS))
        assert told_once(await entries_of(client, sent.run))


async def answers_half(path: str) -> None:
    """Send a message, answer half of it, tell its run, and wait for the end that comes."""
    held = Held()
    async with scripted(Path(path), partial(resumable, held=held)) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()
        say(sent.run.id)
        await told()


async def killed_in_mid_stream(path: Path) -> str:
    """Have a process killed while it answers; return its run's id."""
    async with elsewhere(answers_half, path) as other:
        run_id = await other.says()
        await other.dies()
    return run_id


@pytest.mark.io
async def test_a_run_whose_process_was_killed_goes_on_with_the_next_reader(path: Path) -> None:
    """No gap and no duplicate, once its lease has run out."""
    run_id = await killed_in_mid_stream(path)
    assert await rows(path, "SELECT status FROM runs") == [("running",)]
    await leases_run_out(path)

    async with scripted(path, resumable) as client:
        run = await client.runs.get(run_id)
        read = [entry async for entries in client.runs.follow(run) for entry in entries]

        assert (await client.runs.result(run)).reply == "".join(WORDS)
        assert told_once(await entries_of(client, run))
        assert [entry.seq for entry in read] == [*range(run.first_seq + 1, read[-1].seq + 1)]


@pytest.mark.io
async def test_of_many_readers_of_a_run_that_nobody_works_on_one_goes_on_with_it(path: Path) -> None:
    """In whichever process; all of them read it to its end."""
    run_id = await killed_in_mid_stream(path)
    await leases_run_out(path)
    scripts = Script(resumable), Script(resumable)
    replies: list[str] = []

    async def read(client: Client) -> None:
        run = await client.runs.get(run_id)
        replies.append((await client.runs.wait(run, timeout=15)).reply)

    async with scripted(path, scripts[0]) as one, scripted(path, scripts[1]) as two:
        async with anyio.create_task_group() as tasks:
            for client in (one, two, one, two):
                tasks.start_soon(read, client)
        assert told_once(await entries_of(one, await one.runs.get(run_id)))

    assert replies == ["".join(WORDS)] * 4
    assert sum(len(script.works) for script in scripts) == 1


@pytest.mark.io
async def test_a_run_is_left_alone_while_its_process_may_live(path: Path) -> None:
    """Whoever reads it meanwhile gets what there is."""
    run_id = await killed_in_mid_stream(path)
    script = Script(resumable)

    async with scripted(path, script) as client:
        outcome = await client.runs.wait(await client.runs.get(run_id), timeout=0.2)

        assert outcome.run.status is RunStatus.RUNNING
        assert outcome.reply.startswith("word0 ")
    assert script.works == []


async def test_a_run_that_was_accepted_and_never_begun_is_begun_by_the_next_reader(path: Path) -> None:
    """Its process died between the two."""
    async with scripted(path, Held()) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
    await change(path, "UPDATE runs SET status = 'queued'")

    async with scripted(path) as client:
        assert (await client.runs.wait(sent.run, timeout=15)).reply == "You said: Hello"


async def test_a_process_that_was_taken_for_dead_can_write_nothing_more(path: Path) -> None:
    """It was only asleep: another has gone on meanwhile, and has the last word."""
    held = Held()
    asleep = Script(partial(resumable, held=held))
    async with scripted(path, asleep) as here:
        sent = await here.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()
        await leases_run_out(path)

        async with scripted(path, resumable) as there:
            assert (await there.runs.wait(sent.run, timeout=15)).run.status is RunStatus.COMPLETED
        held.go_on.set()

        assert (await here.runs.wait(sent.run, timeout=15)).reply == "".join(WORDS)
        assert told_once(await entries_of(here, sent.run))
        with pytest.raises(LostLeaseError):
            await asleep.works[0].emit(Event(EventKind.RAW, {"name": "late"}), awaiting=False)


async def test_a_run_that_waited_for_a_person_survives_as_well(path: Path) -> None:
    """The decision sets it going again, in whichever process."""
    async with scripted(path, asks_first) as client:
        run = await ended(client)
        (request,) = await client.runs.pending(run.conversation_id)

    async with scripted(path, asks_first) as client:
        assert await client.runs.pending() == [request]
        await client.runs.respond(request.id, Settlement(decision=Decision.APPROVE))
        assert (await client.runs.wait(run, timeout=15)).reply == "approved"


async def test_a_run_of_an_instance_that_is_not_configured_any_more_harms_nobody(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It can be read; the rest waits until the instance is there again."""
    async with scripted(path, Held("So far, ")) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await client.runs.wait(sent.run, timeout=0)

    with anyio.fail_after(20):
        async with Client.open(ClientSettings(store=path)) as client:
            outcome = await client.runs.wait(await client.runs.get(sent.run.id), timeout=0.2)
            assert outcome.run.status.active
            with pytest.raises(NotFoundError, match="There is no instance “scripted”"):
                await client.conversations.get(sent.conversation.id)
            assert [each.id for each in (await client.conversations.list(ConversationQuery())).items] == [
                sent.conversation.id
            ]

    async with scripted(path) as client:
        assert (await client.runs.wait(sent.run, timeout=15)).run.status is RunStatus.COMPLETED
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_lease_is_renewed_for_as_long_as_an_answer_takes(path: Path) -> None:
    """A reader in another process does not take it over."""
    held, there_script = Held(), Script(echo)
    often = SkippingClock(every=0)
    async with scripted(path, held, clock=often) as here, scripted(path, there_script) as there:
        sent = await here.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()
        await leases_run_out(path)
        while not await rows(path, "SELECT 1 FROM leases WHERE expires_at > 0"):
            pass

        await there.runs.wait(sent.run, timeout=0.2)
        held.go_on.set()
        assert (await there.runs.wait(sent.run, timeout=15)).run.status is RunStatus.COMPLETED

    assert there_script.works == []


async def test_a_request_can_be_waited_for_with_the_connection_kept(path: Path) -> None:
    """A platform that cannot come back waits where it is."""

    async def answer(work: EmbeddedRunContext) -> None:
        request = await work.ask(may_i())
        decided = await work.wait_settled(request.id)
        await work.finish(f"It was {decided.status}.")

    script = Script(answer)
    async with scripted(path, script) as client:
        run = await ended(client)
        assert run.status is RunStatus.INPUT_REQUIRED
        (request,) = await client.runs.pending()
        await client.runs.respond(request.id, Settlement(decision=Decision.REJECT))

        assert (await client.runs.wait(run, timeout=15)).reply == "It was rejected."
    assert len(script.works) == 1


@pytest.mark.parametrize(
    "error",
    [
        StoreError("There is no room left."),
        StoreUnavailableError("It was locked."),
        StoreUncertainError("It was lost while it was written."),
    ],
)
async def test_a_run_that_the_store_could_not_record_goes_on_later(path: Path, error: Exception) -> None:
    """The platform may have the message, and its answer is not the store's fault."""
    attempts: list[str] = []

    async def answer(context: RunContext) -> None:
        attempts.append(context.run.id)
        if len(attempts) == 1:
            raise error  # as everything does that is reported to the context
        await context.finish("Done.")

    async with remote(path, Remote(answer)) as client:
        sent = await client.runs.send(CONVERSATION, "Go")
        result = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (result.run.status, result.reply) == (RunStatus.COMPLETED, "Done.")
    assert attempts == [sent.run.id] * 2
