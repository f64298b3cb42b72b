"""Nothing that was said is lost on the way in: repeated ids, files alone, sources, documents, branches."""

import json
from pathlib import Path
from typing import Any

import pytest

from tertulia import MessageQuery, SearchQuery
from tertulia.history.writers import ExportFormat
from tests.client.history.bringing import Bringing
from tests.client.history.making import (
    Record,
    array_of,
    chatgpt,
    claude_entry,
    codex_rollout,
    lines_of,
    moment,
)

pytestmark = pytest.mark.anyio


async def said(here: Bringing) -> list[tuple[str, str | None]]:
    """Return the type (or role) and text of the messages of the one conversation."""
    _, messages = await here.only()
    return [(message.type or message.role.value, message.text) for message in messages]


def call(city: str, call_id: str | None = "call_0") -> Record:
    """Return a message that calls a tool, as the chat APIs take it."""
    function = {"name": "weather", "arguments": json.dumps({"city": city})}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": call_id, "function": function}]}


@pytest.mark.parametrize("call_id", ["call_0", None])
async def test_calls_whose_ids_repeat_or_that_have_none_are_all_there(
    here: Bringing, tmp_path: Path, call_id: str | None
) -> None:
    """Some programs count from 0 in every turn; each result is that of the call before it."""
    file = array_of(
        tmp_path / "a.json",
        call("Oslo", call_id),
        {"role": "tool", "tool_call_id": call_id, "content": "-3"},
        call("Rome", call_id),
        {"role": "tool", "tool_call_id": call_id, "content": "14"},
    )

    await here.bring(file)
    again = await here.bring(file)

    assert await said(here) == [
        ("tool_call", 'weather {"city": "Oslo"}'),
        ("tool_result", "-3"),
        ("tool_call", 'weather {"city": "Rome"}'),
        ("tool_result", "14"),
    ]
    _, messages = await here.only()
    assert [message.parent_id for message in messages[1::2]] == [message.id for message in messages[::2]]
    assert again.messages == 0


async def test_calls_of_gemini_without_ids_are_paired_in_their_order(here: Bringing, tmp_path: Path) -> None:
    """Its API gives none."""
    calls = [{"functionCall": {"name": "read", "args": {"path": each}}} for each in ("one", "two")]
    results = [
        {"functionResponse": {"name": "read", "response": {"output": each}}} for each in ("ONE", "TWO")
    ]
    at = {"timestamp": "2026-01-01T00:00:00Z"}
    head = {"sessionId": "g", "projectHash": "h"}
    asked: Record = {"id": "m1", "type": "gemini", "content": calls, **at}
    answered: Record = {"id": "m2", "type": "user", "content": results, **at}
    file = lines_of(tmp_path / "g.jsonl", head, asked, {**asked, "tokens": 1}, answered)

    await here.bring(file)

    _, messages = await here.only()
    assert [message.text for message in messages] == [
        'read {"path": "one"}',
        'read {"path": "two"}',
        "ONE",
        "TWO",
    ]
    assert [message.parent_id for message in messages[2:]] == [messages[0].id, messages[1].id]


async def test_messages_with_one_id_are_all_there(here: Bringing, tmp_path: Path) -> None:
    """An `id` of plain messages may be anything."""
    file = array_of(tmp_path / "a.json", *({"role": "user", "id": "x", "content": each} for each in "abc"))

    await here.bring(file)

    assert await said(here) == [("user", "a"), ("user", "b"), ("user", "c")]


async def test_long_arguments_are_found_to_their_last_word(here: Bringing, tmp_path: Path) -> None:
    """And lines of them are lines, rather than one word after another with an `n` before it."""
    content = "\n".join(["filler"] * 2_000 + ["xylophone"])
    block = {
        "type": "tool_use",
        "id": "t1",
        "name": "Write",
        "input": {"file_path": "/a", "content": content},
    }
    file = lines_of(tmp_path / "s1.jsonl", claude_entry(1, [block], "assistant"))

    await here.bring(file)

    found = await here.client.search.messages(SearchQuery(text="xylophone"))
    assert [hit.conversation_title for hit in found.hits] == [None]
    ((_, text),) = await said(here)
    assert text == f'Write {{"file_path": "/a", "content": "…"}}\n\n{content}'


