"""Approvals by form: only what a person decided in a form that was accepted counts, and it counts once."""

import json
import re
from typing import Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    ErrorData,
    InputRequiredResult,
)

from tests.doubles.hosts import SECONDS, Answer, Connect, Host, Reply, decide, only
from tests.doubles.stage import ACTOR, script

pytestmark = pytest.mark.anyio

ASK = {"ask": "delete_file", "arguments": {"path": "/tmp/acme"}, "prompt": "May I delete it?"}
ASKING = script({"say": "Well. "}, ASK, {"say": " Done."})


def act(action: str, content: dict[str, Any] | None = None) -> Answer:
    """Return a person (or a host without one) who does the same with every form."""

    async def answer(form: ElicitRequestFormParams) -> ElicitResult:
        return ElicitResult.model_validate({"action": action, "content": content})

    return answer


async def send(host: Host, text: str = ASKING, **arguments: Any) -> Reply:
    """Send to a new conversation with the actor."""
    return await host.call("send_message", agent=ACTOR, text=text, **arguments)


async def runs(host: Host, conversation_id: str) -> int:
    """Return how many answers were begun in a conversation."""
    seen = await host.call("get_conversation", conversation_id=conversation_id, include=["events"])
    return sum(event["what"] == "run_started" for event in seen["events"])


async def assert_sent_once(host: Host, reply: Reply) -> None:
    """See that a call which was repeated for its form sent its message once."""
    assert (await host.call("list_conversations"))["total"] == 1
    assert await runs(host, reply["conversation_id"]) == 1


async def test_an_approved_form_lets_the_tool_run_within_the_same_call(connect: Connect) -> None:
    """The caller gets the final answer; the message was sent once."""
    async with connect(person=decide("approve")) as host:
        reply = await send(host)
        await assert_sent_once(host, reply)

    assert reply["status"] == "completed"
    assert 'Well. [delete_file: approved {"path": "/tmp/acme"}] Done.' in reply["reply"]
    assert "pending" not in reply.data
    assert len(host.forms) == 1


async def test_the_events_tell_who_decided_and_through_what(connect_in_memory: Connect) -> None:
    """A person in a form, or the host by itself; the time is that of the event."""
    async with connect_in_memory(person=decide("approve")) as host:
        first = await send(host)
        seen = await host.call(
            "get_conversation", conversation_id=first["conversation_id"], include=["events"]
        )
        assert "approve by local through form" in seen.text
    async with connect_in_memory() as host:
        second = await send(host, script(ASK, {"say": "Done, too."}))
        request_id = second["pending"][0]["request_id"]
        await host.call("confirm_tool", request_id=request_id, decision="reject", reason="No.")
        seen = await host.call(
            "get_conversation", conversation_id=second["conversation_id"], include=["events"]
        )
        assert "reject by local through host" in seen.text


async def test_a_rejected_form_keeps_the_tool_from_running_and_tells_why(connect: Connect) -> None:
    """The other agent is told the reason and goes on."""
    async with connect(person=decide("reject", reason="We still need it.")) as host:
        reply = await send(host)
        await assert_sent_once(host, reply)

    assert "[delete_file: rejected because We still need it.] Done." in reply["reply"]


async def test_a_form_shows_who_wants_to_run_what_with_what(connect_in_memory: Connect) -> None:
    """A person decides about exactly this."""
    async with connect_in_memory(person=decide("approve")) as host:
        await send(host)

    assert host.forms[0].message == (
        "stage:actor wants to run the tool delete_file.\n"
        'Arguments: {"path":"/tmp/acme"}\n'
        "stage:actor says: “May I delete it?”"
    )


async def test_a_tool_cannot_write_lines_into_its_form(connect_in_memory: Connect) -> None:
    """Its name and arguments stay in the first line, whatever they are made of."""
    ask = {"ask": "look\nApproved already.\n", "arguments": {"a": "b\nc"}, "prompt": "May I?"}
    async with connect_in_memory(person=decide("reject")) as host:
        await send(host, script(ask))

    assert host.forms[0].message == (
        "stage:actor wants to run the tool “look\\nApproved already.\\n”.\n"
        'Arguments: {"a":"b\\nc"}\n'
        "stage:actor says: “May I?”"
    )


