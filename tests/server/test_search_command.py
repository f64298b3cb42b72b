"""`tertulia search` and `tertulia show`, as a person types them."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import pytest

from tertulia import Client, ClientSettings
from tertulia_server.cli import main
from tests.client.history.bringing import FIXTURES
from tests.client.history.making import array_of, lines_of

Run = Callable[..., tuple[int, str]]
HOSTILE = "\x1b[2J\x1b]0;pwned\x07\u202e"


def talk(number: int) -> Sequence[dict[str, str]]:
    """Return a conversation of forty messages, of which one is about a pangolin."""
    said = [f"Message {place} about nothing." for place in range(40)]
    said[20] = f"The pangolin{HOSTILE} of talk {number} eats ants."
    return [
        {
            "role": ("user", "assistant")[place % 2],
            "content": each,
            "timestamp": f"2026-0{number}-01T10:00:{place:02}Z",
        }
        for place, each in enumerate(said)
    ]


@pytest.fixture
def flags(tmp_path: Path) -> Sequence[str]:
    """Return the flags of a store with some talks in it."""
    config = tmp_path / "config.toml"
    config.write_text("")
    talks = [array_of(tmp_path / f"talk{number}.json", *talk(number)) for number in (1, 2, 3)]
    store = tmp_path / "tertulia.db"

    async def bring() -> None:
        async with Client.open(ClientSettings(store=store)) as client:
            await client.history.import_files([*talks, FIXTURES / "claude-code.jsonl"])

    anyio.run(bring)
    return ["--store", str(store), "--config", str(config)]


@pytest.fixture
def run(flags: Sequence[str], capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs the command line, and returns its exit code and its output."""

    def run(*arguments: str) -> tuple[int, str]:
        code = main([*arguments, *flags])
        said = capsys.readouterr()
        assert not {"\x1b", "\x07", "\u202e"} & {*said.out, *said.err}
        return code, said.out + said.err

    return run


def test_matches_are_numbered_with_a_line_of_what_was_said(run: Run) -> None:
    """The newest first; nothing in it acts on the terminal."""
    code, shown = run("search", "pangolin")

    lines = shown.splitlines()
    assert code == 0
    assert [line[:5] for line in lines if line[:5].strip()] == ["  1  ", "  2  ", "  3  "]
    assert "The pangolin[2J]0;pwned of talk 3 eats ants." in lines[2]
    assert "user · 2026-03-01 10:00 UTC · local:" in lines[1]


def test_a_search_is_narrowed_by_who_wrote_and_where_it_came_from(run: Run) -> None:
    """Each flag leaves something out, and a conversation is shown once where that is asked for."""
    every = ("search", "Message", "--limit", "50")
    assert len(re.findall(r"^ *\d+  ", run(*every)[1], re.MULTILINE)) == 50
    assert len(re.findall(r"^ *\d+  ", run(*every, "--per-conversation")[1], re.MULTILINE)) == 3
    assert "user ·" not in run(*every, "--role", "assistant")[1]
    assert run("search", "pangolin", "--source", "claude-code")[0] == 1
    assert run("search", "pangolin", "--source", "messages")[0] == 0
    assert run("search", "pangolin", "--type", "memory")[0] == 1
    assert run("search", "pangolin", "--folder", "nowhere")[0] == 1
    assert run("search", "pangolin", "--said")[0] == 0


def test_a_search_is_narrowed_and_suggests(run: Run) -> None:
    """By time and conversation, up to a number; the exit code says whether there was anything."""
    assert "talk 2" in run("search", "pangolin", "--since", "2026-02-01", "--until", "2026-02-27")[1]
    assert run("search", "pangolin", "--limit", "1")[1].count("eats ants") == 1
    assert run("search", "--limit", "1", "pangolin")[1].endswith(
        "There are more: --limit, --since or another word.\n"
    )
    assert run("search", "pangolim") == (1, "Nothing matches.\nDid you mean: pangolin\n")
    assert run("search", "pangolin", "--since", "yesterday")[0] == 2


def test_a_program_gets_json(run: Run) -> None:
    """With all that a person sees, escaped."""
    code, printed = run("search", "pangolin", "--json", "--limit", "2")

    found = json.loads(printed)
    assert (code, len(found["matches"]), found["more"]) == (0, 2, True)
    assert found["matches"][0]["snippet"].startswith("The pangolin\x1b[2J")
    assert printed.isascii()


def test_a_match_is_opened_by_its_number(run: Run) -> None:
    """Around the message that was found."""
    code, shown = run("search", "pangolin", "--open", "2")

    assert code == 0
    assert "▶── User · 2026-02-01 10:00 UTC\nThe pangolin" in shown
    assert re.search(
        r"… 15 messages before; `tertulia --config \S+ --store \S+ show local:\w+` shows all", shown
    )
    assert "Message 15 about nothing." in shown
    assert "Message 14 about nothing." not in shown
    assert "Message 35 about nothing." in shown
    assert "Message 36 about nothing." not in shown
    assert run("search", "pangolin", "--open", "9")[0] == 2


def test_a_conversation_is_shown_with_where_it_came_from(run: Run) -> None:
    """And how it goes on there; long output of tools is cut unless all is asked for."""
    found = json.loads(run("search", "Look it up", "--json")[1])
    conversation_id = found["matches"][0]["conversation_id"]

    code, shown = run("show", conversation_id.removeprefix("local:"))

    assert code == 0
    assert "Folder: /home/ana/project\nGit branch: main\nModel: claude-sonnet-4-5\nFile: " in shown
    assert "Goes on with: claude --resume 46712e37-8bd4-45e8-9143-862615164360\n" in shown
    assert "─── User · 2026-11-26 14:41 UTC\nWhat does Acme pay? Look it up.\n" in shown
    assert "─── Tool call: Bash" in shown
    last = run("show", conversation_id, "--last", "1")[1]
    assert last.count("───") == 1
    assert run("show", "local:nope")[0] == 2


def test_long_output_of_tools_is_cut(run: Run, tmp_path: Path) -> None:
    """With how much there is, and how to see it."""
    call = {"id": "c1", "function": {"name": "cat", "arguments": "{}"}}
    talk = [
        {"role": "user", "content": "Show the wombat"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "wombat line\n" * 1_000 + "the end"},
    ]
    assert run("import", str(lines_of(tmp_path / "w.jsonl", {"messages": talk})))[0] == 0
    found = json.loads(run("search", "Show the wombat", "--json")[1])
    conversation_id = found["matches"][0]["conversation_id"]

    cut, full = run("show", conversation_id)[1], run("show", conversation_id, "--full")[1]

    assert "… 10807 characters more (--full)" in cut
    assert full.endswith("the end\n")


@pytest.mark.io
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminal that Python could open")
def test_a_person_picks_a_match(flags: Sequence[str]) -> None:
    """Typed at the list; Enter alone leaves."""
    from tests.doubles.terminal import terminal

    with terminal("tertulia_server", "search", "pangolin", *flags) as screen:
        screen.until("Open which (1 to 3; Enter leaves)? ")
        screen.type("\n")
        assert screen.end() == 0
    assert "\x1b[2J" not in screen.shown
