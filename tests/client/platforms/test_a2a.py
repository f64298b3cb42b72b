"""Conversations with an agent that speaks A2A, in both versions."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tertulia import (
    EventKind,
    MessageDraft,
    RunStatus,
)
from tests.client.platforms.a2a import AGENT, SECONDS, Place, answered, journal, of, placed
from tests.doubles.a2a import A2ADouble
from tests.doubles.a2a_scripts import DATA, FILE

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@pytest.fixture(params=["1.0", "0.3"])
async def place(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Place]:
    """Return an agent of each version."""
    async with placed(tmp_path, A2ADouble(old=request.param == "0.3")) as place:
        yield place


async def test_the_card_describes_the_agent(place: Place) -> None:
    """Its name, description and skills; the card is read once."""
    async with place.client() as client:
        (agent,) = [one for one in await client.agents.list() if one.address == AGENT]
        await answered(client, "hello")

    assert agent.available
    assert agent.description == "Travel Agent: Finds a way from here to there. Skills: Routes, Prices."
    assert place.count("card") == 1


async def test_an_answer_streams_from_a_task(place: Place) -> None:
    """Piece by piece; the message has our id, and the answer the task's."""
    async with place.client() as client:
        outcome = await answered(client, "hello there")
        entries = await journal(client, outcome)
        ours, reply = (await client.messages.list(outcome.run.conversation_id)).items

    assert outcome.run.status is RunStatus.COMPLETED
    assert outcome.reply == reply.text == "You said: hello there"
    assert "".join(one["delta"] for one in of(entries, EventKind.TEXT_MESSAGE_CONTENT)) == outcome.reply
    assert ours.id == place.double.sent[0]["messageId"]
    assert reply.id == place.double.task.id
    assert reply.metadata == {"task_id": place.double.task.id, "context_id": place.double.task.context_id}


async def test_an_agent_that_does_not_stream_is_polled(place: Place) -> None:
    """Its task is asked for until it has ended."""
    place.double.streaming = False
    async with place.client() as client:
        outcome = await answered(client, "hello")

    assert outcome.reply == "You said: hello"
    assert place.count("SendStreamingMessage", "message/stream", "SubscribeToTask", "tasks/resubscribe") == 0


@pytest.mark.parametrize("streaming", [True, False])
async def test_an_answer_without_a_task_is_an_answer(place: Place, streaming: bool) -> None:
    """A message in place of a task."""
    place.double.streaming = streaming
    async with place.client() as client:
        outcome = await answered(client, "direct please")

    assert outcome.run.status is RunStatus.COMPLETED
    assert outcome.reply == "At your service."
    assert not place.double.tasks


async def test_the_next_message_is_a_new_task_in_the_same_context(place: Place) -> None:
    """The conversation's id is the context's."""
    async with place.client() as client:
        outcome = await answered(client, "hello")
        own_id = outcome.run.conversation_id
        sent = await client.runs.send(own_id, "again")
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "You said: again"
        assert len((await client.messages.list(own_id)).items) == 4

    first, second = place.double.tasks.values()
    assert first.context_id == second.context_id == own_id.partition(":")[2]


@pytest.mark.parametrize("refuses", [True, False])
async def test_an_agent_may_name_contexts_itself(place: Place, refuses: bool) -> None:
    """It replaces the id that is proposed, or refuses it: nothing is sent twice, and the context continues."""
    place.double.own_contexts, place.double.refuses_contexts = not refuses, refuses
    async with place.client() as client:
        outcome = await answered(client, "hello")
        sent = await client.runs.send(outcome.run.conversation_id, "again")
        await client.runs.wait(sent.run, timeout=SECONDS)
    async with place.client() as client:
        page = await client.messages.list(outcome.run.conversation_id)

    first, second = place.double.tasks.values()
    assert first.context_id == second.context_id != outcome.run.conversation_id.partition(":")[2]
    assert [message.text for message in page.items][1::2] == ["You said: hello", "You said: again"]


async def test_artifacts_make_the_answer(place: Place) -> None:
    """Several are paragraphs; what is said at the end belongs to it; what is replaced is not in it any more."""
    async with place.client() as client:
        assert (await answered(client, "two")).reply == "First part.\n\nSecond part.\n\nThat is all."
        assert (await answered(client, "replace")).reply == "The final text."
        assert (await answered(client, "status")).reply == "Said at the end only."


async def test_data_and_files_are_the_structured_part_of_an_answer(place: Place) -> None:
    """Files by reference, with what is known of them; never their contents."""
    async with place.client() as client:
        assert (await answered(client, "data")).data == DATA
        outcome = await answered(client, "files")

    assert outcome.reply == "Your report."
    assert outcome.data is not None
    assert outcome.data["files"] == [
        {"name": "report.pdf", "media_type": "application/pdf", "url": FILE["url"]},
        {"name": "hello.txt", "media_type": "text/plain", "bytes": 11},
    ]
    assert "aGVsbG8" not in str(outcome)


async def test_what_an_agent_says_while_it_works_is_progress(place: Place) -> None:
    """It is no part of the answer."""
    async with place.client() as client:
        outcome = await answered(client, "work")
        steps = of(await journal(client, outcome), EventKind.STEP_STARTED)

    assert outcome.reply == "Take the train."
    assert [step["name"] for step in steps] == ["Searching flights", "Comparing prices"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fail", "A2A agent helper failed over the message. It says: “The model is overloaded.”."),
        ("reject", "A2A agent helper rejected the message. It says: “Not in my field.”."),
    ],
)
async def test_a_task_that_fails_fails_the_run(place: Place, text: str, said: str) -> None:
    """In the agent's own words, quoted."""
    async with place.client() as client:
        outcome = await answered(client, text)

    assert outcome.run.status is RunStatus.FAILED
    assert outcome.run.error == said


async def test_data_and_metadata_go_with_a_message(place: Place) -> None:
    """As a part, and beside the parts."""
    async with place.client() as client:
        draft = MessageDraft(text="hello", data={"a": 1}, metadata={"b": 2})
        outcome = await answered(client, "hello", data=draft.data, metadata=draft.metadata)

    assert outcome.run.status is RunStatus.COMPLETED
    (message,) = place.double.sent
    assert message["parts"] == [{"text": "hello"}, {"data": {"a": 1}}]
    assert message["metadata"] == {"b": 2}