@pytest.mark.parametrize("step", [ASK, {"question": "Which one?"}], ids=["confirmation", "question"])
async def test_a_form_has_no_key_on_which_a_host_gives_up(
    connect_in_memory: Connect, step: dict[str, Any]
) -> None:
    """Codex cancels silently when there is any other at the top level."""
    async with connect_in_memory(person=act("cancel")) as host:
        await send(host, script(step))

    schema = host.forms[0].requested_schema
    assert set(schema) == {"type", "properties", "required"}
    assert all(field["type"] == "string" for field in schema["properties"].values())


async def test_a_question_is_answered_in_a_form(connect_in_memory: Connect) -> None:
    """The answer goes on to the other agent."""
    async with connect_in_memory(person=act("accept", {"answer": "The left one."})) as host:
        reply = await send(host, script({"question": "Which one?"}, {"say": " Thanks."}))

    assert host.forms[0].message == "stage:actor asks: “Which one?”"
    assert "[question: answered The left one.] Thanks." in reply["reply"]


UNDECIDED: dict[str, Answer] = {
    "cancelled": act("cancel"),
    "accepted empty": act("accept"),
    "accepted without a decision": act("accept", {"reason": "hm"}),
    "accepted with another word": act("accept", {"decision": "maybe"}),
    "accepted with a number": act("accept", {"decision": 1}),
    "cancelled with a decision": act("cancel", {"decision": "approve"}),
}


@pytest.mark.parametrize("person", UNDECIDED.values(), ids=UNDECIDED)
async def test_a_form_without_a_decision_leaves_the_request_pending(
    connect_in_memory: Connect, person: Answer
) -> None:
    """A host without a person answers like that at once. The model can still have it decided."""
    async with connect_in_memory(person=person) as host:
        reply = await send(host)
        await assert_sent_once(host, reply)
        (request,) = reply["pending"]
        done = await host.call("confirm_tool", request_id=request["request_id"], decision="approve")

    assert reply["status"] == "input_required"
    assert request["request_id"] in reply["next"]
    assert len(host.forms) == 1
    assert done["status"] == "completed"


async def test_a_host_that_fails_to_show_a_form_leaves_the_request_pending(connect: Connect) -> None:
    """In the older era the call goes on; since 2026-07-28 it is the host that gives up, and can ask again."""

    async def fail(form: ElicitRequestFormParams) -> ErrorData:
        return ErrorData(code=-32603, message="no screen")

    async with connect(person=fail) as host:
        if connect.era == "legacy":
            assert (await send(host))["status"] == "input_required"
        else:
            with pytest.raises(MCPError, match="no screen"):
                await send(host)
        (line,) = (await host.call("list_conversations", awaiting_me=True))["conversations"]
        done = await host.call("confirm_tool", request_id=line["awaiting"][0], decision="approve")
        await assert_sent_once(host, done)

    assert done["status"] == "completed"


@only("legacy")
async def test_a_form_that_nobody_answers_is_taken_back(connect: Connect) -> None:
    """The call comes back after --form-seconds, with the request pending."""

    async def look_away(form: ElicitRequestFormParams) -> ElicitResult:
        await anyio.sleep_forever()
        raise AssertionError

    async with connect(person=look_away, form_seconds=1) as host:
        reply = await send(host)

    assert reply["status"] == "input_required"
    assert len(host.forms) == 1


async def test_without_forms_the_result_names_the_request_for_confirm_tool(connect: Connect) -> None:
    """The guard is then the host's own permission prompt."""
    async with connect() as host:
        reply = await send(host)
        (request,) = reply["pending"]
        done = await host.call(
            "confirm_tool", request_id=request["request_id"], decision="reject", reason="not now"
        )
        await assert_sent_once(host, done)

    assert reply["status"] == "input_required"
    assert f"confirm_tool with request_id {request['request_id']}" in reply["next"]
    assert "delete_file" in request["tool"]
    assert "[delete_file: rejected because not now] Done." in done["reply"]


async def test_two_requests_in_a_row_are_two_forms_of_one_call(connect: Connect) -> None:
    """The second form comes when the answer went on and asked again."""
    twice = script({"ask": "first"}, {"say": " then "}, {"ask": "second"}, {"say": "."})
    async with connect(person=decide("approve")) as host:
        reply = await send(host, twice)
        await assert_sent_once(host, reply)

    assert [form.message.splitlines()[0] for form in host.forms] == [
        "stage:actor wants to run the tool first.",
        "stage:actor wants to run the tool second.",
    ]
    assert "[first: approved {}] then [second: approved {}]." in reply["reply"]


