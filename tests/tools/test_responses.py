"""What a model reads when a call succeeds: one response of each tool, stored in both forms, reviewed as text."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference

from tertulia_tools.registry import TOOLS
from tertulia_tools.uris import conversation_uri
from tests.doubles.hosts import Connect, Host, Reply
from tests.doubles.stage import ACTOR, script
from tests.tools import snapshot
from tests.tools.checks import assert_same_information

pytestmark = pytest.mark.anyio

TALE = script({"say": "Acme renews in May."})
CHANGE = script(
    {"think": "It has to go."},
    {"tool": "look_up", "arguments": {"name": "Acme"}, "result": {"found": 1}},
    {"ask": "delete_file", "arguments": {"path": "/tmp/acme"}, "prompt": "May I delete it?"},
    {"say": "Done."},
)


async def conversation(host: Host) -> str:
    """Return the id of a conversation with a title, metadata and an answer."""
    made = await host.call(
        "create_conversation", agent=ACTOR, title="Renewals", metadata={"team": "sales"}, message=TALE
    )
    return str(made["conversation_id"])


async def pending(host: Host) -> Reply:
    """Return the result of a message whose answer needs an approval."""
    return await host.call("send_message", agent=ACTOR, text=CHANGE)


async def list_agents(host: Host) -> Reply:
    return await host.call("list_agents", instance="stage")


async def create_conversation(host: Host) -> Reply:
    return await host.call("create_conversation", agent=ACTOR, title="Renewals", metadata={"team": "sales"})


async def send_message(host: Host) -> Reply:
    return await host.call("send_message", agent=ACTOR, text=TALE)


async def stream_conversation(host: Host) -> Reply:
    asked = await pending(host)
    return await host.call("stream_conversation", conversation_id=asked["conversation_id"])


async def confirm_tool(host: Host) -> Reply:
    (request,) = (await pending(host))["pending"]
    return await host.call(
        "confirm_tool", request_id=request["request_id"], decision="reject", reason="not now"
    )


async def cancel_run(host: Host) -> Reply:
    asked = await pending(host)
    return await host.call("cancel_run", conversation_id=asked["conversation_id"])


async def get_conversation(host: Host) -> Reply:
    asked = await pending(host)
    include = ["messages", "events", "requests", "participants", "branches"]
    return await host.call("get_conversation", conversation_id=asked["conversation_id"], include=include)


async def list_conversations(host: Host) -> Reply:
    await conversation(host)
    await pending(host)
    return await host.call("list_conversations", limit=1)


async def search_conversations(host: Host) -> Reply:
    await conversation(host)
    return await host.call("search_conversations", query="acme renews")


async def list_messages(host: Host) -> Reply:
    return await host.call("list_messages", conversation_id=await conversation(host), limit=1)


async def first_message(host: Host) -> tuple[str, str]:
    """Return a conversation, and its first message."""
    own_id = await conversation(host)
    page = await host.call("list_messages", conversation_id=own_id, limit=1)
    return own_id, str(page["messages"][0]["message_id"])


async def get_analytics(host: Host) -> Reply:
    return await host.call("get_analytics", conversation_id=(await conversation(host)))


async def add_message(host: Host) -> Reply:
    own_id = await conversation(host)
    note: Mapping[str, Any] = {"text": "They signed.", "role": "system", "data": {"on": "2026-05-02"}}
    return await host.call("add_message", conversation_id=own_id, metadata={"by": "Ana"}, **note)


async def update_message(host: Host) -> Reply:
    own_id, message_id = await first_message(host)
    return await host.call("update_message", conversation_id=own_id, message_id=message_id, text="And now?")


async def rate_message(host: Host) -> Reply:
    own_id, message_id = await first_message(host)
    rating: Mapping[str, Any] = {"rating": 4, "feedback": "Clear, but late."}
    return await host.call("rate_message", conversation_id=own_id, message_id=message_id, **rating)


async def update_conversation(host: Host) -> Reply:
    own_id = await conversation(host)
    changes: Mapping[str, Any] = {"title": "Acme", "metadata": {"team": None, "year": 2027}, "archived": True}
    return await host.call("update_conversation", conversation_id=own_id, **changes)


async def update_status(host: Host) -> Reply:
    ending: Mapping[str, Any] = {"status": "completed", "rating": 5, "feedback": "Just right."}
    return await host.call("update_status", conversation_id=await conversation(host), **ending)


async def delete_conversation(host: Host) -> Reply:
    return await host.call("delete_conversation", conversation_id=await conversation(host))


RESPONSES: Mapping[str, Callable[[Host], Awaitable[Reply]]] = {
    each.__name__: each
    for each in (
        *(list_agents, create_conversation, send_message, stream_conversation, confirm_tool, cancel_run),
        *(get_conversation, list_conversations, search_conversations, list_messages, get_analytics),
        *(add_message, update_message, rate_message),
        *(update_conversation, update_status, delete_conversation),
    )
}


@pytest.mark.parametrize("name", RESPONSES)
async def test_a_response_is_as_stored(connect_in_memory: Connect, name: str) -> None:
    """How a result reads is reviewed, and changes on purpose only; it is the same in both eras."""
    async with connect_in_memory() as host:
        reply = await RESPONSES[name](host)

    structured = json.dumps(reply.data, ensure_ascii=False, indent=2)
    snapshot.check(f"responses/{name}.txt", snapshot.stable(f"{reply.text}\n\n---\n\n{structured}\n"))


def test_every_tool_has_a_stored_response_and_no_other_is_stored() -> None:
    """Neither is a tool forgotten, nor does a response stay of one that is gone."""
    names = sorted(definition.name for definition in TOOLS)
    assert sorted(RESPONSES) == names
    assert sorted(path.stem for path in (snapshot.FOLDER / "responses").iterdir()) == names


async def test_every_tool_says_the_same_in_both_forms(connect: Connect) -> None:
    """Some hosts hand a model only the text, some only the structure."""
    async with connect() as host:
        for respond in RESPONSES.values():
            assert_same_information(await respond(host))


@pytest.mark.parametrize("name", ["send_message", "stream_conversation", "get_conversation", "list_messages"])
async def test_the_text_ends_with_what_was_asked_for(connect_in_memory: Connect, name: str) -> None:
    """Codex shows a person the last three lines of a result: not how a model goes on, but what was answered."""
    async with connect_in_memory() as host:
        reply = await RESPONSES[name](host)

    *_, last = reply.text.splitlines()
    assert reply.text.startswith(reply["untrusted"])
    assert not last.startswith(("Next: ", "Cursor: ", "More: "))


async def test_what_comes_next_names_no_tool_that_is_not_offered(connect_in_memory: Connect) -> None:
    """Nor does a person get to choose a prompt or an agent that would be refused."""
    async with connect_in_memory() as host:
        own_id = await conversation(host)
        gone = (await host.call("create_conversation", agent=ACTOR))["conversation_id"]
        await host.call("delete_conversation", conversation_id=gone)
    async with connect_in_memory(read_only=True) as host:
        listed = await host.call("list_agents")
        read = await host.call("stream_conversation", conversation_id=own_id)
        made = [
            await host.call("get_conversation", conversation_id=own_id),
            await host.fail("get_conversation", conversation_id=gone),
            await host.fail("list_conversations", instance="nowhere"),
        ]
        with pytest.raises(MCPError) as unread:
            await host.client.read_resource(conversation_uri(gone))
        with pytest.raises(MCPError, match="There is no prompt of that name"):
            await host.client.complete(
                PromptReference(type="ref/prompt", name="hand_over"), {"name": "agent", "value": ""}
            )

    said = [reply.text + reply.json for reply in (listed, read, *made)] + [str(unread.value)]
    hidden = re.compile(
        r"send_message|create_conversation|\bconfirm\b|cancel_run|delete_|edit_arguments|rate_message"
    )
    assert [found[0] for each in said if (found := hidden.search(each))] == []


async def test_nobody_is_offered_to_themselves(connect_in_memory: Connect) -> None:
    """Writing to oneself is refused."""
    async with connect_in_memory(identity="alice") as host:
        await host.call("send_message", agent=ACTOR, text="Hello.")
        listed = await host.call("list_agents")

    assert "local:alice" not in [agent["agent"] for agent in listed["agents"]]


async def test_a_search_finds_answers_and_not_the_questions_to_the_archivist(
    connect_in_memory: Connect,
) -> None:
    """Six of them crowded a note off the page; they are found by those who ask for them."""
    async with connect_in_memory() as host:
        made = await host.call("create_conversation", agent=ACTOR, title="Renewals")
        note = "Acme keeps 40,000 in May."
        await host.call("add_message", conversation_id=made["conversation_id"], text=note)
        for question in ("find Acme", "quote Acme", "what did Acme say?", "timeline Acme", "summarise Acme"):
            await host.call("send_message", agent="local:archivist", text=question)
        found = await host.call("search_conversations", query="Acme")
        asked = await host.call("search_conversations", query="Acme", archivist=True)

    assert [match["message_id"] is not None for match in found["matches"] if "40,000" in match["snippet"]]
    assert all("find Acme" not in match["snippet"] for match in found["matches"])
    assert {match.get("author") for match in found["matches"]} <= {"user", None}
    assert len(asked["matches"]) > len(found["matches"])
