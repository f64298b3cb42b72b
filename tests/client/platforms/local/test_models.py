"""Agents that are a model: what is asked of it, what is journaled, who approves, and what a crash leaves."""

import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    ClientSettings,
    Decision,
    EventKind,
    InstanceSettings,
    InvalidInputError,
    MessageDraft,
    NewConversation,
    NotAllowedError,
    NotFoundError,
    Request,
    RunResult,
    RunStatus,
    Settlement,
)
from tests.client.platforms.local.models import AGENT, Place, answered, placed, said, start
from tests.doubles.chat_completions import Turn
from tests.doubles.network import Receive, Scope, Send, answer, cut, drop, served, stall
from tests.doubles.notes_server import Notes, served_notes
from tests.support.place import ended, journal

pytestmark = [pytest.mark.anyio, pytest.mark.io]

YES = Settlement(decision=Decision.APPROVE)
NO = Settlement(decision=Decision.REJECT, reason="not now")
WRITE = ("write_note", {"text": "call Acme"})
DONE = Turn(text="It is done.")


@pytest.fixture
async def place(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Place]:
    """A scripted model."""
    async with placed(tmp_path) as served:
        yield served


@pytest.fixture
def notes() -> Notes:
    """The notes that a tool reads and writes."""
    return Notes()


@pytest.fixture
async def server(notes: Notes, anyio_backend: str) -> AsyncIterator[str]:
    """An MCP server with the notes, over HTTP."""
    async with served_notes(notes) as url:
        yield url


def asked_in(outcome: RunResult) -> Request:
    """Return the one request that a run waits for."""
    assert outcome.run.status is RunStatus.INPUT_REQUIRED
    (request,) = outcome.pending
    return request


def told(place: Place, number: int = -1) -> list[tuple[str, Any]]:
    """Return what the model was told: each message's role and text."""
    return [(one["role"], one.get("content")) for one in place.double.requests[number]["messages"]]


async def test_an_answer_streams_and_remembers_what_was_said(place: Place) -> None:
    """The model is told its instructions and the conversation as the store has it."""
    place.double.turns = [Turn(thought="easy enough", text="Looks good to me."), Turn(text="As I said.")]
    async with place.client() as client:
        first = await answered(client, "Review this.")
        second = await said(client, first, "Again?")
        entries = [entry for entry in await journal(client, first) if entry.run_id == first.run.id]
        messages = (await client.messages.list(first.run.conversation_id)).items
        figures = await client.conversations.analytics(first.run.conversation_id)

    assert (first.reply, second.reply) == ("Looks good to me.", "As I said.")
    kinds = [kind for kind, _ in groupby(entry.kind for entry in entries)]
    assert kinds == [
        EventKind.MESSAGE_ADDED,
        EventKind.STATUS_CHANGED,
        EventKind.RUN_STARTED,
        EventKind.REASONING,
        EventKind.TEXT_MESSAGE_START,
        EventKind.TEXT_MESSAGE_CONTENT,
        EventKind.TEXT_MESSAGE_END,
        EventKind.MESSAGE_ADDED,
        EventKind.RUN_FINISHED,
    ]
    assert told(place) == [
        ("system", "Review."),
        ("user", "Review this."),
        ("assistant", "Looks good to me."),
        ("user", "Again?"),
    ]
    assert messages[1].metadata == {
        "model": "openai-chat:scripted",
        "input_tokens": 20,
        "output_tokens": 5,
    }
    assert figures.tokens == 50


@pytest.mark.parametrize("configured", [True, False])
async def test_a_proxy_of_the_environment_is_used_where_that_is_configured(
    place: Place, server: str, monkeypatch: pytest.MonkeyPatch, *, configured: bool
) -> None:
    """Neither the model nor a server of tools is asked through one that somebody has set a variable for."""
    place.double.turns = [Turn(calls=[("read_notes", {})]), DONE]
    proxied: list[str] = []

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        proxied.append(scope["raw_path"].decode())
        await answer(404)(proxy, scope, receive, send)

    async with served(proxy) as url:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for tools in ([], [{"url": server}]):
            local = replace(place.instance_settings(**place.agent(tools=tools)), environment_proxy=configured)
            async with Client.open(ClientSettings(store=place.path, instances={"local": local})) as client:
                outcome = await answered(client, "What did we promise Acme?")
                assert outcome.run.status is (RunStatus.FAILED if configured else RunStatus.COMPLETED)
                place.double.turns = [Turn(calls=[("read_notes", {})]), DONE]
    assert any(path.endswith("/chat/completions") for path in proxied) == configured
    assert any(path.endswith("/mcp") for path in proxied) == configured


