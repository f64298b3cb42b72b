"""What a run asks a person: what is stored of it, and what is journalled when the platform has settled it itself."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import Decision, EventKind, RequestKind, RunStatus, Settlement
from tertulia.platforms.base import ChangedRequestError, RunContext
from tertulia.vocabulary.errors import ConflictError, MovedOnError, UncertainError
from tertulia.vocabulary.events import Event
from tertulia.vocabulary.models import RequestDraft
from tests.client.inside import rows
from tests.doubles.remote import CONVERSATION, SECONDS, Remote, remote
from tests.doubles.scripted import may_i

pytestmark = pytest.mark.anyio


async def test_a_request_and_the_checkpoint_are_stored_together(path: Path) -> None:
    """With the events before it; whoever continues the run has them all."""

    async def answer(context: RunContext) -> None:
        if not context.requests:
            await context.emit(checkpoint={"position": 1})
            await context.ask(
                may_i(), Event(EventKind.STEP_STARTED, {"name": "s"}), checkpoint={"position": 2}
            )

    async with remote(path, Remote(answer)) as client:
        sent = await client.runs.send(CONVERSATION, "Go")
        assert len((await client.runs.wait(sent.run, timeout=SECONDS)).pending) == 1

    assert await rows(path, "SELECT status, checkpoint FROM runs") == [("input_required", '{"position":2}')]


async def test_a_request_whose_checkpoint_cannot_be_stored_is_not_asked(path: Path) -> None:
    """Nor are the events before it journalled: all of them are one transaction."""
    unstorable: dict[str, Any] = {"position": object()}

    async def answer(context: RunContext) -> None:
        await context.emit(checkpoint={"position": 1})
        await context.ask(may_i(), Event(EventKind.STEP_STARTED, {"name": "s"}), checkpoint=unstorable)

    async with remote(path, Remote(answer)) as client:
        sent = await client.runs.send(CONVERSATION, "Go")
        ended = await client.runs.wait(sent.run, timeout=SECONDS)
        entries = (await client.conversations.events(CONVERSATION)).entries

    assert (ended.run.status, ended.pending) == (RunStatus.FAILED, [])
    assert await rows(path, "SELECT checkpoint, (SELECT count(*) FROM requests) FROM runs") == [
        ('{"position":1}', 0)
    ]
    kinds = {entry.kind for entry in entries}
    assert not kinds & {EventKind.STEP_STARTED, EventKind.TOOL_CONFIRMATION_REQUIRED}


async def test_a_request_keeps_the_platforms_own_data(path: Path) -> None:
    """In the platform's own process, for its `settle`, and for the process that continues the run."""
    data = {"options": [{"id": "allow", "kind": "allow_once"}], "round": 1}
    seen: list[object] = []

    async def answer(context: RunContext) -> None:
        if not context.requests:
            await context.ask(RequestDraft(kind=RequestKind.QUESTION, prompt="Which?", data=data))
        else:
            seen.append(context.requests[0].data)
            await context.finish("Done.")

    other_side = Remote(answer)
    async with remote(path, other_side) as client:
        sent = await client.runs.send(CONVERSATION, "Go")
        (request,) = (await client.runs.wait(sent.run, timeout=SECONDS)).pending
    async with remote(path, other_side) as client:
        await client.runs.respond(request.id, Settlement(decision=Decision.ANSWER, answer="Both"))
        await client.runs.wait(sent.run, timeout=SECONDS)
        settled = await client.runs.request(request.id)

    assert request.data == settled.data == data
    assert seen == [data]


async def test_a_question_that_was_answered_elsewhere_is_journalled_as_an_answered_question(
    path: Path,
) -> None:
    """Whether the platform says so while it answers, or when it is told a decision."""
    asked_again = anyio.Event()

    async def answer(context: RunContext) -> None:
        if not context.requests:
            request = await context.ask(RequestDraft(kind=RequestKind.QUESTION, prompt="Which?"))
            await context.withdraw(request.id)
            await context.ask(RequestDraft(kind=RequestKind.QUESTION, prompt="Which now?"))
            asked_again.set()
        else:
            await context.finish("Done.")

    async def moved_on(settlement: Settlement) -> None:
        raise MovedOnError("It was answered elsewhere.")

    other_side = Remote(answer)
    other_side.settle = moved_on
    async with remote(path, other_side) as client:
        sent = await client.runs.send(CONVERSATION, "Go")
        await asked_again.wait()
        (request,) = await client.runs.pending()
        with pytest.raises(MovedOnError):
            await client.runs.respond(request.id, Settlement(decision=Decision.ANSWER, answer="Both"))
        await client.runs.wait(sent.run, timeout=SECONDS)
        entries = (await client.conversations.events(CONVERSATION)).entries

    asked = [entry.data["request_id"] for entry in entries if entry.kind is EventKind.QUESTION_ASKED]
    answered = [dict(entry.data) for entry in entries if entry.kind is EventKind.QUESTION_ANSWERED]
    assert answered == [{"request_id": one, "decision": "elsewhere", "answer": None} for one in asked]
    assert EventKind.TOOL_CONFIRMATION_RESOLVED not in {entry.kind for entry in entries}


