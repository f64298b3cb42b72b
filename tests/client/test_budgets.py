"""What one run may say: its text and its events are counted over all its attempts."""

from pathlib import Path
from typing import Any

import pytest

from tertulia import Decision, Event, EventKind, NewConversation, RunResult, RunStatus, Settlement
from tertulia.platforms.base import EmbeddedRunContext
from tests.doubles.scripted import AGENT, Answer, Script, may_i, piece, says, scripted

pytestmark = pytest.mark.anyio


async def outcome(path: Path, script: Script | Answer, **options: Any) -> RunResult:
    """Return what becomes of an answer."""
    async with scripted(path, script, **options) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Go on."))
        return await client.runs.wait(sent.run, timeout=15)


async def endless_text(work: EmbeddedRunContext) -> None:
    """Say a word again and again."""
    while True:
        await work.emit(piece("word "))


async def endless_nothing(work: EmbeddedRunContext) -> None:
    """Say nothing, in a piece, again and again."""
    while True:
        await work.emit(piece(""))


async def endless_steps(work: EmbeddedRunContext) -> None:
    """Do one thing after another, and say nothing."""
    while True:
        await work.emit(Event(EventKind.STEP_FINISHED, {"name": "step"}))


async def stubborn(work: EmbeddedRunContext) -> None:
    """Answer at too great a length, and take no error for an answer."""
    for _ in range(3):
        try:
            await work.emit(piece("word " * 1_000))
        except Exception:  # noqa: BLE001 - as an adapter might
            continue
    await work.finish("All the same.")


async def in_one(work: EmbeddedRunContext) -> None:
    """Answer with a whole text that is too long."""
    await work.finish("word " * 1_000)


async def with_arguments(work: EmbeddedRunContext) -> None:
    """Ask for a tool with arguments that are too long."""
    await work.ask(may_i(paper=["word "] * 1_000))


@pytest.mark.parametrize(
    "answer",
    [endless_text, endless_nothing, stubborn, in_one, with_arguments],
    ids=lambda each: each.__name__,
)
async def test_an_answer_of_too_much_text_fails(path: Path, answer: Answer) -> None:
    """What came until then is kept, and no more than that."""
    ended = await outcome(path, answer, max_answer_mib=0.001)

    assert ended.run.status is RunStatus.FAILED
    assert (ended.run.error or "").startswith("The answer was stopped: it has more than 0.001 MiB, the most")
    assert "`max_answer_mib` in [instances.scripted]" in (ended.run.error or "")
    assert len(ended.reply) < 1_100
    assert bool(ended.reply) is (answer is endless_text)


async def test_an_answer_of_too_many_events_fails(path: Path) -> None:
    """Pieces of text are no events: they are joined."""
    ended = await outcome(path, endless_steps, max_answer_events=50)

    assert ended.run.status is RunStatus.FAILED
    assert "more than 50 events" in (ended.run.error or "")
    assert "`max_answer_events` in [instances.scripted]" in (ended.run.error or "")


async def test_what_earlier_attempts_said_counts(path: Path) -> None:
    """An answer that asks again and again has no more room than any other."""

    async def goes_on(work: EmbeddedRunContext) -> None:
        await work.emit(piece("word " * 150))
        if not work.requests:
            await work.ask(may_i())
        else:
            await work.finish()

    async with scripted(path, goes_on, max_answer_mib=0.001) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Go on."))
        first = await client.runs.wait(sent.run, timeout=15)
        (request,) = first.pending
        await client.runs.respond(request.id, Settlement(decision=Decision.APPROVE))
        ended = await client.runs.wait(sent.run, timeout=15)

    assert first.run.status is RunStatus.INPUT_REQUIRED
    assert "more than 0.001 MiB" in (ended.run.error or "")
