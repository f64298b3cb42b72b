"""Answers from RevEng.AI while networks fail and processes die."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import ConflictError, EventKind, MessageDraft, NewConversation, RunStatus
from tertulia.platforms.kit.http.streams import MAX_FRAME
from tests.client.platforms.revengai import ASSISTANT, Place, answered, placed, start, told
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import App, Hang, Receive, Scope, Send, answer, cut, drop, lose, stall, unheard
from tests.doubles.revengai import refusal, said
from tests.support.place import SECONDS, journal, native

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return RevEng.AI as it is documented."""
    async with placed(tmp_path) as place:
        yield place


async def reply_to(place: Place, text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return what a run tells that nothing disturbs."""
    async with place.client() as client:
        outcome = await answered(client, text)
        return told(await journal(client, outcome.run.conversation_id))


@pytest.mark.parametrize(
    "text", ["TEXT_MESSAGE_CONTENT", '"delta": "Fir', "id: 9\n", '"type": "RUN_FINISHED"', "\n\n"]
)
async def test_a_stream_that_is_cut_is_followed_on_without_gap_or_repetition(place: Place, text: str) -> None:
    """Wherever that happens: in a name, in data, between two events, in the last."""
    undisturbed = await reply_to(place, "all")
    place.faults.plan("GET", "/events", cut(text), cut(text))

    assert await reply_to(place, "all") == undisturbed


async def test_a_stream_that_stalls_is_opened_again(place: Place) -> None:
    """After its idle limit."""
    undisturbed = await reply_to(place, "all")
    place.clock = SkippingClock(500)
    place.faults.plan("GET", "/events", stall('"delta": "Fir'))

    assert await reply_to(place, "all") == undisturbed


async def test_a_server_that_ends_its_streams_is_asked_again(place: Place) -> None:
    """Whether RevEng.AI does that is not known."""
    place.double.ends_streams = True
    async with place.client() as client:
        sent = await start(client, "hold")
        while "TEXT_MESSAGE_END" not in str(place.double.conversations[native(sent)].streamed):
            await anyio.lowlevel.checkpoint()
        place.double.release(native(sent))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.reply == "Let me see.\n\nThere it is."


async def test_events_that_come_again_are_told_once(place: Place) -> None:
    """A server may repeat what it is not sure to have sent."""
    undisturbed = await reply_to(place, "all")
    place.double.repeats = 5
    place.faults.plan("GET", "/events", cut("id: 8\n"), cut("id: 12\n"))

    assert await reply_to(place, "all") == undisturbed


async def test_a_stream_that_cannot_be_opened_is_tried_again(place: Place) -> None:
    """The answer goes on there meanwhile."""
    busy = answer(429, refusal("TOO_MANY_REQUESTS"), retry_after="0")
    place.faults.plan("GET", "/events", answer(503), busy, answer(502), drop)
    async with place.client() as client:
        assert (await answered(client, "hi")).reply == "You said: hi"


async def test_a_stream_that_stays_away_leaves_the_answer_interrupted(place: Place) -> None:
    """What came of it stays, and it says where the rest may be."""
    place.faults.plan("GET", "/events", cut('"delta": "First'), *[answer(503)] * 99)
    async with place.client() as client:
        outcome = await answered(client, "all")

    assert outcome.run.status is RunStatus.INTERRUPTED
    assert outcome.run.error is not None
    assert "list_messages shows what RevEng.AI has of it" in outcome.run.error


async def test_a_run_that_says_nothing_any_more_is_given_up(place: Place) -> None:
    """In the end."""
    place.clock = SkippingClock(20_000)
    async with place.client() as client:
        outcome = await answered(client, "hold")

    assert (outcome.run.status, outcome.reply) == (RunStatus.INTERRUPTED, "Let me see.")


async def test_a_message_whose_answer_was_lost_was_sent_once(place: Place) -> None:
    """The history has it, so that its run is followed."""
    place.faults.plan("POST", "/messages", lose)
    async with place.client() as client:
        outcome = await answered(client, "hi")

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hi")
    assert place.posts("messages") == 1


async def test_a_message_that_may_be_lost_is_not_sent_again(place: Place) -> None:
    """The history does not have it: whether it is on its way nobody knows."""
    place.faults.plan("POST", "/messages", drop)
    async with place.client() as client:
        outcome = await answered(client, "hi")

    assert outcome.run.status is RunStatus.FAILED
    assert outcome.run.error is not None
    assert outcome.run.error.startswith(
        "RevEng.AI gave no answer to the message, and its history does not show it"
    )
    assert (place.posts("messages"), outcome.run.retryable) == (0, False)


async def test_a_message_is_looked_for_until_the_history_can_be_read(place: Place) -> None:
    """A network that fails over a message may be away for a while."""
    place.faults.plan("POST", "/messages", lose)
    async with place.client() as client:
        conversation = await client.conversations.create(NewConversation(agent=ASSISTANT))
        native_id = conversation.id.partition(":")[2]
        place.faults.plan("GET", native_id, passed, *[drop] * 6)
        sent = await client.runs.send(conversation.id, MessageDraft(text="hi"))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hi")


async def passed(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a request as ever."""
    await app(scope, receive, send)


async def test_a_gateway_that_fails_over_a_message_leaves_that_to_the_history(place: Place) -> None:
    """It may have passed it on."""

    async def failing_behind(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, unheard)
        await answer(502)(app, scope, receive, send)

    place.faults.plan("POST", "/messages", failing_behind)
    async with place.client() as client:
        assert (await answered(client, "hi")).reply == "You said: hi"

    assert place.posts("messages") == 1


async def test_an_answer_is_followed_on_by_the_next_process(place: Place) -> None:
    """From the very event behind the last that was journalled; a late reader gets all of it."""
    async with place.client() as client:
        sent = await start(client, "hold")
        async for entries in client.runs.follow(sent.run):
            if any(entry.kind is EventKind.TEXT_MESSAGE_END for entry in entries):
                break
    await place.double.listened_to(0)
    place.double.release(native(sent))
    async with place.client() as client:
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        late = told(await journal(client, sent.conversation.id))

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "Let me see.\n\nThere it is.")
    place.double.scripts["hold"] = [*said("Let me see."), *said("There it is.", "msg_2")]
    assert late == await reply_to(place, "hold")
    assert place.posts("messages") == 2


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_process_that_dies_over_sending_leaves_it_to_the_next_to_find_out(
    place: Place, arrives: bool
) -> None:
    """A message that arrived is followed; one that did not is uncertain, and never sent again."""
    hanging = Hang(arrives=arrives)
    place.faults.plan("POST", "/messages", hanging)
    async with place.client() as client:
        sent = await start(client, "hi")
        await hanging.reached.wait()
    async with place.client() as client:
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.run.status is (RunStatus.COMPLETED if arrives else RunStatus.FAILED)
    assert place.posts("messages") == (1 if arrives else 0)