async def test_a_tool_that_only_reads_runs_unasked(place: Place, notes: Notes, server: str) -> None:
    """Its server has annotated it so."""
    place.double.turns = [Turn(text="I look.", calls=[("read_notes", {})]), Turn(text="Ship on Friday.")]
    async with place.with_agent(tools=[{"url": server}]) as client:
        outcome = await answered(client, "When do we ship?")
        entries = await journal(client, outcome)

    assert (outcome.reply, notes.calls) == ("Ship on Friday.", ["read_notes"])
    results = [entry.data for entry in entries if entry.kind is EventKind.TOOL_CALL_RESULT]
    assert [(one["tool_call_id"], one["outcome"]) for one in results] == [("call_0", "ok")]
    assert "Acme" in str(results[0]["result"])


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "another process"])
async def test_a_tool_that_may_change_something_runs_once_a_person_has_approved(
    place: Place, notes: Notes, server: str, elsewhere: bool
) -> None:
    """Whichever process goes on."""
    place.double.turns = [Turn(text="I will write it.", calls=[WRITE]), DONE]
    async with place.with_agent(tools=[{"url": server}]) as client:
        outcome = await answered(client, "Note that.")
        request = asked_in(outcome)
        assert (request.tool, request.arguments, notes.calls) == (*WRITE, [])
        if not elsewhere:
            await client.runs.respond(request.id, YES)
            outcome = await ended(client, outcome)
    if elsewhere:
        async with place.with_agent(tools=[{"url": server}]) as client:
            await client.runs.respond(request.id, YES)
            outcome = await ended(client, outcome)

    assert (outcome.reply, notes.calls) == ("It is done.", ["write_note"])
    assert told(place)[-1] == ("tool", "written")


async def test_arguments_that_a_person_has_changed_are_the_ones_that_are_used(
    place: Place, notes: Notes, server: str
) -> None:
    """What was approved runs."""
    place.double.turns = [Turn(calls=[WRITE]), DONE]
    async with place.with_agent(tools=[{"url": server}]) as client:
        outcome = await answered(client, "Note that.")
        changed = Settlement(decision=Decision.APPROVE, arguments={"text": "write to Acme"})
        await client.runs.respond(asked_in(outcome).id, changed)
        await ended(client, outcome)

    assert notes.notes[1:] == ["write to Acme"]


async def test_a_tool_that_a_person_refuses_does_not_run_and_the_model_is_told_why(
    place: Place, notes: Notes, server: str
) -> None:
    """The model answers without it."""
    place.double.turns = [Turn(calls=[WRITE]), Turn(text="Then not.")]
    async with place.with_agent(tools=[{"url": server}]) as client:
        outcome = await answered(client, "Note that.")
        await client.runs.respond(asked_in(outcome).id, NO)
        outcome = await ended(client, outcome)
        entries = await journal(client, outcome)

    assert (outcome.reply, notes.calls) == ("Then not.", [])
    assert told(place)[-1] == ("tool", "The user did not approve this call. not now")
    outcomes = [entry.data["outcome"] for entry in entries if entry.kind is EventKind.TOOL_CALL_RESULT]
    assert outcomes == ["rejected"]


async def test_several_calls_at_once_are_asked_about_one_by_one(
    place: Place, notes: Notes, server: str
) -> None:
    """Each decision counts for its own call; the one that reads has run before."""
    calls: list[tuple[str, dict[str, str]]] = [("read_notes", {}), WRITE, ("write_note", {"text": "never"})]
    place.double.turns = [Turn(calls=calls), DONE]
    async with place.with_agent(tools=[{"url": server}]) as client:
        outcome = await answered(client, "Note that.")
        yes, no = outcome.pending
        await client.runs.respond(yes.id, YES)
        await client.runs.respond(no.id, NO)
        outcome = await ended(client, outcome)

    assert (outcome.reply, notes.calls) == ("It is done.", ["read_notes", "write_note"])
    assert notes.notes[1:] == ["call Acme"]


