"""Changing conversations and messages through the tools: what a model passes, and what it reads then."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.hosts import Connect, Host, Reply
from tests.doubles.stage import ACTOR

pytestmark = pytest.mark.anyio


async def begun(host: Host, **arguments: Any) -> str:
    """Return the id of a conversation with a question and an answer."""
    return str(
        (await host.call("create_conversation", agent=ACTOR, message="Hello", **arguments))["conversation_id"]
    )


async def texts(host: Host, conversation_id: str, **arguments: Any) -> list[str]:
    """Return what is said on a branch, without the marks."""
    page = await host.call("list_messages", conversation_id=conversation_id, **arguments)
    return [message["text"].partition(">")[2].rpartition("<")[0] for message in page["messages"]]


async def test_a_branch_is_begun_read_gone_on_with_and_removed(connect_in_memory: Connect) -> None:
    """By the ids that the results give."""
    async with connect_in_memory() as host:
        own_id = await begun(host)
        first = (await host.call("list_messages", conversation_id=own_id))["messages"][0]["message_id"]
        changed = await host.call("update_message", conversation_id=own_id, message_id=first, text="Good day")
        await host.call("send_message", conversation_id=own_id, text="And?")
        shown = await host.call("get_conversation", conversation_id=own_id, include=["branches"])
        main, other = (branch.split(",")[0] for branch in shown["branches"])
        assert changed["branch"] == other
        assert await texts(host, own_id) == ["Good day", "And?", "You said: And?"]
        assert await texts(host, own_id, branch=main) == ["Hello", "You said: Hello"]

        gone = await host.call("delete_conversation", conversation_id=own_id, branch=main)
        assert main in gone.text
        left = await host.fail("list_messages", conversation_id=own_id, branch=main)
        assert left["valid"] == [other]


async def test_what_is_left_out_of_participants_and_branches_is_said_beside_requests(
    connect_in_memory: Connect, tmp_path: Path
) -> None:
    """Each section that is included adds its note."""
    many = 25
    guests = [f"guest{number}" for number in range(many)]
    config = tmp_path / "mailboxes.toml"
    config.write_text(f'[instances.local]\nplatform = "local"\nmailboxes = {json.dumps(guests)}\n')
    async with connect_in_memory(identity="ana", config=str(config)) as host:
        created = await host.call("create_conversation", agent="local:archivist", message="help")
        own_id = created["conversation_id"]
        first = (await host.call("list_messages", conversation_id=own_id))["messages"][0]["message_id"]
        for number in range(many):
            await host.call(
                "update_message", conversation_id=own_id, message_id=first, text=f"Hello {number}"
            )
        await host.call(
            "update_conversation",
            conversation_id=own_id,
            participants={f"local:{guest}": "observer" for guest in guests},
        )
        shown = await host.call(
            "get_conversation", conversation_id=own_id, include=["participants", "branches", "requests"]
        )

    assert len(shown["participants"]) == len(shown["branches"]) == 20
    assert shown["note"] == "7 participants are not shown. 6 older branches are not shown."


async def test_participants_come_and_go_by_their_addresses(connect_in_memory: Connect) -> None:
    """With a role, or with none."""
    async with connect_in_memory(identity="ana") as host:
        own_id = await begun(host)
        invited = await host.call(
            "update_conversation", conversation_id=own_id, participants={"user": "observer"}
        )
        assert any("user" in each and "(observer)" in each for each in invited["participants"])
        left = await host.call("update_conversation", conversation_id=own_id, participants={"user": "none"})
        assert len(left["participants"]) == 2
        refused = await host.fail(
            "update_conversation", conversation_id=own_id, participants={"user": "boss"}
        )
        assert "'observer', 'mediator' or 'none'" in refused["message"]


async def test_a_title_is_made_of_what_was_said(connect_in_memory: Connect) -> None:
    """It stays once it is there, unless another is asked for by force."""
    async with connect_in_memory() as host:
        own_id = await begun(host)

        async def titled(**arguments: Any) -> str:
            return str(
                (
                    await host.call(
                        "update_conversation", conversation_id=own_id, generate_title=True, **arguments
                    )
                )["title"]
            )

        first = await titled(seed_message="What does our Q3 pipeline look like?")
        assert "Q3 pipeline" in first
        assert "Q3 pipeline" in await titled(seed_message="Renewal of the Acme contract")
        assert "Acme" in await titled(seed_message="Renewal of the Acme contract", force=True)
        refused = await host.fail("update_conversation", conversation_id=own_id, force=True)
        assert refused["valid"] == ["generate_title"]


async def test_several_changes_in_one_call_are_made_once_each(connect_in_memory: Connect) -> None:
    """Repeated with its key, the call does nothing more; the key of another call is a conflict."""
    async with connect_in_memory() as host:
        own_id = await begun(host)
        change: dict[str, Any] = {
            "conversation_id": own_id,
            "metadata": {"team": "sales"},
            "generate_title": True,
            "idempotency_key": "k1",
        }
        first = await host.call("update_conversation", **change)
        await host.call("update_conversation", conversation_id=own_id, title="Mine")
        again = await host.call("update_conversation", **change)
        assert "Mine" in again["title"]
        assert first["metadata"].partition(">")[2] != ""
        other = await host.fail("update_conversation", **{**change, "metadata": {"team": "legal"}})
        assert other["error"] == "conflict"


async def test_lists_and_figures_take_the_same_filters(connect_in_memory: Connect) -> None:
    """What is created with a source and an entity type is found by them, and counted."""
    async with connect_in_memory() as host:
        own_id = await begun(host, entity_type="lead", source="website", source_ref="t-1", metadata={"a": 1})
        await begun(host, source="phone")

        async def found(**filters: Any) -> Reply:
            return await host.call("list_conversations", **filters)

        for filters in (
            {"source": "website"},
            {"exclude_source": "phone"},
            {"source_ref": "t-1"},
            {"entity_type": "lead"},
            {"metadata": {"a": 1}},
            {"ids": [own_id]},
        ):
            listed = await found(**filters)
            assert [each["conversation_id"] for each in listed["conversations"]] == [own_id], filters
            assert listed["total"] == 1
        assert (await found(created_before="2020-01-01"))["conversations"] == []
        assert (await found(created_after="2020-01-01"))["total"] == 2
        counted = await host.call("get_analytics", source="website")
        assert (counted["conversations"], counted["messages"]) == (1, {"assistant": 1, "user": 1})
        both = await host.fail("get_analytics", source="website", conversation_id=own_id)
        assert "Give either" in both["message"]


async def test_a_page_of_messages_is_as_long_as_there_is_room_and_says_what_is_left(
    connect_in_memory: Connect,
) -> None:
    """Two hundred short messages were ten calls, none of which said how many were to come."""
    async with connect_in_memory() as host:
        own_id = (await host.call("create_conversation", agent=ACTOR))["conversation_id"]
        for number in range(70):
            await host.call("add_message", conversation_id=own_id, text=f"Message {number}.")
        first = await host.call("list_messages", conversation_id=own_id)
        second = await host.call("list_messages", conversation_id=own_id, cursor=first["next_cursor"])

    left = 70 - len(first["messages"])
    assert 20 < len(first["messages"]) < 70
    assert first["note"] == f"{left} messages more: read on with the cursor."
    assert first["note"] in first.text
    texts = [message["text"] for page in (first, second) for message in page["messages"]]
    assert len(texts) == len(set(texts)) > len(first["messages"])


async def test_after_an_edit_the_list_says_that_another_branch_has_the_rest(
    connect_in_memory: Connect,
) -> None:
    """It would look as if the history were gone."""
    async with connect_in_memory() as host:
        own_id = (await host.call("send_message", agent=ACTOR, text="First."))["conversation_id"]
        listed = await host.call("list_messages", conversation_id=own_id)
        message_id = listed["messages"][0]["message_id"]
        await host.call("update_message", conversation_id=own_id, message_id=message_id, text="Anew.")
        edited = await host.call("list_messages", conversation_id=own_id)

    assert "note" not in listed.data
    assert edited["note"].startswith("It has 2 branches (main, b_")
    assert "list_messages with branch reads another" in edited["note"]
