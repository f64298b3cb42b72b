"""Approving tools of AgentFlow and answering its questions."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    ConflictError,
    Decision,
    EventKind,
    Feature,
    InvalidInputError,
    NotOffered,
    Request,
    RequestKind,
    RequestStatus,
    RunResult,
    RunStatus,
    Settlement,
    Status,
    UnavailableError,
    UncertainError,
)
from tests.client.platforms.agentflow import Place, answered, of, placed, start
from tests.doubles.agentflow import AgentFlowDouble
from tests.doubles.agentflow_scripts import APPROVAL, GUESSED, MAIL, Step, child, said
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import answer, drop, lose
from tests.support.place import SECONDS, ended, journal, native

pytestmark = [pytest.mark.anyio, pytest.mark.io]

YES = Settlement(decision=Decision.APPROVE)
NO = Settlement(decision=Decision.REJECT, reason="Not to them")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return AgentFlow as it is documented."""
    async with placed(tmp_path) as place:
        yield place


def asked_in(outcome: RunResult) -> Request:
    (request,) = outcome.pending
    return request


async def test_a_tool_waits_for_a_person_who_sees_its_arguments(place: Place) -> None:
    """The run and its conversation say that they wait."""
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        conversation = await client.conversations.get(outcome.run.conversation_id)

    request = asked_in(outcome)
    assert (request.kind, request.tool, request.arguments) == (RequestKind.CONFIRMATION, "send_mail", MAIL)
    assert request.prompt == "AgentFlow asks to run send_mail."
    assert (outcome.run.status, conversation.status) == (RunStatus.INPUT_REQUIRED, Status.INPUT_REQUIRED)


@pytest.mark.parametrize(
    ("settlement", "sent", "reply"),
    [
        (YES, ("approved", MAIL), "A mail. Done."),
        (NO, ("denied", None), "A mail. Then not."),
        (
            Settlement(decision=Decision.APPROVE, arguments={"to": "legal@example.org"}),
            ("approved", {"to": "legal@example.org"}),
            "A mail. Done.",
        ),
    ],
)
async def test_a_decision_sets_the_run_going_again(
    place: Place, settlement: Settlement, sent: Any, reply: str
) -> None:
    """It arrives once, with the arguments as they were changed, and the answer follows."""
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        await client.runs.respond(asked_in(outcome).id, settlement)
        outcome = await ended(client, outcome)
        entries = await journal(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, reply)
    assert place.double.decisions == [sent]
    assert len(of(entries, EventKind.TOOL_CONFIRMATION_REQUIRED)) == 1
    assert len(of(entries, EventKind.TOOL_CONFIRMATION_RESOLVED)) == 1


async def test_a_reason_is_sent_where_the_deployment_says_that_it_takes_one(place: Place) -> None:
    """Its OpenAPI document names the fields of the call; another is sent nothing that is not documented."""
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        await client.runs.respond(asked_in(outcome).id, NO)
    assert place.double.bodies[-1] == {"decision": "denied", "reason": "Not to them"}


async def test_a_sub_agent_s_approval_is_asked_for_the_tool_that_waits(place: Place) -> None:
    """The tool goes on when it was approved, also where nothing says that the approval was settled."""
    asked = {"approval_id": "appr_9", "tool_name": "rm", "arguments": '{"path": "/tmp"}'}
    asks = Step(APPROVAL, asked, "call_t", "root")
    place.double.scripts["nested"] = [*child("call_t", "rm", asks, result="gone"), *said("Done.")]
    async with place.client() as client:
        outcome = await answered(client, "nested")
        request = asked_in(outcome)
        await client.runs.respond(request.id, YES)
        outcome = await ended(client, outcome)

    assert (request.tool_call_id, request.arguments) == ("call_t", {"path": "/tmp"})
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "Done.")


async def test_what_agentflow_has_changed_since_it_was_shown_is_not_approved(place: Place) -> None:
    """The conflict shows the new, which is asked as another request."""
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        shown = asked_in(outcome)
        (conversation,) = place.double.conversations.values()
        (run,) = conversation.runs
        run.asked = {**run.asked, "arguments": {"to": "everybody@example.org"}}

        with pytest.raises(ConflictError, match="everybody@example.org") as refused:
            await client.runs.respond(shown.id, YES)
        with anyio.fail_after(SECONDS):
            while not (pending := await client.runs.pending()):
                await client.runs.wait(outcome.run, timeout=0.01)
        await client.runs.respond(pending[0].id, YES)
        outcome = await ended(client, outcome)

    assert refused.value.ids["request_id"] == shown.id
    assert pending[0].id != shown.id
    assert pending[0].arguments == {"to": "everybody@example.org"}
    assert place.double.decisions == [("approved", {"to": "everybody@example.org"})]


