"""Answers from AgentFlow: what is told of them, and how they are found again."""

from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import ConflictError, EventKind, MessageDraft, NewConversation, RunStatus
from tertulia.platforms.agentflow.answering import DELIVERY
from tertulia.platforms.agentflow.platform import CALLING_SECONDS
from tests.client.elsewhere import elsewhere, say, told
from tests.client.inside import leases_run_out
from tests.client.platforms.agentflow import MAIN, Place, answered, of, placed, start, until_told
from tests.doubles.agentflow import AgentFlowDouble
from tests.doubles.agentflow_scripts import HOLD, Step, said
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import App, Hang, Receive, Scope, Send, answer, cut, drop, lose, stall, unheard
from tests.support.place import SECONDS, journal, native

pytestmark = [pytest.mark.anyio, pytest.mark.io]

HELD = "Let me see. There it is."


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return AgentFlow as it is documented."""
    async with placed(tmp_path) as place:
        yield place


async def test_a_message_is_sent_once_under_ids_of_ours(place: Place) -> None:
    """Its id is the key under which AgentFlow takes it once, and the answer streams."""
    async with place.client() as client:
        outcome = await answered(client, "hello", title="Greeting")
        messages = await client.messages.list(outcome.run.conversation_id)
        entries = await journal(client, outcome)

    (sent,) = [body for body in place.double.bodies if "message_id" in body]
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello")
    assert sent["message_id"] == messages.items[0].id == outcome.run.message_id
    assert sent == {
        "message": "hello",
        "message_id": sent["message_id"],
        "conversation_id": native(outcome),
        "stream": True,
    }
    assert [message.text for message in messages.items] == ["hello", "You said: hello"]
    assert "".join(data["delta"] for data in of(entries, EventKind.TEXT_MESSAGE_CONTENT)) == outcome.reply


async def test_settings_for_an_answer_come_from_instance_conversation_and_message_in_turn(
    place: Place,
) -> None:
    """And a message's metadata say where it comes from."""
    async with place.client(chat={"model": "small", "max_turns": 3, "temperature": 0.1}) as client:
        conversation = await client.conversations.create(
            NewConversation(agent=MAIN, context={"model": "large", "max_turns": 5})
        )
        draft = MessageDraft(text="hi", context={"max_turns": 7}, metadata={"ticket": "T1"})
        sent = await client.runs.send(conversation.id, draft)
        await client.runs.wait(sent.run, timeout=SECONDS)

    body = place.double.bodies[-1]
    assert (body["model"], body["max_turns"], body["temperature"]) == ("large", 7, 0.1)
    assert body["source_metadata"] == {"ticket": "T1"}


async def test_what_sub_agents_and_tools_say_is_kept_apart_from_the_answer(place: Place) -> None:
    """Only the root call speaks; the end of another call does not end the run."""
    async with place.client() as client:
        outcome = await answered(client, "nested please")
        entries = await journal(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "Let me ask. It is there.")
    assert of(entries, EventKind.TOOL_CALL_START) == [
        {"tool_call_id": "call_sub", "tool": "Researcher"},
        {"tool_call_id": "call_tool", "tool": "web_search", "parent_tool_call_id": "call_sub"},
    ]
    spoken = of(entries, EventKind.TOOL_CALL_PROGRESS)
    assert "".join(data["message"] for data in spoken) == "I look. Found it."
    assert {data["tool_call_id"] for data in spoken} == {"call_sub"}
    assert of(entries, EventKind.TOOL_CALL_RESULT) == [
        {"tool_call_id": "call_tool", "result": {"hits": 3}, "outcome": "ok"},
        {"tool_call_id": "call_sub", "result": {"text": "Found it."}, "outcome": "ok"},
    ]


async def test_a_long_report_of_a_sub_agent_is_not_an_entry_for_each_word(place: Place) -> None:
    """It is told in larger pieces, and whole."""
    report = "word " * 400
    inner = said(report, "call_sub", "root")
    place.double.scripts["nested"] = [*inner, *said("Done.")]
    async with place.client() as client:
        outcome = await answered(client, "nested")
        spoken = of(await journal(client, outcome), EventKind.TOOL_CALL_PROGRESS)

    assert "".join(data["message"] for data in spoken) == report
    assert len(spoken) < 20


async def test_older_events_are_understood(tmp_path: Path) -> None:
    """Upper case, `delta` in place of `content`, no numbers, no `root_call_id`."""
    async with placed(tmp_path, AgentFlowDouble(older=True)) as place, place.client() as client:
        outcome = await answered(client, "nested please")
        entries = await journal(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "Let me ask. It is there.")
    assert len(of(entries, EventKind.TOOL_CALL_START)) == 2