async def test_a_message_that_is_only_a_file_names_it(here: Bringing, tmp_path: Path) -> None:
    """In its text, so in a search and on a page; the conversation is named after words."""
    talk: dict[str, Any] = dict(
        chatgpt("cg-1", {"a": (None, "user", ""), "b": ("a", "user", "What is in it?")}, "b", title=None)
    )
    attached = {
        "id": "file-1",
        "name": "quarterly-report.pdf",
        "mime_type": "application/pdf",
        "size": 1_234_567,
    }
    talk["mapping"]["a"]["message"]["metadata"] = {"attachments": [attached]}
    claude = {
        "uuid": "ca-1",
        "chat_messages": [
            {
                "uuid": "m1",
                "text": "",
                "content": [],
                "sender": "human",
                "files": [{"file_name": "beach.png"}],
            },
            {
                "uuid": "m2",
                "text": "Look",
                "content": [{"type": "text", "text": ""}],
                "sender": "human",
                "attachments": [{"file_name": "scan.pdf", "file_size": 9, "extracted_content": ""}],
            },
            {"uuid": "m3", "text": "odd", "sender": "moderator"},
            {"uuid": "m4", "text": "Nice.", "sender": "assistant"},
        ],
    }

    await here.bring(array_of(tmp_path / "a.json", talk), array_of(tmp_path / "b.json", claude))

    page = await here.export(format=ExportFormat.MARKDOWN)
    for name in ("quarterly-report", "beach", "scan"):
        found = await here.client.search.messages(SearchQuery(text=name))
        assert [hit.snippet for hit in found.hits] != []
        assert name in page
    assert {one.title for one in await here.known()} == {"What is in it?", "Look"}
    texts = {message.text for one in await here.known() for message in await here.messages(one.id)}
    assert texts == {
        "[file quarterly-report.pdf, application/pdf, 1.2 MB]",
        "What is in it?",
        "[file beach.png]",
        "Look\n\n[file scan.pdf, 9 bytes]",
        "odd",
        "Nice.",
    }


async def test_citations_of_chatgpt_are_links(here: Bringing, tmp_path: Path) -> None:
    """What stands in its texts for private use means nothing to anybody else."""
    mark = "\ue200cite\ue202turn0search3\ue201"
    entity, picture = '\ue200entity\ue202["people","Ann Example",0]\ue201', "\ue200i\ue202turn0image1\ue201"
    text = f"By {entity}. {mark} And {picture}\ue203so\ue204."
    talk: dict[str, Any] = dict(chatgpt("cg-1", {"a": (None, "assistant", text)}, "a"))
    source = {"title": "The [Statue]", "url": "https://example.org/statue"}
    bad = {"title": "x", "url": "javascript:alert(1)"}
    references = [{"matched_text": mark, "type": "grouped_webpages", "items": [source, bad]}]
    talk["mapping"]["a"]["message"]["metadata"] = {"content_references": references}

    await here.bring(array_of(tmp_path / "a.json", talk))

    assert await said(here) == [
        ("assistant", "By Ann Example. ([The Statue](https://example.org/statue)) And so.")
    ]


async def test_canvases_and_artifacts_are_documents(here: Bringing, tmp_path: Path) -> None:
    """With their whole text; a change of a part of one stays a call."""
    essay = "# Narwhals\n\n" + "They swim. " * 1_000 + "xylophone"
    calls = {
        "a": ("canmore.create_textdoc", {"name": "essay", "type": "document", "content": essay}),
        "b": ("canmore.update_textdoc", {"updates": [{"pattern": ".*", "replacement": "Whole"}]}),
        "c": ("canmore.update_textdoc", {"updates": [{"pattern": "swim", "replacement": "dive"}]}),
    }
    nodes = {"a": (None, "assistant", ""), "b": ("a", "assistant", ""), "c": ("b", "assistant", "")}
    talk: dict[str, Any] = dict(chatgpt("cg-1", nodes, "c"))
    for name, (recipient, arguments) in calls.items():
        message = talk["mapping"][name]["message"]
        message |= {
            "recipient": recipient,
            "content": {"content_type": "code", "text": json.dumps(arguments)},
        }
    given = {"command": "create", "title": "Page", "content": "<p>tardigrade</p>"}
    block = {"type": "tool_use", "name": "artifacts", "input": given}
    message = {"uuid": "m1", "text": "", "content": [block], "sender": "assistant"}

    await here.bring(
        array_of(tmp_path / "a.json", talk),
        array_of(tmp_path / "b.json", {"uuid": "ca-1", "chat_messages": [message]}),
    )

    messages = [each for one in await here.known() for each in await here.messages(one.id)]
    assert [(each.type, each.text) for each in sorted(messages, key=lambda each: each.text or "")] == [
        ("document", essay),
        ("document", "<p>tardigrade</p>"),
        ("document", "Whole"),
        ("tool_call", 'canmore.update_textdoc {"updates": [{"pattern": "swim", "replacement": "dive"}]}'),
    ]
    assert {
        json.dumps(each.data["document"]) for each in messages if each.data and "document" in each.data
    } == {
        '{"name": "essay", "type": "document"}',
        "{}",
        '{"command": "create", "title": "Page"}',
    }