@pytest.mark.parametrize("decision", ["approved", "denied"])
async def test_what_was_decided_at_agentflow_is_withdrawn_here_and_the_run_goes_on(
    place: Place, decision: str
) -> None:
    """Whoever follows the run sees it."""
    place.clock = SkippingClock(500)
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        place.double.settle(native(outcome), decision)
        while (await client.runs.request(asked_in(outcome).id)).status is RequestStatus.PENDING:
            await anyio.lowlevel.checkpoint()
        outcome = await ended(client, outcome)

    assert outcome.run.status is RunStatus.COMPLETED
    assert place.double.decisions == []


@pytest.mark.parametrize("lists", [True, False])
async def test_a_decision_about_what_was_decided_at_agentflow_meanwhile_is_refused(
    tmp_path: Path, lists: bool
) -> None:
    """What is pending is read before; where a deployment does not list that, its own refusal counts."""
    double = AgentFlowDouble(lists_approvals=lists)
    async with placed(tmp_path, double) as place:
        async with place.client() as client:
            outcome = await answered(client, "approve it")
        double.settle(native(outcome), "denied")
        async with place.client() as client:
            with pytest.raises(
                ConflictError, match="does not wait for it any more in .*: req_.* was settled elsewhere"
            ):
                await client.runs.respond(asked_in(outcome).id, YES)
            withdrawn = await client.runs.request(asked_in(outcome).id)
            outcome = await ended(client, outcome)

    assert withdrawn.status is RequestStatus.WITHDRAWN
    assert (outcome.reply, double.decisions) == ("A mail. Then not.", [])
    assert place.count("POST", "/respond") == (0 if lists else 1)


async def test_a_decision_can_be_made_after_the_process_died_that_asked(place: Place) -> None:
    """By the next one, which then finds the rest of the answer."""
    async with place.client() as client:
        outcome = await answered(client, "approve it")
    async with place.client() as client:
        await client.runs.respond(asked_in(outcome).id, YES)
        outcome = await ended(client, outcome)
        entries = await journal(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "A mail. Done.")
    assert len(of(entries, EventKind.TOOL_CONFIRMATION_REQUIRED)) == 1


async def test_a_decision_whose_response_was_lost_has_arrived_if_it_is_not_pending_any_more(
    place: Place,
) -> None:
    """It is not made twice."""
    place.faults.plan("POST", "/respond", lose)
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        await client.runs.respond(asked_in(outcome).id, YES)
        outcome = await ended(client, outcome)

    assert (outcome.reply, place.double.decisions) == ("A mail. Done.", [("approved", MAIL)])


async def test_a_decision_that_was_lost_is_uncertain_and_can_be_made_again(place: Place) -> None:
    """The approval stays pending."""
    place.faults.plan("POST", "/respond", drop)
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        with pytest.raises(UncertainError, match="gave no answer to the decision"):
            await client.runs.respond(asked_in(outcome).id, NO)
        await client.runs.respond(asked_in(outcome).id, NO)
        outcome = await ended(client, outcome)

    assert (outcome.reply, place.double.decisions) == ("A mail. Then not.", [("denied", None)])


async def test_a_deployment_without_the_call_says_so_and_is_not_asked_again(tmp_path: Path) -> None:
    """The approval is still listed, so that the 404 can only mean the call."""
    double = AgentFlowDouble(lacks=["respond_approval"])
    async with placed(tmp_path, double) as place, place.client() as client:
        outcome = await answered(client, "approve it")
        with pytest.raises(NotOffered, match="`respond_approval` at POST /api/v1/approvals"):
            await client.runs.respond(asked_in(outcome).id, YES)
        with pytest.raises(NotOffered) as caught:
            await client.runs.respond(asked_in(outcome).id, YES)
        features = (await client.agents.list("agentflow"))[0].features
        still = await client.runs.request(asked_in(outcome).id)

    assert (
        caught.value.hint == "Set `paths.respond_approval` in [instances.agentflow] to the path that it has."
    )
    assert not features & {Feature.CONFIRM, Feature.EDIT_ARGUMENTS}
    assert still.status is RequestStatus.PENDING
    assert place.count("POST", "/respond") == 1


@pytest.mark.parametrize("lacks", [["watch"], []])
async def test_an_approval_is_found_where_only_looking_shows_it(tmp_path: Path, lacks: list[str]) -> None:
    """A stream broke before it; a watch has nothing but snapshots, or is not there."""
    double = AgentFlowDouble(lacks=lacks)
    double.breaks_after = [2]
    async with placed(tmp_path, double) as place, place.client() as client:
        outcome = await answered(client, "approve it")
        request = asked_in(outcome)
        await client.runs.respond(request.id, YES)
        outcome = await ended(client, outcome)

    assert (request.tool, request.arguments) == ("send_mail", MAIL)
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "A mail. Done.")


async def test_a_decision_after_which_only_a_snapshot_comes_sets_the_run_going_again(place: Place) -> None:
    """The watch does not say that it was settled, only that nothing is being produced any more."""
    place.double.breaks_after = [2]
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        await place.double.until(lambda: place.double.watched == 4)
        await client.runs.respond(asked_in(outcome).id, YES)
        outcome = await ended(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "A mail. Done.")