async def test_events_that_nobody_knows_are_kept(place: Place) -> None:
    """They are no error; the failure of a tool is none of the run's."""
    async with place.client() as client:
        outcome = await answered(client, "strange")
        entries = await journal(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "All the same.")
    raw = of(entries, EventKind.RAW)
    assert [data["name"] for data in raw] == ["refinement_started", "artifact_completed"]
    assert raw[1]["payload"]["content"] == {"artifact_id": "art_1"}
    assert [data["outcome"] for data in of(entries, EventKind.TOOL_CALL_RESULT)] == ["error"]


async def test_an_error_fails_the_run_and_is_quoted(place: Place) -> None:
    """What came before it stays."""
    async with place.client() as client:
        outcome = await answered(client, "boom")

    assert (outcome.run.status, outcome.reply) == (RunStatus.FAILED, "Well, ")
    assert outcome.run.error == "AgentFlow ended the answer with an error: “The model is overloaded”."


async def test_an_end_without_text_leaves_what_was_streamed(place: Place) -> None:
    """The deltas are the answer then."""
    place.double.ends_with_text = False
    async with place.client() as client:
        outcome = await answered(client, "hello")

    assert outcome.reply == "You said: hello"


@pytest.mark.parametrize("relays", [False, True])
@pytest.mark.parametrize("text_at_end", [True, False])
async def test_an_answer_whose_stream_ends_early_is_watched_to_its_end(
    place: Place, relays: bool, text_at_end: bool
) -> None:
    """Snapshots replace what was shown; nothing is sent again."""
    place.double.relays, place.double.ends_with_text = relays, text_at_end
    place.double.breaks_after = [2]
    async with place.client() as client:
        sent = await start(client, "hold on")
        await place.double.until(lambda: place.count("GET", "/watch") > 0 and place.double.streams == 1)
        place.double.release(native(sent))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        shown = of(await journal(client, outcome), EventKind.SNAPSHOT)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, HELD)
    assert shown[0]["text"] == "Let me see. "
    assert (place.count("POST", "/chat"), place.double.duplicates) == (1, 0)


async def test_a_watch_goes_on_behind_the_last_event(place: Place) -> None:
    """Its id is the stream's own."""
    place.double.breaks_after = [3]
    async with place.client() as client:
        sent = await start(client, "hold on")
        await place.double.until(lambda: place.count("GET", "/watch") > 0)
        place.double.release(native(sent))
        await client.runs.wait(sent.run, timeout=SECONDS)

    at = next(n for n, call in enumerate(place.double.calls) if call.endswith("/watch"))
    assert place.double.queries[at] == "last_event_id=3"


@pytest.mark.parametrize("behind", ['"type": "start"', '"content": "Let ', "id: 3\n"])
async def test_a_stream_that_is_cut_is_followed_on(place: Place, behind: str) -> None:
    """Wherever that happens."""
    place.faults.plan("POST", "/chat", cut(behind))
    async with place.client() as client:
        sent = await start(client, "hold on")
        await place.double.until(lambda: place.count("GET", "/watch") > 0)
        place.double.release(native(sent))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, HELD)
    assert place.count("POST", "/chat") == 1


async def test_a_stream_that_stalls_is_given_up_for_a_watch(place: Place) -> None:
    """After its idle limit; a watch that stalls is opened again."""
    place.clock = SkippingClock(500)
    place.faults.plan("POST", "/chat", stall('"content": "Let '))
    async with place.client() as client:
        sent = await start(client, "hold on")
        await place.double.until(lambda: place.count("GET", "/watch") > 1)
        place.double.release(native(sent))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.reply == HELD


async def test_an_answer_that_cannot_be_watched_is_looked_for(tmp_path: Path) -> None:
    """A deployment without a watch is asked for it once."""
    async with placed(tmp_path, AgentFlowDouble(lacks=["watch"])) as place, place.client() as client:
        place.double.breaks_after = [2, 2]
        sent = await start(client, "hold on")
        await place.double.until(lambda: place.count("GET", "/messages") > 3)
        place.double.release(native(sent))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        again = await answered(client, "hello")

    assert (outcome.reply, again.reply) == (HELD, "You said: hello")
    assert place.count("GET", "/watch") == 1


async def test_a_message_whose_response_was_lost_is_found_and_not_sent_again(place: Place) -> None:
    """AgentFlow has it."""
    place.faults.plan("POST", "/chat", lose)
    async with place.client() as client:
        outcome = await answered(client, "hello")

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello")
    assert place.count("POST", "/chat") == 1


