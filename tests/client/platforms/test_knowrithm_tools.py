"""Knowrithm through our tools, over stdio, as a host uses it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client

from tests.client.platforms.knowrithm import SUPPORT, Place, placed
from tests.doubles.hosts import Host, Setup, stdio
from tests.doubles.knowrithm import AGENT, KEY, SECRET, refusal
from tests.doubles.network import answer, cut, lose

pytestmark = [pytest.mark.anyio, pytest.mark.io]

CREDENTIALS = f'api_key = "{KEY}"\napi_secret = "{SECRET}"'


@asynccontextmanager
async def host_at(place: Place, options: str = CREDENTIALS) -> AsyncGenerator[Host]:
    """Start our server with an instance there, and connect a host."""
    config = place.path.with_name("config.toml")
    config.write_text(
        f'[instances.knowrithm]\nplatform = "knowrithm"\nbase_url = "{place.url}"\n{options}\n'
        f'[instances.knowrithm.agents]\nsupport = "{AGENT}"\n'
    )
    setup = Setup(place.path, config, place.path.with_name("log"), {})
    async with stdio(setup) as server, Client(server, mode="2026-07-28") as client:
        yield Host(client, setup.store, setup.log)


async def test_a_host_talks_to_knowrithm_through_a_network_that_fails(tmp_path: Path) -> None:
    """A lost response, a broken stream, a busy server: one answer, told once."""
    async with placed(tmp_path) as place, host_at(place) as host:
        assert SUPPORT in (await host.call("list_agents")).text
        place.faults.plan("GET", "/stream", cut("heartbeat"))
        place.faults.plan("GET", "/messages", answer(429, refusal(), retry_after="0"))
        place.faults.plan("POST", "/chat", lose)
        whole = await host.call("send_message", agent=SUPPORT, text="What is it?")
        conversation_id = whole["conversation_id"]
        messages = await host.call("list_messages", conversation_id=conversation_id)
        listed = await host.call("list_conversations", instance="knowrithm")
        found = await host.call("search_conversations", query="said")
        figures = await host.call("get_analytics", conversation_id=conversation_id)
        deleted = await host.call("delete_conversation", conversation_id=conversation_id)
        gone = await host.fail("get_conversation", conversation_id=conversation_id)
        restored = await host.call("update_conversation", conversation_id=conversation_id, restore=True)

    assert whole["status"] == "completed"
    assert whole.text.count("You said: What is it?") == messages.text.count("You said: What is it?") == 1
    assert conversation_id in listed.text
    assert conversation_id in found.text
    assert conversation_id in deleted.text
    assert "no conversation" in gone.text
    assert "2 total" in figures.text
    assert conversation_id in restored.text
    assert place.double.posts("/chat") == 1


async def test_a_host_is_told_what_this_server_lacks_and_what_another_has(tmp_path: Path) -> None:
    """The older wire's calls are there or not."""
    async with placed(tmp_path) as place, host_at(place) as host:
        own_id = (await host.call("create_conversation", agent=SUPPORT, title="Plans"))["conversation_id"]
        refused = await host.fail("update_status", conversation_id=own_id, status="completed")
        place.double.older = True
        archived = await host.call("update_conversation", conversation_id=own_id, archived=True)

    assert "does not have end" in refused.text
    assert "completed" in archived.text


async def test_a_host_is_told_what_to_do_about_a_refusal(tmp_path: Path) -> None:
    """The run has failed, with a sentence that says it; key and secret are nowhere."""
    async with placed(tmp_path) as place, host_at(place) as host:
        place.faults.plan("POST", "/chat", answer(429, refusal("Slow down", "RATE_1"), retry_after="9"))
        refused = await host.call("send_message", agent=SUPPORT, text="hi")
        log = host.log.read_text()

    assert refused["status"] == "failed"
    assert "Slow down (RATE_1)" in refused.text
    assert "Wait 9 seconds" in refused.text
    for secret in (KEY, SECRET):
        assert secret not in refused.text + refused.json + log


async def test_a_host_is_told_what_an_instance_lacks(tmp_path: Path) -> None:
    """Before and when it tries."""
    unset = 'api_key_env = "UNSET_KEY"\napi_secret_env = "UNSET_SECRET"'
    async with placed(tmp_path) as place, host_at(place, unset) as host:
        agents = await host.call("list_agents")
        refused = await host.fail("send_message", agent=SUPPORT, text="hi")

    assert "Set UNSET_KEY in the environment" in agents.text
    assert "Set UNSET_KEY in the environment" in refused.text
    assert place.double.calls == []
