"""Deciding what a run waits for: once, by who may, about exactly what was shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Approvals,
    Client,
    ConflictError,
    Decision,
    EventKind,
    InvalidInputError,
    NewConversation,
    NotAllowedError,
    NotFoundError,
    NotOffered,
    Request,
    RequestKind,
    RequestStatus,
    RunStatus,
    Settlement,
    Status,
    UnavailableError,
)
from tertulia.platforms.base import RunContext
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import RequestDraft
from tests.client.inside import rows
from tests.doubles.scripted import AGENT, Script, asks_first, may_i, says, scripted

pytestmark = pytest.mark.anyio

APPROVE = Settlement(decision=Decision.APPROVE)
REJECT = Settlement(decision=Decision.REJECT)
APPROVE_IN_A_FORM = Settlement(decision=Decision.APPROVE, by_person=True)


async def asked(client: Client) -> Request:
    """Have the agent ask, and return what it asks."""
    sent = await client.runs.start(NewConversation(agent=AGENT), says("Shred it"))
    (request,) = (await client.runs.wait(sent.run, timeout=10)).pending
    return request


async def reply(client: Client, request: Request) -> str:
    """Return what the agent makes of the decision."""
    outcome = await client.runs.wait(await client.runs.get(request.run_id), timeout=10)
    assert outcome.run.status is RunStatus.COMPLETED
    return outcome.reply


async def asks_which(work: RunContext) -> None:
    """Ask a question, then say the answer."""
    if not work.requests:
        await work.ask(RequestDraft(kind=RequestKind.QUESTION, prompt="Which one?"))
    else:
        await work.finish(f"{work.requests[0].status}: {work.requests[0].answer}")


async def test_a_request_shows_what_the_agent_wants_to_do(path: Path) -> None:
    """The run and its conversation wait meanwhile."""
    async with scripted(path, asks_first) as client:
        request = await asked(client)

        assert (request.kind, request.tool, request.arguments, request.prompt, request.status) == (
            *(
                RequestKind.CONFIRMATION,
                "shred",
                {"paper": "contract"},
                "May I shred?",
                RequestStatus.PENDING,
            ),
        )
        assert (await client.runs.get(request.run_id)).status is RunStatus.INPUT_REQUIRED
        assert (await client.conversations.get(request.conversation_id)).status is Status.INPUT_REQUIRED
        assert await client.runs.pending() == await client.runs.pending(request.conversation_id) == [request]
        assert await client.runs.request(request.id) == request
        entries = (await client.conversations.events(request.conversation_id)).entries
        (shown,) = (each for each in entries if each.kind is EventKind.TOOL_CONFIRMATION_REQUIRED)
        assert (shown.data["request_id"], shown.data["arguments"]) == (request.id, {"paper": "contract"})


async def test_an_approval_lets_the_run_go_on(path: Path) -> None:
    """The conversation is open again, and the decision in the journal."""
    script = Script(asks_first)
    async with scripted(path, script) as client:
        request = await asked(client)

        await client.runs.respond(request.id, APPROVE)

        assert await reply(client, request) == "approved"
        assert script.settled == [APPROVE]
        assert (await client.conversations.get(request.conversation_id)).status is Status.OPEN
        settled = await client.runs.request(request.id)
        assert settled.status is RequestStatus.APPROVED
        assert settled.settled_at is not None
        entries = (await client.conversations.events(request.conversation_id)).entries
        (decided,) = (each for each in entries if each.kind is EventKind.TOOL_CONFIRMATION_RESOLVED)
        assert decided.data == {"request_id": request.id, "decision": "approve", "by": "local"}


async def test_a_rejection_reaches_the_agent_with_its_reason(path: Path) -> None:
    """It may do something else instead."""

    async def answer(work: RunContext) -> None:
        await (work.finish(f"Because {work.requests[0].reason}") if work.requests else work.ask(may_i()))

    async with scripted(path, answer) as client:
        request = await asked(client)

        await client.runs.respond(
            request.id, Settlement(decision=Decision.REJECT, reason="it is the only copy")
        )

        assert await reply(client, request) == "Because it is the only copy"
        assert (await client.runs.request(request.id)).status is RequestStatus.REJECTED


async def test_a_question_is_answered_with_text(path: Path) -> None:
    """Or rejected, if nobody wants to answer it."""
    async with scripted(path, asks_which) as client:
        first, second = await asked(client), await asked(client)

        await client.runs.respond(first.id, Settlement(decision=Decision.ANSWER, answer="The blue one"))
        await client.runs.respond(second.id, REJECT)

        assert await reply(client, first) == "answered: The blue one"
        assert await reply(client, second) == "rejected: None"
        entries = (await client.conversations.events(first.conversation_id)).entries
        (answered,) = (each for each in entries if each.kind is EventKind.QUESTION_ANSWERED)
        assert answered.data["answer"] == "The blue one"


async def test_what_was_decided_cannot_be_decided_otherwise(path: Path) -> None:
    """The conflict says how and when it was decided, and what is pending there now."""
    async with scripted(path, asks_first) as client:
        request = await asked(client)
        await client.runs.respond(request.id, APPROVE)

        with pytest.raises(ConflictError, match=rf"{request.id} was approved on \d{{4}}-") as raised:
            await client.runs.respond(request.id, REJECT)

        assert raised.value.ids == {
            "request_id": request.id,
            "conversation_id": request.conversation_id,
            "run_id": request.run_id,
        }
        assert (raised.value.hint or "").startswith("Nothing else is pending there; ")


async def test_a_decision_may_be_repeated(path: Path) -> None:
    """Its answer may have been lost: it returns the run again, unless it has other arguments than the first."""
    script = Script(asks_first)
    async with scripted(path, script) as client:
        request = await asked(client)
        first = await client.runs.respond(request.id, APPROVE)
        again = await client.runs.respond(request.id, APPROVE)
        with pytest.raises(ConflictError, match="was approved"):
            await client.runs.respond(
                request.id, Settlement(decision=Decision.APPROVE, arguments={"paper": "other"})
            )

    assert first.id == again.id
    assert len(script.settled) == 1


async def test_of_two_decisions_at_once_one_counts(path: Path) -> None:
    """The other learns which."""
    decided: list[str] = []
    async with scripted(path, asks_first) as here, scripted(path, asks_first) as there:
        request = await asked(here)

        async def settle(client: Client, settlement: Settlement) -> None:
            try:
                await client.runs.respond(request.id, settlement)
                decided.append(settlement.decision)
            except ConflictError:
                decided.append("conflict")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, here, APPROVE)
            tasks.start_soon(settle, there, REJECT)

        assert decided.count("conflict") == 1
        status = (await here.runs.request(request.id)).status
        assert status is (RequestStatus.APPROVED if "approve" in decided else RequestStatus.REJECTED)
        assert await reply(here, request) == status


async def test_a_run_goes_on_once_nothing_it_asked_is_pending(path: Path) -> None:
    """Several things may be asked at a time."""

    async def answer(work: RunContext) -> None:
        if not work.requests:
            for tool in ("shred", "burn"):
                await work.ask(may_i(tool))
        elif all(request.status is not RequestStatus.PENDING for request in work.requests):
            await work.finish(" ".join(request.status for request in work.requests))

    script = Script(answer)
    async with scripted(path, script) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Destroy it"))
        while len(await client.runs.pending()) < 2:
            await client.runs.wait(sent.run, timeout=0.01)
        first, second = await client.runs.pending()

        await client.runs.respond(second.id, APPROVE)
        outcome = await client.runs.wait(sent.run, timeout=10)
        assert ([each.id for each in outcome.pending], outcome.run.status) == (
            [first.id],
            RunStatus.INPUT_REQUIRED,
        )
        with pytest.raises(ConflictError) as raised:
            await client.runs.respond(second.id, REJECT)
        assert raised.value.valid == (first.id,)
        await client.runs.respond(first.id, REJECT)

        assert await reply(client, first) == "rejected approved"


async def test_an_unknown_request_is_told_with_those_that_are_pending(path: Path) -> None:
    """The caller may have mistyped it."""
    async with scripted(path, asks_first) as client:
        request = await asked(client)

        with pytest.raises(NotFoundError, match="There is no request") as raised:
            await client.runs.respond("req_nonsense", APPROVE)

        assert raised.value.valid == (request.id,)


# Which decisions fit


@pytest.mark.parametrize(
    ("ask", "settlement", "told"),
    [
        (asks_first, Settlement(decision=Decision.ANSWER, answer="yes"), "cannot be settled with `answer`"),
        (asks_which, APPROVE, "cannot be settled with `approve`"),
        (asks_which, Settlement(decision=Decision.ANSWER), "`answer` is empty"),
        (asks_which, Settlement(decision=Decision.ANSWER, answer="\x00"), "`answer`"),
        (asks_first, Settlement(decision=Decision.REJECT, reason=" "), "`reason` is empty"),
        (asks_first, Settlement(decision=Decision.REJECT, reason="\ud800"), "lone surrogate"),
        (asks_first, Settlement(decision=Decision.REJECT, reason="x" * 4_001), "at most 4,000"),
        (asks_first, Settlement(decision=Decision.REJECT, arguments={"a": 1}), "Only an approval can change"),
        (asks_first, Settlement(decision=Decision.APPROVE, arguments={"a": float("nan")}), "not JSON"),
    ],
)
async def test_a_decision_that_does_not_fit_changes_nothing(
    path: Path, ask: Callable[[RunContext], Any], settlement: Settlement, told: str
) -> None:
    """The request is still pending."""
    script = Script(ask)
    async with scripted(path, script) as client:
        request = await asked(client)

        with pytest.raises(InvalidInputError, match=told):
            await client.runs.respond(request.id, settlement, idempotency_key="k1")

        assert await client.runs.request(request.id) == request
        assert script.settled == []


async def test_an_approval_may_change_the_arguments(path: Path) -> None:
    """Where the platform lets it: the tool runs with what was approved, the request keeps what was shown."""

    async def answer(work: RunContext) -> None:
        if work.requests:
            await work.finish(str(work.approved_arguments(work.requests[0])))
        else:
            await work.ask(may_i(paper="contract"))

    async with scripted(path, answer) as client:
        changed, as_shown = await asked(client), await asked(client)
        await client.runs.respond(
            changed.id, Settlement(decision=Decision.APPROVE, arguments={"paper": "draft"})
        )
        await client.runs.respond(as_shown.id, APPROVE)

        assert await reply(client, changed) == "{'paper': 'draft'}"
        assert await reply(client, as_shown) == "{'paper': 'contract'}"
        assert (await client.runs.request(changed.id)).arguments == {"paper": "contract"}


async def test_where_arguments_cannot_be_changed_the_caller_learns_what_to_do_instead(path: Path) -> None:
    """Nothing is approved."""
    script = Script(asks_first)
    script.features -= {Feature.EDIT_ARGUMENTS}
    async with scripted(path, script) as client:
        request = await asked(client)

        with pytest.raises(NotOffered, match="with the arguments it asked for, or not at all") as raised:
            await client.runs.respond(
                request.id, Settlement(decision=Decision.APPROVE, arguments={"paper": "x"})
            )

        assert "reject" in (raised.value.hint or "")
        assert (await client.runs.request(request.id)).status is RequestStatus.PENDING


async def test_a_decision_that_the_platform_did_not_take_is_not_recorded(path: Path) -> None:
    """It can be made again."""
    script = Script(asks_first)
    script.refusal = UnavailableError("The platform is down.")
    async with scripted(path, script) as client:
        request = await asked(client)
        with pytest.raises(UnavailableError):
            await client.runs.respond(request.id, APPROVE)
        assert (await client.runs.request(request.id)).status is RequestStatus.PENDING
        script.refusal = None

        await client.runs.respond(request.id, APPROVE)

        assert await reply(client, request) == "approved"


# Who may decide


async def test_after_a_person_declined_only_a_person_approves(path: Path) -> None:
    """A host cannot overrule the form it showed."""
    async with scripted(path, asks_first) as client:
        request = await asked(client)
        await client.runs.decline(request.id)

        declined = await client.runs.request(request.id)
        assert (declined.declined, declined.status) == (True, RequestStatus.PENDING)
        with pytest.raises(ConflictError, match="was declined: only an accepted form") as raised:
            await client.runs.respond(request.id, APPROVE)
        assert "Ask your user" in (raised.value.hint or "")
        assert (await client.runs.request(request.id)).status is RequestStatus.PENDING
        await client.runs.respond(request.id, APPROVE_IN_A_FORM)

        assert await reply(client, request) == "approved"


async def test_what_a_person_declined_anybody_may_reject(path: Path) -> None:
    """That only makes it final."""
    async with scripted(path, asks_first) as client:
        request = await asked(client)
        await client.runs.decline(request.id)

        await client.runs.respond(request.id, REJECT)

        assert await reply(client, request) == "rejected"


async def test_where_only_a_persons_approval_counts_a_hosts_does_not(path: Path) -> None:
    """Not even the first; rejecting and answering are everybody's."""
    async with scripted(path, asks_first, approvals=Approvals.PERSON) as client:
        first, second = await asked(client), await asked(client)

        with pytest.raises(NotAllowedError, match="only a person can approve"):
            await client.runs.respond(first.id, APPROVE)
        assert (await client.runs.request(first.id)).status is RequestStatus.PENDING
        await client.runs.respond(first.id, APPROVE_IN_A_FORM)
        await client.runs.respond(second.id, REJECT)

        assert await reply(client, first) == "approved"
        assert await reply(client, second) == "rejected"


async def test_an_answer_needs_no_form(path: Path) -> None:
    """It approves nothing."""
    async with scripted(path, asks_which, approvals=Approvals.PERSON) as client:
        request = await asked(client)

        await client.runs.respond(request.id, Settlement(decision=Decision.ANSWER, answer="Blue"))

        assert await reply(client, request) == "answered: Blue"


async def test_a_request_whose_run_is_over_cannot_be_decided_any_more(path: Path) -> None:
    """It was withdrawn; that a person turned its form down too late means nothing."""
    async with scripted(path, asks_first) as client:
        request = await asked(client)
        await client.runs.cancel(request.conversation_id)

        with pytest.raises(ConflictError, match="was withdrawn when its run was canceled on "):
            await client.runs.respond(request.id, APPROVE)
        await client.runs.decline(request.id)
        assert await rows(path, "SELECT status, declined FROM requests") == [("withdrawn", 0)]
