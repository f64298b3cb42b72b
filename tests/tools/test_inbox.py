"""What a host is told of conversations in which others write to it."""

import pytest

from tests.doubles.hosts import Connect, Host

pytestmark = pytest.mark.anyio

QUESTION = "Can you review the Acme draft before Friday?"


async def asked_by_alice(connect: Connect, alice: Host) -> str:
    """Have alice ask bob, and return the conversation."""
    async with connect(identity="bob") as bob:
        await bob.call("send_message", agent="local:archivist", text="help")  # registers the name
    sent = await alice.call("send_message", agent="local:bob", text=QUESTION, wait_seconds=0)
    return str(sent["conversation_id"])


async def test_whoever_is_asked_is_told_who_asks_what(connect_in_memory: Connect) -> None:
    """In the inbox, in the conversation, in the list of resources and in the events; also of what is added later."""
    async with connect_in_memory(identity="alice") as alice:
        own_id = await asked_by_alice(connect_in_memory, alice)
        await alice.call("add_message", conversation_id=own_id, text="Or on Monday.")
        async with connect_in_memory(identity="bob") as bob:
            (line,) = (await bob.call("list_conversations", awaiting_me=True))["conversations"]
            shown = await bob.call("get_conversation", conversation_id=own_id)
            resources = (await bob.client.list_resources()).resources
            events = await bob.call("stream_conversation", conversation_id=own_id, wait_seconds=0)

    assert line["asked"].startswith("local:alice asks: ")
    assert QUESTION in line["asked"]
    assert "local:alice asks" in shown["awaiting"]
    assert QUESTION in shown.text
    assert any(f"local:alice asks: “{QUESTION}”" in (each.description or "") for each in resources)
    assert QUESTION in events.text
    assert "Or on Monday." in events.text


async def test_a_conversation_without_a_title_goes_by_its_first_words(connect_in_memory: Connect) -> None:
    """Cut in a list; one with a title goes by that."""
    async with connect_in_memory() as host:
        await host.call("create_conversation", agent="local:archivist", title="Titled", message="find Acme")
        await host.call("send_message", agent="local:archivist", text="find Bolt" + " and others" * 20)
        listed = await host.call("list_conversations", sort="created_at")
        resources = (await host.client.list_resources()).resources

    untitled, titled = listed["conversations"]
    assert "title" not in untitled
    assert "find Bolt and others" in untitled["begins"]
    assert untitled["begins"].count("others") < 10
    assert "begins" not in titled
    assert "(no title)" not in listed.text
    assert any("find Bolt" in (each.title or "") for each in resources)


async def test_an_answer_is_not_shown_a_second_time_as_an_added_message(connect_in_memory: Connect) -> None:
    """It has streamed before."""
    async with connect_in_memory() as host:
        sent = await host.call("send_message", agent="local:archivist", text="remember these three words")
        events = await host.call(
            "stream_conversation", conversation_id=sent["conversation_id"], wait_seconds=0
        )

    assert events.text.count("Kept (") == 1