async def test_two_processes_tell_one_journal(place: Place) -> None:
    """One follows, both read."""
    async with place.client() as first, place.client() as second:
        sent = await start(first, "hold")
        outcomes: list[Any] = []
        async with anyio.create_task_group() as tasks:

            async def wait(client: Any) -> None:
                outcomes.append(await client.runs.wait(sent.run, timeout=SECONDS))

            tasks.start_soon(wait, first)
            tasks.start_soon(wait, second)
            await place.double.listened_to(1)
            place.double.release(native(sent))

        assert [outcome.reply for outcome in outcomes] == ["Let me see.\n\nThere it is."] * 2
        one = await journal(first, sent.conversation.id)
        assert one == await journal(second, sent.conversation.id)
    assert sum(call.endswith("/events") for call in place.double.calls) == 1


async def test_leaving_closes_the_connection_at_once(place: Place) -> None:
    """Nothing is left behind at RevEng.AI."""
    async with place.client() as client:
        await start(client, "hold")
        await place.double.listened_to(1)
    await place.double.listened_to(0)


async def test_a_run_is_canceled_there_and_here(place: Place) -> None:
    """And its connection is closed."""
    async with place.client() as client:
        sent = await start(client, "hold")
        await place.double.listened_to(1)
        run = await client.runs.cancel(sent.conversation.id)
        await place.double.listened_to(0)
        entries = await journal(client, sent.conversation.id)
        again = await client.runs.send(sent.conversation.id, MessageDraft(text="next"))
        outcome = await client.runs.wait(again.run, timeout=SECONDS)

    assert run.status is RunStatus.CANCELED
    assert entries[-1].kind is EventKind.RUN_CANCELED
    assert (place.posts("cancel"), outcome.reply) == (1, "You said: next")


