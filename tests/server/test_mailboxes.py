"""Two servers under names of their own, on one store: their hosts' models talk to each other."""

from pathlib import Path

import anyio
import pytest

from tertulia_server.cli import USAGE_ERROR
from tests.doubles.hosts import SECONDS, Connect, Host
from tests.support.forking import PROGRAM, forked_command

pytestmark = pytest.mark.anyio


async def appears(host: Host, address: str) -> None:
    """Wait until a host is told of an agent."""
    with anyio.fail_after(SECONDS):
        while address not in (await host.call("list_agents", instance="local")).text:
            pass


async def test_two_servers_talk_to_each_other(connect: Connect) -> None:
    """One sends and waits, the other finds what awaits it and answers; the first has the answer."""
    answered: list[str] = []
    async with connect(identity="alice") as alice, connect(identity="bob") as bob:
        await appears(alice, "local:bob")

        async def ask() -> None:
            sent = await alice.call("send_message", agent="local:bob", text="Can we ship on Friday?")
            assert sent["status"] == "completed"
            answered.append(sent["reply"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            with anyio.fail_after(SECONDS):
                while not (listed := await bob.call("list_conversations", awaiting_me=True))["conversations"]:
                    pass
            (waiting,) = listed["conversations"]
            assert waiting["awaiting"] == ["a message of yours"]
            assert waiting["asked"].startswith("local:alice asks: ")
            assert "Can we ship on Friday?" in waiting["asked"]
            own_id = waiting["conversation_id"]
            read = await bob.call("list_messages", conversation_id=own_id)
            assert "Can we ship on Friday?" in read.text
            looked = await bob.call("stream_conversation", conversation_id=own_id, wait_seconds=30)
            assert looked["next"].startswith("send_message")
            assert "Can we ship on Friday?" in looked.text
            reply = await bob.call("send_message", conversation_id=own_id, text="On Monday.")
            assert reply["note"].startswith("Delivered")

    assert "On Monday." in answered[0]


async def test_an_answer_that_comes_later_is_read_with_the_cursor(connect: Connect) -> None:
    """The sender's call is over long before."""
    async with connect(identity="bob") as bob, connect(identity="alice") as alice:
        await appears(alice, "local:bob")
        sent = await alice.call("send_message", agent="local:bob", text="Hello?", wait_seconds=0.2)
        assert sent["status"] == "queued"
        assert [message for _, message in alice.progress] == ["Sent; local:bob has not read it yet"]
        more = await alice.call(
            "send_message", conversation_id=sent["conversation_id"], text="Urgent!", wait_seconds=0
        )
        assert "Added to your earlier message" in more["note"]
        await bob.call("send_message", conversation_id=sent["conversation_id"], text="Here.")
        news = await alice.call(
            "stream_conversation", conversation_id=sent["conversation_id"], cursor=sent["cursor"]
        )
        assert news["status"] == "completed"
        assert "Here." in news.text


@pytest.mark.io
async def test_a_name_that_cannot_be_is_refused_with_the_way_to_choose_one(tmp_path: Path) -> None:
    """On the command line, before anything is served."""
    result = await anyio.run_process(
        [*forked_command(PROGRAM), "--as", "Bad Name", "--store", str(tmp_path / "s.db")],
        check=False,
    )
    assert result.returncode == USAGE_ERROR
    assert "cannot be the name of a mailbox" in result.stderr.decode()
