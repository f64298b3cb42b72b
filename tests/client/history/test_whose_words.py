"""What a program put in is not the user's; conversations are named after requests, and copies are there once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tertulia import ConversationChanges, SearchQuery
from tertulia.history.items import local_id
from tests.client.history.bringing import Bringing
from tests.client.history.making import Record, claude_entry, codex_rollout, lines_of

pytestmark = pytest.mark.anyio

COMMAND = "<command-message>{0}</command-message>\n<command-name>/{0}</command-name>\n<command-args>{1}</command-args>"


@pytest.mark.parametrize(
    ("said", "role", "type", "text"),
    [
        (COMMAND.format("model", "opus"), "user", "command", "/model opus"),
        ("<bash-input>ls -la</bash-input>", "user", "command", "! ls -la"),
        ("<local-command-stdout>Set</local-command-stdout>", "system", "command_output", "Set"),
        (
            "<bash-stdout>total 0</bash-stdout><bash-stderr></bash-stderr>",
            "system",
            "command_output",
            "total 0",
        ),
        ("<task-notification>\n<id>b</id>\n</task-notification>", "system", "notification", "<id>b</id>"),
        ("[Request interrupted by user for tool use]", "system", "interruption", None),
        ("<ide_selection>line 3</ide_selection>", "system", "context", "line 3"),
        ("<system-reminder>Be good.</system-reminder>", "system", "context", "Be good."),
        ("<div>is that valid?", "user", None, None),
        ("<system-reminder> is what I see in it", "user", None, None),
    ],
)
async def test_what_claude_code_put_into_the_users_messages(
    here: Bringing, tmp_path: Path, said: str, role: str, type: str | None, text: str | None
) -> None:
    """It has its own type; a tag that the user typed is text."""
    await here.bring(lines_of(tmp_path / "s1.jsonl", claude_entry(1, said), claude_entry(2, "real request")))

    conversation, (first, second) = await here.only()
    assert (first.role, first.type, first.text) == (role, type, text or said)
    assert first.author == ("user" if role == "user" else "claude-code")
    assert (second.role, second.type) == ("user", None)
    assert conversation.title == ("real request" if type else said)


async def test_words_around_what_was_put_in_are_the_users(here: Bringing, tmp_path: Path) -> None:
    """In one message, or in one block."""
    opened = {"type": "text", "text": "<ide_opened_file>The user opened a.py</ide_opened_file>"}
    asked = {"type": "text", "text": "why?\n<system-reminder>Be good.</system-reminder>"}

    await here.bring(lines_of(tmp_path / "s1.jsonl", claude_entry(1, [opened, asked])))

    conversation, messages = await here.only()
    assert [(each.type, each.text) for each in messages] == [
        ("context", "The user opened a.py"),
        ("context", "Be good."),
        (None, "why?"),
    ]
    assert (messages[2].id, conversation.title) == ("u1", "why?")


async def test_a_command_that_is_a_request_names_the_conversation(here: Bringing, tmp_path: Path) -> None:
    """Others are about the program itself."""
    model, review = COMMAND.format("model", "opus"), COMMAND.format("review", "the zebra parser")
    await here.bring(
        lines_of(
            tmp_path / "s1.jsonl", claude_entry(1, model), claude_entry(2, review), claude_entry(3, "thanks")
        )
    )

    conversation, _ = await here.only()
    assert conversation.title == "/review the zebra parser"


async def test_an_error_of_the_api_is_no_answer_of_the_model(here: Bringing, tmp_path: Path) -> None:
    """Claude Code writes it as one, of a model that there is not."""
    block = [{"type": "text", "text": "API Error: 529"}]
    entry = dict(claude_entry(1, block, "assistant", isApiErrorMessage=True))
    entry["message"] = {"role": "assistant", "content": block, "model": "<synthetic>"}

    await here.bring(lines_of(tmp_path / "s1.jsonl", entry))

    conversation, (notice,) = await here.only()
    assert (notice.role, notice.type, notice.text) == ("system", "notification", "API Error: 529")
    assert "model" not in conversation.metadata


@pytest.mark.parametrize(
    ("said", "type", "text"),
    [
        ("<user_shell_command>\nls\n</user_shell_command>", "command_output", "ls"),
        ("<skill>\n<name>pdf</name>\n</skill>", "context", "<name>pdf</name>"),
        ("<hook_prompt>do not stop</hook_prompt>", "context", "do not stop"),
        ("<subagent_notification>{}</subagent_notification>", "notification", "{}"),
        ("<turn_aborted>\nby user\n</turn_aborted>", "interruption", "by user"),
        (
            "Warning: The maximum number of unified exec processes you can keep open is 60.",
            "notification",
            None,
        ),
        (
            "# Context from my IDE setup:\n\n## Active file: a.rs\n\n## My request for Codex:\nMake it faster",
            "context",
            "# Context from my IDE setup:\n\n## Active file: a.rs",
        ),
    ],
)
async def test_what_codex_put_into_the_users_messages(
    here: Bringing, tmp_path: Path, said: str, type: str, text: str | None
) -> None:
    """As with Claude Code."""
    file = lines_of(tmp_path / "a.jsonl", *codex_rollout("c1", ("user", said), ("user", "why is it red?")))

    await here.bring(file)

    conversation, messages = await here.only()
    assert (messages[0].role, messages[0].type, messages[0].text) == ("system", type, text or said)
    typed = [message.text for message in messages if message.role == "user"]
    assert typed == (["Make it faster"] if said.startswith("#") else []) + ["why is it red?"]
    assert conversation.title == typed[0]


async def test_the_summary_of_another_session_is_no_title(here: Bringing, tmp_path: Path) -> None:
    """Claude Code wrote such into any file; its own one, before or behind, is."""
    foreign = {"type": "summary", "summary": "Kubernetes", "leafUuid": "elsewhere"}
    own = {"type": "summary", "summary": "Bread", "leafUuid": "u2"}
    talk = [claude_entry(1, "How do I bake?"), claude_entry(2, "With flour.", "assistant")]
    for name, records in (("a", [foreign, *talk]), ("b", [foreign, own, *talk]), ("c", [*talk, own])):
        renamed = [{**record, "sessionId": name} if "uuid" in record else record for record in records]
        await here.bring(lines_of(tmp_path / f"{name}.jsonl", *renamed))

    titles = {one.source_ref: one.title for one in await here.known()}
    assert titles == {"a": "How do I bake?", "b": "Bread", "c": "Bread"}


async def test_a_later_name_is_followed_unless_it_was_changed_here(here: Bringing, tmp_path: Path) -> None:
    """The program names a session when it has gone on; a name that was given here counts more."""
    begun = [claude_entry(1, "hi there")]
    named: Sequence[Record] = [*begun, {"type": "custom-title", "customTitle": "RELEASE", "sessionId": "s1"}]
    again: Sequence[Record] = [*named, {"type": "custom-title", "customTitle": "DONE", "sessionId": "s1"}]
    file = tmp_path / "s1.jsonl"

    await here.bring(lines_of(file, *begun))
    conversation, _ = await here.only()
    summary = await here.bring(lines_of(file, *named))
    renamed, _ = await here.only()
    await here.client.conversations.update(conversation.id, ConversationChanges(title="Mine"))
    await here.bring(lines_of(file, *again))
    kept, _ = await here.only()

    assert (conversation.title, renamed.title, kept.title) == ("hi there", "RELEASE", "Mine")
    assert (summary.updated, summary.messages) == (1, 0)
    assert renamed.updated_at == conversation.updated_at


@pytest.mark.parametrize("first", ["a", "b"])
async def test_a_fork_of_claude_code_shares_what_it_copied(
    here: Bringing, tmp_path: Path, first: str
) -> None:
    """It is once in a search, whichever file comes first, and the fork tells where it came from."""
    copied: dict[str, Any] = {"sessionId": "s2", "forkedFrom": {"sessionId": "s1", "messageUuid": "u1"}}
    lines_of(tmp_path / "a.jsonl", claude_entry(1, "Explain zanzibar"))
    lines_of(
        tmp_path / "b.jsonl",
        claude_entry(1, "Explain zanzibar", **copied),
        claude_entry(2, "And in the fork?", sessionId="s2"),
    )

    for name in sorted("ab", reverse=first == "b"):
        await here.bring(tmp_path / f"{name}.jsonl")

    parent, fork = await here.known()
    assert [each.text for each in await here.messages(parent.id)] == ["Explain zanzibar"]
    assert [each.text for each in await here.messages(fork.id)] == ["And in the fork?"]
    assert (fork.metadata["forked_from"], fork.title) == (parent.id, "And in the fork?")
    found = await here.client.search.messages(SearchQuery(text="explain"))
    assert len([hit for hit in found.hits if hit.message_id]) == 1


@pytest.mark.parametrize("first", ["a", "b"])
async def test_a_fork_of_codex_shares_what_it_copied(here: Bringing, tmp_path: Path, first: str) -> None:
    """Its items have no ids there, and stand on other lines."""
    said = [
        ("user", "design the okapi schema"),
        ("assistant", "Two tables."),
        ("user", "design the okapi schema"),
    ]
    parent_lines = codex_rollout("c1", *said)
    own_head, *own = codex_rollout("c2", ("user", "add an index"), start=10, forked_from_id="c1")
    lines_of(tmp_path / "a.jsonl", *parent_lines)
    lines_of(tmp_path / "b.jsonl", own_head, *parent_lines, *own)

    for name in sorted("ab", reverse=first == "b"):
        await here.bring(tmp_path / f"{name}.jsonl")

    by_ref = {one.source_ref: one for one in await here.known()}
    assert len(await here.messages(by_ref["c1"].id)) == 3
    assert [each.text for each in await here.messages(by_ref["c2"].id)] == ["add an index"]
    assert by_ref["c2"].metadata["forked_from"] == by_ref["c1"].id


async def test_subagents_are_conversations_of_their_own(here: Bringing, tmp_path: Path) -> None:
    """Before there were names of them in Claude Code, too; what one was asked is none of the user's words."""
    aside: dict[str, Any] = {"isSidechain": True}
    records = [
        claude_entry(1, "find the bug"),
        claude_entry(2, "Search the repo", **aside),
        claude_entry(3, "Found it.", "assistant", parentUuid="u2", **aside),
        claude_entry(4, "Search the tests", parentUuid=None, **aside),
        claude_entry(5, "Nothing there.", "assistant", parentUuid=None, **aside),
        claude_entry(6, "It is fixed.", "assistant"),
    ]
    source = {"subagent": {"thread_spawn": {"parent_thread_id": "c1"}}}

    await here.bring(
        lines_of(tmp_path / "s1.jsonl", *records),
        lines_of(tmp_path / "c.jsonl", *codex_rollout("c9", ("user", "look"), source=source)),
    )

    found = {
        one.title: (one.metadata.get("subagent_of"), [each.text for each in await here.messages(one.id)])
        for one in await here.known()
    }
    main = local_id("claude-code", "s1")
    assert found == {
        "find the bug": (None, ["find the bug", "It is fixed."]),
        "Search the repo": (main, ["Search the repo", "Found it."]),
        "Search the tests": (main, ["Search the tests", "Nothing there."]),
        "look": (local_id("codex", "c1"), ["look"]),
    }
    asked = [
        each
        for one in await here.known()
        if one.title == "Search the repo"
        for each in await here.messages(one.id)
    ]
    assert asked[0].author == "claude-code"
