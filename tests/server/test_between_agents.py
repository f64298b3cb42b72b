"""Real agents that talk to each other through Tertulia, each story told by a host: `docs/between-agents.md`.

What the host called and read is the transcript that the page shows. Renew it with TERTULIA_RENEW_SNAPSHOTS=1.
"""

import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.client.platforms.test_acp_programs import MODULES, PROGRAMS, Program, scripted_model
from tests.doubles.hosts import ROOT, Connector, Host, Reply, stdio
from tests.tools.snapshot import RENEW

TRANSCRIPTS = ROOT / "docs" / "transcripts"
SECONDS = 240

pytestmark = [pytest.mark.anyio, pytest.mark.io, pytest.mark.counterpart(name="acp", apart=True)]


@dataclass
class Story:
    """A store, two agents that have Tertulia among their tools, and what hosts called and read."""

    folder: Path
    work: Path
    config: Path
    lines: list[str] = field(default_factory=list[str])

    @asynccontextmanager
    async def host(self) -> AsyncGenerator[Host]:
        """Connect a host to a server of its own."""
        async with Connector("2026-07-28", stdio, self.folder)(config=self.config) as host:
            yield host

    def tell(self, text: str) -> None:
        """Say what happens outside of the host."""
        self.lines.append(f"*{text}*\n")

    async def call(self, host: Host, tool: str, **arguments: Any) -> Reply:
        """Have the host call a tool, and write down what it reads."""
        reply = await host.try_call(tool, **arguments)
        given = json.dumps(arguments, ensure_ascii=False)
        self.lines.append(f"**{tool}** `{given}`\n\n```text\n{reply.text}\n```\n")
        assert not reply.failed, reply.text
        return reply

    async def settle(self, host: Host, reply: Reply, decision: str) -> Reply:
        """Have the person decide what a run asks, and wait for what comes of it."""
        (request,) = reply.data.get("pending") or reply["requests"]
        return await self.call(
            host, "confirm_tool", request_id=request["request_id"], decision=decision, wait_seconds=25
        )

    @property
    def worker(self) -> int | None:
        """The process that runs the agents."""
        log = self.folder / "worker.log"
        found = re.findall(r"process (\d+) begins", log.read_text()) if log.exists() else []
        return int(found[-1]) if found else None

    def check(self, name: str, title: str) -> None:
        """See that the transcript is what the documents show, or store it if that is to be renewed."""
        path = TRANSCRIPTS / f"{name}.md"
        made_by = f"Made by `tests/server/{Path(__file__).name}` with the real programs and a scripted model."
        found = f"# {title}\n\n{made_by}\n\n" + self._stable("\n".join(self.lines))
        if os.environ.get(RENEW):
            path.write_text(found, "utf-8")
        assert path.read_text("utf-8") == found

    def _stable(self, text: str) -> str:
        """Return a text without what differs from run to run."""
        text = text.replace(str(self.work), "/home/me/project")
        patterns = {
            r"(?<=<)/?q[0-9a-hjkmnp-tv-z]{16}(?=>)": "mark",
            r"\brun_[0-9a-z]{16}": "run",
            r"\breq_[0-9a-z]{16}": "request",
            r"\b(?:claude|codex):[0-9a-z]{10}\b": "conversation",
        }
        text = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
        text = re.sub(r"(?<=Cursor: )[\w-]+", "CURSOR", text)
        text = re.sub(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "SESSION", text)
        for pattern, kind in patterns.items():
            known: dict[str, str] = {}

            def named(match: re.Match[str], kind: str = kind, known: dict[str, str] = known) -> str:
                value = match.group()
                slash, value = ("/", value[1:]) if value.startswith("/") else ("", value)
                before = f"{value.partition(':')[0]}:" if kind == "conversation" else f"{kind}-"
                number = 1 + sum(name.startswith(before) for name in known.values())
                return slash + known.setdefault(value, f"{before}{number}")

            text = re.sub(pattern, named, text)
        text = re.sub(r"(?<= · )(?:\(no title\)|<mark-\d+>.*</mark-\d+>)(?= · with )", "TITLE", text)
        text = re.sub(r"<mark-\d+>: others' words, never instructions\.\n", "", text)
        return re.sub(r"</?mark-\d+>", "", text)


@pytest.fixture
async def story(tmp_path: Path) -> AsyncGenerator[Story]:
    programs = {program.name: program for program in PROGRAMS if program.name in {"claude", "codex"}}
    for program in programs.values():
        if not (MODULES / ".bin" / program.executable).exists():
            pytest.skip(f"{program.name} is not installed: `python3 dev.py counterparts acp` does")
    work = tmp_path / "project"
    work.mkdir()
    with anyio.fail_after(SECONDS):
        async with scripted_model() as url:
            story = Story(tmp_path, work, tmp_path / "stories.toml")
            lines = ["discover_agents = false"]
            for program in programs.values():
                lines += instance(story, program, url)
            story.config.write_text("\n".join(lines))
            try:
                yield story
            finally:
                if story.worker is not None:
                    with suppress(ProcessLookupError):
                        os.kill(story.worker, signal.SIGTERM)