async def test_ids_of_calls_that_come_again_are_kept_apart(place: Place, notes: Notes, server: str) -> None:
    """Some servers number the calls of each turn from zero."""
    place.double.turns = [Turn(calls=[WRITE]), Turn(calls=[("write_note", {"text": "again"})]), DONE]
    async with place.with_agent(tools=[{"url": server}]) as client:
        outcome = await answered(client, "Note that, twice.")
        await client.runs.respond(asked_in(outcome).id, YES)
        outcome = await ended(client, outcome)
        assert asked_in(outcome).arguments == {"text": "again"}
        await client.runs.respond(asked_in(outcome).id, NO)
        outcome = await ended(client, outcome)

    assert (outcome.reply, notes.notes[1:]) == ("It is done.", ["call Acme"])


@pytest.mark.parametrize(("approve", "asked"), [("always", True), ("never", False)])
async def test_the_configuration_says_which_tools_a_person_is_asked_about(
    place: Place, notes: Notes, server: str, approve: str, asked: bool
) -> None:
    """All of a server's, or none."""
    place.double.turns = [Turn(calls=[("read_notes", {}) if asked else WRITE]), DONE]
    async with place.with_agent(tools=[{"url": server, "approve": approve}]) as client:
        outcome = await answered(client, "Go on.")

    assert (outcome.run.status is RunStatus.INPUT_REQUIRED, len(notes.calls)) == (asked, 0 if asked else 1)


async def test_a_tool_that_was_running_when_its_process_died_does_not_run_again(
    place: Place, notes: Notes, server: str
) -> None:
    """Nobody can tell whether it took effect: the run is interrupted, and says so."""
    place.double.turns = [Turn(calls=[("forget_everything", {})]), DONE]
    tools = [{"url": server, "approve": "never"}]
    async with place.with_agent(tools=tools) as client:
        sent = await start(client, "Forget all.")
        with anyio.fail_after(20):
            await notes.reached.wait()
    async with place.with_agent(tools=tools) as client:
        outcome = await client.runs.wait(sent.run, timeout=20)

    assert outcome.run.status is RunStatus.INTERRUPTED
    assert notes.calls == ["forget_everything"]
    assert "forget_everything was running" in (outcome.run.error or "")


async def test_an_answer_that_was_streaming_when_its_process_died_is_asked_for_again(place: Place) -> None:
    """No tool had run: the model is asked once more, and the answer has nothing twice."""
    place.double.turns = [Turn(text="The first half was lost"), Turn(text="The whole answer.")]
    place.faults.plan("POST", "/chat/completions", stall("half"))
    async with place.client() as client:
        sent = await start(client, "Go on.")
        with anyio.fail_after(20):
            while not any(
                entry.kind is EventKind.TEXT_MESSAGE_CONTENT for entry in await journal(client, sent)
            ):
                await anyio.lowlevel.checkpoint()
    async with place.client() as client:
        outcome = await client.runs.wait(sent.run, timeout=20)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "The whole answer.")


async def test_a_model_that_cannot_be_reached_fails_the_run_with_a_reason(place: Place) -> None:
    """Whatever the server says, and if there is none."""
    place.faults.plan("POST", "/chat/completions", answer(401, {"error": {"message": "wrong key"}}))
    async with place.client() as client:
        refused = await answered(client, "Go on.")
        place.faults.plan("POST", "/chat/completions", *[drop] * 3)
        lost = await answered(client, "And now?")
        place.faults.plan("POST", "/chat/completions", cut("half"))
        place.double.turns = [Turn(text="The first half was lost")]
        broken = await answered(client, "Once more?")

    assert refused.run.error == "The model openai-chat:scripted could not answer: wrong key."
    assert not refused.run.retryable
    for outcome in (lost, broken):
        assert outcome.run.status is RunStatus.FAILED
        assert outcome.run.retryable
        assert (outcome.run.error or "").startswith("The model openai-chat:scripted could not answer: ")


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"requests": 1}, "`limits.requests` of [agents.reviewer]"),
        ({"tokens": 10}, "`limits.tokens` of [agents.reviewer]"),
    ],
)
async def test_a_limit_ends_an_answer_and_says_how_to_raise_it(
    place: Place, server: str, limits: dict[str, Any], sentence: str
) -> None:
    """A model that calls tools for ever stops."""
    place.double.turns = [Turn(calls=[("read_notes", {})])] * 5
    async with place.with_agent(tools=[{"url": server}], limits=limits) as client:
        outcome = await answered(client, "Go on.")

    assert outcome.run.status is RunStatus.FAILED
    assert sentence in (outcome.run.error or "")


