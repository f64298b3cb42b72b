"""`tertulia approve`: a person decides at a terminal, and nobody else does."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.doubles.hosts import CONFIG, ROOT, SECONDS, Connector, environment, memory
from tests.doubles.stage import ACTOR, script
from tests.support.forking import server_command

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo terminal that Python could open", allow_module_level=True)

from tests.doubles.terminal import CTRL_D, Terminal, terminal

pytestmark = pytest.mark.io

HIDDEN = {"path": "/safe\u200b\x1b[2J", "note": "x" * 3_000, "then": "rm -rf /"}


@pytest.fixture
def options(tmp_path: Path) -> Sequence[str]:
    """Return the options of a store and its configuration."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    return ("--store", str(tmp_path / "tertulia.db"), "--config", str(config), "--approvals", "person")


def asked(folder: Path, *steps: dict[str, Any]) -> str:
    """Have the actor play some steps that ask a person; return the conversation's id."""

    async def ask() -> str:
        async with Connector("legacy", memory, folder)(approvals="person") as host:
            reply = await host.call("send_message", agent=ACTOR, text=script(*steps))
            assert reply["status"] == "input_required"
            return str(reply["conversation_id"])

    return anyio.run(ask)


def answer_of(folder: Path, conversation_id: str) -> str:
    """Return what the conversation's answer has become."""

    async def read() -> str:
        async with Connector("legacy", memory, folder)(approvals="person") as host:
            await host.call("stream_conversation", conversation_id=conversation_id)
            return (await host.call("list_messages", conversation_id=conversation_id)).text

    return anyio.run(read)


def approving(options: Sequence[str]) -> Any:
    """Start the command behind a terminal."""
    return terminal("tests.doubles.serve", "approve", *options)


def test_a_person_approves_all_that_runs(tmp_path: Path, options: Sequence[str]) -> None:
    """They see the whole of it, whatever no form could show and no screen would."""
    own_id = asked(tmp_path, {"ask": "delete", "arguments": HIDDEN, "prompt": "Checked: harmless."})
    with approving(options) as shown:
        shown.until(f" in {own_id}\n")
        shown.until(f"{ACTOR} wants to run the tool delete.\n")
        arguments = shown.until("\n")
        shown.until(f"{ACTOR} says: “Checked: harmless.”\n")
        shown.until("Type approve or reject (empty: leave it open): ")
        shown.type("yes\n")
        shown.until("Type approve or reject (empty: leave it open): ")
        shown.type("approve\n")
        shown.until("Decided.")
        assert shown.end() == 0

    assert "rm -rf /" in arguments
    assert "/safe\\u200b\\u001b[2J" in arguments
    assert "[delete: approved" in answer_of(tmp_path, own_id)


def test_a_person_rejects_answers_and_leaves_open(tmp_path: Path, options: Sequence[str]) -> None:
    """Each request in its turn."""
    rejected = asked(tmp_path, {"ask": "delete"})
    answered = asked(tmp_path, {"question": "Which one?"})
    left = asked(tmp_path, {"ask": "later"})
    with approving(options) as shown:
        shown.until("leave it open): ")
        shown.type("reject\n")
        shown.until("(may be empty): ")
        shown.type("We need it.\n")
        shown.until("Your answer (empty: leave it open): ")
        shown.type("The left one.\n")
        shown.until("3 of 3")
        shown.until("leave it open): ")
        shown.type(CTRL_D)
        assert shown.end() == 0
    assert "[delete: rejected because We need it.]" in answer_of(tmp_path, rejected)
    assert "[question: answered The left one.]" in answer_of(tmp_path, answered)
    again: Terminal
    with approving(options) as again:
        again.until("1 of 1: req_")
        again.until(f" in {left}\n")


def test_no_program_decides_through_a_pipe(tmp_path: Path, options: Sequence[str]) -> None:
    """A host that can run commands cannot approve its own request by one."""
    own_id = asked(tmp_path, {"ask": "delete"})
    ran = subprocess.run(
        [*server_command(), "approve", *options],
        input="approve\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=SECONDS,
        check=False,
    )

    assert ran.returncode == 2
    assert "from a person at a terminal only" in ran.stderr
    with approving(options) as shown:
        shown.until(f" in {own_id}\n")


def test_nothing_pending_is_said(options: Sequence[str]) -> None:
    """And the command ends."""
    with approving(options) as shown:
        shown.until("Nothing waits for a decision in ")
        assert shown.end() == 0
