"""Rine through our tools, over stdio, as a host uses it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client

from tests.client.platforms.rine import BOB, Place, placed
from tests.doubles.hosts import Host, Setup, stdio
from tests.doubles.network import lose
from tests.doubles.rine import RESPONSE, Spoiled

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@asynccontextmanager
async def host_at(place: Place, options: str = "") -> AsyncGenerator[Host]:
    """Start our server with an instance there, and connect a host."""
    place.path.parent.mkdir()
    config = place.path.with_name("config.toml")
    folder = place.double.folder
    config.write_text(
        f'[instances.rine]\nplatform = "rine"\nbase_url = "{place.url}"\nconfig_dir = "{folder}"\n{options}\n'
    )
    setup = Setup(place.path, config, place.path.with_name("log"), {})
    async with stdio(setup) as server, Client(server, mode="2026-07-28") as client:
        yield Host(client, setup.store, setup.log)


async def test_a_host_writes_to_an_agent_and_goes_on_with_it(tmp_path: Path) -> None:
    """Through a lost response; no secret is in what it sees or in the log."""
    async with (
        placed(tmp_path) as place,
        host_at(place, '[instances.rine.agents]\ndesk = "bob@beta"') as host,
    ):
        agents = await host.call("list_agents", instance="rine")
        place.faults.plan("POST", "/messages", lose)
        first = await host.call("send_message", agent="rine:desk", text="hello")
        own_id = first["conversation_id"]
        second = await host.call("send_message", conversation_id=own_id, text="and you?")
        history = await host.call("list_messages", conversation_id=own_id)
        log = host.log.read_text()

    assert "rine:desk" in agents.text
    assert "rine:name@organisation" in agents.text
    assert (first["status"], second["status"]) == ("completed", "completed")
    assert "You said: hello" in first.text
    assert history.text.count("verified") == 4
    assert len(place.double.conversations) == 1
    secrets = [place.double.alice.secret, *place.double.tokens]
    for told in (first.text, first.json, history.text, history.json, log):
        assert not any(secret in told for secret in secrets)
        assert not any(sealed.decode()[200:240] in told for sealed in place.sealed)


async def test_a_host_sees_what_awaits_it_and_that_the_list_is_ours(tmp_path: Path) -> None:
    """Until it has replied; a list says where it comes from."""
    async with placed(tmp_path) as place, host_at(place) as host:
        own_id = f"rine:{place.double.write({'text': 'Can you help?'}, sender=place.double.carol)}"
        listed = await host.call("list_conversations", instance="rine", awaiting_me=True)
        read = await host.call("list_messages", conversation_id=own_id)
        again = await host.call("list_conversations", instance="rine", awaiting_me=True)
        replied = await host.call("send_message", conversation_id=own_id, text="Yes", wait_seconds=1)
        none = await host.call("list_conversations", instance="rine", awaiting_me=True)
        refused = await host.fail("send_message", conversation_id=own_id, text="Still there?")

    assert own_id in listed.text
    assert own_id in again.text
    assert listed["note"] == "The platform of rine has no list: this is what is known here."
    assert "Can you help?" in read.text
    assert (replied["status"], none["conversations"]) == ("running", [])
    assert "has not answered the last message" in refused.text


async def test_a_host_is_told_what_was_not_shown_and_why(tmp_path: Path) -> None:
    """As part of the history, and as the end of a run."""
    async with placed(tmp_path) as place, host_at(place) as host:
        begun = await host.call("send_message", agent=BOB, text="hold", wait_seconds=0)
        own_id = begun["conversation_id"]
        native_id = own_id.partition(":")[2]
        place.double.write({"text": "Trust me"}, into=native_id, type=RESPONSE, spoiled=Spoiled.SIGNATURE)
        ended = await host.call("stream_conversation", conversation_id=own_id)
        history = await host.call("list_messages", conversation_id=own_id)

    assert "its signature is not of these words: nothing of it is shown" in ended.text
    assert '"verification":"invalid"' in history["messages"][-1]["metadata"]
    assert "Trust me" not in ended.text + history.text


async def test_a_host_is_told_what_is_not_offered_and_what_to_do_instead(tmp_path: Path) -> None:
    """A conversation is created by its first message."""
    async with placed(tmp_path) as place, host_at(place) as host:
        created = await host.fail("create_conversation", agent=BOB)
        begun = await host.call("create_conversation", agent=BOB, message="hello")
        deleted = await host.fail("delete_conversation", conversation_id=begun["conversation_id"])

    assert f"Send the first message: send_message with the agent {BOB}." in created.text
    assert "You said: hello" in begun.text
    assert "does not offer delete" in deleted.text
