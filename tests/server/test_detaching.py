"""A caller that goes away detaches: the answer goes on, and the same call finds it again."""

from typing import Any

import anyio
import pytest

from tests.doubles.hosts import SECONDS, Connect, Host, Reply
from tests.doubles.stage import ACTOR, script
from tests.tools.checks import quoted

pytestmark = pytest.mark.anyio

HELD = script({"say": "Before. "}, {"hold": "curtain"}, {"say": "After."})


async def cancel_in_mid_call(host: Host, tool: str, **arguments: Any) -> None:
    """Make a call and cancel it once the text before the hold was reported."""
    reported = anyio.Event()

    async def told(progress: float, total: float | None, message: str | None) -> None:
        if message is not None and "Before." in message:
            reported.set()

    async def call() -> None:
        await host.client.call_tool(tool, arguments, progress_callback=told)
        raise AssertionError("the call was to be cancelled")

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await reported.wait()
            tasks.cancel_scope.cancel()


async def release(host: Host) -> None:
    """Let the held answer go on."""
    await host.call("send_message", agent=ACTOR, text=script({"release": "curtain"}))


async def only_run(host: Host) -> Reply:
    """Return the only conversation there is."""
    (line,) = (await host.call("list_conversations"))["conversations"]
    return await host.call("get_conversation", conversation_id=line["conversation_id"])


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("send_message", {"agent": ACTOR, "text": HELD}),
        ("create_conversation", {"agent": ACTOR, "message": HELD}),
    ],
)
async def test_a_cancelled_call_leaves_its_answer_going(
    connect: Connect, tool: str, arguments: dict[str, Any]
) -> None:
    """Only cancel_run stops it: a cancelled call cannot be told apart from a lost network."""
    async with connect() as host:
        await cancel_in_mid_call(host, tool, **arguments)
        during = await only_run(host)
        await release(host)
        after = await host.call("stream_conversation", conversation_id=during["conversation_id"])

    assert during["run_status"] == "running"
    assert after["run_id"] == during["run_id"]
    assert after["status"] == "completed"


async def test_the_identical_call_afterwards_joins_the_answer_and_says_so(connect: Connect) -> None:
    """A host that lost the connection repeats the call: nothing is sent twice."""
    async with connect() as host:
        await cancel_in_mid_call(host, "send_message", agent=ACTOR, text=HELD)
        during = await only_run(host)
        joined = await host.call("send_message", agent=ACTOR, text=HELD, wait_seconds=0)
        messages = await host.call("list_messages", conversation_id=during["conversation_id"])

    assert joined["run_id"] == during["run_id"]
    assert joined["note"].startswith("Nothing was sent")
    assert "Before." in joined["reply"]
    assert [message["author"] for message in messages["messages"]] == ["user"]


async def test_the_identical_call_is_given_an_answer_that_came_when_nobody_waited(
    connect_in_memory: Connect,
) -> None:
    """It had been asked for, and nobody has seen it."""
    async with connect_in_memory() as host:
        await cancel_in_mid_call(host, "send_message", agent=ACTOR, text=HELD)
        during = await only_run(host)
        await release(host)
        while (await host.call("get_conversation", conversation_id=during["conversation_id"]))[
            "run_status"
        ] == "running":
            pass
        joined = await host.call("send_message", agent=ACTOR, text=HELD)
        messages = await host.call("list_messages", conversation_id=during["conversation_id"])

    assert joined["run_id"] == during["run_id"]
    assert joined["note"].startswith("Nothing was sent")
    assert "Before. After." in joined["reply"]
    assert [message["author"] for message in messages["messages"]] == ["user", ACTOR]


async def test_the_identical_call_in_a_conversation_joins_too(connect_in_memory: Connect) -> None:
    """Whether the conversation is new or not."""
    async with connect_in_memory() as host:
        own_id = (await host.call("create_conversation", agent=ACTOR))["conversation_id"]
        await cancel_in_mid_call(host, "send_message", conversation_id=own_id, text=HELD)
        joined = await host.call("send_message", conversation_id=own_id, text=HELD, wait_seconds=0)
        other = await host.fail("send_message", conversation_id=own_id, text="Something else.")

    assert joined["note"].startswith("Nothing was sent")
    assert other["run_id"] == joined["run_id"]


async def test_a_call_whose_answer_was_given_is_a_new_one_when_it_is_made_again(
    connect_in_memory: Connect,
) -> None:
    """Asking the same thing twice is a person's right."""
    async with connect_in_memory() as host:
        first = await host.call("send_message", agent=ACTOR, text="Again?")
        second = await host.call("send_message", agent=ACTOR, text="Again?")

    assert first["run_id"] != second["run_id"]
    assert "note" not in second.data


async def test_an_answer_survives_the_connection_and_the_process(connect: Connect) -> None:
    """The next server on the same store goes on with it, and the identical call joins it there."""
    async with connect() as host:
        await cancel_in_mid_call(host, "send_message", agent=ACTOR, text=HELD)
        during = await only_run(host)
    async with connect() as host:
        await release(host)
        joined = await host.call("send_message", agent=ACTOR, text=HELD)

    assert joined["run_id"] == during["run_id"]
    assert "Before. After." in joined["reply"]


async def test_a_wait_that_is_over_returns_what_there_is_with_a_cursor_to_go_on(connect: Connect) -> None:
    """Nothing of the answer is lost between the two calls."""
    async with connect() as host:
        begun = await host.call("send_message", agent=ACTOR, text=HELD, wait_seconds=0)
        await release(host)
        rest = await host.call(
            "stream_conversation", conversation_id=begun["conversation_id"], cursor=begun["cursor"]
        )

    assert begun["status"] in {"queued", "running"}
    assert "stream_conversation with this cursor" in begun["next"]
    before = quoted(begun["reply"]) if "reply" in begun.data else ""
    shown = [quoted(event["text"]) for event in rest["events"] if event["what"] == "text"]
    assert before + "".join(shown) == "Before. After."


async def test_cancel_run_stops_the_answer_and_keeps_what_came_of_it(connect: Connect) -> None:
    """The conversation goes on afterwards, and stopping it again changes nothing."""
    async with connect() as host:
        await cancel_in_mid_call(host, "send_message", agent=ACTOR, text=HELD)
        own_id = (await only_run(host))["conversation_id"]
        stopped = await host.call("cancel_run", conversation_id=own_id)
        again = await host.call("cancel_run", conversation_id=own_id)
        after = await host.call("send_message", conversation_id=own_id, text="And now?")
        nothing = await host.fail("cancel_run", conversation_id=own_id)

    assert (stopped["status"], again["status"]) == ("canceled", "canceled")
    assert "Before." in stopped["reply"]
    assert after["status"] == "completed"
    assert "Nothing is being answered" in nothing["message"]


async def test_following_waits_for_what_nobody_has_sent_yet(connect: Connect) -> None:
    """A host that follows an idle conversation is told what another sends there."""
    async with connect() as host, connect() as other:
        sent = await host.call("send_message", agent=ACTOR, text="Hello.")
        own_id, cursor = sent["conversation_id"], sent["cursor"]
        nothing = await host.call(
            "stream_conversation", conversation_id=own_id, cursor=cursor, wait_seconds=0
        )
        news = list[Reply]()

        async def follow() -> None:
            news.append(await host.call("stream_conversation", conversation_id=own_id, cursor=cursor))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await other.call("send_message", conversation_id=own_id, text="News.")

    assert "events" not in nothing.data
    assert "Nothing new." in nothing.text
    assert news[0]["events"][0]["what"] == "message_added"
