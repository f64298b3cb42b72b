"""What hosts send for an argument that is left out, or in place of a list or an id, means what it is meant to mean."""

from typing import Any

import pytest

from tertulia_tools.registry import TOOLS
from tertulia_tools.uris import conversation_uri
from tests.doubles.hosts import Connect
from tests.doubles.stage import ACTOR

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("empty", [None, ""])
async def test_null_and_an_empty_text_leave_out_every_argument_that_may_be_left_out(
    connect_in_memory: Connect, empty: str | None
) -> None:
    """Hosts with strict schemas make every argument required, and models send one of these."""
    given: dict[str, dict[str, Any]] = {
        "create_conversation": {"agent": ACTOR, "message": "Hello."},
        "send_message": {"agent": ACTOR, "text": "Hello."},
        "search_conversations": {"query": "Hello"},
        "update_conversation": {"title": "Greetings"},
        "update_status": {"status": "open"},
        "add_message": {"text": "Hello."},
        "update_message": {"text": "Hello again."},
        "rate_message": {"rating": 5},
        "get_analytics": {},
        "list_conversations": {},
        "list_agents": {},
    }
    async with connect_in_memory() as host:
        for tool in TOOLS:
            if tool.name in {"confirm_tool", "cancel_run"}:
                continue  # they need a run; nothing in them reads an argument differently
            begun = await host.call("create_conversation", agent=ACTOR)
            own_id = begun["conversation_id"]
            added = await host.call("add_message", conversation_id=own_id, text="Hello.")
            ids = {"conversation_id": own_id, "message_id": added["message_id"]}
            properties = tool.tool.parameters["properties"]
            required = tool.tool.parameters.get("required", [])
            arguments = dict.fromkeys(properties, empty)
            arguments |= {name: ids[name] for name in required if name in ids} | given.get(tool.name, {})
            reply = await host.try_call(tool.name, **arguments)
            assert not reply.failed, (tool.name, reply.text)


async def test_inside_an_object_null_and_an_empty_text_keep_their_meaning(connect_in_memory: Connect) -> None:
    """There they are values: null removes a key."""
    async with connect_in_memory() as host:
        made = await host.call("create_conversation", agent=ACTOR, metadata={"a": "", "b": 1, "c": None})
        own_id = made["conversation_id"]
        before = await host.call("get_conversation", conversation_id=own_id)
        changed = await host.call("update_conversation", conversation_id=own_id, metadata={"b": None})

    assert '"a":""' in before["metadata"]
    assert '"a":""' in changed["metadata"]
    assert '"b"' not in changed["metadata"]


async def test_a_single_value_is_a_list_of_one(connect_in_memory: Connect) -> None:
    """Also where it is JSON in a text."""
    async with connect_in_memory() as host:
        own_id = (await host.call("send_message", agent=ACTOR, text="Hello."))["conversation_id"]
        one = await host.call("list_conversations", status="open", ids=own_id)
        text = await host.call("list_conversations", status='["open"]', ids=f'["{own_id}"]')
        shown = await host.call("get_conversation", conversation_id=own_id, include="messages")

    for listed in (one, text):
        assert [line["conversation_id"] for line in listed["conversations"]] == [own_id]
    assert len(shown["messages"]) == 2


async def test_the_uri_of_a_conversation_is_taken_for_its_id(connect_in_memory: Connect) -> None:
    """The instructions show such URIs."""
    async with connect_in_memory() as host:
        own_id = (await host.call("send_message", agent=ACTOR, text="Hello."))["conversation_id"]
        uri = conversation_uri(own_id)
        shown = await host.call("get_conversation", conversation_id=uri)
        sent = await host.call("send_message", conversation_id=uri, text="And?")
        listed = await host.call("list_conversations", ids=[uri])
        counted = await host.call("get_analytics", conversation_id=uri)

    assert shown["conversation_id"] == sent["conversation_id"] == counted["conversation_id"] == own_id
    assert [line["conversation_id"] for line in listed["conversations"]] == [own_id]