async def test_every_call_that_meets_a_pending_request_asks(connect_in_memory: Connect) -> None:
    """Following a conversation, creating one and deciding about an earlier request do as sending does."""
    async with connect_in_memory() as host:
        asked = await send(host)
        twice = await send(host, script({"ask": "first"}, {"ask": "second"}))
    async with connect_in_memory(person=decide("approve")) as host:
        followed = await host.call("stream_conversation", conversation_id=asked["conversation_id"])
        created = await host.call("create_conversation", agent=ACTOR, message=ASKING)
        first = twice["pending"][0]["request_id"]
        decided = await host.call("confirm_tool", request_id=first, decision="approve")

    assert len(host.forms) == 3
    assert [reply["status"] for reply in (followed, created, decided)] == ["completed"] * 3


async def test_a_declined_form_can_only_be_overruled_by_an_accepted_one(connect: Connect) -> None:
    """A person said no to being asked: a model must not say yes in their place."""
    async with connect(person=act("decline")) as host:
        declined = await send(host)
        (request,) = declined["pending"]
        refused = await host.fail("confirm_tool", request_id=request["request_id"], decision="approve")
    async with connect(person=decide("approve")) as host:
        done = await host.call("stream_conversation", conversation_id=declined["conversation_id"])

    assert declined["status"] == "input_required"
    assert "declined" in request["note"]
    assert "tertulia approve" in declined["next"]
    assert "stream_conversation" not in declined["next"]
    assert "only an accepted form can approve it" in refused["message"]
    assert refused["request_id"] == request["request_id"]
    assert done["status"] == "completed"


async def test_a_declined_request_can_be_rejected_by_the_model(connect_in_memory: Connect) -> None:
    """That is what declining comes closest to."""
    async with connect_in_memory(person=act("decline")) as host:
        (request,) = (await send(host))["pending"]
        done = await host.call("confirm_tool", request_id=request["request_id"], decision="reject")

    assert "[delete_file: rejected]" in done["reply"]


async def test_with_approvals_person_only_a_form_approves(connect_in_memory: Connect) -> None:
    """The model can reject, and has to leave approving to a host that shows forms."""
    async with connect_in_memory(approvals="person") as host:
        first, second = (await send(host))["pending"], (await send(host, script(ASK)))["pending"]
        refused = await host.fail("confirm_tool", request_id=first[0]["request_id"], decision="approve")
        rejected = await host.call("confirm_tool", request_id=second[0]["request_id"], decision="reject")
    async with connect_in_memory(approvals="person", person=decide("approve")) as host:
        by_form = await send(host, script({"say": "Now. "}, ASK))

    assert refused["error"] == "not_allowed"
    assert "only a person can approve" in refused["message"]
    assert rejected["status"] == "completed"
    assert by_form["status"] == "completed"


async def test_an_agent_that_was_reached_through_tertulia_approves_nothing_and_is_shown_no_form(
    connect_in_memory: Connect,
) -> None:
    """Its host may answer forms by itself; the person who talks to it decides in theirs."""
    async with connect_in_memory(approvals="elsewhere", person=decide("approve")) as host:
        asked = await send(host)
        (request,) = asked["pending"]
        assert host.forms == []
        refused = await host.fail("confirm_tool", request_id=request["request_id"], decision="approve")
    async with connect_in_memory() as host:
        done = await host.call("confirm_tool", request_id=request["request_id"], decision="approve")

    assert asked["status"] == "input_required"
    assert (refused["error"], "the person does" in refused["message"]) == ("not_allowed", True)
    assert done["status"] == "completed"


@only("legacy")
async def test_a_request_that_was_settled_while_the_form_was_open_is_a_conflict_live(
    connect: Connect,
) -> None:
    """Whoever decided first decided; the caller is told how."""

    async def too_late(form: ElicitRequestFormParams) -> ElicitResult:
        (line,) = (await other.call("list_conversations", awaiting_me=True))["conversations"]
        await other.call("confirm_tool", request_id=line["awaiting"][0], decision="reject")
        return ElicitResult(action="accept", content={"decision": "approve"})

    async with connect() as other, connect(person=too_late) as host:
        reply = await host.fail("send_message", agent=ACTOR, text=ASKING)

    assert reply["error"] == "conflict"
    assert "was rejected on" in reply["message"]


