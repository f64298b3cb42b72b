"""Confirming tools of RevEng.AI, whose wire says yes or no to whatever is pending."""

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    ConflictError,
    Decision,
    EventKind,
    NotOffered,
    RequestStatus,
    RunStatus,
    Settlement,
    Status,
    UnavailableError,
    UncertainError,
)
from tertulia.platforms.revengai.mapping import EventMapper, UpstreamEvent
from tests.client.platforms.revengai import YES, Place, answered, placed, request_of
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import answer, drop, lose
from tests.doubles.revengai import CONFIRM, RENAME, called, refusal, said
from tests.support.place import ended, journal, native

pytestmark = [pytest.mark.anyio, pytest.mark.io]

NO = Settlement(decision=Decision.REJECT, reason="Not that one")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return RevEng.AI as it is documented."""
    async with placed(tmp_path) as place:
        yield place


async def test_a_tool_waits_for_a_person_who_sees_its_arguments(place: Place) -> None:
    """The run and its conversation say that they wait."""
    async with place.client() as client:
        outcome = await answered(client, "confirm")
        conversation = await client.conversations.get(outcome.run.conversation_id)

    (request,) = outcome.pending
    assert (request.tool, request.arguments, request.tool_call_id) == ("rename_function", RENAME, "call_1")
    assert request.prompt == "RevEng.AI asks to run rename_function."
    assert (outcome.run.status, conversation.status) == (RunStatus.INPUT_REQUIRED, Status.INPUT_REQUIRED)


@pytest.mark.parametrize(("settlement", "reply"), [(YES, "That is settled."), (NO, "Then not.")])
async def test_a_decision_sets_the_run_going_again(place: Place, settlement: Settlement, reply: str) -> None:
    """It arrives once, and the answer follows."""
    async with place.client() as client:
        outcome = await answered(client, "confirm")
        await client.runs.respond(request_of(outcome), settlement)
        outcome = await ended(client, outcome)
        kinds = [entry.kind for entry in await journal(client, outcome.run.conversation_id)]

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, reply)
    assert place.double.confirmed == [settlement.decision is Decision.APPROVE]
    assert (
        kinds.count(EventKind.TOOL_CONFIRMATION_REQUIRED)
        == kinds.count(EventKind.TOOL_CONFIRMATION_RESOLVED)
        == 1
    )


async def test_tools_are_confirmed_one_after_the_other(place: Place) -> None:
    """Arguments that were only streamed are shown all the same."""
    async with place.client() as client:
        outcome = await answered(client, "twice")
        await client.runs.respond(request_of(outcome), YES)
        outcome = await ended(client, outcome)
        (second,) = outcome.pending
        assert (second.tool, second.arguments) == ("delete_function", {"function_id": 9})
        await client.runs.respond(second.id, YES)
        outcome = await ended(client, outcome)

    assert outcome.reply == "Both are settled."


async def test_a_tool_runs_with_the_arguments_it_asked_for_or_not_at_all(place: Place) -> None:
    """The wire has no place for others."""
    async with place.client() as client:
        outcome = await answered(client, "confirm")
        changed = Settlement(decision=Decision.APPROVE, arguments={"function_id": 1})
        with pytest.raises(NotOffered):
            await client.runs.respond(request_of(outcome), changed)

    assert place.double.confirmed == []


async def test_a_decision_can_be_made_after_the_process_died_that_asked(place: Place) -> None:
    """By the next one, which then follows the run."""
    async with place.client() as client:
        outcome = await answered(client, "confirm")
    async with place.client() as client:
        await client.runs.respond(request_of(outcome), YES)
        outcome = await ended(client, outcome)
        kinds = [entry.kind for entry in await journal(client, outcome.run.conversation_id)]

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "That is settled.")
    assert kinds.count(EventKind.TOOL_CONFIRMATION_REQUIRED) == 1


@pytest.mark.parametrize("approved", [True, False])
async def test_what_was_decided_at_revengai_is_withdrawn_here_and_the_run_goes_on(
    place: Place, approved: bool
) -> None:
    """Whoever follows the run sees it, without asking."""
    place.clock = SkippingClock(100)
    async with place.client() as client:
        outcome = await answered(client, "confirm")
        await place.double.listened_to(1)
        place.double.settle(native(outcome), approved=approved)
        while (await client.runs.request(request_of(outcome))).status is RequestStatus.PENDING:
            await anyio.lowlevel.checkpoint()
        outcome = await ended(client, outcome)

    assert outcome.run.status is RunStatus.COMPLETED
    assert place.posts("confirm") == 0


async def test_a_decision_about_what_was_decided_at_revengai_meanwhile_is_refused(place: Place) -> None:
    """Nothing is sent; the run is followed to its end."""
    async with place.client() as client:
        outcome = await answered(client, "confirm")
    place.double.settle(native(outcome), approved=False)
    async with place.client() as client:
        with pytest.raises(ConflictError, match=r"waits for nobody's decision .* settled elsewhere"):
            await client.runs.respond(request_of(outcome), YES)
        withdrawn = await client.runs.request(request_of(outcome))
        outcome = await ended(client, outcome)

    assert withdrawn.status is RequestStatus.WITHDRAWN
    assert (outcome.reply, place.posts("confirm")) == ("Then not.", 0)


async def test_a_decision_never_meets_another_tool_than_the_one_that_was_shown(place: Place) -> None:
    """The wire would take it for whatever is pending now; the other tool is asked about anew."""
    async with place.client() as client:
        outcome = await answered(client, "twice")
    place.double.settle(native(outcome), approved=True)
    async with place.client() as client:
        with pytest.raises(ConflictError, match="asks for another decision"):
            await client.runs.respond(request_of(outcome), YES)
        outcome = await ended(client, outcome)
        (second,) = outcome.pending

    assert second.tool == "delete_function"
    assert place.double.confirmed == [True]


async def test_revengai_has_the_last_word_about_what_is_pending(place: Place) -> None:
    """Between looking and deciding, too (NO_PENDING_CONFIRMATION)."""
    place.faults.plan("POST", "/confirm", answer(404, refusal("NO_PENDING_CONFIRMATION")))
    async with place.client() as client:
        outcome = await answered(client, "confirm")
        with pytest.raises(ConflictError, match="waits for no confirmation in revengai:"):
            await client.runs.respond(request_of(outcome), YES)
        assert (await client.runs.request(request_of(outcome))).status is RequestStatus.WITHDRAWN


async def test_a_decision_whose_answer_was_lost_has_arrived_if_the_run_goes_on(place: Place) -> None:
    """It is not made twice."""
    place.faults.plan("POST", "/confirm", lose)
    async with place.client() as client:
        outcome = await answered(client, "confirm")
        await client.runs.respond(request_of(outcome), YES)
        settled = await client.runs.request(request_of(outcome))
        outcome = await ended(client, outcome)

    assert (settled.status, outcome.reply) == (RequestStatus.APPROVED, "That is settled.")
    assert place.double.confirmed == [True]


async def test_a_decision_that_may_be_lost_is_uncertain_and_can_be_made_again(place: Place) -> None:
    """The request stays pending."""
    place.faults.plan("POST", "/confirm", drop)
    async with place.client() as client:
        outcome = await answered(client, "confirm")
        with pytest.raises(UncertainError, match="still waits for it"):
            await client.runs.respond(request_of(outcome), NO)
        await client.runs.respond(request_of(outcome), NO)
        outcome = await ended(client, outcome)

    assert (outcome.reply, place.double.confirmed) == ("Then not.", [False])


async def test_without_seeing_what_is_pending_nothing_is_decided(place: Place) -> None:
    """A decision can be made again."""
    place.clock = SkippingClock(100)
    async with place.client() as client:
        outcome = await answered(client, "confirm")
        place.double.repeats = -1_000
        with pytest.raises(UnavailableError, match="could not be read"):
            await client.runs.respond(request_of(outcome), YES)

    assert place.posts("confirm") == 0


async def test_nobody_listens_for_ever_while_a_person_makes_up_their_mind(place: Place) -> None:
    """The run is found again when they have."""
    async with place.client() as client:
        outcome = await answered(client, "confirm")
        await place.double.listened_to(1)
        place.clock.skip(700)
        await place.double.listened_to(0)
        await client.runs.respond(request_of(outcome), YES)
        assert (await ended(client, outcome)).reply == "That is settled."


async def test_what_happens_beside_a_pending_tool_does_not_settle_it(place: Place) -> None:
    """Titles, progress, other tools' results and events nobody knows."""
    place.double.scripts["busy"] = [
        *called("rename_function", RENAME),
        (CONFIRM, {"toolCallId": "call_1"}),
        *said("That is settled."),
    ]
    async with place.client() as client:
        outcome = await answered(client, "busy")
        conversation = place.double.conversations[native(outcome)]
        for name, data in (
            ("TITLE_UPDATED", {"title": "Meanwhile"}),
            ("TOOL_CALL_PROGRESS", {"toolCallId": "call_0", "message": "50 %"}),
            ("TOOL_CALL_RESULT", {"toolCallId": "call_0", "content": "done"}),
            ("SOMETHING_NEW", {}),
        ):
            place.double.tell(conversation, name, data)
        await client.runs.respond(request_of(outcome), YES)
        assert (await ended(client, outcome)).reply == "That is settled."


