"""What an agent may do is decided by a person: requests with the whole call, decided by kind, withdrawn, or lost."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    Decision,
    EventKind,
    Request,
    RequestStatus,
    Run,
    RunResult,
    RunStatus,
    Settlement,
)
from tests.client.platforms.acp import SECONDS, Place, answered, ended, journal, placed, start
from tests.doubles.acp_agent import script

pytestmark = [pytest.mark.anyio, pytest.mark.io]

EDIT = {
    "toolCallId": "edit",
    "title": "Edit a.py",
    "name": "Edit",
    "kind": "edit",
    "rawInput": {"file": "a.py"},
    "locations": [{"path": "/w/a.py"}],
    "content": [{"type": "diff", "path": "/w/a.py", "oldText": "one\n", "newText": "two\n"}],
}
RUN = {"toolCallId": "run", "title": "rm a.txt", "kind": "execute", "rawInput": {"command": "rm a.txt"}}
ALWAYS = [{"optionId": "always", "name": "Always", "kind": "allow_always"}]
APPROVE = Settlement(decision=Decision.APPROVE)
REJECT = Settlement(decision=Decision.REJECT)


@pytest.fixture(params=[1, 2])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Place]:
    """Give a place whose double speaks a version of the protocol."""
    async with placed(tmp_path) as place:
        place.knobs(version=request.param)
        yield place


async def pending(client: Client, place: Place, text: str) -> Sequence[Request]:
    """Begin a conversation with a message; return what it asks."""
    outcome = await answered(client, place, text)
    assert outcome.run.status is RunStatus.INPUT_REQUIRED
    return outcome.pending


async def over(client: Client, run: Run) -> RunResult:
    """Wait for the end of a run that may ask in between; return it."""
    while (await client.runs.get(run.id)).status.active:  # noqa: ASYNC110 - a wait ends at each question
        await anyio.sleep(0.01)
    return await client.runs.result(run)


def outcomes(place: Place) -> list[Any]:
    """Return how the double's permission requests were answered, in order."""
    answers = [one["result"] for one in place.received if "result" in one]
    return [one["outcome"].get("optionId", one["outcome"]["outcome"]) for one in answers]


async def test_a_request_has_the_whole_call_and_its_diff(place: Place) -> None:
    async with place.client() as client:
        (request,) = await pending(client, place, script({"ask": EDIT}))
        assert (request.tool, request.tool_call_id) == ("Edit", "edit")
        assert request.arguments == {
            "file": "a.py",
            "locations": ["/w/a.py"],
            "diff": [{"path": "/w/a.py", "old": "one\n", "new": "two\n"}],
        }
        assert "/w/a.py:\n@@ -1 +1 @@\n-one\n+two" in request.prompt


async def test_a_request_has_the_whole_patch(place: Place) -> None:
    """As version 2 has it."""
    changes = [{"operation": "move", "oldPath": "/w/a.py", "path": "/w/b.py", "fileType": "text"}]
    patch = {"format": "git_patch", "text": "-one\n+two"}
    edit = {**EDIT, "content": [{"type": "diff", "changes": changes, "patch": patch}]}
    async with place.client() as client:
        (request,) = await pending(client, place, script({"ask": edit}))
        told = {"operation": "move", "path": "/w/b.py", "oldPath": "/w/a.py"}
        assert request.arguments["diff"] == [{"changes": [told], "patch": "-one\n+two"}]
        assert "move /w/b.py /w/a.py\n-one\n+two" in request.prompt


@pytest.mark.parametrize(("settlement", "option"), [(APPROVE, "once"), (REJECT, "no")])
async def test_a_decision_is_told_by_the_first_option_of_its_kind(
    place: Place, settlement: Settlement, option: str
) -> None:
    async with place.client() as client:
        (request,) = await pending(client, place, script({"ask": RUN}))
        run = await client.runs.respond(request.id, settlement)
        outcome = await client.runs.wait(run, timeout=SECONDS)
        assert outcome.reply == f"[run: {option}]"
        assert outcome.run.status is RunStatus.COMPLETED
        entries = await journal(client, run.conversation_id)
    assert outcomes(place) == [option]
    kinds = [one.kind for one in entries]
    assert kinds.index(EventKind.TOOL_CALL_START) < kinds.index(EventKind.TOOL_CONFIRMATION_REQUIRED)
    assert kinds.count(EventKind.TOOL_CALL_START) == 1


