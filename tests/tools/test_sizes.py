"""Results stay within 10,000 characters in both forms, and what was left out can be read in full."""

from pathlib import Path
from typing import Any

import pytest

from tertulia_tools.quotes import Quoter, fitting_length, json_size
from tests.doubles.hosts import Connect, Host
from tests.doubles.stage import ACTOR, script
from tests.tools.checks import assert_fits, assert_same_information, quoted

pytestmark = pytest.mark.anyio

ESCAPED = '"\\\n' * 30_000
"""Text of which JSON makes twice as many characters."""
LONG_TITLE = '"' * 200


async def fill(host: Host, count: int, **arguments: Any) -> list[str]:
    """Create conversations, and return their ids."""
    made = [await host.call("create_conversation", agent=ACTOR, **arguments) for _ in range(count)]
    return [str(each["conversation_id"]) for each in made]


async def test_a_short_answer_costs_180_characters_more_than_it_says(connect: Connect) -> None:
    """Its state, ids and cursor, the marks and what they mean."""
    async with connect() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script({"say": "It is written."}))

    assert sent["status"] == "completed"
    assert len(sent.text) - len("It is written.") <= 180


async def test_six_instances_are_listed_in_1500_characters(
    connect_in_memory: Connect, tmp_path: Path
) -> None:
    """With one of them, all is told of its agents, and what they offer."""
    config = tmp_path / "six.toml"
    config.write_text("".join(f'[instances.stage{number}]\nplatform = "stage"\n' for number in range(6)))
    async with connect_in_memory(config=config) as host:
        listed = await host.call("list_agents")
        one = await host.call("list_agents", instance="local")

    assert len(listed.text) <= 1_500
    assert "With an instance, list_agents says all" in listed["note"]
    assert "offers" not in listed.text
    assert "local offers" in one.text


LINES = "".join(f'{number:05} — «Ünïcödé» "and" \\ more.\n' for number in range(6_250))


async def test_a_reply_of_200000_characters_is_read_completely_through_list_messages(
    connect: Connect,
) -> None:
    """The cursors of the pages lead through one long message, character by character."""
    assert len(LINES) >= 200_000
    async with connect() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script({"say": LINES}))
        own_id = sent["conversation_id"]
        read: dict[str, str] = {}
        cursor: dict[str, str] = {}
        while True:
            page = await host.call("list_messages", conversation_id=own_id, **cursor)
            assert_fits(page)
            for message in page["messages"]:
                read[message["author"]] = read.get(message["author"], "") + quoted(message["text"])
            if "next_cursor" not in page.data:
                break
            cursor = {"cursor": page["next_cursor"]}

    assert_fits(sent)
    assert "list_messages" in sent["note"]
    assert read[ACTOR] == LINES
    assert read["user"] == script({"say": LINES})


async def test_a_reply_of_200000_characters_is_read_completely_through_stream_conversation(
    connect: Connect,
) -> None:
    """So do the cursors of the stream."""
    async with connect() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script({"say": LINES}))
        read, cursor, status = "", {}, ""
        while "run_finished" not in status:
            part = await host.call(
                "stream_conversation", conversation_id=sent["conversation_id"], wait_seconds=0, **cursor
            )
            assert_fits(part)
            assert_same_information(part)
            read += "".join(quoted(event["text"]) for event in part["events"] if event["what"] == "text")
            status += " ".join(event["what"] for event in part["events"])
            cursor = {"cursor": part["cursor"]}

    assert read == LINES


async def test_many_small_pieces_are_read_without_loss(connect_in_memory: Connect) -> None:
    """A page of events that are all frame and no text is cut by what it looks like, not by what it says."""
    steps = [{"event": "step_started", "data": {"name": f"step {number}"}} for number in range(400)]
    async with connect_in_memory() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script(*steps))
        names, cursor, more = list[str](), {}, True
        while more:
            part = await host.call(
                "stream_conversation", conversation_id=sent["conversation_id"], wait_seconds=0, **cursor
            )
            assert_fits(part)
            names += [quoted(event["text"]) for event in part["events"] if event["what"] == "step_started"]
            cursor = {"cursor": part["cursor"]}
            more = "there is more already" in part.data.get("next", "")

    assert names == [f"step {number}" for number in range(400)]


@pytest.mark.parametrize("text", ["x" * 90_000, ESCAPED], ids=["plain", "escaped"])
async def test_every_result_about_a_huge_reply_fits(connect_in_memory: Connect, text: str) -> None:
    """Whatever the text is made of, and with everything included."""
    huge = script(
        {"think": text}, {"say": text}, {"tool": "t" * 300, "arguments": {"a": text}, "result": text}
    )
    async with connect_in_memory() as host:
        metadata = {"a": text, "b": [text[:9_000]]}
        sent = await host.call(
            "create_conversation", agent=ACTOR, title=LONG_TITLE, metadata=metadata, message=huge
        )
        own_id = sent["conversation_id"]
        every = ["messages", "events", "requests"]
        replies = [
            sent,
            await host.call("get_conversation", conversation_id=own_id),
            await host.call("get_conversation", conversation_id=own_id, include=every),
            *[await host.call("get_conversation", conversation_id=own_id, include=[each]) for each in every],
            await host.call("list_messages", conversation_id=own_id),
            await host.call("stream_conversation", conversation_id=own_id),
            await host.call("update_conversation", conversation_id=own_id, metadata={"c": text}),
            await host.call("search_conversations", query="play"),
            await host.call("list_conversations"),
        ]

    for reply in replies:
        assert_fits(reply)
        assert_same_information(reply)


