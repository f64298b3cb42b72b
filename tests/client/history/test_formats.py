"""Each format, by a small session of the program that writes it (see fixtures/README.md)."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import Message, MessageQuery, Status
from tertulia.history.files import SourceFile
from tertulia.history.formats import FORMATS, format_of
from tertulia.history.items import MessageItem, Problem, local_id
from tertulia.history.reader import read_file
from tests.client.history.bringing import FIXTURES, Bringing
from tests.client.history.samples import SAMPLES
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio

QUESTION = ("user", None, "What does Acme pay? Look it up.")
LOOK = ("assistant", None, "Let me look.")
ANSWER = ("assistant", None, "Acme pays 40000 a year, if they sign in January.")
MORE = [("user", None, "And Initech?"), ("assistant", None, "Initech pays 35000.")]


def lines(messages: Sequence[Message]) -> list[tuple[str, str | None, str | None]]:
    """Return what was said, by whom and as what."""
    return [(message.role.value, message.type, message.text) for message in messages]


async def test_a_session_of_claude_code(here: Bringing) -> None:
    """Its answers come as they were; the program's own state, and what it told the model, are no messages."""
    summary = await here.bring(FIXTURES / "claude-code.jsonl")

    conversation, messages = await here.only()
    command = {"command": "echo 40000 a year", "description": "Look the price up"}
    assert lines(messages) == [
        QUESTION,
        LOOK,
        ("tool", "tool_call", f"Bash {json.dumps(command)}"),
        ("tool", "tool_result", "40000 a year"),
        ANSWER,
        *MORE,
    ]
    assert messages[2].data == {"id": "toolu_01ScriptedCall", "name": "Bash", "arguments": command}
    assert (messages[3].author, messages[3].parent_id) == ("Bash", messages[2].id)
    assert messages[4].metadata == {"model": "claude-sonnet-4-5"}
    assert (conversation.source, conversation.source_ref) == (
        "claude-code",
        "46712e37-8bd4-45e8-9143-862615164360",
    )
    assert conversation.metadata == {
        "file": str(FIXTURES / "claude-code.jsonl"),
        "folder": "/home/ana/project",
        "git_branch": "main",
        "model": "claude-sonnet-4-5",
        "version": "2.1.332",
    }
    assert summary.left_out == {"reasoning": 1}
    assert not here.problems


async def test_a_session_of_codex(here: Bringing) -> None:
    """What Codex puts before the user's words is left out, and its copies for the screen are no second messages."""
    summary = await here.bring(FIXTURES / "codex.jsonl")

    conversation, messages = await here.only()
    assert lines(messages)[:3] == [
        QUESTION,
        LOOK,
        ("tool", "tool_call", 'exec_command {"cmd": "echo 40000 a year"}'),
    ]
    assert (messages[3].text or "").endswith("Output:\n40000 a year\n")
    assert messages[3].author == "exec_command"
    assert lines(messages)[4:] == [ANSWER, *MORE]
    assert conversation.source_ref == "01a2184e-65e2-7c61-a56f-39d52b5e2291"
    assert conversation.metadata["folder"] == "/home/ana/project"
    assert conversation.metadata["git_branch"] == "main"
    assert conversation.metadata["model"] == "gpt-5.5-scripted"
    assert summary.left_out == {"context": 2, "reasoning": 1}
    assert not here.problems


async def test_a_session_of_gemini_cli(here: Bringing) -> None:
    """A message that is written twice, and again when the session is resumed, is one."""
    summary = await here.bring(FIXTURES / "gemini-cli.jsonl")

    conversation, messages = await here.only()
    assert [line[1:] for line in lines(messages)] == [
        QUESTION[1:],
        LOOK[1:],
        (
            "tool_call",
            'run_shell_command {"command": "echo 40000 a year", "description": "Look the price up"}',
        ),
        ("tool_result", "40000 a year"),
        ANSWER[1:],
        *(line[1:] for line in MORE),
    ]
    assert conversation.source_ref == "c9fbfad0-faac-4cb9-b6bf-34ee76b4cc39"
    assert conversation.metadata["model"] == "gemini-2.5-pro"
    assert "reasoning" in summary.left_out
    assert not here.problems


async def test_an_export_of_chatgpt(here: Bringing) -> None:
    """The path that is shown is the newest branch; an edited question and its answer are on another."""
    summary = await here.bring(FIXTURES / "chatgpt.json")

    first, second = await here.known()
    assert lines(await here.messages(first.id)) == [
        ("user", None, "[image invoice.png, image/png, 1.0 kB]\nWhat does Acme pay? See the invoice."),
        ("tool", "tool_call", "python print(12 * 3333)"),
        ("tool", "tool_result", "39996"),
        ("assistant", None, "Acme pays 39,996 a year."),
    ]
    assert (first.title, first.archived, first.status) == ("What Acme pays", False, Status.COMPLETED)
    assert (second.title, second.archived) == ("Grüße an Zoë", True)
    question, answer = await here.messages(second.id)
    assert question.created_at == datetime(2026, 10, 27, 11, 20, 1, tzinfo=UTC)
    assert answer.created_at == question.created_at, "an answer without a time has the one before it"
    assert summary.left_out == {"context": 1, "reasoning": 1}
    main, shown = await here.client.conversations.branches(first.id)
    assert (main.id, shown.parted_from) == ("main", "11111111-0000-4000-8000-000000000009")
    others = await here.client.messages.list(first.id, MessageQuery(branch="main"))
    assert [message.role.value for message in others.items] == ["user", "assistant"]