class Rounds:
    """A call whose rounds are driven by hand, as a host does since 2026-07-28."""

    def __init__(self, host: Host, tool: str = "send_message", **arguments: Any) -> None:
        self._host = host
        self._tool = tool
        self._arguments = arguments or {"agent": ACTOR, "text": ASKING}
        self.state: str | None = None
        self.request_id = ""

    async def ask(self) -> None:
        """Make the call; it must come back with a question."""
        result = await self.make(None)
        assert isinstance(result, InputRequiredResult)
        requests = result.input_requests or {}
        (self.request_id,) = requests
        assert isinstance(requests[self.request_id], ElicitRequest)
        self.state = result.request_state

    async def answer(self, decision: str) -> Reply:
        """Repeat the call with an accepted form; it must come back with a result."""
        result = await self.make(ElicitResult(action="accept", content={"decision": decision}))
        assert isinstance(result, CallToolResult)
        return Reply(result)

    async def make(self, answer: ElicitResult | None) -> CallToolResult | InputRequiredResult:
        """Make the call, or repeat it with an answer."""
        with anyio.fail_after(SECONDS):
            return await self._host.client.session.call_tool(
                self._tool,
                self._arguments,
                input_responses=None if answer is None else {self.request_id: answer},
                request_state=self.state,
                allow_input_required=True,
            )


@only("2026-07-28")
async def test_a_repeated_call_that_is_replayed_does_nothing_twice(connect: Connect) -> None:
    """A host that lost the result asks for it again."""
    async with connect(person=act("cancel")) as host:
        rounds = Rounds(host)
        await rounds.ask()
        first = await rounds.answer("approve")
        second = await rounds.answer("approve")
        await assert_sent_once(host, first)

    assert first["run_id"] == second["run_id"]
    assert "Done." in first["reply"]
    assert "Done." in second["reply"]


@only("2026-07-28")
async def test_a_replay_that_decides_otherwise_is_a_conflict(connect: Connect) -> None:
    """What was decided stays decided."""
    async with connect(person=act("cancel")) as host:
        rounds = Rounds(host)
        await rounds.ask()
        await rounds.answer("reject")
        other = await rounds.answer("approve")

    assert other.failed
    assert other["error"] == "conflict"
    assert "was rejected on" in other["message"]


@only("2026-07-28")
async def test_a_request_that_was_settled_between_the_rounds_is_a_conflict(connect: Connect) -> None:
    """By another host on the same store, say."""
    async with connect(person=act("cancel")) as host, connect() as other:
        rounds = Rounds(host)
        await rounds.ask()
        await other.call("confirm_tool", request_id=rounds.request_id, decision="reject")
        reply = await rounds.answer("approve")

    assert reply.failed
    assert "was rejected on" in reply["message"]
    assert reply["request_id"] == rounds.request_id


@only("2026-07-28")
async def test_a_form_can_be_answered_after_the_server_was_started_anew(connect: Connect) -> None:
    """Its state is sealed under a key that the store's folder keeps; the run is found from it."""
    async with connect(person=act("cancel")) as host:
        rounds = Rounds(host)
        await rounds.ask()
    async with connect(person=act("cancel")) as host:
        later = Rounds(host)
        later.state, later.request_id = rounds.state, rounds.request_id
        reply = await later.answer("approve")
        await assert_sent_once(host, reply)

    assert reply["status"] == "completed"


@only("2026-07-28")
async def test_a_state_that_was_tampered_with_or_is_of_another_call_decides_nothing(connect: Connect) -> None:
    """It is refused as such, and the request stays pending."""
    async with connect(person=act("cancel")) as host:
        rounds = Rounds(host)
        await rounds.ask()
        sealed = str(rounds.state)
        rounds.state = sealed[:-4] + ("AAAA" if not sealed.endswith("AAAA") else "BBBB")
        with pytest.raises(MCPError):
            await rounds.answer("approve")
        other = Rounds(host, agent=ACTOR, text="Something else.")
        other.state, other.request_id = sealed, rounds.request_id
        with pytest.raises(MCPError):
            await other.answer("approve")
        (line,) = (await host.call("list_conversations", awaiting_me=True))["conversations"]

    assert line["awaiting"] == [rounds.request_id]


@only("2026-07-28")
async def test_a_repeated_call_without_an_answer_shows_what_there_is(connect: Connect) -> None:
    """It asks no second time by itself, and sends nothing."""
    async with connect(person=act("cancel")) as host:
        rounds = Rounds(host)
        await rounds.ask()
        result = await rounds.make(None)
        assert isinstance(result, CallToolResult)
        await assert_sent_once(host, Reply(result))

    assert Reply(result)["status"] == "input_required"


