"""Conversations with an agent program: prompts, what is told of them, and how they end."""

import json
import os
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    ConflictError,
    ConversationChanges,
    EventKind,
    InstanceSettings,
    InvalidInputError,
    MessageDraft,
    NewConversation,
    NotConfiguredError,
    RunStatus,
)
from tertulia.runs.runner import NO_WORKER, Worker
from tests.client.platforms.acp import AGENT, SECONDS, Place, answered, journal, placed, start
from tests.doubles import acp_agent
from tests.doubles.acp_agent import script

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    async with placed(tmp_path) as place:
        yield place


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest, place: Place) -> int:
    """Have the double speak a version of the protocol."""
    place.knobs(version=request.param)
    return request.param


def raw(entries: Any, name: str) -> list[Any]:
    """Return the payloads of the raw entries of a name."""
    return [one.data["payload"] for one in entries if one.data.get("name") == name]


async def test_a_message_is_prompted_and_answered_in_one_session(place: Place, version: int) -> None:
    async with place.client() as client:
        first = await answered(client, place, "hello", title="Mine")
        assert (first.run.status, first.reply) == (RunStatus.COMPLETED, "You said: hello")
        sent = await client.runs.send(first.run.conversation_id, "again")
        second = await client.runs.wait(sent.run, timeout=SECONDS)
        assert second.reply == "You said: again"
        conversation = await client.conversations.get(first.run.conversation_id)
        page = await client.messages.list(conversation.id)
    assert [one.text for one in page.items] == ["hello", "You said: hello", "again", "You said: again"]
    assert (conversation.title, conversation.source) == ("Mine", str(place.work))
    prompts = place.calls("session/prompt")
    assert {prompt["sessionId"] for prompt in prompts} == {conversation.source_ref}
    assert len(place.calls("session/new")) == 1
    (began,) = place.calls("initialize")
    fs = {"readTextFile": False, "writeTextFile": False}
    assert began["clientCapabilities"] == {"fs": fs, "terminal": False}
    assert (began["protocolVersion"], began["capabilities"]) == (2, {})


async def test_a_conversation_goes_on_in_another_process(place: Place, version: int) -> None:
    async with place.client() as client:
        first = await answered(client, place, "hello")
    async with place.client() as client:
        sent = await client.runs.send(first.run.conversation_id, script({"mode": True}))
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "mode=ask"
    assert len(place.calls("session/load" if version == 1 else "session/resume")) == 1


async def test_what_an_agent_does_is_told_in_order(place: Place, version: int) -> None:
    diff = {"type": "diff", "path": "/a.py", "oldText": "one", "newText": "two"}
    call = {"toolCallId": "t1", "title": "Edit", "kind": "edit", "name": "Edit", "status": "pending"}
    text = script(
        {"think": "Hm."},
        {"say": "I edit."},
        {"update": {"sessionUpdate": "tool_call", **call}},
        {
            "update": {
                "sessionUpdate": "tool_call_update",
                "toolCallId": "t1",
                "rawInput": {"file": "/a.py"},
                "locations": [{"path": "/a.py", "line": 1}],
            }
        },
        {
            "update": {
                "sessionUpdate": "tool_call_update",
                "toolCallId": "t1",
                "status": "completed",
                "content": [diff],
            }
        },
        {"update": {"sessionUpdate": "plan", "entries": [{"content": "x"}]}},
        {"update": {"sessionUpdate": "session_info_update", "title": "An  edit"}},
        {"update": {"sessionUpdate": "not_invented_yet", "value": 1}},
        {"say": "Done."},
        {"stop": "end_turn", "usage": {"totalTokens": 7}},
    )
    async with place.client() as client:
        outcome = await answered(client, place, text)
        entries = await journal(client, outcome.run.conversation_id)
        conversation = await client.conversations.get(outcome.run.conversation_id)
    assert outcome.reply == "I edit.\n\nDone."
    assert conversation.title == "An edit"
    kinds = [one.kind for one in entries if one.kind.startswith(("tool", "reasoning"))]
    assert kinds == [
        EventKind.REASONING,
        EventKind.TOOL_CALL_START,
        EventKind.TOOL_CALL_ARGS,
        EventKind.TOOL_CALL_PROGRESS,
        EventKind.TOOL_CALL_END,
        EventKind.TOOL_CALL_RESULT,
    ]
    started, args, progress, _, result = [one.data for one in entries if one.kind.startswith("tool")]
    assert (started["tool"], started["kind"]) == ("Edit", "edit")
    assert args["arguments"] == {"file": "/a.py"}
    assert progress["message"] == "Edit (/a.py)"
    assert (result["outcome"], result["diff"]) == ("ok", [{"path": "/a.py", "old": "one", "new": "two"}])
    assert raw(entries, "plan") == [{"entries": [{"content": "x"}]}]
    assert raw(entries, "not_invented_yet") == [{"value": 1}]
    assert raw(entries, "usage") == [{"totalTokens": 7}]


