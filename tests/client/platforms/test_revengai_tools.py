"""RevEng.AI through our tools, over stdio, as a host uses it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client

from tests.client.platforms.revengai import ASSISTANT, Place, placed
from tests.doubles.hosts import Host, Setup, stdio
from tests.doubles.network import answer, cut, lose
from tests.doubles.revengai import KEY, refusal

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@asynccontextmanager
async def host_at(place: Place, options: str = f'api_key = "{KEY}"') -> AsyncGenerator[Host]:
    """Start our server with an instance there, and connect a host."""
    config = place.path.with_name("config.toml")
    config.write_text(f'[instances.revengai]\nplatform = "revengai"\nbase_url = "{place.url}"\n{options}\n')
    setup = Setup(place.path, config, place.path.with_name("log"), {})
    async with stdio(setup) as server, Client(server, mode="2026-07-28") as client:
        yield Host(client, setup.store, setup.log)


async def test_a_host_talks_to_revengai_through_a_network_that_fails(tmp_path: Path) -> None:
    """A lost response, a stream cut in an event, a busy server: one answer, told once."""
    async with placed(tmp_path) as place, host_at(place) as host:
        assert ASSISTANT in (await host.call("list_agents")).text
        place.faults.plan("POST", "/messages", lose)
        place.faults.plan("GET", "/events", answer(503), cut('"delta": "Fir'))
        whole = await host.call("send_message", agent=ASSISTANT, text="all")
        conversation_id = whole["conversation_id"]
        messages = await host.call("list_messages", conversation_id=conversation_id)
        listed = await host.call("list_conversations", instance="revengai")
        everywhere = await host.call("list_conversations")
        found = await host.call("search_conversations", query="last")
        renamed = await host.fail("update_conversation", conversation_id=conversation_id, title="Mine")

    assert whole["status"] == "completed"
    assert whole.text.count("First.") == messages.text.count("First.") == 1
    assert "All of it" in listed.text
    assert "note" not in listed.data
    assert "These may hold more: revengai" in everywhere["note"]
    assert conversation_id in found.text
    assert "It is offered by: local." in renamed.text
    assert place.posts("messages") == 1


async def test_a_host_confirms_what_its_person_saw(tmp_path: Path) -> None:
    """And is told when that was settled elsewhere meanwhile."""
    async with placed(tmp_path) as place, host_at(place) as host:
        asked = await host.call("send_message", agent=ASSISTANT, text="confirm")
        (request,) = asked["pending"]
        done = await host.call("confirm_tool", request_id=request["request_id"], decision="approve")
        again = await host.fail("confirm_tool", request_id=request["request_id"], decision="reject")

    assert (asked["status"], done["status"]) == ("input_required", "completed")
    assert "rename_function" in asked.text
    assert "That is settled." in done.text
    assert "was approved on" in again.text
    assert place.double.confirmed == [True]


async def test_a_host_is_told_what_to_do_about_a_refusal(tmp_path: Path) -> None:
    """The run has failed, with a sentence that says it; the key is nowhere."""
    async with placed(tmp_path) as place, host_at(place) as host:
        place.faults.plan("POST", "/messages", answer(402, refusal("INSUFFICIENT_CREDITS")))
        refused = await host.call("send_message", agent=ASSISTANT, text="hi")
        log = host.log.read_text()

    assert refused["status"] == "failed"
    assert "add credits to the account" in refused.text
    assert KEY not in refused.text + refused.json + log


async def test_a_host_is_told_what_an_instance_lacks(tmp_path: Path) -> None:
    """Before and when it tries."""
    async with placed(tmp_path) as place, host_at(place, 'api_key_env = "UNSET"') as host:
        agents = await host.call("list_agents")
        refused = await host.fail("send_message", agent=ASSISTANT, text="hi")

    assert "not available: Set UNSET in the environment, or `api_key`" in agents.text
    assert "Set UNSET in the environment" in refused.text
    assert place.double.calls == []
