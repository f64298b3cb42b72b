"""Real agent programs, from npm, with a scripted model: what the double is held against.

Each of them is taken through a prompt, an approval, a refusal, a cancellation and a failure of its model; then its
worker ends while an approval is open, and another finds the session again. What is typed into the plain programs of two
of them is synced and continued.
"""

import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from tertulia import (
    Client,
    ClientSettings,
    ConversationQuery,
    Decision,
    EventKind,
    InstanceSettings,
    MessageDraft,
    NewConversation,
    RunResult,
    RunStatus,
    Settlement,
)
from tertulia.runs.runner import Worker
from tests.doubles import model

ROOT = Path(__file__).resolve().parents[3]
MODULES = ROOT / ".agents" / "node_modules"
"""Where `dev.py counterparts acp` installs the programs."""
SECONDS = 240

pytestmark = [pytest.mark.anyio, pytest.mark.io, pytest.mark.counterpart(name="acp", apart=True)]


def claude(home: Path, url: str) -> Mapping[str, str]:
    return {
        "ANTHROPIC_API_KEY": "dummy",
        "ANTHROPIC_BASE_URL": url,
        "CLAUDE_CONFIG_DIR": str(home / "claude"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }


def codex(home: Path, url: str) -> Mapping[str, str]:
    (home / "config.toml").write_text(
        f"""model = "gpt-5.2-codex"
model_provider = "scripted"
sandbox_mode = "read-only"
approval_policy = "on-request"
[model_providers.scripted]
name = "scripted"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "SCRIPTED_KEY"
"""
    )
    return {"CODEX_HOME": str(home), "SCRIPTED_KEY": "dummy"}


def gemini(home: Path, url: str) -> Mapping[str, str]:
    (home / ".gemini").mkdir()
    settings = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
    (home / ".gemini" / "settings.json").write_text(json.dumps(settings))
    return {
        "GEMINI_API_KEY": "dummy",
        "GOOGLE_GEMINI_BASE_URL": url,
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
    }


@dataclass(frozen=True)
class Program:
    """A program and what is its own."""

    name: str
    executable: str
    prepare: Callable[[Path, str], Mapping[str, str]]
    refused: RunStatus = RunStatus.COMPLETED
    """How a run ends whose tool was refused."""
    shows_failure: str = "scripted error"
    plain: Sequence[str] = ()
    """How its plain program is asked something, which ends with the answer."""
    transcripts: str = ""
    """Where that keeps its transcripts, in the home folder."""


PROGRAMS = [
    Program(
        "claude",
        "claude-agent-acp",
        claude,
        plain=[str(next(MODULES.glob("@anthropic-ai/claude-agent-sdk-*/claude"), "claude")), "--print"],
        transcripts="claude/projects",
    ),
    Program(
        "codex",
        "codex-acp",
        codex,
        refused=RunStatus.CANCELED,
        plain=[str(MODULES / ".bin" / "codex"), "exec", "--skip-git-repo-check"],
        transcripts="sessions",
    ),
    Program("gemini", "gemini", gemini),
]


@asynccontextmanager
async def scripted_model() -> AsyncGenerator[str]:
    """Serve the model; give its address."""
    async with await anyio.open_process([sys.executable, model.__file__], stderr=None) as process:
        assert process.stdout is not None
        try:
            port = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 64)
            yield f"http://127.0.0.1:{port.decode()}"
        finally:
            process.kill()


@dataclass
class Talk:
    """A conversation with a program."""

    client: Client
    conversation_id: str

    async def say(self, text: str, *, seconds: float = 60) -> RunResult:
        """Send a message; return what came of it, once it ended or asks."""
        sent = await self.client.runs.send(self.conversation_id, text)
        return await self.client.runs.wait(sent.run, timeout=seconds)

    async def decide(self, outcome: RunResult, decision: Decision) -> RunResult:
        """Decide what a run asks; return what came of it."""
        (request,) = outcome.pending
        run = await self.client.runs.respond(request.id, Settlement(decision=decision))
        return await self.client.runs.wait(run, timeout=60)


@dataclass(frozen=True)
class Place:
    """Where a program lives, works, and is configured."""

    home: Path
    work: Path
    env: Mapping[str, str]
    settings: ClientSettings


