"""The double, and our adapter, beside the servers of a2a-sdk itself: 1.x, and 0.3."""

import subprocess
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from tertulia import (
    Client,
    ClientSettings,
    Decision,
    EventKind,
    InstanceSettings,
    MessageDraft,
    NewConversation,
    RunStatus,
    Settlement,
)
from tests.client.platforms.a2a import AGENT, journal, of, until_told
from tests.doubles.a2a import A2ADouble
from tests.doubles.network import Faults, served
from tests.support.counterparts import ROOT, marks, program

SECONDS = 60

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@dataclass(frozen=True)
class Server:
    """An agent at `url`; `release` lets what holds go on."""

    url: str
    release: Callable[[], Coroutine[Any, Any, object]]


@asynccontextmanager
async def the_real_one(name: str, *module: str) -> AsyncGenerator[Server]:
    """Serve an agent on a2a-sdk, or what a program serves, in a process of its own."""
    command = [str(program(name)), "-m", *(module or ["tests.doubles.a2a_real"])]
    async with await anyio.open_process(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            port = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 100)
            url = f"http://127.0.0.1:{port.decode()}"
            async with httpx.AsyncClient() as http:
                while True:
                    try:
                        await http.get(f"{url}/.well-known/agent-card.json")
                        break
                    except httpx.ConnectError:
                        await anyio.lowlevel.checkpoint()
                yield Server(url, lambda: http.post(f"{url}/release"))
        finally:
            process.kill()


@asynccontextmanager
async def the_double(*, old: bool) -> AsyncGenerator[Server]:
    """Serve the double."""
    double = A2ADouble(old=old)

    async def release() -> None:
        double.release()

    async with served(Faults(double.app)) as url:
        yield Server(url, release)


def real(name: str, *module: str) -> Any:
    """Return a real server, as a parameter of a test."""
    return pytest.param(lambda: the_real_one(name, *module), id=name, marks=marks(name))


SERVERS = [
    pytest.param(lambda: the_double(old=False), id="double-1.0"),
    pytest.param(lambda: the_double(old=True), id="double-0.3"),
    real("a2a"),
    real("a2a03"),
]


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest) -> AsyncGenerator[Server]:
    """Return each server."""
    opened: Callable[[], AbstractAsyncContextManager[Server]] = request.param
    with anyio.fail_after(SECONDS):
        async with opened() as server:
            yield server


@asynccontextmanager
async def connected(server: Server, path: Path) -> AsyncGenerator[Client]:
    """Open a client, as a process does."""
    instance = InstanceSettings(platform="a2a", options={"card": server.url}, environment={})
    async with Client.open(ClientSettings(store=path / "store.db", instances={"helper": instance})) as client:
        yield client


async def test_answers_are_the_same_on_every_server(server: Server, tmp_path: Path) -> None:
    """Text, in pieces and paragraphs; data and files; failures; with and without a task."""
    async with connected(server, tmp_path) as client:
        found: dict[str, Any] = {}
        steps: list[str] = []
        for text in (
            "hello there",
            "direct",
            "work",
            "two",
            "replace",
            "data",
            "files",
            "status",
            "fail",
            "reject",
        ):
            sent = await client.runs.start(NewConversation(agent=AGENT), MessageDraft(text=text))
            outcome = await client.runs.wait(sent.run, timeout=SECONDS)
            files = (outcome.data or {}).get("files", [])
            found[text] = (outcome.run.status.value, outcome.run.error or outcome.reply, len(files))
            if text == "work":
                steps = [step["name"] for step in of(await journal(client, sent), EventKind.STEP_STARTED)]

    assert found == {
        "hello there": ("completed", "You said: hello there", 0),
        "direct": ("completed", "At your service.", 0),
        "work": ("completed", "Take the train.", 0),
        "two": ("completed", "First part.\n\nSecond part.\n\nThat is all.", 0),
        "replace": ("completed", "The final text.", 0),
        "data": ("completed", "", 0),
        "files": ("completed", "Your report.", 2),
        "status": ("completed", "Said at the end only.", 0),
        "fail": (
            "failed",
            "A2A agent helper failed over the message. It says: “The model is overloaded.”.",
            0,
        ),
        "reject": ("failed", "A2A agent helper rejected the message. It says: “Not in my field.”.", 0),
    }
    assert steps == ["Searching flights", "Comparing prices"]


@pytest.mark.parametrize(
    ("text", "settlement", "reply"),
    [
        ("ask", Settlement(decision=Decision.ANSWER, answer="Q3"), "Thank you for Q3."),
        ("authorize", Settlement(decision=Decision.APPROVE), "You are signed in."),
    ],
)
async def test_what_a_task_waits_for_is_answered(
    server: Server, tmp_path: Path, text: str, settlement: Settlement, reply: str
) -> None:
    """In the same task, by another process."""
    async with connected(server, tmp_path) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), MessageDraft(text=text))
        (request,) = (await client.runs.wait(sent.run, timeout=SECONDS)).pending
    async with connected(server, tmp_path) as client:
        await client.runs.respond(request.id, settlement)
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == reply
        again = await client.runs.send(sent.conversation.id, "hello")
        assert (await client.runs.wait(again.run, timeout=SECONDS)).reply == "You said: hello"


async def test_an_answer_is_found_again(server: Server, tmp_path: Path) -> None:
    """After the process that began it is gone."""
    async with connected(server, tmp_path) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), MessageDraft(text="hold"))
        await until_told(client, sent, "see.")
    async with connected(server, tmp_path) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.release)
            await client.runs.wait(sent.run, timeout=SECONDS)
        assert (await client.runs.result(sent.run)).reply == "Let me see. There it is."


async def test_a_task_is_stopped(server: Server, tmp_path: Path) -> None:
    """At the agent."""
    async with connected(server, tmp_path) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), MessageDraft(text="hold"))
        await until_told(client, sent, "see.")
        assert (await client.runs.cancel(sent.conversation.id)).status is RunStatus.CANCELED


async def test_messages_are_those_that_were_said(server: Server, tmp_path: Path) -> None:
    """Each once, whether or not the agent lists its tasks too; not what it said while it worked."""
    async with connected(server, tmp_path) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), MessageDraft(text="work"))
        await client.runs.wait(sent.run, timeout=SECONDS)
        page = await client.messages.list(sent.conversation.id)

    assert [message.text for message in page.items] == ["work", "Take the train."]


@pytest.mark.parametrize(
    "opened", [real(name, "tests.doubles.a2a_frameworks", name) for name in ("adk", "fasta2a")]
)
async def test_agents_of_frameworks_hold_conversations(
    opened: Callable[[], AbstractAsyncContextManager[Server]], tmp_path: Path
) -> None:
    """They know what was said before in the conversation."""
    with anyio.fail_after(SECONDS):
        async with opened() as server, connected(server, tmp_path) as client:
            sent = await client.runs.start(NewConversation(agent=AGENT), MessageDraft(text="hello"))
            assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "You said: hello (1)"
            again = await client.runs.send(sent.conversation.id, "and now?")
            assert (await client.runs.wait(again.run, timeout=SECONDS)).reply == "You said: and now? (2)"
            page = await client.messages.list(sent.conversation.id)

    assert [message.text for message in page.items] == [
        "hello",
        "You said: hello (1)",
        "and now?",
        "You said: and now? (2)",
    ]