async def test_noise_and_huge_lines_are_no_matter(place: Place, version: int) -> None:
    text = script(
        {"print": "debug: [1, 2"}, {"print": "[]"}, {"print": ""}, {"huge": 3_000_000}, {"say": "Fine."}
    )
    async with place.client() as client:
        outcome = await answered(client, place, text)
        entries = await journal(client, outcome.run.conversation_id)
    assert outcome.reply == "Fine."
    assert all(len(str(one.data)) < 10_000 for one in entries)


async def test_a_request_that_nobody_knows_is_refused(place: Place) -> None:
    async with place.client() as client:
        outcome = await answered(client, place, script({"call": "fs/read_text_file"}))
    assert outcome.reply == "-32601"


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        ({"stop": "refusal"}, RunStatus.FAILED, "refuses"),
        ({"stop": "max_tokens"}, RunStatus.COMPLETED, None),
        ({"stop": "cancelled"}, RunStatus.CANCELED, None),
        (
            {"error": {"code": -32603, "message": "Internal error", "data": {"details": "no model"}}},
            RunStatus.FAILED,
            "no model",
        ),
        ({"error": {"code": 400, "message": "bad request"}}, RunStatus.FAILED, "bad request"),
        ({"error": {"code": -32000, "message": "Authentication required"}}, RunStatus.FAILED, "sign in"),
    ],
)
async def test_a_turn_ends_as_the_agent_says(
    place: Place, version: int, end: dict[str, Any], status: RunStatus, error: str | None
) -> None:
    async with place.client() as client:
        outcome = await answered(client, place, script({"say": "Part."}, end))
    assert (outcome.run.status, outcome.reply) == (status, "Part.")
    if error is not None:
        assert error in (outcome.run.error or "")


async def test_a_model_that_failed_is_a_failure_though_the_turn_ends_well(place: Place) -> None:
    status = {"codex": {"threadStatus": {"type": "systemError"}}}
    text = script(
        {"notice": "Warning: an old model"},
        {"update": {"sessionUpdate": "session_info_update", "_meta": status}},
        {"say": "400: no such model"},
    )
    async with place.client() as client:
        outcome = await answered(client, place, text)
    assert outcome.run.status is RunStatus.FAILED
    assert "400: no such model" in (outcome.run.error or "")


async def test_a_notice_is_no_part_of_the_answer(place: Place, version: int) -> None:
    async with place.client() as client:
        outcome = await answered(client, place, script({"notice": "Warning: old model"}, {"say": "Hi."}))
        entries = await journal(client, outcome.run.conversation_id)
    assert outcome.reply == "Hi."
    assert raw(entries, "notice") == [{"text": "Warning: old model"}]


async def test_an_agent_that_names_no_messages_has_paragraphs_all_the_same(place: Place) -> None:
    place.knobs(names_messages=False)
    tool = {"sessionUpdate": "tool_call", "toolCallId": "t", "title": "ls", "status": "completed"}
    async with place.client() as client:
        outcome = await answered(
            client, place, script({"say": "One"}, {"say": " two."}, {"update": tool}, {"say": "Three."})
        )
    assert outcome.reply == "One two.\n\nThree."