async def test_a_message_that_was_lost_is_sent_again_under_its_id(place: Place) -> None:
    """AgentFlow does not have it, and does not work on anything."""
    place.faults.plan("POST", "/chat", drop, answer(502))
    async with place.client() as client:
        outcome = await answered(client, "hello")

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello")
    assert (place.count("POST", "/chat"), place.double.duplicates) == (1, 0)


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_message_that_arrives_late_and_twice_is_answered_once(place: Place, refuses: bool) -> None:
    """Its conversation did not show it when it was looked for; AgentFlow tells the second by its id."""
    place.double.refuses_duplicates = refuses
    hidden = answer(200, {"messages": [], "total": 0})
    idle = answer(200, {"id": "conv_1", "has_active_generation": False})
    place.faults.plan("POST", "/chat", lose)
    async with place.client() as client:
        conversation = await client.conversations.create(NewConversation(agent=MAIN))
        looks = len(DELIVERY.looks)
        place.faults.plan("GET", "/messages", *[hidden] * (1 + looks))  # the first is read before it is sent
        place.faults.plan("GET", "/conv_1", *[idle] * looks)
        sent = await client.runs.send(conversation.id, MessageDraft(text="hello"))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello")
    assert (place.count("POST", "/chat"), place.double.duplicates) == (2, 1)
    assert [message["role"] for message in place.double.conversations["conv_1"].messages] == [
        "user",
        "assistant",
    ]


async def test_a_message_that_stays_lost_is_uncertain(place: Place) -> None:
    """It was sent a few times, always under the same id, and never arrived."""
    place.faults.plan("POST", "/chat", *[drop] * (1 + DELIVERY.resends))
    async with place.client() as client:
        outcome = await answered(client, "hello")

    assert outcome.run.status is RunStatus.FAILED
    assert outcome.run.error is not None
    assert outcome.run.error.startswith(
        "AgentFlow gave no answer to the message, and its history does not show it (yet)."
    )
    assert place.count("POST", "/chat") == 0


async def test_an_answer_that_something_else_than_a_stream_comes_for_is_found(place: Place) -> None:
    """The message was taken all the same."""

    async def taken(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, unheard)
        await answer(200, {"queued": True})(app, scope, receive, send)

    place.faults.plan("POST", "/chat", taken)
    async with place.client() as client:
        outcome = await answered(client, "hello")

    assert (outcome.reply, place.count("POST", "/chat")) == ("You said: hello", 1)


async def test_the_answer_to_the_same_words_of_before_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """A deployment may give a message an id of its own: it is looked for behind what was there."""
    async with placed(tmp_path, AgentFlowDouble(keeps_ids=False)) as place, place.client() as client:
        first = await answered(client, "hello")
        place.faults.plan("POST", "/chat", drop)
        sent = await client.runs.send(first.run.conversation_id, MessageDraft(text="hello"))
        second = await client.runs.wait(sent.run, timeout=SECONDS)

    assert second.run.status is RunStatus.COMPLETED
    assert len(place.double.conversations[native(first)].messages) == 4


async def test_a_message_that_is_refused_says_why(place: Place) -> None:
    """Nothing was sent then, and nothing is sent again."""
    place.faults.plan("POST", "/chat", answer(429, {"detail": "Slow down"}, retry_after="7"))
    async with place.client() as client:
        outcome = await answered(client, "hello")

    assert outcome.run.status is RunStatus.FAILED
    assert outcome.run.retryable
    assert outcome.run.error is not None
    assert "Wait 7 seconds" in outcome.run.error


async def test_an_agent_that_is_gone_is_named_as_such(place: Place) -> None:
    """The conversation is still there."""
    async with place.client() as client:
        conversation = await client.conversations.create(NewConversation(agent=MAIN))
        del place.double.agents["agent_main"]
        sent = await client.runs.send(conversation.id, MessageDraft(text="hello"))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.run.status is RunStatus.FAILED
    assert outcome.run.error is not None
    assert outcome.run.error.startswith(f"AgentFlow has no agent (any more) to answer in {conversation.id}.")


async def test_a_deployment_that_stays_away_leaves_the_answer_interrupted(place: Place) -> None:
    """What came of it stays, and it says where the rest may be."""
    async with place.client() as client:
        place.double.breaks_after = [3]
        conversation = await client.conversations.create(NewConversation(agent=MAIN))
        away: Any = [drop] * 5000
        sent = await client.runs.send(conversation.id, MessageDraft(text="hold on"))
        place.faults.plan("GET", "/conv_1", *away)
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.run.status is RunStatus.INTERRUPTED
    assert outcome.run.error is not None
    assert "list_messages shows what AgentFlow has of it" in outcome.run.error


