"""The agent's own sessions in the index: synced, joined with what was imported of them, and continued."""

import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    Conversation,
    ConversationQuery,
    NotConfiguredError,
    NotOffered,
    SearchQuery,
)
from tests.client.history.making import codex_rollout, lines_of
from tests.client.platforms.acp import SECONDS, Place, answered, placed, start
from tests.doubles.acp_agent import script

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SESSION = "01a2184e-65e2-7c61-a56f-39d52b5e2291"


@pytest.fixture(params=[1, 2])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Place]:
    """Give a place whose double speaks a version of the protocol, and works in its folder."""
    async with placed(tmp_path) as place:
        place.knobs(version=request.param, cwd=str(place.work))
        yield place


def as_codex(place: Place) -> Any:
    """Return a client whose instance is the double as if it were Codex."""
    return place.client(agent="codex")


def said_there(place: Place, *said: str, session: str = SESSION) -> None:
    """Have the user say something in the agent's own program, and be answered."""
    with (place.double / f"{session}.jsonl").open("a") as history:
        for text in said:
            for kind, words in (("user", text), ("agent", f"Answer to {text}")):
                content = {"type": "text", "text": words}
                update = {"sessionUpdate": f"{kind}_message_chunk", "content": content}
                history.write(json.dumps({**update, "messageId": f"{kind} {text}"}) + "\n")


def rollout(place: Place, *said: str, session: str = SESSION) -> Path:
    """Write the transcript that Codex keeps of a session."""
    turns = [turn for text in said for turn in (("user", text), ("assistant", f"Answer to {text}"))]
    return lines_of(
        place.path.parent / f"rollout-{session}.jsonl",
        *codex_rollout(session, *turns, cwd=str(place.work)),
    )


async def known(client: Client) -> Sequence[Conversation]:
    return (await client.conversations.list(ConversationQuery(archived=None, limit=100))).items


async def words(client: Client) -> Sequence[str | None]:
    """Return what was said in the only conversation there is."""
    (conversation,) = await known(client)
    return [message.text for message in (await client.messages.list(conversation.id)).items]


async def test_a_session_of_the_agents_own_program_is_read_and_continued(place: Place) -> None:
    said_there(place, "why is it slow?")
    async with place.client() as client:
        summary = await client.search.sync("double")
        assert (summary.conversations, summary.read, summary.messages) == (1, 1, 2)
        (conversation,) = await known(client)
        assert (conversation.id, conversation.title) == (f"double:{SESSION}", f"Session {SESSION}")
        assert (conversation.source, conversation.source_ref) == (str(place.work), SESSION)
        found = await client.search.messages(SearchQuery(text="slow"))
        assert {hit.conversation_id for hit in found.hits} == {conversation.id}
        sent = await client.runs.send(conversation.id, "and now?")
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "You said: and now?"
        assert {prompt["sessionId"] for prompt in place.prompts} == {SESSION}
        await client.search.sync("double")
        expected = ["why is it slow?", "Answer to why is it slow?", "and now?", "You said: and now?"]
        assert await words(client) == expected


async def test_what_was_said_elsewhere_in_the_meantime_is_added_once(place: Place) -> None:
    async with place.client() as client:
        outcome = await answered(client, place, "hello")
        conversation = await client.conversations.get(outcome.run.conversation_id)
        said_there(place, "hello", "more", session=str(conversation.source_ref))
        for _ in range(2):
            await client.search.sync("double")
            assert await words(client) == [
                *("hello", "You said: hello"),
                *("hello", "Answer to hello"),
                *("more", "Answer to more"),
            ]


async def test_sessions_are_read_page_by_page_and_only_where_the_agent_may_work(place: Place) -> None:
    for number in range(5):
        said_there(place, f"question {number}", session=f"session-{number}")
    async with place.client() as client:
        assert (await client.search.sync("double")).conversations == 5
    place.knobs(version=place.version, cwd=str(place.double))
    async with place.client() as client:
        await client.search.sync("double")
        assert len(await known(client)) == 5
    assert not place.calls("session/new")


@pytest.mark.parametrize("order", ["import first", "sync first"])
async def test_a_session_is_one_with_its_transcript(place: Place, order: str) -> None:
    said_there(place, "one")
    transcript = rollout(place, "one")
    async with as_codex(place) as client:
        if order == "import first":
            await client.history.import_files([transcript])
        await client.search.sync("double")
        summary = await client.history.import_files([transcript])
        assert summary.new == 0
        (conversation,) = await known(client)
        assert (conversation.id, conversation.agent) == (f"double:{SESSION}", "double:agent")
        assert await words(client) == ["one", "Answer to one"]
        said_there(place, "two")
        await client.search.sync("double")
        assert await words(client) == ["one", "Answer to one", "two", "Answer to two"]


async def test_a_conversation_begun_here_is_one_with_its_transcript(place: Place) -> None:
    async with as_codex(place) as client:
        outcome = await answered(client, place, "hello")
        conversation = await client.conversations.get(outcome.run.conversation_id)
        await client.history.import_files([rollout(place, "hello", session=str(conversation.source_ref))])
        assert await words(client) == ["hello", "You said: hello"]


async def test_a_thread_that_is_not_listed_is_loaded_by_the_id_in_its_transcript(place: Place) -> None:
    said_there(place, "one", session="one-thread")
    place.knobs(version=place.version, unlisted=True)
    async with as_codex(place) as client:
        here = rollout(place, "one", session="one-thread")
        gone = rollout(place, "gone", session="gone-thread")
        await client.history.import_files([here, gone])
        for _ in range(2):
            summary = await client.search.sync("double")
            assert (summary.gone, summary.failed) == (0, 0)
            ids = {conversation.id for conversation in await known(client)}
            assert "double:one-thread" in ids
            assert len(ids) == 2
        sent = await client.runs.send("double:one-thread", "go on")
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "You said: go on"


async def test_a_conversation_that_is_being_answered_is_left_to_the_next_sync(place: Place) -> None:
    held = place.work / "go"
    async with place.client() as client:
        sent = await start(client, place, script({"wait": str(held)}, {"say": "Done."}))
        while not place.prompts:  # noqa: ASYNC110 - other processes set no events
            await anyio.sleep(0.01)
        await client.search.sync("double")
        assert len(await words(client)) == 1
        held.touch()
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "Done."
        await client.search.sync("double")
        assert len(await words(client)) == 2


async def test_what_cannot_be_read_says_why(place: Place) -> None:
    async with place.client(agent="gemini") as client:
        with pytest.raises(NotOffered, match="Gemini CLI"):
            await client.search.sync("double")
    if place.version == 1:
        place.knobs(load=False)
        async with place.client() as client:
            with pytest.raises(NotOffered):
                await client.search.sync("double")
    async with place.client(command=["no-such-agent"]) as client:
        with pytest.raises(NotConfiguredError, match="no-such-agent"):
            await client.search.sync("double")