async def test_a_question_is_asked_with_all_that_came_with_it_and_answered(place: Place) -> None:
    """The answer arrives, and the run goes on."""
    async with place.client() as client:
        outcome = await answered(client, "ask me")
        request = asked_in(outcome)
        await client.runs.respond(request.id, Settlement(decision=Decision.ANSWER, answer="Q3"))
        outcome = await ended(client, outcome)
        settled = await client.runs.request(request.id)

    assert request.kind is RequestKind.QUESTION
    assert request.prompt == 'AgentFlow asks: “Which quarter?”. It came with: “{"options": ["Q2", "Q3"]}”.'
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "Thank you.")
    assert (settled.status, settled.answer) == (RequestStatus.ANSWERED, "Q3")
    assert place.double.decisions == [("answered", "Q3")]


async def test_a_question_that_was_answered_at_agentflow_is_withdrawn(place: Place) -> None:
    """The run goes on."""
    place.clock = SkippingClock(500)
    async with place.client() as client:
        outcome = await answered(client, "ask me")
        place.double.settle(native(outcome), "Q2")
        while (await client.runs.request(asked_in(outcome).id)).status is RequestStatus.PENDING:
            await anyio.lowlevel.checkpoint()
        outcome = await ended(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "Thank you.")


async def test_a_question_can_be_answered_and_not_refused(place: Place) -> None:
    """The wire has no place for a refusal; the run can be stopped."""
    async with place.client() as client:
        outcome = await answered(client, "ask me")
        with pytest.raises(InvalidInputError, match="takes an answer to a question") as caught:
            await client.runs.respond(asked_in(outcome).id, NO)
        run = await client.runs.cancel(outcome.run.conversation_id)

    assert caught.value.hint == "Answer it, or stop the run with cancel_run."
    assert run.status is RunStatus.CANCELED


async def test_where_questions_are_answered_can_be_set(tmp_path: Path) -> None:
    """By a path with the places that the deployment has."""
    path = "/api/v2/ask/{conversation_id}/{question_id}"
    double = AgentFlowDouble(openapi=False, paths={**GUESSED, "answer_question": f"PUT {path}"})
    setting = {"answer_question": f"put {path}"}
    async with placed(tmp_path, double) as place, place.client(paths=setting) as client:
        outcome = await answered(client, "ask me")
        await client.runs.respond(asked_in(outcome).id, Settlement(decision=Decision.ANSWER, answer="Q3"))
        outcome = await ended(client, outcome)

    assert outcome.reply == "Thank you."
    assert f"PUT /api/v2/ask/{native(outcome)}/q_1" in double.calls


async def test_an_answer_to_a_question_without_its_call_says_what_to_set(tmp_path: Path) -> None:
    """The answer is still being produced, so that the 404 can only mean the call."""
    double = AgentFlowDouble(lacks=["answer_question"])
    async with placed(tmp_path, double) as place, place.client() as client:
        outcome = await answered(client, "ask me")
        with pytest.raises(NotOffered, match="`answer_question`"):
            await client.runs.respond(asked_in(outcome).id, Settlement(decision=Decision.ANSWER, answer="Q3"))
        (agent, *_) = await client.agents.list("agentflow")

    assert Feature.QUESTIONS not in agent.features


async def test_a_tool_that_waits_while_nobody_follows_it_goes_on_when_a_person_has_decided(
    place: Place,
) -> None:
    """The stream stalled and was given up; whoever decides sets the run going again."""
    place.clock = SkippingClock(500)
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        await place.double.until(lambda: place.double.streams == 0)
        await client.runs.respond(asked_in(outcome).id, YES)
        outcome = await ended(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "A mail. Done.")
    assert (place.count("POST", "/chat"), place.double.decisions) == (1, [("approved", MAIL)])


async def test_a_tool_that_was_decided_about_at_agentflow_while_the_stream_was_lost_goes_on(
    place: Place,
) -> None:
    """The list of what is pending shows it."""
    place.clock = SkippingClock(500)
    async with place.client() as client:
        outcome = await answered(client, "approve it")
        await place.double.until(lambda: place.count("GET", "/watch") > 0)
        place.double.settle(native(outcome), "denied")
        while (await client.runs.request(asked_in(outcome).id)).status is RequestStatus.PENDING:
            await anyio.lowlevel.checkpoint()
        outcome = await ended(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "A mail. Then not.")


async def test_a_decision_that_is_not_taken_now_can_be_made_again(place: Place) -> None:
    """Also where the stream ends with it."""
    place.faults.plan("POST", "/respond", answer(503))
    place.double.breaks_after = [4]
    async with place.client() as client:
        sent = await start(client, "approve it")
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        with pytest.raises(UnavailableError):
            await client.runs.respond(asked_in(outcome).id, YES)
        await client.runs.respond(asked_in(outcome).id, YES)
        outcome = await ended(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "A mail. Done.")