def mail(to: str) -> RequestDraft:
    """Return the request of a platform that changes its arguments."""
    return RequestDraft(
        kind=RequestKind.CONFIRMATION, prompt="May I?", tool="mail", arguments={"to": to}, upstream_id="a1"
    )


@pytest.mark.parametrize("decided", ["after the run has seen it", "before"])
async def test_what_a_platform_asks_now_stands_in_place_of_what_it_asked(path: Path, decided: str) -> None:
    """The old one is closed at once, and the new one with it when the platform waits no more."""
    changed = anyio.Event()

    async def answer(context: RunContext) -> None:
        shown = await context.ask(mail("acme"))
        await changed.wait()
        if decided.startswith("after"):
            await context.ask(mail("everybody"))
            await context.ask(mail("everybody"))
        await context.withdraw(shown.id)
        await context.finish("Done.")

    async def has_changed(settlement: Settlement) -> None:
        raise ChangedRequestError("It asks something else.", now=mail("everybody"))

    other_side = Remote(answer)
    other_side.settle = has_changed
    async with remote(path, other_side) as client:
        sent = await client.runs.send(CONVERSATION, "Go")
        (shown,) = (await client.runs.wait(sent.run, timeout=SECONDS)).pending
        for _ in range(2):
            with pytest.raises((ChangedRequestError, ConflictError)):
                await client.runs.respond(shown.id, Settlement(decision=Decision.APPROVE))
            assert [one.arguments for one in await client.runs.pending()] == [{"to": "everybody"}]
        (now,) = await client.runs.pending()

        changed.set()
        await client.runs.wait(sent.run, timeout=SECONDS)
        while (await client.runs.get(sent.run.id)).status.active:
            await client.runs.wait_idle(sent.run, timeout=SECONDS)
        entries = (await client.conversations.events(CONVERSATION)).entries

    resolved = [dict(entry.data) for entry in entries if entry.kind is EventKind.TOOL_CONFIRMATION_RESOLVED]
    assert resolved == [{"request_id": one.id, "decision": "elsewhere"} for one in (shown, now)]


async def test_where_contents_are_not_kept_a_requests_data_is_gone_with_its_run(path: Path) -> None:
    """Like everything else that it showed."""

    async def answer(context: RunContext) -> None:
        if not context.requests:
            question = RequestDraft(kind=RequestKind.QUESTION, prompt="Which?", data={"options": ["Acme"]})
            await context.ask(question)
        else:
            await context.cancel("Nobody needs it.")

    async with remote(path, Remote(answer), keeps_content=False) as client:
        sent = await client.runs.send(CONVERSATION, "Go")
        (request,) = (await client.runs.wait(sent.run, timeout=SECONDS)).pending
        await client.runs.respond(request.id, Settlement(decision=Decision.ANSWER, answer="Both"))
        await client.runs.wait(sent.run, timeout=SECONDS)

    assert request.data == {"options": ["Acme"]}
    assert await rows(path, "SELECT prompt, answer, data FROM requests") == [("", None, "{}")]


async def test_a_decision_that_is_told_again_after_a_crash_is_no_conflict(path: Path) -> None:
    """The first attempt may have told it, and died before it could record that: the run continues."""
    told: list[Settlement] = []

    async def answer(context: RunContext) -> None:
        if not context.requests:
            await context.ask(may_i())
        else:
            await context.finish("Done.")

    async def take_and_lose_the_answer(settlement: Settlement) -> None:
        if told:
            raise MovedOnError("It does not wait for that any more.")
        told.append(settlement)
        raise UncertainError("There was no answer.")

    other_side = Remote(answer)
    other_side.settle = take_and_lose_the_answer
    async with remote(path, other_side) as client:
        sent = await client.runs.send(CONVERSATION, "Go")
        (request,) = (await client.runs.wait(sent.run, timeout=SECONDS)).pending
        approval = Settlement(decision=Decision.APPROVE)
        with pytest.raises(UncertainError):
            await client.runs.respond(request.id, approval, idempotency_key="k1")

        run = await client.runs.respond(request.id, approval, idempotency_key="k1")

        assert (await client.runs.wait(run, timeout=SECONDS)).reply == "Done."
    assert told == [approval]