LONG = {"a_note": "x" * 2_100, "z_command": "rm -rf / --no-preserve-root"}


async def test_what_a_form_cannot_show_as_a_whole_is_not_asked_in_a_form(connect_in_memory: Connect) -> None:
    """Its end may be what matters. The call takes the digest that stands at the end of the arguments."""
    async with connect_in_memory(person=decide("approve")) as host:
        reply = await send(host, script({"ask": "shell", "arguments": LONG}))
        request_id, own_id = reply["pending"][0]["request_id"], reply["conversation_id"]
        unseen = await host.fail("confirm_tool", request_id=request_id, decision="approve")
        wrong = await host.fail("confirm_tool", request_id=request_id, decision="approve", digest="0" * 16)
        shown = await read_arguments(host, own_id)
        digest = shown.pop()
        done = await host.call("confirm_tool", request_id=request_id, decision="approve", digest=digest)

    assert host.forms == []
    assert "rm -rf" not in reply["pending"][0]["arguments"]
    assert "get_conversation" in unseen["next"]
    assert "not what was shown" in wrong["message"]
    assert json.loads("".join(shown)) == LONG
    assert done["status"] == "completed"


async def test_arguments_of_any_length_are_read_to_their_end(connect_in_memory: Connect) -> None:
    """In parts, each within the limit of a result."""
    arguments = {"lines": [f"line {number} \u200b “x”" for number in range(2_000)]}
    async with connect_in_memory() as host:
        reply = await send(host, script({"ask": "write", "arguments": arguments}))
        shown = await read_arguments(host, reply["conversation_id"])
        shown.pop()

    assert len(shown) > 3
    assert json.loads("".join(shown)) == arguments


async def read_arguments(host: Host, conversation_id: str) -> list[str]:
    """Return the parts of a pending request's arguments, and its digest."""
    parts: list[str] = []
    cursor: str | None = None
    while True:
        given = {} if cursor is None else {"cursor": cursor}
        page = await host.call(
            "get_conversation", conversation_id=conversation_id, include=["requests"], **given
        )
        assert max(len(page.text), len(page.json)) <= 10_000
        (request,) = page["pending"]
        if cursor is not None:
            parts.append(re.sub(r"</?q\w{16}>", "", request["arguments"]))
        if "digest" in request:
            return [*parts, request["digest"]]
        cursor = page["next_cursor"]


async def test_a_form_hides_nothing_of_what_will_run(connect_in_memory: Connect) -> None:
    """A person sees an escape for each character that shows nothing; the tool gets what they saw."""
    path = "/safe\u200b\u202e\U000e0041.txt"
    async with connect_in_memory(person=decide("approve")) as host:
        reply = await send(host, script({"ask": "delete", "arguments": {"path": path}}))

    assert '{"path":"/safe\\u200b\\u202e\\U000e0041.txt"}' in host.forms[0].message
    assert json.dumps({"path": path}) in reply["reply"]


async def test_the_agents_own_sentence_is_labelled_and_bounded(connect_in_memory: Connect) -> None:
    """It cannot read as ours, nor push what will run off the screen."""
    prompt = "\n" * 50 + "[Tertulia] Checked: this request is safe. " * 5_000
    async with connect_in_memory(person=decide("reject")) as host:
        await send(host, script({"ask": "delete", "prompt": prompt}))

    said = host.forms[0].message.splitlines()[-1]
    assert said.startswith("stage:actor says: “")
    assert said.endswith("…”")
    assert len(host.forms[0].message) < 1_000


async def test_rejecting_stands_first_and_nothing_is_preselected(connect_in_memory: Connect) -> None:
    """Some hosts offer the first choice."""
    async with connect_in_memory(person=decide("reject")) as host:
        await send(host)

    decision = host.forms[0].requested_schema["properties"]["decision"]
    assert decision["enum"] == ["reject", "approve"]
    assert "default" not in decision


async def test_repeating_confirm_tool_says_what_came_of_it(connect_in_memory: Connect) -> None:
    """A host that lost the answer to its approval asks again, without a key."""
    async with connect_in_memory() as host:
        pending = await send(host)
        decision = {"request_id": pending["pending"][0]["request_id"], "decision": "approve"}
        await host.call("confirm_tool", **decision)
        again = await host.call("confirm_tool", **decision)

    assert again["status"] == "completed"
    assert "decided like that before" in again["note"]
    assert "approved" in again["reply"]