@pytest.mark.parametrize(
    ("data", "tool", "arguments", "prompt"),
    [
        ({"tool_name": "rename", "input": '{"a": 1}'}, "rename", {"a": 1}, "RevEng.AI asks to run rename."),
        (
            {"toolCall": {"id": "c", "name": "rename", "arguments": {"a": 1}}, "message": "May\nI?"},
            "rename",
            {"a": 1},
            "RevEng.AI asks to run rename. It says: “May\\nI?”.",
        ),
        (
            {"name": "rename", "args": "all of them"},
            "rename",
            {"arguments": "all of them"},
            "RevEng.AI asks to run rename.",
        ),
        (
            {"risk": "high"},
            None,
            {},
            'RevEng.AI asks to run a tool. It came with: “{"risk": "high"}”.',
        ),
        (None, None, {}, "RevEng.AI asks to run a tool."),
        ("rename", None, {}, 'RevEng.AI asks to run a tool. It came with: “{"value": "rename"}”.'),
    ],
    ids=["snake", "nested", "text", "untold", "null", "scalar"],
)
def test_whatever_comes_with_a_confirmation_is_shown(
    data: Any, tool: str | None, arguments: Mapping[str, Any], prompt: str
) -> None:
    """Its data is untyped: what has a known name stands in its place, the rest is quoted."""
    draft = EventMapper().request(UpstreamEvent(5, CONFIRM, "run-1", data))

    assert (draft.tool, draft.arguments, draft.prompt, draft.upstream_id) == (tool, arguments, prompt, "5")