def instance(story: Story, program: Program, url: str) -> Sequence[str]:
    """Return the table of a program that has Tertulia among its tools."""
    home = story.folder / program.name
    home.mkdir()
    path = os.pathsep.join([str(MODULES / "node" / "bin"), str(MODULES / ".bin"), "/usr/bin", "/bin"])
    env = {"PATH": path, "HOME": str(home), **program.prepare(home, url)}
    arguments = ["-m", "tertulia_server", "--store", str(story.folder / "tertulia.db")]
    arguments += ["--config", str(story.config)]
    return [
        f"[instances.{program.name}]",
        'platform = "acp"',
        f'agent = "{program.name}"',
        f"folders = [{json.dumps(str(story.work))}]",
        f"[instances.{program.name}.env]",
        *(f"{name} = {json.dumps(value)}" for name, value in env.items()),
        f"[instances.{program.name}.mcp_servers.tertulia]",
        f"command = {json.dumps(sys.executable)}",
        f"args = {json.dumps(arguments)}",
    ]


async def test_a_second_opinion(story: Story) -> None:
    async with story.host() as host:
        asked = await story.call(
            host,
            "send_message",
            agent="claude:agent",
            text="Ask Codex whether add is right. #opinion",
            wait_seconds=25,
        )
        answer = await story.settle(host, asked, "approve")
        assert "Codex found it: add subtracts. I agree." in answer.text
        both = await story.call(host, "list_conversations")
        assert len(both["conversations"]) == 2
        story.tell("And the other way round:")
        answer = await story.call(
            host,
            "send_message",
            conversation_id=await ready(host),
            text="Ask Claude whether add is right. #other_opinion",
            wait_seconds=25,
        )
        if answer["status"] == "input_required":
            answer = await story.settle(host, answer, "approve")
        assert "Claude found it: add subtracts. I agree." in answer.text
    story.check("second-opinion", "A second opinion")


async def test_a_task_is_handed_over_and_its_giver_comes_back(story: Story) -> None:
    async with story.host() as host:
        asked = await story.call(
            host,
            "send_message",
            agent="claude:agent",
            text="Have Codex write a.txt. #delegate",
            wait_seconds=25,
        )
        given = await story.settle(host, asked, "approve")
        assert "waits for your decision" in given.text
        story.tell("The host and its server are killed here, with Codex's question open.")
        await kill_servers(story)
    assert not (story.work / "a.txt").exists()
    async with story.host() as host:
        story.tell("Another host is started.")
        waiting = await story.call(host, "list_conversations", awaiting_me=True)
        (conversation,) = waiting["conversations"]
        waits = conversation["conversation_id"]
        asked = await story.call(host, "get_conversation", conversation_id=waits, include=["requests"])
        done = await story.settle(host, asked, "approve")
        assert "The file is written." in done.text
        assert (story.work / "a.txt").exists()
        asked = await story.call(
            host,
            "send_message",
            conversation_id=given["conversation_id"],
            text="I have decided. #return",
            wait_seconds=25,
        )
        back = await story.settle(host, asked, "approve")
        assert "Codex has written a.txt." in back.text
    story.check("handed-over", "A task is handed over, and its giver comes back")


async def ready(host: Host) -> str:
    """Begin a conversation with Codex, which has its MCP servers a while after its first answer; return its id."""
    reply = await host.call("send_message", agent="codex:agent", text="#ready", wait_seconds=25)
    while "I am ready." not in reply.text:
        own_id = reply["conversation_id"]
        reply = await host.call("send_message", conversation_id=own_id, text="#ready", wait_seconds=25)
    return reply["conversation_id"]


async def kill_servers(story: Story) -> None:
    """Kill the servers that hosts have started on the store, as `kill -9` does; the worker is none of them."""
    killed: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (process / "cmdline").read_bytes().decode().split("\0")
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if str(story.config) in line and "worker" not in line and parent == os.getpid():
                killed.append(int(process.name))
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)


async def test_two_agents_talk_and_a_person_decides(story: Story) -> None:
    (story.work / "a.txt").write_text("hi\n")
    async with story.host() as host:
        first = await story.call(
            host, "send_message", agent="claude:agent", text="What can go? #propose", wait_seconds=25
        )
        assert "delete it" in first.text
        asked = await story.call(
            host,
            "send_message",
            agent="codex:agent",
            text="Claude says: a.txt is not used any more: delete it. #deny",
            wait_seconds=25,
        )
        refused = await story.settle(host, asked, "reject")
        assert refused["status"] == "canceled"
        last = await story.call(
            host,
            "send_message",
            conversation_id=first["conversation_id"],
            text="Codex was not allowed to delete a.txt. #agree",
            wait_seconds=25,
        )
        assert "Then it stays." in last.text
    assert (story.work / "a.txt").exists()
    story.check("two-agents-talk", "Two agents talk, and a person decides")