def regenerated(*, again: bool) -> Record:
    """Return a conversation as it was exported first, and again after the answer was given anew."""
    nodes: dict[str, tuple[str | None, str, str]] = {
        "a": (None, "user", "write a haiku"),
        "b": ("a", "assistant", "FIRST"),
    }
    if again:
        nodes |= {"b2": ("a", "assistant", "SECOND"), "c": ("b2", "user", "thanks")}
    return chatgpt("cg-1", nodes, "c" if again else "b", title="Renamed" if again else "T")


@pytest.mark.parametrize("before", [False, True])
async def test_regenerated_answers_are_branches_also_of_what_was_imported_before(
    here: Bringing, tmp_path: Path, before: bool
) -> None:
    """The newest path is the conversation's; the other answer is found, and read on its own branch."""
    if before:
        await here.bring(array_of(tmp_path / "1" / "conversations.json", regenerated(again=False)))
    file = array_of(tmp_path / "2" / "conversations.json", regenerated(again=True))
    summary = await here.bring(file)
    again = await here.bring(file)

    conversation, messages = await here.only()
    assert [message.text for message in messages] == ["write a haiku", "SECOND", "thanks"]
    main = await here.client.messages.list(conversation.id, MessageQuery(branch="main"))
    assert [message.text for message in main.items] == ["write a haiku", "FIRST"]
    assert conversation.title == "Renamed"
    assert (summary.new, summary.updated, again.unchanged) == ((0, 1, 1) if before else (1, 0, 1))


async def test_an_edited_first_question_is_a_branch_from_the_beginning(
    here: Bringing, tmp_path: Path
) -> None:
    """Claude.ai names parents, too; its first messages have one that is nowhere."""
    nothing = "00000000-0000-4000-8000-000000000000"
    messages = [
        {"uuid": "a", "parent_message_uuid": nothing, "sender": "human", "text": "q v1"},
        {"uuid": "a1", "parent_message_uuid": "a", "sender": "assistant", "text": "pelican"},
        {"uuid": "b", "parent_message_uuid": nothing, "sender": "human", "text": "q v2"},
        {"uuid": "b1", "parent_message_uuid": "b", "sender": "assistant", "text": "heron"},
    ]
    talk = {"uuid": "ca-1", "chat_messages": messages}
    await here.bring(array_of(tmp_path / "a.json", {**talk, "current_leaf_message_uuid": "a1"}))

    conversation, shown = await here.only()
    main, other = await here.client.conversations.branches(conversation.id)
    assert [message.text for message in shown] == ["q v1", "pelican"]
    first = await here.client.messages.list(conversation.id, MessageQuery(branch=main.id))
    assert [message.text for message in first.items] == ["q v2", "heron"]
    assert other.parted_from == "b"


async def test_projects_and_memories_of_claude_come_in(here: Bringing, tmp_path: Path) -> None:
    """They are files of the export beside the conversations."""
    documents = [{"uuid": "d1", "filename": "notes.md", "content": "about axolotls"}]
    project = {"uuid": "p1", "name": "Ponds", "prompt_template": "Be brief.", "docs": documents}
    memories = {
        "conversations_memory": "Likes axolotls",
        "project_memories": {"p1": "Ponds"},
        "account_uuid": "a",
    }

    await here.bring(
        array_of(tmp_path / "projects.json", project), array_of(tmp_path / "memories.json", memories)
    )

    found = {
        one.title: [(each.type, each.text) for each in await here.messages(one.id)]
        for one in await here.known()
    }
    assert found == {
        "Ponds": [(None, "Be brief."), ("attachment", "about axolotls")],
        "Memories of Claude": [("memory", "Likes axolotls"), ("memory", "Ponds")],
    }
    assert not here.problems