@asynccontextmanager
async def placed(tmp_path: Path, program: Program) -> AsyncGenerator[Place]:
    """Give a place for a program, whose model is scripted; the test has a while to be done."""
    if not (MODULES / ".bin" / program.executable).exists():
        pytest.skip(f"{program.name} is not installed: `python3 dev.py counterparts acp` does, where it can")
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    path = os.pathsep.join([str(MODULES / "node" / "bin"), str(MODULES / ".bin"), "/usr/bin", "/bin"])
    with anyio.fail_after(SECONDS):
        async with scripted_model() as url:
            env = {"PATH": path, "HOME": str(home), **program.prepare(home, url)}
            options = {"agent": program.name, "folders": [str(work)], "env": env}
            instance = InstanceSettings(platform="acp", options=options, environment={})
            settings = ClientSettings(store=tmp_path / "store.db", instances={program.name: instance})
            yield Place(home, work, env, settings)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
async def test_a_program_does_what_its_double_does(tmp_path: Path, program: Program) -> None:
    async with placed(tmp_path, program) as place:
        async with Client.open(place.settings, worker=Worker()) as client:
            new = NewConversation(agent=f"{program.name}:agent")
            sent = await client.runs.start(new, MessageDraft(text="say hello #hello"))
            outcome = await client.runs.wait(sent.run, timeout=90)
            assert outcome.reply == "Hello from the scripted model.", outcome.run.error
            talk = Talk(client, sent.conversation.id)
            await approved_and_refused(talk, program, place.work)
            await canceled_and_failed(talk, program)
            left = await talk.say("write again #write")
            assert left.pending
        async with Client.open(place.settings, worker=Worker()) as client:
            with anyio.move_on_after(100):
                await client.work(idle=2)
            found = await client.runs.result(await client.runs.get(left.run.id))
            assert found.run.status is RunStatus.INTERRUPTED
            assert "lost with it" in (found.run.error or "")
            shown = "What its session has of the answer is shown" in (found.run.error or "")
            assert shown or (
                program.name == "gemini" and "before it wrote that down" in (found.run.error or "")
            )
            outcome = await Talk(client, sent.conversation.id).say("again #again", seconds=90)
            assert outcome.reply == "I still remember.", outcome.run.error


@pytest.mark.parametrize("program", [one for one in PROGRAMS if one.plain], ids=lambda program: program.name)
async def test_what_is_typed_into_a_plain_program_is_synced_and_continued(
    tmp_path: Path, program: Program
) -> None:
    async with placed(tmp_path, program) as place:
        await anyio.run_process([*program.plain, "say hello #hello"], cwd=place.work, env=place.env)
        transcripts = place.home / program.transcripts
        async with Client.open(place.settings, worker=Worker()) as client:
            assert (await client.history.import_files([transcripts])).new == 1
            (imported,) = (await client.conversations.list(ConversationQuery())).items
            own_id = f"{program.name}:{imported.source_ref}"
            for _ in range(2):
                summary = await client.search.sync(program.name)
                assert (summary.conversations, summary.gone, summary.failed) == (1, 0, 0)
                known = (await client.conversations.list(ConversationQuery())).items
                assert [one.id for one in known] == [own_id]
                said = [one.text for one in (await client.messages.list(own_id)).items]
                assert said == ["say hello #hello", "Hello from the scripted model."]
            outcome = await Talk(client, own_id).say("again #again", seconds=90)
            assert outcome.reply == "I still remember.", outcome.run.error
            await client.search.sync(program.name)
            assert (await client.history.import_files([transcripts])).new == 0
            said = [one.text for one in (await client.messages.list(own_id)).items]
            assert said[2:] == ["again #again", "I still remember."]


async def approved_and_refused(talk: Talk, program: Program, work: Path) -> None:
    """Have a command approved, which runs then, and one refused, which does not."""
    asked = await talk.say("write a file #write")
    assert not (work / "a.txt").exists()
    (request,) = asked.pending
    assert model.WRITE in str(request.arguments)
    outcome = await talk.decide(asked, Decision.APPROVE)
    assert outcome.reply == "I will run a command.\n\nThe file is written."
    assert (work / "a.txt").exists()
    outcome = await talk.decide(await talk.say("delete it #deny"), Decision.REJECT)
    assert outcome.run.status is program.refused
    assert (work / "a.txt").exists()


async def canceled_and_failed(talk: Talk, program: Program) -> None:
    """Cancel a long answer, after which the program goes on; have its model fail, which is told."""
    sent = await talk.client.runs.send(talk.conversation_id, "count #slow")
    async for entries in talk.client.runs.follow(sent.run):
        if any(entry.kind is EventKind.TEXT_MESSAGE_CONTENT for entry in entries):
            break
    assert (await talk.client.runs.cancel(talk.conversation_id)).status is RunStatus.CANCELED
    outcome = await talk.say("fail please #fail")
    assert outcome.run.status is RunStatus.FAILED
    assert program.shows_failure in (outcome.run.error or "")