async def test_an_answer_that_takes_too_long_ends(place: Place) -> None:
    """The limit is of seconds in which nobody was asked."""
    place.double.turns = [Turn(text="The first half was lost")]
    place.faults.plan("POST", "/chat/completions", stall("half"))
    async with place.with_agent(limits={"seconds": 0.5}) as client:
        outcome = await answered(client, "Go on.")

    assert outcome.run.error == (
        "reviewer has not answered within 0.5 s. Raise `limits.seconds` of [agents.reviewer] if that is too little."
    )


async def test_the_history_is_a_tool_that_knows_its_user(place: Place) -> None:
    """What was promised to Acme is found, with its conversation; another principal's is not."""
    async with place.client() as client:
        promised = await client.conversations.create(NewConversation(agent="local:archivist", title="Acme"))
        await client.messages.add(promised.id, MessageDraft(text="We promised Acme the report by Friday."))
    found = Turn(calls=[("search_history", {"query": "promised Acme"})], text="I look it up.")
    read = Turn(calls=[("read_conversation", {"conversation_id": promised.id})])
    place.double.turns = [found, read, Turn(text="By Friday.")] * 2
    async with place.with_agent(tools=["history"], principals=["local", "bob"]) as client:
        outcome = await answered(client, "What did we promise Acme?")
        mine = [told(place, number)[-1][1] for number in (1, 2)]
        other = await answered(client.as_principal("bob"), "What did we promise Acme?")
        theirs = [told(place, number)[-1][1] for number in (4, 5)]

    assert (outcome.reply, other.reply) == ("By Friday.", "By Friday.")
    assert all("by Friday" in text for text in mine)
    assert promised.id in mine[0]
    assert not any("by Friday" in text for text in theirs)


async def test_an_agent_serves_only_who_is_named_for_it(place: Place) -> None:
    """It has a key and tools of whoever runs the process: for others there is none, nor an answer in what was begun."""
    place.double.turns = [Turn(text="Hello, Bob.")]
    async with place.with_agent(principals=["bob"]) as client:
        bob = client.as_principal("bob")
        begun = await answered(bob, "Hello")
        asked = len(place.double.requests)
    async with place.client() as client:
        bob = client.as_principal("bob")
        assert [agent.address for agent in await bob.agents.list()] == ["local:archivist"]
        with pytest.raises(NotFoundError) as none:
            await bob.conversations.create(NewConversation(agent=AGENT))
        with pytest.raises(NotAllowedError, match="local:reviewer answers others only"):
            await bob.runs.send(begun.run.conversation_id, "Again?")

    assert none.value.valid == ("local:archivist",)
    assert len(place.double.requests) == asked


async def test_a_message_that_nobody_answered_and_the_names_of_others_are_told(place: Place) -> None:
    """The model is told who said what."""
    place.double.turns = [Turn(text="Yes.")]
    async with place.client() as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        await client.messages.add(conversation.id, MessageDraft(text="The budget is 100."))
        sent = await client.runs.send(conversation.id, "Is that enough?")
        await client.runs.wait(sent.run, timeout=20)

    assert told(place)[-1] == ("user", "The budget is 100.\n\nIs that enough?")


async def test_only_the_newest_messages_that_fit_are_told(place: Place) -> None:
    """The limits are the configuration's."""
    place.double.turns = [Turn(text=f"answer {number}") for number in range(4)]
    async with place.with_agent(history={"messages": 2}) as client:
        outcome = await answered(client, "question 0")
        for number in range(1, 4):
            outcome = await said(client, outcome, f"question {number}")

    assert told(place)[1:] == [("user", "question 2"), ("assistant", "answer 2"), ("user", "question 3")]