async def test_an_export_of_claude_ai(here: Bringing) -> None:
    """With its blocks, and from before there were any; with the text of what was attached."""
    await here.bring(FIXTURES / "claude.ai.json")

    old, new = await here.known()
    assert lines(await here.messages(old.id)) == [
        ("user", None, "An old export, without blocks."),
        ("assistant", None, "So it is."),
    ]
    assert old.title == "An old export, without blocks.", "it had none"
    assert new.title == "Renewal of Acme"
    assert lines(await here.messages(new.id)) == [
        ("user", None, "What does Acme pay?\n\n[file invoice.png]"),
        ("user", "attachment", "Acme pays net thirty days after the invoice."),
        ("assistant", None, "I look it up."),
        ("tool", "tool_call", 'web_search {"query": "Acme price"}'),
        ("tool", "tool_result", "Acme: 40,000 a year"),
        ("assistant", None, "Acme pays 40,000 a year."),
    ]
    assert new.created_at == datetime(2026, 10, 20, 9, 0, 0, 123456, tzinfo=UTC)


PLAIN = json.loads((FIXTURES / "messages.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("content", "conversations"),
    [
        pytest.param(json.dumps(PLAIN), 1, id="an array"),
        pytest.param(json.dumps(PLAIN, indent=4), 1, id="an array over several lines"),
        pytest.param("\n".join(map(json.dumps, PLAIN)), 1, id="lines"),
        pytest.param("\ufeff" + json.dumps({"messages": PLAIN}), 1, id="an object"),
        pytest.param(json.dumps({"messages": PLAIN}, indent=1), 1, id="an object over several lines"),
        pytest.param(
            "\n".join(json.dumps({"messages": PLAIN[:n]}) for n in (2, 5)), 2, id="lines of objects"
        ),
        pytest.param(json.dumps([{"messages": PLAIN[:n]} for n in (2, 5)]), 2, id="an array of objects"),
    ],
)
async def test_plain_messages(here: Bringing, tmp_path: Path, content: str, conversations: int) -> None:
    """However they are put into a file."""
    file = tmp_path / "some.json"
    file.write_text(content, "utf-8")

    await here.bring(file)

    found = await here.known()
    assert len(found) == conversations
    longest = max([await here.messages(one.id) for one in found], key=len)
    assert lines(longest) == [
        ("system", None, "Be brief."),
        ("user", None, "What does Acme pay?\n\n[image_url]"),
        ("tool", "tool_call", 'price {"of": "Acme"}'),
        ("tool", "tool_result", "40000"),
        ("assistant", None, "Acme pays 40000 a year."),
    ]
    assert {one.title for one in found} == {"What does Acme pay?"}
    assert not here.problems


async def test_a_message_that_claude_code_queued_was_said(here: Bringing, tmp_path: Path) -> None:
    """It stands in the file as an attachment; what the program itself queued does not count."""
    session = {"sessionId": "s1", "cwd": "/home/ana", "timestamp": "2026-11-01T10:00:00Z"}
    queued = {"type": "queued_command", "prompt": "And Initech?"}
    file = tmp_path / "s1.jsonl"
    file.write_text(
        "\n".join(
            json.dumps({**session, "type": "attachment", "uuid": name, "attachment": attachment})
            for name, attachment in (("u1", queued), ("u2", {**queued, "isMeta": True}))
        )
    )

    await here.bring(file)

    _, messages = await here.only()
    assert lines(messages) == [("user", None, "And Initech?")]


async def test_a_title_that_comes_later_is_the_conversations(here: Bringing, tmp_path: Path) -> None:
    """Claude Code names a session when it has begun; a name that the user gave it counts more."""
    session = {"sessionId": "s1", "timestamp": "2026-11-01T10:00:00Z"}
    records: list[Mapping[str, Any]] = [
        {**session, "type": "user", "uuid": "u1", "message": {"role": "user", "content": "Hello there"}},
        {"type": "custom-title", "customTitle": "Greetings", "sessionId": "s1"},
        {"type": "ai-title", "aiTitle": "A greeting", "sessionId": "s1"},
    ]
    file = tmp_path / "s1.jsonl"
    file.write_text("\n".join(map(json.dumps, records)))

    await here.bring(file)

    conversation, _ = await here.only()
    assert conversation.title == "Greetings"


async def test_a_subagent_of_claude_code_has_a_conversation_of_its_own(
    here: Bringing, tmp_path: Path
) -> None:
    """Its messages are none of the user's conversation."""
    session = {"sessionId": "s1", "type": "user", "timestamp": "2026-11-01T10:00:00Z"}
    said = {"message": {"role": "user", "content": "Look it up"}}
    file = tmp_path / "s1.jsonl"
    file.write_text(
        json.dumps({**session, **said, "uuid": "u1"})
        + "\n"
        + json.dumps({**session, **said, "uuid": "u2", "isSidechain": True, "agentId": "a7"})
    )

    await here.bring(file)

    assert {(one.source_ref, one.metadata.get("subagent_of")) for one in await here.known()} == {
        ("s1", None),
        ("s1:a7", local_id("claude-code", "s1")),
    }


async def test_what_gemini_wrote_before_it_wrote_lines_is_read(here: Bringing, tmp_path: Path) -> None:
    """One object for a session."""
    file = tmp_path / "session-1.json"
    messages = [
        {"id": "m1", "timestamp": "2026-01-01T10:00:00Z", "type": "user", "content": "Hello"},
        {"id": "m2", "timestamp": "2026-01-01T10:00:01Z", "type": "gemini", "content": "Good day."},
        {"id": "m3", "timestamp": "2026-01-01T10:00:02Z", "type": "info", "content": "Update available"},
    ]
    session = {
        "sessionId": "g1",
        "projectHash": "p",
        "startTime": "2026-01-01T10:00:00Z",
        "messages": messages,
    }
    file.write_text(json.dumps(session, indent=2))

    summary = await here.bring(file)

    _, found = await here.only()
    assert lines(found) == [("user", None, "Hello"), ("assistant", None, "Good day.")]
    assert summary.left_out == {"notices of the program": 1}


async def test_what_codex_wrote_at_first_is_read(here: Bringing, tmp_path: Path) -> None:
    """Items without an envelope, behind a line with the session's id."""
    records: list[Mapping[str, Any]] = [
        {"id": "c1", "timestamp": "2025-05-01T10:00:00Z", "instructions": None},
        {"record_type": "state"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "k1"},
        {"type": "function_call_output", "call_id": "k1", "output": "a.txt"},
    ]
    file = tmp_path / "rollout-1.jsonl"
    file.write_text("\n".join(map(json.dumps, records)))

    await here.bring(file)

    conversation, found = await here.only()
    assert lines(found) == [
        ("user", None, "Hello"),
        ("tool", "tool_call", 'shell {"command": ["ls"]}'),
        ("tool", "tool_result", "a.txt"),
    ]
    assert conversation.source_ref == "c1"


@pytest.mark.parametrize("name", ["claude-code", "codex", "gemini-cli"])
def test_a_format_is_told_by_the_first_line(name: str) -> None:
    """Every line that the program begins a file with tells it."""
    first = json.loads((FIXTURES / f"{name}.jsonl").read_text("utf-8").splitlines()[0])

    assert format_of(first) == name


SEEDS = [
    json.loads(line)
    for name in ("claude-code", "codex", "gemini-cli")
    for line in (FIXTURES / f"{name}.jsonl").read_text("utf-8").splitlines()
] + [
    *json.loads((FIXTURES / "chatgpt.json").read_text("utf-8")),
    *json.loads((FIXTURES / "claude.ai.json").read_text("utf-8")),
    *PLAIN,
    {"tertulia": 1, "kind": "conversation", "id": "local:a", "status": "open"},
    {
        "tertulia": 1,
        "kind": "message",
        "id": "m",
        "conversation_id": "local:a",
        "author": "a",
        "role": "user",
    },
    {"tertulia": 1, "kind": "branch", "id": "b", "conversation_id": "local:a", "parent": "main"},
    *(dict(record) for sample in SAMPLES.values() for record in sample.records),
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def spoiled(draw: st.DrawFn) -> Any:
    """A record of some format in which one value is replaced by anything."""
    record: Any = json.loads(json.dumps(draw(st.sampled_from(SEEDS))))
    at: Any = record
    while True:
        keys: list[Any] = sorted(at) if hasattr(at, "keys") else [*range(len(at))]
        key = draw(st.sampled_from(keys))
        inner: Any = at[key]
        if not inner or not isinstance(inner, dict | list) or draw(st.booleans()):
            at[key] = draw(ANYTHING)
            return record
        at = cast(Any, inner)


@examples(300)
@given(records=st.lists(spoiled(), min_size=1, max_size=4), name=st.sampled_from([None, *FORMATS]))
def test_no_record_can_break_a_reader(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any], name: str | None
) -> None:
    """Whatever stands in it: it is read, passed by, or a problem with its line."""
    file = tmp_path_factory.getbasetemp() / "spoiled.jsonl"
    file.write_text("\n".join(map(json.dumps, records)), "utf-8")

    for found in read_file(SourceFile(file, named=True), name):
        if isinstance(found, Problem) and found.line is not None:
            assert 1 <= found.line <= len(records)
        if isinstance(found, MessageItem):
            assert found.message.conversation_id == found.thread.conversation.id
            assert found.message.text or found.message.data