async def test_what_would_allow_later_calls_too_is_never_chosen(place: Place) -> None:
    async with place.client() as client:
        (request,) = await pending(client, place, script({"ask": RUN, "options": ALWAYS}))
        outcome = await client.runs.wait(await client.runs.respond(request.id, APPROVE), timeout=SECONDS)
        entries = await journal(client, outcome.run.conversation_id)
    assert outcomes(place) == ["cancelled"]
    assert any("offers no approval for this call alone" in str(one.data) for one in entries)


async def test_a_call_that_was_first_seen_in_its_request_is_shown(place: Place) -> None:
    """As Gemini CLI asks: without an update before, and without `rawInput`."""
    bare = {"toolCallId": "run", "title": "rm a.txt", "kind": "execute", "unannounced": True}
    async with place.client() as client:
        (request,) = await pending(client, place, script({"ask": bare}))
        assert "rm a.txt" in request.prompt
        assert request.arguments == {"title": "rm a.txt"}
        entries = await journal(client, request.conversation_id)
    assert [one.data["tool"] for one in entries if one.kind is EventKind.TOOL_CALL_START] == ["execute"]


async def test_several_at_once_are_kept_apart(place: Place) -> None:
    async with place.client() as client:
        outcome = await answered(client, place, script({"asks": [EDIT, RUN]}))
        while len(outcome.pending) < 2:
            outcome = await client.runs.result(outcome.run)
        edit, run = sorted(outcome.pending, key=lambda one: one.tool_call_id or "")
        await client.runs.respond(run.id, REJECT)
        between = await client.runs.wait(outcome.run, timeout=SECONDS)
        assert [one.id for one in between.pending] == [edit.id]
        assert between.run.status is RunStatus.INPUT_REQUIRED
        await client.runs.respond(edit.id, APPROVE)
        assert (await ended(client, outcome)).reply == "[edit: once]\n\n[run: no]"


async def test_a_turn_that_ends_with_the_refusal_says_so(place: Place) -> None:
    """As Codex does: the reason is `cancelled`, though nobody canceled anything; or, in version 2, there is none."""
    quiet = {**RUN, "quiet": True}
    reason = None if place.version == 2 else "cancelled"
    async with place.client() as client:
        (request,) = await pending(client, place, script({"ask": quiet}, {"stop": reason}))
        outcome = await client.runs.wait(await client.runs.respond(request.id, REJECT), timeout=SECONDS)
        entries = await journal(client, outcome.run.conversation_id)
    assert outcome.run.status is RunStatus.CANCELED
    assert "because a tool was refused" in entries[-1].data["reason"]


async def test_canceling_withdraws_what_is_asked_and_approves_nothing(place: Place) -> None:
    async with place.client() as client:
        (request,) = await pending(client, place, script({"ask": RUN}, {"say": "Done."}))
        await client.runs.cancel(request.conversation_id)
        assert (await client.runs.request(request.id)).status is RequestStatus.WITHDRAWN
        sent = await client.runs.send(request.conversation_id, "still there?")
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "You said: still there?"
    assert outcomes(place) == ["cancelled"]


async def test_what_the_agent_takes_back_is_withdrawn(place: Place) -> None:
    async with place.client() as client:
        sent = await start(client, place, script({"withdraw": RUN}, {"say": "Never mind."}))
        outcome = await over(client, sent.run)
        assert outcome.reply == "Never mind."
        entries = await journal(client, sent.conversation.id)
        (resolved,) = [one for one in entries if one.kind is EventKind.TOOL_CONFIRMATION_RESOLVED]
        request = await client.runs.request(resolved.data["request_id"])
    assert request.status is RequestStatus.WITHDRAWN
    assert outcomes(place) == []


async def test_what_is_taken_back_at_once_is_not_left_pending(place: Place) -> None:
    """The question is taken back while it is being recorded."""
    text = script({"withdraw": RUN, "after": 0}, {"wait": str(place.work / "go")}, {"say": "Never mind."})
    async with place.client() as client:
        sent = await start(client, place, text)
        async for entries in client.runs.follow(sent.run):
            if any(entry.kind is EventKind.TOOL_CALL_START for entry in entries):
                break
        while await client.runs.pending(sent.conversation.id):
            await client.runs.wait(sent.run, timeout=0.1)
        (place.work / "go").touch()
        outcome = await over(client, sent.run)
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "Never mind.")
    assert outcomes(place) == []


async def test_an_end_of_the_client_approves_nothing(place: Place) -> None:
    async with place.client() as client:
        (request,) = await pending(client, place, script({"ask": RUN}, {"say": "Done."}))
    assert outcomes(place) in ([], ["cancelled"])
    async with place.client() as client:
        assert (await client.runs.request(request.id)).status is RequestStatus.PENDING
