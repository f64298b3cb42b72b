"""Hosts that people use, told of us by `tertulia install`: Claude Code, Codex and Gemini CLI, without a terminal.

Their model is a script. What it read is taken from the transcript that each program keeps, by our own import.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConversationQuery,
    Decision,
    Message,
    RunStatus,
    Settlement,
    Status,
)
from tests.client.platforms.test_acp_programs import MODULES, PROGRAMS, scripted_model
from tests.doubles.hosts import environment

SECONDS = 200
pytestmark = [pytest.mark.anyio, pytest.mark.io, pytest.mark.counterpart(name="acp", apart=True)]


@dataclass(frozen=True)
class Program:
    """A host, and what is its own."""

    program: str
    host: str
    home: str
    """Its folder in the person's home: what it is prepared in."""
    command: Sequence[str]
    transcripts: str
    script: str = "host"
    approves: bool = False
    """Whether its model can approve anything without a terminal."""


HOSTS = [
    Program(
        "claude",
        "claude-code",
        "own",
        ["claude", "--print", "--allowedTools", "mcp__tertulia", "--"],
        "own/claude/projects",
        script="host_that_searches",
    ),
    Program(
        "codex",
        "codex",
        ".codex",
        ["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"],
        ".codex/sessions",
    ),
    Program("gemini", "gemini-cli", ".", ["gemini", "--yolo", "--prompt"], ".gemini/tmp", approves=True),
]


async def run(command: Sequence[str], cwd: Path, env: dict[str, str]) -> str:
    """Run a command to its end, which must be a good one; return what it printed."""
    found = shutil.which(command[0], path=env["PATH"])
    if found is None:
        pytest.skip(f"{command[0]} is not installed: `python3 dev.py counterparts acp` does")
    with anyio.fail_after(SECONDS):
        done = await anyio.run_process([found, *command[1:]], cwd=cwd, env=env, check=False, input=b"")
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.host)
async def test_a_host_that_was_told_by_the_command_holds_a_conversation(
    host: Program, tmp_path: Path
) -> None:
    """A note, a change that a person has to approve, a search, an error that the model reads, and a clean end."""
    prepared = next(program for program in PROGRAMS if program.name == host.program)
    own, work, store = tmp_path / host.home, tmp_path / "work", tmp_path / "tertulia.db"
    own.mkdir(exist_ok=True)
    work.mkdir()
    claude = Path(prepared.plain[0]).parent if prepared.plain else MODULES
    folders = [claude, MODULES / "node" / "bin", MODULES / ".bin", Path(sys.executable).parent]
    path = os.pathsep.join([*map(str, folders), os.defpath])
    async with scripted_model() as url:
        env = {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb", **prepared.prepare(own, url)}
        install = ["python", "-m", "tertulia_server", "install", host.host, "--store", str(store)]
        await run(install, work, {**env, "PYTHONPATH": environment()["PYTHONPATH"]})
        printed = await run([*host.command, f"Do it all. #{host.script}"], work, env)
    assert "That is all." in printed

    kept, asked, decided, found, wrong = await read(tmp_path / host.transcripts, tmp_path / "read.db")
    assert "Kept" in kept
    assert "input_required" in asked
    assert ("Renewals" in decided) == host.approves
    assert "40,000 a year" in found
    assert (
        "There is no agent local:nobody." in wrong or host.program == "gemini"
    )  # its transcript has no error's text
    await settle(store, pending=not host.approves)


async def read(transcripts: Path, store: Path) -> Sequence[str]:
    """Return what our tools returned, as the model read it."""
    async with Client.open(ClientSettings(store=store)) as client:
        await client.history.import_files([transcripts])
        (conversation,) = (await client.conversations.list(ConversationQuery())).items
        messages = (await client.messages.list(conversation.id)).items
    return [message.text or "" for message in messages if is_ours(message)]


def is_ours(message: Message) -> bool:
    """Whether a message is what a tool of ours returned."""
    return message.type == "tool_result" and "ToolSearch" not in str(message.data)


async def settle(store: Path, *, pending: bool) -> None:
    """See what the host left in the store; have a person decide what it could not."""
    async with Client.open(ClientSettings(store=store)) as client:
        undecided = ConversationQuery(statuses=frozenset({Status.INPUT_REQUIRED}))
        waiting = (await client.conversations.list(undecided)).items
        assert bool(waiting) == pending
        for conversation in waiting:
            run = await client.runs.latest(conversation.id)
            assert run is not None
            (request,) = (await client.runs.result(run)).pending
            approval = Settlement(decision=Decision.APPROVE, by_person=True)
            await client.runs.respond(request.id, approval)
            result = await client.runs.wait(run, timeout=SECONDS)
            assert result.run.status is RunStatus.COMPLETED
        titles = {one.title for one in (await client.conversations.list(ConversationQuery())).items}
        assert "Renewals" in titles