@pytest.mark.parametrize("fields", [{"conversation_id": None}, {"current_node": None}])
async def test_older_exports_of_chatgpt_without_ids_or_a_last_node(
    here: Bringing, tmp_path: Path, fields: dict[str, Any]
) -> None:
    """What never changes of a conversation identifies it then."""
    talk = dict(
        chatgpt("cg-1", {"a": (None, "user", "old question"), "b": ("a", "assistant", "old answer")}, "b")
    )
    for name in fields:
        del talk[name]
    file = array_of(tmp_path / "a.json", talk)

    await here.bring(file)
    again = await here.bring(array_of(tmp_path / "a.json", {**talk, "title": "Renamed"}))

    conversation, messages = await here.only()
    assert [message.text for message in messages] == ["old question", "old answer"]
    assert (again.updated, conversation.title) == (1, "Renamed")


async def test_a_rollout_of_items_or_events_alone_is_read(here: Bringing, tmp_path: Path) -> None:
    """Without a head; or with what Codex shows on its screen alone."""
    items: list[Record] = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "list"}]},
        {"type": "function_call", "name": "shell", "arguments": "{}", "call_id": "c1"},
        {"type": "function_call_output", "call_id": "c1", "output": '{"output":"a.txt\\n","metadata":{}}'},
    ]
    events: list[Record] = [
        {
            "timestamp": moment(1),
            "type": "event_msg",
            "payload": {"type": "user_message", "message": "hello"},
        },
        {"timestamp": moment(2), "type": "event_msg", "payload": {"type": "agent_message", "message": "hi"}},
    ]
    old = {"session": {"id": "ts", "timestamp": moment(0)}, "items": items}

    await here.bring(
        lines_of(tmp_path / "rollout-1.jsonl", *items),
        lines_of(tmp_path / "rollout-2.jsonl", *events),
        lines_of(tmp_path / "rollout-3.json", old),
    )

    found = {
        one.source_ref: [each.text for each in await here.messages(one.id)] for one in await here.known()
    }
    assert found == {
        "rollout-1": ["list", "shell {}", "a.txt\n"],
        "rollout-2": ["hello", "hi"],
        "ts": ["list", "shell {}", "a.txt\n"],
    }


async def test_events_that_repeat_items_are_no_second_messages(here: Bringing, tmp_path: Path) -> None:
    """Most rollouts have both."""
    event = {
        "timestamp": moment(1),
        "type": "event_msg",
        "payload": {"type": "user_message", "message": "hello"},
    }
    head, item = codex_rollout("c1", ("user", "hello"))

    await here.bring(lines_of(tmp_path / "a.jsonl", head, event, item))

    assert await said(here) == [("user", "hello")]


async def test_summaries_and_queued_messages_are_there(here: Bringing, tmp_path: Path) -> None:
    """A queued message that stands nowhere else was said; one that was sent after all, or taken back, is no other."""
    queue = {"type": "queue-operation", "sessionId": "s1", "timestamp": "2026-11-01T10:00:01Z"}

    def queued(said: str) -> Record:
        return {**queue, "operation": "enqueue", "content": said}

    await here.bring(
        lines_of(
            tmp_path / "s1.jsonl",
            queued("taken back"),
            {**queue, "operation": "popAll"},
            queued("sent"),
            claude_entry(1, "sent"),
            claude_entry(2, "The talk so far", isCompactSummary=True),
            queued("and then?"),
            claude_entry(3, [{"type": "text", "text": "Done."}, {"type": "hologram"}], "assistant"),
        )
    )

    assert await said(here) == [
        ("user", "sent"),
        ("summary", "The talk so far"),
        ("assistant", "Done.\n\n[hologram]"),
        ("user", "and then?"),
    ]


async def test_projects_and_memories_of_chatgpt(here: Bringing, tmp_path: Path) -> None:
    """As far as the export has them: which project a talk is in, and what ChatGPT had remembered for it."""
    nodes = {"m": (None, "system", ""), "i": ("m", "system", ""), "a": ("i", "user", "Hello")}
    talk: dict[str, Any] = dict(chatgpt("cg-1", nodes, "a"), gizmo_id="g-p-68f0")
    contents = {
        "m": {"content_type": "model_editable_context", "model_set_context": "1. Ana sells lemurs."},
        "i": {"content_type": "user_editable_context", "user_instructions": "Be brief."},
    }
    for name, content in contents.items():
        talk["mapping"][name]["message"]["content"] = content

    summary = await here.bring(array_of(tmp_path / "conversations.json", talk))

    conversation, messages = await here.only()
    assert conversation.metadata["project"] == "g-p-68f0"
    assert [(each.type, each.text) for each in messages] == [
        ("memory", "1. Ana sells lemurs."),
        (None, "Hello"),
    ]
    assert summary.left_out == {"context": 1}