async def test_a_key_comes_from_the_environment_and_is_shown_nowhere(place: Place) -> None:
    """Its variable is named in the configuration."""
    agent = place.agent(api_key_env="REVIEWER_KEY")
    place.double.turns = [DONE]
    async with place.client({"REVIEWER_KEY": "sk-secret"}, **agent) as client:
        await answered(client, "Go on.")
    async with place.client({}, **agent) as client:
        missing = await answered(client, "Go on.")

    assert place.double.keys == ["sk-secret"]
    assert missing.run.error == (
        "The key of the agent reviewer is missing. Set REVIEWER_KEY in the environment."
    )


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"model": "qwen3"}, "`model` of [agents.reviewer] is not possible"),
        ({"modle": "ollama:qwen3"}, "of [agents.reviewer] is not possible"),
        (
            {"model": "ollama:q", "tools": [{"url": "http://x", "command": ["y"]}]},
            "either a `url` or a `command`",
        ),
        ({"model": "ollama:q", "tools": ["histroy"]}, "`tools.0` of [agents.reviewer] is not possible"),
        ({"model": "ollama:q", "limits": {"requests": 0}}, "`limits.requests` of [agents.reviewer]"),
        ("ollama:qwen3", "[agents.reviewer]"),
    ],
)
async def test_a_table_that_cannot_be_right_is_refused(tmp_path: Path, table: Any, sentence: str) -> None:
    """The error names the place."""
    local = InstanceSettings(platform="local", options={"agents": {"reviewer": table}})
    settings = ClientSettings(store=tmp_path / "tertulia.db", instances={"local": local})
    with pytest.raises(InvalidInputError, match=".") as caught:
        async with Client.open(settings):
            pass
    assert sentence in caught.value.message


async def test_a_name_that_is_an_agents_and_a_mailboxs_is_refused(place: Place) -> None:
    """Both places are named: the configuration, a flag, and a server that has run."""
    twice = "reviewer is an agent, by [agents.reviewer], and a mailbox, by"
    with pytest.raises(InvalidInputError, match="mailboxes") as caught:
        async with place.client(mailboxes=["reviewer"]):
            pass
    assert twice in caught.value.message
    settings = ClientSettings(store=place.path, identity="reviewer")
    async with Client.open(settings) as client:
        await client.announce()
    async with place.client() as client:
        with pytest.raises(InvalidInputError, match="--as reviewer") as caught:
            await client.announce()
    assert twice in caught.value.message


async def test_without_what_runs_models_a_message_is_refused_in_one_sentence(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of agents says it as well."""
    nothing: dict[str, None] = {}
    monkeypatch.setattr("tertulia.platforms.local.models.agents.find_spec", nothing.get)
    async with place.client() as client:
        (agent,) = [one for one in await client.agents.list() if one.address == AGENT]
        with pytest.raises(InvalidInputError, match="is not installed") as caught:
            await start(client, "Go on.")

    assert not agent.available
    assert caught.value.hint == agent.hint == "Install it: pip install 'tertulia[models]'"


async def test_a_program_serves_tools_and_ends_with_the_answer(place: Place) -> None:
    """It is started with its own environment, and not with ours."""
    command = [sys.executable, "-m", "tests.doubles.notes_server"]
    tools = [{"command": command, "env": {"PYTHONPATH": os.pathsep.join(sys.path)}, "prefix": "notes"}]
    place.double.turns = [Turn(calls=[("notes_read_notes", {})]), Turn(text="Ship on Friday.")]
    async with place.with_agent(tools=tools) as client:
        outcome = await answered(client, "When do we ship?")

    assert outcome.reply == "Ship on Friday."
    assert "Acme" in told(place)[-1][1]


async def test_a_program_that_is_not_there_fails_the_run_with_its_name(place: Place) -> None:
    """Nothing else says which of the tools is wrong."""
    async with place.with_agent(tools=[{"command": ["no-such-program"]}]) as client:
        outcome = await answered(client, "When do we ship?")

    assert outcome.run.status is RunStatus.FAILED
    assert "no-such-program" in (outcome.run.error or "")