async def test_an_answer_that_agentflow_gave_up_is_interrupted(place: Place) -> None:
    """It neither has one nor works on one."""
    place.double.breaks_after = [2]
    nowhere: Any = [drop] * 5000
    place.faults.plan("GET", "/watch", *nowhere)  # a watch would have nothing to tell of it
    async with place.client() as client:
        sent = await start(client, "hold on")
        await until_told(client, sent, "Let ")
        place.double.conversations[native(sent)].runs[0].over = True
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.run.status is RunStatus.INTERRUPTED
    assert outcome.run.error is not None
    assert "neither has an answer to it nor works on one" in outcome.run.error


async def test_an_answer_is_followed_on_by_the_next_process(place: Place) -> None:
    """From where the first one was; the message is sent once."""
    async with place.client() as client:
        sent = await start(client, "hold on")
        await until_told(client, sent, "see. ")
    await place.double.until(lambda: place.double.streams == 0)
    async with place.client() as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(client.runs.wait_idle, sent.run, timeout=SECONDS))
            await place.double.until(lambda: place.count("GET", "/watch") > 0)
            place.double.release(native(sent))
        outcome = await client.runs.result(sent.run)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, HELD)
    assert (place.count("POST", "/chat"), place.double.duplicates) == (1, 0)


async def killed(path: str, url: str) -> None:
    """Ask something in a process that is to be killed, and say how far it came."""
    place = Place(Path(path), AgentFlowDouble())
    place.origin = url
    async with place.client() as client:
        sent = await start(client, "hold on")
        await until_told(client, sent, "see. ")
        say(sent.run.id)
        await told()


async def test_a_process_that_is_killed_in_an_answer_leaves_it_to_another(place: Place) -> None:
    """Nothing was closed, nothing is sent again, and nothing is missing."""
    async with elsewhere(killed, place.path, place.url) as process:
        run_id = (await process.says()).strip()
        await process.dies()
    await leases_run_out(place.path)
    place.double.release("conv_1")
    async with place.client() as client:
        run = await client.runs.get(run_id)
        outcome = await client.runs.wait(run, timeout=SECONDS)
        entries = await journal(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, HELD)
    assert len(of(entries, EventKind.RUN_STARTED, EventKind.RUN_FINISHED)) == 2
    assert (place.count("POST", "/chat"), place.double.duplicates) == (1, 0)


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_process_that_ends_over_sending_leaves_it_to_the_next_to_find_out(
    place: Place, arrives: bool
) -> None:
    """A message that arrived is followed; one that did not is sent, under the same id."""
    hanging = Hang(arrives=arrives)
    place.faults.plan("POST", "/chat", hanging)
    async with place.client() as client:
        sent = await start(client, "hello")
        await hanging.reached.wait()
    async with place.client() as client:
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello")
    assert (place.count("POST", "/chat"), place.double.duplicates) == (1, 0)


async def test_a_message_that_is_not_kept_is_found_again_by_its_id_or_lost(place: Place) -> None:
    """With `store_content = false`, only its process could send it again."""
    place.faults.plan("POST", "/chat", stall("nothing"))
    async with place.client(store_content=False) as client:
        sent = await start(client, "hold on")
        await place.double.until(lambda: place.double.streams == 1)
    place.double.release(native(sent))
    async with place.client(store_content=False) as client:
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, HELD)

        hanging = anyio.Event()

        async def hang(app: App, scope: Scope, receive: Receive, send: Send) -> None:
            hanging.set()
            await anyio.sleep_forever()

        place.faults.plan("POST", "/chat", hang)
        lost = await start(client, "lost")
        await hanging.wait()
    async with place.client(store_content=False) as client:
        outcome = await client.runs.wait(lost.run, timeout=SECONDS)

    assert outcome.run.status is RunStatus.INTERRUPTED
    assert b"hold on" not in place.path.read_bytes()


async def test_a_run_is_canceled_by_its_call(place: Place) -> None:
    """There and here."""
    async with place.client() as client:
        sent = await start(client, "hold on")
        await until_told(client, sent, "see. ")
        run = await client.runs.cancel(sent.conversation.id)
        again = await client.runs.send(sent.conversation.id, MessageDraft(text="next"))
        outcome = await client.runs.wait(again.run, timeout=SECONDS)

    assert (run.status, outcome.reply) == (RunStatus.CANCELED, "You said: next")
    assert {"call_id": "call_1"} in place.double.bodies