async def test_canceling_stops_the_agent_and_leaves_it_usable(place: Place, version: int) -> None:
    async with place.client() as client:
        sent = await start(client, place, script({"say": "One"}, {"hang": True}))
        async for entries in client.runs.follow(sent.run):
            if any(one.kind is EventKind.TEXT_MESSAGE_CONTENT for one in entries):
                break
        canceled = await client.runs.cancel(sent.conversation.id)
        assert canceled.status is RunStatus.CANCELED
        again = await client.runs.send(sent.conversation.id, "and now?")
        assert (await client.runs.wait(again.run, timeout=SECONDS)).reply == "You said: and now?"
    assert len(place.calls("session/cancel")) == 1
    assert len(place.calls("initialize")) == 1


async def test_a_turn_whose_agent_dies_is_found_by_what_it_was_accepted_as(
    place: Place, version: int
) -> None:
    text = script({"say": "One"}, {"die": "And all that nobody saw."})
    async with place.client() as client:
        outcome = await answered(client, place, text)
    assert outcome.run.status is RunStatus.INTERRUPTED
    assert outcome.reply == "One\n\nAnd all that nobody saw."
    assert len(place.prompts) == 1


async def test_a_message_that_the_session_has_not_is_told_apart_from_one_that_was_not_taken(
    place: Place,
) -> None:
    """Gemini CLI writes a message down a while after it has begun with the answer."""
    place.knobs(forgetful=True)
    for steps, told in (([{"say": "One"}], "before it wrote that down"), ([], "probably did not take it")):
        async with place.client() as client:
            outcome = await answered(client, place, script(*steps, {"die": True}))
        assert outcome.run.status is RunStatus.INTERRUPTED
        assert told in (outcome.run.error or "")


async def test_silence_is_told_and_ends_nothing(place: Place) -> None:
    held = place.work / "go"
    async with place.client() as client:
        sent = await start(client, place, script({"say": "One"}, {"wait": str(held)}, {"say": " two"}))
        async for entries in client.runs.follow(sent.run):
            if any(one.kind is EventKind.TEXT_MESSAGE_CONTENT for one in entries):
                await anyio.sleep(0.05)
                place.clock.skip(16)
            if told := raw(entries, "silence"):
                assert told == [{"seconds": 15}]
                held.touch()
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).run.status is RunStatus.COMPLETED


async def test_the_mode_is_set_whatever_the_agents_default_is(place: Place) -> None:
    for knobs in ({}, {"config_modes": True}):
        place.knobs(**knobs)
        async with place.client() as client:
            outcome = await answered(client, place, script({"mode": True}))
            assert outcome.reply == "mode=ask"


async def test_a_mode_that_the_agent_lacks_is_not_passed_over(place: Place, version: int) -> None:
    async with place.client(mode="strict") as client:
        outcome = await answered(client, place, "hello")
    assert outcome.run.status is RunStatus.FAILED
    assert "no mode" in (outcome.run.error or "")
    assert not place.calls("session/prompt")


async def test_a_caller_chooses_only_modes_that_a_person_allowed(place: Place, version: int) -> None:
    async with place.client(modes=["plan"]) as client:
        with pytest.raises(InvalidInputError) as refused:
            await answered(client, place, "hello", context={"mode": "auto"})
        assert set(refused.value.valid) == {"ask", "plan"}
        outcome = await answered(client, place, script({"mode": True}), context={"mode": "plan"})
        assert outcome.reply == "mode=plan"
        draft = MessageDraft(text=script({"mode": True}), context={"mode": "ask"})
        sent = await client.runs.send(outcome.run.conversation_id, draft)
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "mode=ask"


async def test_what_a_conversation_is_answered_with_can_be_changed(place: Place, version: int) -> None:
    asked = script({"options": True}, {"mode": True})
    context = {"model": "small", "options": {"effort": "low"}}
    async with place.client(modes=["plan"]) as client:
        outcome = await answered(client, place, asked, context=context)
        assert outcome.reply == '{"model": "small", "effort": "low"}\n\nmode=ask'
        changes = ConversationChanges(context={"mode": "plan", "model": "large", "options": {"effort": None}})
        changed = await client.conversations.update(outcome.run.conversation_id, changes)
        assert changed.context == {"cwd": str(place.work), "mode": "plan", "model": "large", "options": {}}
        sent = await client.runs.send(outcome.run.conversation_id, asked)
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        assert outcome.reply == '{"model": "large", "effort": "low"}\n\nmode=plan'
        for refused in ({"mode": "auto"}, {"cwd": "/"}, {"options": {"effort": 1}}, {"options": "effort"}):
            with pytest.raises(InvalidInputError):
                changes = ConversationChanges(context=refused)
                await client.conversations.update(outcome.run.conversation_id, changes)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"sandbox": "off"}, "not for callers"),
        ({"mode": "auto"}, "not for callers"),
        ({"effort": "huge"}, "huge"),
        ({"none_such": "x"}, "model, effort, sandbox"),
    ],
)
async def test_an_option_that_a_caller_may_not_set_is_said(
    place: Place, version: int, option: dict[str, str], told: str
) -> None:
    async with place.client() as client:
        outcome = await answered(client, place, "hello", context={"options": option})
    assert outcome.run.status is RunStatus.FAILED
    if version == 1 and "mode" in option:
        told = "no option"
    assert told in f"{outcome.run.error}"
    assert not place.prompts