async def test_a_message_on_its_way_is_sent_before_its_run_is_canceled(place: Place) -> None:
    """Otherwise it would be answered there, unheard."""
    sending, go_on = anyio.Event(), anyio.Event()

    async def slow(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        sending.set()
        await go_on.wait()
        await app(scope, receive, send)

    place.faults.plan("POST", "/messages", slow)
    async with place.client() as client:
        sent = await start(client, "hold")
        await sending.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.runs.cancel, sent.conversation.id)
            await anyio.lowlevel.checkpoint()
            go_on.set()

    assert [call.rpartition("/")[2] for call in place.double.calls if call.startswith("POST")][1:] == [
        "messages",
        "cancel",
    ]


async def test_what_is_over_cannot_be_canceled_any_more(place: Place) -> None:
    """RevEng.AI says so (NO_ACTIVE_RUN); the end is about to be told."""
    place.faults.plan("POST", "/cancel", answer(404, refusal("NO_ACTIVE_RUN")))
    async with place.client() as client:
        sent = await start(client, "hold")
        await place.double.listened_to(1)
        with pytest.raises(ConflictError, match=r"not answering in .* any more") as caught:
            await client.runs.cancel(sent.conversation.id)
        assert (await client.runs.get(sent.run.id)).status.active

    assert caught.value.hint == "stream_conversation shows how the answer ended."


async def test_an_answer_that_was_canceled_at_revengai_is_canceled_here(place: Place) -> None:
    """By somebody who uses its own pages."""
    place.double.scripts["gone"] = [*said("Well,"), ("RUN_CANCELLED", {"reason": "user"})]
    async with place.client() as client:
        outcome = await answered(client, "gone")

    assert (outcome.run.status, outcome.reply) == (RunStatus.CANCELED, "Well,")


async def test_the_late_end_of_an_earlier_run_does_not_end_this_one(place: Place) -> None:
    """As after a cancellation whose event comes with the next message on its way; not even if ours is silent then."""
    place.clock = SkippingClock(500)
    async with place.client() as client:
        outcome = await answered(client, "hi")
        conversation = place.double.conversations[native(outcome)]

        async def late(app: App, scope: Scope, receive: Receive, send: Send) -> None:
            place.double.tell(conversation, "RUN_CANCELLED", {}, run_id="run-earlier")
            await app(scope, receive, send)

        place.faults.plan("POST", "/messages", late)
        place.double.calls.clear()
        sent = await client.runs.send(outcome.run.conversation_id, MessageDraft(text="hold"))
        while sum(call.endswith("/events") for call in place.double.calls) < 3:
            await anyio.lowlevel.checkpoint()
        place.double.release(native(outcome))
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "Let me see.\n\nThere it is."


async def test_the_end_of_a_run_within_the_run_does_not_end_it(place: Place) -> None:
    """Runs have ids; an end that names another is not ours."""
    async with place.client() as client:
        sent = await start(client, "hold")
        conversation = place.double.conversations[native(sent)]
        await place.double.listened_to(1)
        place.double.tell(conversation, "RUN_STARTED", {}, run_id="run-within")
        place.double.tell(conversation, "RUN_FINISHED", {}, run_id="run-within")
        place.double.release(native(sent))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.reply == "Let me see.\n\nThere it is."


async def test_an_end_without_a_beginning_is_ours_if_nothing_follows(place: Place) -> None:
    """A run may fail before it has begun."""
    place.clock = SkippingClock(500)
    async with place.client() as client:
        place.double.begins_runs = False
        place.double.scripts["stillborn"] = [("RUN_ERROR", {"message": "No model"})]
        outcome = await answered(client, "stillborn")

    assert outcome.run.error == "RevEng.AI ended the answer with an error: “No model”."


async def test_an_event_too_large_ends_the_answer(place: Place) -> None:
    """It would come again with every stream."""
    place.double.scripts["huge"] = said("x" * MAX_FRAME)
    async with place.client() as client:
        outcome = await answered(client, "huge")

    assert outcome.run.status is RunStatus.INTERRUPTED
    assert outcome.run.error is not None
    assert outcome.run.error.startswith("RevEng.AI sent an event of more than 8,388,608 bytes.")
