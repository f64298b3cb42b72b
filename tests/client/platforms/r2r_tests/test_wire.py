"""The double of R2R, and our adapter, beside the server code and the SDK of R2R itself."""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from tertulia import Client, ClientSettings, EventKind, InstanceSettings, MessageDraft, NewConversation
from tests.doubles.network import served
from tests.doubles.r2r import ADMIN, KEY, R2RDouble

ROOT = Path(__file__).resolve().parents[4]
PYTHON = ROOT / ".venv-r2r" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
"""Where R2R is installed, apart from what it would downgrade (requirements/r2r.in)."""
SECONDS = 90

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.io,
    pytest.mark.counterpart(name="r2r", apart=True),
    pytest.mark.skipif(
        sys.version_info >= (3, 13) or not PYTHON.exists(),
        reason="R2R is not set up: `python3 dev.py counterparts r2r` does, with a Python before 3.13",
    ),
]


@asynccontextmanager
async def the_real_one() -> AsyncGenerator[str]:
    """Serve R2R itself, in a process of its own; yield its address."""
    command = [str(PYTHON), "-m", "tests.doubles.r2r_real"]
    async with await anyio.open_process(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            port = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 100)
            yield f"http://127.0.0.1:{port.decode()}"
        finally:
            process.kill()


@asynccontextmanager
async def the_double() -> AsyncGenerator[str]:
    """Serve the double; yield its address."""
    async with served(R2RDouble(require_authentication=True, api_keys={KEY: ADMIN}).app) as url:
        yield url


SERVERS = (the_real_one, the_double)


async def test_the_vendors_sdk_finds_the_same_at_the_double_as_at_r2r_itself() -> None:
    """Every answer, refusal and stream is the same to the letter, but for ids and times."""
    found: list[Sequence[Any]] = []
    with anyio.fail_after(SECONDS):
        for serving in SERVERS:
            async with serving() as url:
                done = await anyio.run_process([str(PYTHON), "-m", "tests.doubles.r2r_sdk", url], cwd=ROOT)
                found.append(json.loads(done.stdout))
    real, ours = found
    assert len(real) == len(ours)
    for (step, told), (_, expected) in zip(ours, real, strict=True):
        assert told == expected, step


async def test_our_adapter_tells_the_same_of_the_double_as_of_r2r_itself(tmp_path: Path) -> None:
    """The journal, the outcome and the history of every kind of answer."""
    found: list[Sequence[Any]] = []
    with anyio.fail_after(SECONDS):
        for number, serving in enumerate(SERVERS):
            options = {"api_key": KEY}
            async with serving() as url:
                r2r = InstanceSettings(platform="r2r", options={**options, "base_url": url}, environment={})
                settings = ClientSettings(store=tmp_path / f"{number}.db", instances={"r2r": r2r})
                async with Client.open(settings) as talk:
                    found.append(
                        [await told_of(talk, text) for text in ("hello", "think", "tool", "boom", "empty")]
                    )
    assert found[0] == found[1]


async def told_of(talk: Client, text: str) -> Sequence[Any]:
    """Return what is told of an answer, without ids and with the pieces of text joined."""
    sent = await talk.runs.start(NewConversation(agent="r2r:rag"), MessageDraft(text=text))
    outcome = await talk.runs.wait(sent.run, timeout=SECONDS)
    history = (await talk.messages.list(sent.conversation.id)).items
    told: list[tuple[EventKind, Mapping[str, Any]]] = []
    for entry in (await talk.conversations.events(sent.conversation.id)).entries:
        data = {key: value for key, value in entry.data.items() if key != "message_id"}
        if told and told[-1][0] is entry.kind and "delta" in data:
            data["delta"] = told.pop()[1]["delta"] + data["delta"]
        for citation in data.get("citations", ()):
            citation["spans"] = sorted(citation["spans"], key=str)  # R2R keeps them in a set
        told.append((entry.kind, data))
    said = [(one.role, one.text, one.data) for one in history]
    return [told, outcome.run.status, outcome.run.error, outcome.reply, said]