async def test_a_person_can_allow_an_option(place: Place) -> None:
    async with place.client(options=["sandbox"]) as client:
        text = script({"options": True})
        outcome = await answered(client, place, text, context={"options": {"sandbox": "off"}})
    assert outcome.reply == '{"sandbox": "off"}'


async def test_an_agent_that_knows_one_version_only_is_spoken_with_in_that(place: Place) -> None:
    place.knobs(old=True)
    async with place.client() as client:
        assert (await answered(client, place, "hello")).reply == "You said: hello"
    assert [call["protocolVersion"] for call in place.calls("initialize")] == [2, 1]


async def test_a_message_that_is_told_anew_replaces_what_was_shown_of_it(place: Place) -> None:
    place.knobs(version=2)
    text = script({"say": "One"}, {"whole": "One two."}, {"say": "Three"}, {"whole": "Tree."})
    async with place.client() as client:
        assert (await answered(client, place, text)).reply == "One two.\n\nTree."


async def test_what_a_terminal_showed_is_the_result_of_its_call(place: Place) -> None:
    place.knobs(version=2)
    terminal = {"sessionUpdate": "terminal_update", "terminalId": "t"}
    shows = {"type": "terminal", "terminalId": "t"}
    call = {"sessionUpdate": "tool_call_update", "toolCallId": "c", "title": "ls", "kind": "execute"}
    text = script(
        {"update": {**terminal, "command": "ls"}},
        {"update": call},
        {"update": {**call, "sessionUpdate": "tool_call_content_chunk", "content": shows}},
        {"update": {**terminal, "output": {"data": "YS50"}}},
        {"update": {**terminal, "sessionUpdate": "terminal_output_chunk", "data": "eHQK"}},
        {"update": {**terminal, "exitStatus": {"exitCode": 2}}},
        {"update": {**call, "status": "failed"}},
    )
    async with place.client() as client:
        outcome = await answered(client, place, text)
        entries = await journal(client, outcome.run.conversation_id)
    (result,) = [one.data for one in entries if one.kind is EventKind.TOOL_CALL_RESULT]
    assert (result["result"], result["outcome"]) == ("a.txt\nexit code 2", "error")


@pytest.mark.parametrize("inside", ["..", "missing", "../work-not", "relative"])
async def test_a_folder_is_given_and_lies_where_it_may(place: Place, inside: str) -> None:
    (place.work.parent / "work-not").mkdir()
    async with place.client() as client:
        folder = inside if inside == "relative" else str(place.work / inside)
        with pytest.raises(InvalidInputError) as refused:
            await client.conversations.create(NewConversation(agent=AGENT, context={"cwd": folder}))
        assert refused.value.valid == (str(place.work),)


async def test_the_only_folder_need_not_be_said_and_of_several_none_is_guessed(place: Place) -> None:
    async with place.client() as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), MessageDraft(text="hello"))
        assert sent.conversation.source == str(place.work)
    async with place.client(folders=[str(place.work), str(place.double)]) as client:
        with pytest.raises(InvalidInputError) as refused:
            await client.runs.start(NewConversation(agent=AGENT), MessageDraft(text="hello"))
    assert refused.value.valid == (str(place.work), str(place.double))
    assert "create_conversation" in (refused.value.hint or "")


