"""R2R through our tools, over stdio, as a host uses it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from mcp import Client

from tests.doubles.hosts import Host, Setup, stdio
from tests.doubles.network import Faults, cut, served
from tests.doubles.r2r import FACT, OTHER_FACT, R2RDouble

SECONDS = 60
AGENT = "/retrieval/agent"

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@asynccontextmanager
async def host_at(folder: Path, url: str) -> AsyncGenerator[Host]:
    """Start our server with an instance there, and connect a host."""
    config = folder / "config.toml"
    config.write_text(f'[instances.r2r]\nplatform = "r2r"\nbase_url = "{url}"\n')
    setup = Setup(folder / "store.db", config, folder / "log", {})
    async with stdio(setup) as server, Client(server, mode="2026-07-28") as client:
        yield Host(client, setup.store, setup.log)


async def test_a_host_talks_to_r2r_through_a_network_that_fails(tmp_path: Path) -> None:
    double = R2RDouble()
    network = Faults(double.app)
    with anyio.fail_after(SECONDS):
        async with served(network) as url, host_at(tmp_path, url) as host:
            agents = await host.call("list_agents", instance="r2r")
            assert "r2r:rag" in agents.text
            network.plan("POST", AGENT, cut('"value": "said'))
            lost = await host.call("send_message", agent="r2r:rag", text="hello")
            assert lost["status"] == "interrupted"
            assert "list_messages shows whether the answer came all the same" in lost.text
            conversation_id = lost["conversation_id"]
            whole = await host.call("send_message", conversation_id=conversation_id, text="hello again")
            assert whole["status"] == "completed"
            assert "You said: hello again (turn 2)." in whole.text
            failed = await host.call("send_message", conversation_id=conversation_id, text="boom")
            assert failed["status"] == "failed"
            assert "sk-123" not in failed.text + failed.json + host.log.read_text()
            messages = await host.call("list_messages", conversation_id=conversation_id)
            assert messages.text.count("boom") == 1
            renamed = await host.call("update_conversation", conversation_id=conversation_id, title="Neu")
            assert "Neu" in renamed.text
            await host.call("delete_conversation", conversation_id=conversation_id)
    assert double.memory.conversations == {}


async def test_a_host_reads_the_sources_below_an_answer(tmp_path: Path) -> None:
    double = R2RDouble()
    with anyio.fail_after(SECONDS):
        async with served(double.app) as url, host_at(tmp_path, url) as host:
            answered = await host.call("send_message", agent="r2r:rag", text="tool please")
            listed = await host.call("list_messages", conversation_id=answered["conversation_id"])
            about = {"conversation_id": answered["conversation_id"], "agent": "r2r:research"}
            searched = await host.call("send_message", **about, text="hello")
            assert searched["status"] == "completed"
            wrong = await host.fail("send_message", **about | {"agent": "r2r:reserch"}, text="hello")
            assert "Did you mean r2r:research?" in wrong.text
    sources = f"Sources:\n[{FACT[:7]}] facts: A fact.\n[{OTHER_FACT[:7]}] facts: A fact."
    assert sources in answered.text
    assert sources in answered["reply"]
    assert sources in listed.text
    assert "reply_data" not in answered.data
    assert [body["mode"] for body in double.bodies] == ["rag", "research"]


async def test_a_host_cancels_an_answer_of_r2rs(tmp_path: Path) -> None:
    double = R2RDouble()
    with anyio.fail_after(SECONDS):
        async with served(double.app) as url, host_at(tmp_path, url) as host:
            begun = await host.call("send_message", agent="r2r:research", text="hold", wait_seconds=0)
            while "One " not in begun.text:
                begun = await host.call(
                    "stream_conversation", conversation_id=begun["conversation_id"], wait_seconds=1
                )
            canceled = await host.call("cancel_run", conversation_id=begun["conversation_id"])
            assert canceled["status"] == "canceled"
            await double.left.wait()