async def test_every_result_about_a_huge_request_fits(connect_in_memory: Connect) -> None:
    """A request is shown with what there is room for, and where the rest of it is to be had."""
    ask = {"ask": "t" * 500, "arguments": {"a": ESCAPED}, "prompt": ESCAPED + "?"}
    async with connect_in_memory() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script({"say": ESCAPED}, ask))
        own_id = sent["conversation_id"]
        shown = await host.call("get_conversation", conversation_id=own_id, include=["requests"])
        replies = [
            sent,
            shown,
            await host.call("stream_conversation", conversation_id=own_id),
            await host.call(
                "get_conversation", conversation_id=own_id, include=["messages", "events", "requests"]
            ),
        ]

    for reply in replies:
        assert_fits(reply)
        assert_same_information(reply)
    assert "get_conversation (include requests)" in sent["pending"][0]["note"]
    assert len(shown["pending"][0]["arguments"]) > 2 * len(sent["pending"][0]["arguments"])


@pytest.mark.parametrize("limit", [1, 7, 50])
async def test_a_list_of_conversations_fits_and_its_pages_lose_none(
    connect_in_memory: Connect, limit: int
) -> None:
    """A page ends early where the next conversation would not fit; the cursor goes on with that one."""
    async with connect_in_memory() as host:
        made = await fill(host, 60, title=LONG_TITLE)
        found, cursor = list[str](), {}
        while True:
            page = await host.call("list_conversations", limit=limit, **cursor)
            assert_fits(page)
            assert page["total"] == 60
            found += [line["conversation_id"] for line in page["conversations"]]
            if "next_cursor" not in page.data:
                break
            cursor = {"cursor": page["next_cursor"]}

    assert found == list(reversed(made))


async def test_a_search_fits_and_its_pages_lose_nothing(connect_in_memory: Connect) -> None:
    """The same of search, whose snippets are long."""
    async with connect_in_memory() as host:
        made = await fill(host, 30, title='"Acme" ' * 25, message="Acme " + '"quoted" ' * 200)
        found, cursor = list[str](), {}
        while True:
            page = await host.call("search_conversations", query="acme", limit=25, **cursor)
            assert_fits(page)
            found += [match["conversation_id"] for match in page["matches"] if match.get("author") == "user"]
            if "next_cursor" not in page.data:
                break
            cursor = {"cursor": page["next_cursor"]}

    assert sorted(found) == sorted(made)


async def test_a_hundred_messages_fit_and_their_pages_lose_none(connect_in_memory: Connect) -> None:
    """Short messages are many headings: they count."""
    async with connect_in_memory() as host:
        (own_id,) = await fill(host, 1)
        for number in range(60):
            await host.call("send_message", conversation_id=own_id, text=f"number {number}")
        found, cursor = list[str](), {}
        while True:
            page = await host.call("list_messages", conversation_id=own_id, limit=100, **cursor)
            assert_fits(page)
            found += [quoted(message["text"]) for message in page["messages"] if message["author"] == "user"]
            if "next_cursor" not in page.data:
                break
            cursor = {"cursor": page["next_cursor"]}

    assert found == [f"number {number}" for number in range(60)]


async def test_many_agents_fit_and_the_rest_is_found_by_instance(
    connect_in_memory: Connect, tmp_path: Path
) -> None:
    """Which instances there are is always said."""
    config = tmp_path / "many.toml"
    config.write_text("".join(f'[instances.stage{number}]\nplatform = "stage"\n' for number in range(60)))
    async with connect_in_memory(config=config) as host:
        reply = await host.call("list_agents")
        one = await host.call("list_agents", instance="stage59")

    assert_fits(reply)
    assert_same_information(reply)
    assert f"{61 - len(reply['agents'])} more are not shown: pass one of the instances." in reply["note"]
    assert len(reply["instances"]) == 61
    assert [line["agent"] for line in one["agents"]] == ["stage59:actor"]


async def test_the_events_that_get_conversation_includes_are_the_newest(connect_in_memory: Connect) -> None:
    """What does not fit is left out at the old end, and said to be."""
    async with connect_in_memory() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script({"say": "x" * 60_000}))
        shown = await host.call(
            "get_conversation", conversation_id=sent["conversation_id"], include=["events"]
        )

    assert shown["events"][-1]["what"] == "run_finished"
    assert "stream_conversation" in shown["note"]


@pytest.mark.parametrize("text", ["", "plain", '"' * 50, 'a"\n\\' * 25, "ü" * 100])
@pytest.mark.parametrize("limit", [2, 10, 49, 1_000])
def test_a_cut_counts_what_json_writes_as_two_characters_twice(text: str, limit: int) -> None:
    """As much is kept as fits, give or take a character."""
    end = fitting_length(text, limit)

    assert json_size(text[:end]) <= limit
    assert end == len(text) or json_size(text[:end]) >= limit - 2


def test_a_cut_says_how_much_is_missing() -> None:
    """A reader never takes the beginning for the whole."""
    assert quoted(Quoter().quote("x" * 1_500, 500)) == "x" * 500 + "… (+1,000 characters)"