async def test_a_link_out_of_the_folder_is_followed_before_it_is_judged(place: Place) -> None:
    (place.work / "link").symlink_to(place.work.parent)
    async with place.client() as client:
        with pytest.raises(InvalidInputError):
            await answered(client, place, "hello", context={"cwd": str(place.work / "link")})


async def test_the_environment_is_what_the_configuration_says(place: Place, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# keys\nAGENT_KEY='from the file'\n\nexport OTHER=2\n")
    options: dict[str, Any] = {"env": {"OTHER": "of the table"}, "env_file": str(tmp_path / "keys")}
    names = ("AGENT_KEY", "OTHER", "HOST_SECRET", "PATH")
    async with place.client(**options) as client:
        outcome = await answered(client, place, script(*({"variable": name} for name in names)))
    assert outcome.reply.split("\n\n") == [
        "AGENT_KEY=from the file",
        "OTHER=of the table",
        "HOST_SECRET=None",
        "PATH=/usr/bin:/bin",
    ]


@pytest.mark.parametrize(
    ("start_as", "sentence"),
    [
        ("die", "ended before it answered"),
        ("signed_out", "not signed in"),
        ("future", "speaks version 99"),
        ("hang", "has not answered initialize within 60 seconds"),
    ],
)
async def test_a_start_that_fails_says_why_and_what_to_do(place: Place, start_as: str, sentence: str) -> None:
    place.knobs(start=start_as)
    async with place.client(env={"AGENT_KEY": "not-to-be-shown"}) as client:
        sent = await start(client, place, "hello")
        if start_as == "hang":
            await until((place.double / "received.jsonl").exists)
            place.clock.skip(61)
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        assert outcome.run.status is RunStatus.FAILED
        assert sentence in (outcome.run.error or "")
        assert "not-to-be-shown" not in (outcome.run.error or "")
        place.knobs()
        again = await client.runs.send(sent.conversation.id, "hello")
        assert (await client.runs.wait(again.run, timeout=SECONDS)).reply == "You said: hello"


async def test_a_program_that_is_not_there_says_how_to_install_it(place: Place) -> None:
    async with place.client(command=["no-such-agent", "--acp"]) as client:
        (agent,) = await client.agents.list("double")
        assert not agent.available
        assert "no-such-agent" in (agent.hint or "")
        outcome = await answered(client, place, "hello")
        assert outcome.run.status is RunStatus.FAILED


@pytest.mark.parametrize("spoken", [1, 2])
async def test_an_agent_that_does_not_know_images_is_not_sent_any(place: Place, spoken: int) -> None:
    data = {
        "images": [{"data": "aGk=", "mime_type": "image/png"}],
        "links": [{"uri": "file:///a", "name": "a"}],
    }
    new = NewConversation(agent=AGENT, context={"cwd": str(place.work)})
    for takes in (False, True):
        place.knobs(images=takes, version=spoken)
        async with place.client() as client:
            sent = await client.runs.start(new, MessageDraft(text="look", data=data))
            outcome = await client.runs.wait(sent.run, timeout=SECONDS)
            assert (outcome.run.status is RunStatus.COMPLETED) is takes
    (prompt,) = place.calls("session/prompt")
    assert [block["type"] for block in prompt["prompt"]] == ["text", "resource_link", "image"]
    with pytest.raises(InvalidInputError):
        async with place.client() as client:
            await client.runs.start(new, MessageDraft(text="look", data={"video": []}))


async def test_nothing_of_an_agent_is_left_running(place: Place, tmp_path: Path) -> None:
    pid_file = place.work / "pid"
    (tmp_path / "child.py").write_text(f"""import os, pathlib, time
pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))
time.sleep(60)
""")
    (tmp_path / "parent.py").write_text(f"""import runpy, subprocess, sys
subprocess.Popen([sys.executable, {str(tmp_path / "child.py")!r}], stdout=subprocess.DEVNULL)
runpy.run_path({acp_agent.__file__!r}, run_name="__main__")
""")
    command = [sys.executable, str(tmp_path / "parent.py"), str(place.double)]
    async with place.client(command=command) as client:
        await answered(client, place, "hello")
        await until(lambda: pid_file.exists() and pid_file.read_text() != "")
        assert is_running(int(pid_file.read_text()))
    await until(lambda: not is_running(int(pid_file.read_text())))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - other processes set no events
        await anyio.sleep(0.01)


async def test_an_agent_cannot_talk_to_itself_nor_through_too_many(place: Place, version: int) -> None:
    server = {"tertulia": {"command": "tertulia", "args": ["serve"]}}
    async with place.client(mcp_servers=server) as client:
        outcome = await answered(client, place, script({"servers": True}))
        own_id = outcome.run.conversation_id
        (given,) = json.loads(outcome.reply)
        assert given.get("type") == ("stdio" if version == 2 else None)
        assert given["env"] == [{"name": "TERTULIA_WITHIN", "value": own_id}]
    settings = place.settings()
    for chain, fits in ((own_id, False), ("a:1 b:2 c:3", False), ("a:1 b:2", True)):
        environment = {**settings.instances["double"].environment, "TERTULIA_WITHIN": chain}
        nested = replace(settings.instances["double"], environment=environment)
        inside = replace(settings, instances={"double": nested})
        async with Client.open(inside, worker=Worker(), clock=place.clock) as client:
            if fits:
                sent = await client.runs.send(own_id, "from inside")
                await client.runs.wait(sent.run, timeout=SECONDS)
                page = await client.messages.list(own_id)
                assert [one.metadata.get("within") for one in page.items][-2] == ["a:1", "b:2"]
            else:
                with pytest.raises(ConflictError):
                    await client.runs.send(own_id, "from inside")


async def test_what_is_installed_and_not_configured_is_listed_with_what_to_do(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("codex-acp", "gemini"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    gemini = InstanceSettings(platform="acp", options={"agent": "gemini", "folders": [str(place.work)]})
    settings = replace(place.settings(), discover_agents=True, instances={"mine": gemini})
    async with Client.open(settings) as client:
        listed = {agent.address: agent for agent in await client.agents.list()}
    assert listed["mine:agent"].available
    assert "tertulia agents --add codex" in (listed["codex:agent"].hint or "")
    assert {"claude:agent", "gemini:agent"}.isdisjoint(listed)


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({}, "agent"),
        ({"command": ["x"]}, "mode"),
        ({"agent": "codex"}, "folders"),
        ({"agent": "codex", "folders": ["/"]}, None),
        ({"command": ["x"], "mode": "none", "folders": ["/"]}, None),
    ],
)
async def test_what_is_missing_is_said(place: Place, options: dict[str, Any], missing: str | None) -> None:
    instance = InstanceSettings(platform="acp", options=options, environment={})
    async with Client.open(replace(place.settings(), instances={"x": instance})) as client:
        if missing is None:
            assert client.worker_instances == ["x"]
        else:
            with pytest.raises(NotConfiguredError) as raised:
                await client.conversations.create(NewConversation(agent="x:agent"))
            assert f"`{missing}`" in (raised.value.hint or "")


@pytest.mark.parametrize(
    "options",
    [
        {"agent": "unknown"},
        {"agent": "codex", "folders": ["relative"]},
        {"agent": "codex", "env": {"A": 1}},
        {"agent": "codex", "env_file": "/nowhere"},
        {"agent": "codex", "env_file": "keys"},
        {"agent": "codex", "mcp_servers": {"a": {}}},
        {"agent": "codex", "surprise": 1},
    ],
)
async def test_a_setting_that_cannot_work_is_refused_at_the_start(
    place: Place, options: dict[str, Any]
) -> None:
    instance = InstanceSettings(platform="acp", options=options, environment={})
    with pytest.raises(InvalidInputError):
        async with Client.open(replace(place.settings(), instances={"x": instance})):
            pass


async def test_a_worker_ends_when_it_has_nothing_to_do(place: Place) -> None:
    async with place.client() as client:
        assert await client.work(idle=0.05)
        assert await client.work(stale=lambda: True)


async def test_a_worker_that_cannot_be_started_is_told_of(place: Place) -> None:
    async def launch() -> None:
        pass

    how = Worker(launch=launch, patience=0.1, hint="See the log.")
    async with Client.open(place.settings(), worker=how, clock=place.clock) as client:
        outcome = await answered(client, place, "hello")
    assert outcome.run.status is RunStatus.FAILED
    assert outcome.run.error == f"{NO_WORKER} See the log."
