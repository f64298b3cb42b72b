"""AgentFlow through our tools, over stdio, as a host uses it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client

from tests.client.platforms.agentflow import MAIN, Place, placed
from tests.doubles.agentflow import TOKEN, AgentFlowDouble
from tests.doubles.agentflow_scripts import MAIL
from tests.doubles.hosts import Host, Setup, stdio
from tests.doubles.network import answer, cut, lose

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@asynccontextmanager
async def host_at(place: Place, options: str = f'token = "{TOKEN}"') -> AsyncGenerator[Host]:
    """Start our server with an instance there, and connect a host."""
    config = place.path.with_name("config.toml")
    config.write_text(f'[instances.agentflow]\nplatform = "agentflow"\nbase_url = "{place.url}"\n{options}\n')
    setup = Setup(place.path, config, place.path.with_name("log"), {})
    async with stdio(setup) as server, Client(server, mode="2026-07-28") as client:
        yield Host(client, setup.store, setup.log)


async def test_a_host_talks_to_agentflow_through_a_network_that_fails(tmp_path: Path) -> None:
    """A stream cut in an event, a busy server, a lost response: each answer once, without its sub-agents' words."""
    async with placed(tmp_path) as place, host_at(place) as host:
        agents = await host.call("list_agents")
        place.faults.plan("POST", "/chat", cut('"content": "Let '), lose)
        place.faults.plan("GET", "/watch", answer(503))
        whole = await host.call("send_message", agent=MAIN, text="nested please")
        conversation_id = whole["conversation_id"]
        again = await host.call("send_message", conversation_id=conversation_id, text="hello xylophone")
        messages = await host.call("list_messages", conversation_id=conversation_id)
        listed = await host.call("list_conversations", instance="agentflow", agent=MAIN)
        found = await host.call("search_conversations", query="xylophone")
        renamed = await host.call("update_conversation", conversation_id=conversation_id, title="Mine")
        await host.call("delete_conversation", conversation_id=conversation_id)

    assert MAIN in agents.text
    assert "generate_title" in agents.text
    assert (whole["status"], again["status"]) == ("completed", "completed")
    assert "Let me ask. It is there." in whole.text
    assert "Found it." not in messages.text
    assert messages.text.count("You said: hello xylophone") == 1
    assert conversation_id in listed.text
    assert conversation_id in found.text
    assert "Mine" in renamed.text
    assert (place.count("POST", "/chat"), place.double.conversations) == (2, {})


async def test_a_host_confirms_what_its_person_saw_with_other_arguments(tmp_path: Path) -> None:
    """And answers a question."""
    async with placed(tmp_path) as place, host_at(place) as host:
        asked = await host.call("send_message", agent=MAIN, text="approve it")
        (request,) = asked["pending"]
        changed = {**MAIL, "to": "legal@example.org"}
        done = await host.call(
            "confirm_tool", request_id=request["request_id"], decision="approve", arguments=changed
        )
        question = await host.call("send_message", agent=MAIN, text="ask me")
        (request,) = question["pending"]
        answered = await host.call(
            "confirm_tool", request_id=request["request_id"], decision="answer", answer="Q3"
        )

    assert (asked["status"], done["status"], answered["status"]) == (
        "input_required",
        "completed",
        "completed",
    )
    assert "send_mail" in asked.text
    assert "Which quarter?" in question.text
    assert place.double.decisions == [("approved", changed), ("answered", "Q3")]


async def test_a_host_is_told_what_a_deployment_lacks(tmp_path: Path) -> None:
    """By the call, its path, and the setting; from then on the agents do not offer it."""
    async with placed(tmp_path, AgentFlowDouble(lacks=["delete"])) as place, host_at(place) as host:
        place.double.add(1)
        before = await host.call("list_agents", instance="agentflow")
        refused = await host.fail("delete_conversation", conversation_id="agentflow:conv_1")
        after = await host.call("list_agents", instance="agentflow")
        log = host.log.read_text()

    assert "does not have `delete` at DELETE /api/v1/conversations/{conversation_id}" in refused.text
    assert "`paths.delete`" in refused.text
    assert "delete" in before.text
    assert "delete" not in after.text
    assert TOKEN not in refused.text + refused.json + log


async def test_a_host_is_told_what_an_instance_lacks(tmp_path: Path) -> None:
    """Before and when it tries."""
    async with placed(tmp_path) as place, host_at(place, 'token_env = "UNSET"') as host:
        agents = await host.call("list_agents")
        refused = await host.fail("send_message", agent=MAIN, text="hi")

    assert "not available: Set `token` (or AGENTFLOW_TOKEN)" in agents.text
    assert "does not accept the credentials" in refused.text