async def test_a_run_that_is_canceled_at_agentflow_is_canceled_here(place: Place) -> None:
    """Whoever did that."""
    async with place.client() as client, place.client() as other:
        sent = await start(client, "hold on")
        await until_told(client, sent, "see. ")
        async with place.platform() as alone:
            await alone.cancel("local", await other.runs.get(sent.run.id))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.run.status is RunStatus.CANCELED


async def test_a_run_whose_call_has_no_name_yet_cannot_be_canceled(place: Place) -> None:
    """AgentFlow stops a call by its id; once nothing is produced any more, there is nothing to stop."""
    place.faults.plan("POST", "/chat", stall(": connected"))
    async with place.client() as client:
        sent = await start(client, "hold on")
        await place.double.until(lambda: place.double.streams == 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(place.clock.skip_deadline, CALLING_SECONDS)
            with pytest.raises(ConflictError, match="has not named the call that answers in"):
                await client.runs.cancel(sent.conversation.id)
        place.double.conversations[native(sent)].runs[0].over = True
        run = await client.runs.cancel(sent.conversation.id)

    assert run.status is RunStatus.CANCELED
    assert place.count("POST", "/cancel") == 0


async def test_a_run_that_is_over_there_can_still_be_canceled_here(place: Place) -> None:
    """AgentFlow says that it knows no such call, and that nothing is being produced."""
    async with place.client() as client:
        sent = await start(client, "hold on")
        await until_told(client, sent, "see. ")
        place.double.conversations[native(sent)].runs[0].over = True
        run = await client.runs.cancel(sent.conversation.id)

    assert run.status is RunStatus.CANCELED


async def test_an_earlier_answer_in_the_same_conversation_is_not_taken_for_this_one(place: Place) -> None:
    """A watch shows whatever happened there, from the beginning where nothing was told yet."""
    place.double.relays = True
    async with place.client() as client:
        first = await answered(client, "hello")
        events = place.double.conversations[native(first)].events
        place.faults.plan("POST", "/chat", lose_at_once)
        sent = await client.runs.send(first.run.conversation_id, MessageDraft(text="hold on"))
        await place.double.until(lambda: place.double.watched == len(events) > 6)
        place.double.release(native(first))
        second = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (second.run.status, second.reply) == (RunStatus.COMPLETED, HELD)


async def test_another_answer_in_the_same_conversation_is_none_of_the_run_s(place: Place) -> None:
    """Neither its words nor its end."""
    place.double.relays = True
    place.double.snapshots = False
    place.double.breaks_after = [3]
    async with place.client() as client:
        sent = await start(client, "hold on")
        await place.double.until(lambda: place.double.watched == 4)
        place.double.interfere(native(sent))
        place.double.release(native(sent))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        entries = await journal(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, HELD)
    assert "".join(data["delta"] for data in of(entries, EventKind.TEXT_MESSAGE_CONTENT)) == HELD


LONG = "One two three four five six seven eight nine. "


@pytest.mark.parametrize("dies", [False, True])
async def test_events_that_come_again_are_told_once(place: Place, dies: bool) -> None:
    """Also those that were joined in the journal, and to the process that follows."""
    place.double.relays, place.double.snapshots, place.double.repeats = True, False, 99
    place.double.scripts["hold"] = [*said(LONG), Step(HOLD), *said("Ten.")]
    if not dies:
        place.double.breaks_after = [9]
    async with place.client() as client:
        sent = await start(client, "hold on")
        await until_told(client, sent, LONG)
    async with place.client() as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(client.runs.wait_idle, sent.run, timeout=SECONDS))
            await place.double.until(lambda: place.double.watched == 10 and place.double.streams == 1)
            place.double.release(native(sent))
        outcome = await client.runs.result(sent.run)
        entries = await journal(client, outcome)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, f"{LONG}Ten.")
    assert "".join(data["delta"] for data in of(entries, EventKind.TEXT_MESSAGE_CONTENT)) == f"{LONG}Ten."


async def test_an_answer_with_a_gap_is_completed_by_what_agentflow_keeps(place: Place) -> None:
    """Its end has no text, and a watch did not tell what had happened before."""
    place.double.relays, place.double.snapshots, place.double.forgets = True, False, True
    place.double.ends_with_text = False
    place.double.breaks_after = [2]
    async with place.client() as client:
        sent = await start(client, "hold on")
        await place.double.until(lambda: place.count("GET", "/watch") > 0 and place.double.streams == 1)
        place.double.release(native(sent))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, HELD)


async def lose_at_once(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Lose a response before anything of it came, while the app goes on with it."""

    async def unheard(message: Any) -> None:
        if message["type"] == "http.response.body":
            await drop(app, scope, receive, send)
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await app(scope, receive, unheard)
