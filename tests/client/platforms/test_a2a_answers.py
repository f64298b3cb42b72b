"""Answers of an agent while people are asked, networks fail and processes die; in both versions of A2A."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    ConflictError,
    ConversationChanges,
    ConversationQuery,
    Decision,
    EventKind,
    InvalidInputError,
    RequestKind,
    RunStatus,
    Settlement,
)
from tertulia.vocabulary.errors import MovedOnError
from tests.client.platforms.a2a import SECONDS, Place, answered, journal, of, only, placed, start, until_told
from tests.doubles.a2a import A2ADouble
from tests.doubles.network import App, Fault, Receive, Scope, Send, answer, cut, drop, lose, stall

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SENDS = ("SendMessage", "SendStreamingMessage", "message/send", "message/stream")
SUBSCRIBES = ("SubscribeToTask", "tasks/resubscribe")
CANCELS = ("CancelTask", "tasks/cancel")


@pytest.fixture(params=["1.0", "0.3"])
async def place(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Place]:
    """Return an agent of each version."""
    async with placed(tmp_path, A2ADouble(old=request.param == "0.3")) as place:
        yield place


@pytest.fixture
async def new(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return an agent that lists its tasks."""
    async with placed(tmp_path) as place:
        yield place


def answer_with(text: str) -> Settlement:
    return Settlement(decision=Decision.ANSWER, answer=text)


def released_before(place: Place) -> Fault:
    """Return a fault that lets the newest task end just before the agent gets the request."""

    async def fault(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        place.double.release()
        await app(scope, receive, send)

    return fault


async def released_once_subscribed(place: Place) -> None:
    await place.double.until(lambda: place.count(*SUBSCRIBES) > 0)
    place.double.release()


APPROVE = Settlement(decision=Decision.APPROVE)
REJECT = Settlement(decision=Decision.REJECT)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_task_that_requires_input_asks_a_person(place: Place, streaming: bool) -> None:
    """The answer goes into the same task and context, and the task continues."""
    place.double.streaming = streaming
    async with place.client() as client:
        outcome = await answered(client, "ask")
        (request,) = outcome.pending
        assert outcome.run.status is RunStatus.INPUT_REQUIRED
        assert (request.kind, request.prompt) == (RequestKind.QUESTION, "Which quarter?")
        await client.runs.respond(request.id, answer_with("Q3"))
        assert (await client.runs.wait(outcome.run, timeout=SECONDS)).reply == "Thank you for Q3."

    first, second = place.double.sent
    assert second["taskId"] == place.double.task.id
    assert second["contextId"] == first["contextId"]


async def test_one_question_after_another_is_asked(place: Place) -> None:
    """Each once, with an id of its own."""
    async with place.client() as client:
        outcome = await answered(client, "twice")
        for prompt, said in (("Which quarter?", "Q3"), ("Which year of Q3?", "2026")):
            (request,) = outcome.pending
            assert request.prompt == prompt
            await client.runs.respond(request.id, answer_with(said))
            outcome = await client.runs.wait(outcome.run, timeout=SECONDS)

    assert outcome.reply == "So 2026 it is."


async def test_a_question_is_answered_in_another_process(place: Place) -> None:
    """While none that began the run is left."""
    async with place.client() as client:
        outcome = await answered(client, "ask")
    async with place.client() as client:
        await client.runs.respond(outcome.pending[0].id, answer_with("Q3"))
        assert (await client.runs.wait(outcome.run, timeout=SECONDS)).reply == "Thank you for Q3."


async def test_a_question_is_not_refused(place: Place) -> None:
    """A2A knows no refusal; nothing is sent."""
    async with place.client() as client:
        outcome = await answered(client, "ask")
        with pytest.raises(InvalidInputError):
            await client.runs.respond(outcome.pending[0].id, REJECT)

    assert len(place.double.sent) == 1


async def test_a_question_that_was_answered_elsewhere_is_withdrawn(place: Place) -> None:
    """The run continues with what came of that; a decision that comes too late is not sent."""
    async with place.client() as client:
        outcome = await answered(client, "ask")
        place.double.answer("Q1")
        with pytest.raises((MovedOnError, ConflictError)):
            await client.runs.respond(outcome.pending[0].id, answer_with("Q3"))
        later = await client.runs.wait(outcome.run, timeout=SECONDS)

    assert later.reply == "Thank you for Q1."
    assert len(place.double.sent) == 1


async def test_an_answer_whose_response_was_lost_has_arrived(place: Place) -> None:
    """The task tells that it does not wait any more; the answer is sent once."""
    async with place.client() as client:
        outcome = await answered(client, "ask")
        await place.double.until(lambda: place.double.task.state == "INPUT_REQUIRED")
        place.faults.plan("POST", "/rpc", only(*SENDS, fault=lose))
        await client.runs.respond(outcome.pending[0].id, answer_with("Q3"))
        assert (await client.runs.wait(outcome.run, timeout=SECONDS)).reply == "Thank you for Q3."

    assert len(place.double.sent) == 2


async def test_an_authorization_is_shown_and_never_collected(place: Place) -> None:
    """It is something to confirm; the agent is told that it was given, and nothing else."""
    async with place.client() as client:
        outcome = await answered(client, "authorize")
        (request,) = outcome.pending
        assert request.kind is RequestKind.CONFIRMATION
        assert "“Sign in at https://login.example first.”" in request.prompt
        assert "never here" in request.prompt
        with pytest.raises(InvalidInputError):
            await client.runs.respond(request.id, answer_with("hunter2"))
        await client.runs.respond(request.id, APPROVE)
        later = await client.runs.wait(outcome.run, timeout=SECONDS)

    assert later.reply == "You are signed in."
    assert [part["text"] for part in place.double.sent[1]["parts"]] == ["The authorization was given."]
    assert "hunter2" not in str(place.double.sent)


async def test_an_agent_that_notices_the_authorization_itself_continues(place: Place) -> None:
    """Nobody has to confirm it then."""
    async with place.client() as client:
        outcome = await answered(client, "authorize")
        place.double.answer("")
        while (later := await client.runs.result(outcome.run)).run.status is not RunStatus.COMPLETED:
            place.clock.skip(1)
            await anyio.lowlevel.checkpoint()

    assert later.reply == "You are signed in."
    assert len(place.double.sent) == 1


async def test_a_rejected_authorization_stops_the_task(place: Place) -> None:
    """The agent is not told in words."""
    async with place.client() as client:
        outcome = await answered(client, "authorize")
        await client.runs.respond(outcome.pending[0].id, REJECT)
        later = await client.runs.wait(outcome.run, timeout=SECONDS)

    assert later.run.status is RunStatus.CANCELED
    assert place.double.task.state == "CANCELED"


async def test_a_run_is_canceled_at_the_agent(place: Place) -> None:
    """Its task is."""
    async with place.client() as client:
        sent = await start(client, "hold")
        await until_told(client, sent, "see.")
        assert (await client.runs.cancel(sent.conversation.id)).status is RunStatus.CANCELED

    assert place.double.task.state == "CANCELED"


async def test_an_agent_that_cannot_stop_a_task_is_not_waited_for(place: Place) -> None:
    """The run ends here; the task goes on."""
    place.double.cancels = False
    async with place.client() as client:
        sent = await start(client, "hold")
        await until_told(client, sent, "see.")
        assert (await client.runs.cancel(sent.conversation.id)).status is RunStatus.CANCELED

    assert place.double.task.state == "WORKING"


async def test_a_task_that_has_ended_is_not_canceled(place: Place) -> None:
    """Its answer is taken."""
    async with place.client() as client:
        sent = await start(client, "hold")
        await until_told(client, sent, "see.")
        place.faults.plan("POST", "/rpc", only(*CANCELS, fault=released_before(place)))
        with pytest.raises(ConflictError):
            await client.runs.cancel(sent.conversation.id)
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "Let me see. There it is."


async def test_a_task_that_is_canceled_at_the_agent_ends_the_run(place: Place) -> None:
    """As canceled."""
    async with place.client() as client:
        sent = await start(client, "hold")
        await until_told(client, sent, "see.")
        place.double.cancel()
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.run.status is RunStatus.CANCELED


@pytest.mark.parametrize("events", range(1, 5))
async def test_a_stream_that_ends_early_is_opened_again(place: Place, events: int) -> None:
    """The task as it is replaces what was told, and the rest follows: nothing is missing, and nothing there twice."""
    place.double.breaks_after = [events]
    async with place.client() as client:
        sent = await start(client, "hold")
        await place.double.until(lambda: place.count(*SUBSCRIBES) > 0)
        place.double.release()
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.reply == "Let me see. There it is."
    assert len(place.double.sent) == 1


@pytest.mark.parametrize("text", ['"Let "', '"me "', "artifactId"])
async def test_a_stream_that_is_cut_is_opened_again(place: Place, text: str) -> None:
    """Wherever that happens."""
    place.faults.plan("POST", "/rpc", only(*SENDS, fault=cut(text)))
    async with place.client() as client:
        sent = await start(client, "hold")
        await place.double.until(lambda: place.count(*SUBSCRIBES) > 0)
        place.double.release()
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        deltas = of(await journal(client, sent), EventKind.TEXT_MESSAGE_CONTENT)

    assert outcome.reply == "Let me see. There it is."
    assert "".join(one["delta"] for one in deltas) == outcome.reply


async def test_an_agent_that_is_away_for_a_while_is_waited_for(place: Place) -> None:
    """The task goes on meanwhile."""
    away = only(*SUBSCRIBES, "GetTask", "tasks/get", fault=answer(503))
    place.double.breaks_after = [2]
    async with place.client() as client:
        place.faults.plan("POST", "/rpc", only(fault=drop), *[away] * 6)
        sent = await start(client, "hold")
        await until_told(client, sent, "see.")
        place.double.release()
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "Let me see. There it is."


async def test_an_answer_is_found_again_by_another_process(place: Place) -> None:
    """The message is not sent again."""
    async with place.client() as client:
        sent = await start(client, "hold")
        await until_told(client, sent, "see.")
    async with place.client() as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(released_once_subscribed, place)
            await client.runs.wait(sent.run, timeout=SECONDS)
        outcome = await client.runs.result(sent.run)

    assert outcome.reply == "Let me see. There it is."
    assert len(place.double.sent) == 1


async def test_an_answer_that_ended_while_nobody_listened_is_complete(place: Place) -> None:
    """The task has it."""
    async with place.client() as client:
        sent = await start(client, "hold")
        await until_told(client, sent, "see.")
    place.double.release()
    async with place.client() as client:
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "Let me see. There it is."


async def test_a_task_that_is_gone_interrupts_the_run(place: Place) -> None:
    """As when the agent keeps its tasks in memory, and was started anew."""
    async with place.client() as client:
        sent = await start(client, "hold")
        await until_told(client, sent, "see.")
    place.double.tasks.clear()
    async with place.client() as client:
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.run.status is RunStatus.INTERRUPTED


async def test_a_message_whose_response_was_lost_is_found(new: Place) -> None:
    """By its id, in the tasks that the agent lists."""
    new.faults.plan("POST", "/rpc", only(*SENDS, fault=lose))
    async with new.client() as client:
        outcome = await answered(client, "hello")

    assert outcome.reply == "You said: hello"
    assert len(new.double.sent) == 1


@pytest.mark.parametrize("fault", [lose, drop])
async def test_a_message_that_may_be_lost_is_not_sent_again(place: Place, fault: Any) -> None:
    """If the agent does not list its tasks, nobody knows: the run says so."""
    place.double.lists_tasks = False
    place.faults.plan("POST", "/rpc", only(*SENDS, fault=fault))
    async with place.client() as client:
        outcome = await answered(client, "hello")

    assert outcome.run.status is RunStatus.FAILED
    assert "gave no answer to the message" in (outcome.run.error or "")
    assert len(place.double.sent) == (1 if fault is lose else 0)


async def test_a_process_that_dies_while_it_sends_has_sent_once(new: Place) -> None:
    """The next one finds the task."""
    arrived = anyio.Event()

    async def hang(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        async def unheard(_: Any) -> None:
            arrived.set()
            await anyio.sleep_forever()

        await app(scope, receive, unheard)

    new.faults.plan("POST", "/rpc", only(*SENDS, fault=hang))
    async with new.client() as client:
        sent = await start(client, "hello")
        await arrived.wait()
    async with new.client() as client:
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.reply == "You said: hello"
    assert len(new.double.sent) == 1


async def test_a_stream_that_falls_silent_is_given_up_for_the_task(place: Place) -> None:
    """After its idle limit."""
    place.faults.plan("POST", "/rpc", only(*SENDS, fault=stall('"me "')))
    async with place.client() as client:
        sent = await start(client, "hold")
        await until_told(client, sent, "Let")
        place.double.release()
        place.clock.skip(400)
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).reply == "Let me see. There it is."


async def test_refusals_are_said(place: Place) -> None:
    """In the agent's own words, where it refuses the message for them."""
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "Too long."}}
    failure = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "Traceback"}}
    async with place.client() as client:
        await client.agents.list()
        place.faults.plan("POST", "/rpc", *[answer(200, error)] * 2)
        outcome = await answered(client, "hello")
        place.faults.plan("POST", "/rpc", answer(200, failure))
        failed = await answered(client, "hello")

    assert "It says: “Too long.”" in (outcome.run.error or "")
    assert "failed over this call" in (failed.run.error or "")
    assert "Traceback" not in (failed.run.error or "")


async def test_contexts_that_others_began_are_listed_and_read(new: Place) -> None:
    """Where the agent lists its tasks; those of ours are not listed twice."""
    new.double.own_contexts = True
    async with new.client() as client:
        ours = (await answered(client, "hello")).run.conversation_id
        theirs = new.double.begin("two")
        page = await client.conversations.list(ConversationQuery(instance="helper"))
        found = await client.messages.list(f"helper:{theirs}")
        sent = await client.runs.send(f"helper:{theirs}", "again")
        await client.runs.wait(sent.run, timeout=SECONDS)

    assert {one.id for one in page.items} == {ours, f"helper:{theirs}"}
    assert [message.text for message in found.items] == ["two", "First part.\n\nSecond part.\n\nThat is all."]
    assert new.double.task.context_id == theirs


async def test_questions_and_answers_are_among_the_messages(new: Place) -> None:
    """As the task's history has them; whose they are is told by their roles."""
    async with new.client() as client:
        outcome = await answered(client, "ask")
        await client.runs.respond(outcome.pending[0].id, answer_with("Q3"))
        await client.runs.wait(outcome.run, timeout=SECONDS)
        page = await client.messages.list(outcome.run.conversation_id)

    assert {message.text for message in page.items} == {"ask", "Which quarter?", "Q3", "Thank you for Q3."}


async def test_an_agent_that_lists_nothing_has_what_passed_here(place: Place) -> None:
    """From the store."""
    place.double.lists_tasks = False
    async with place.client() as client:
        own_id = (await answered(client, "hello")).run.conversation_id
        page = await client.conversations.list(ConversationQuery(instance="helper"))
        messages = await client.messages.list(own_id)

    assert [one.id for one in page.items] == [own_id]
    assert [message.text for message in messages.items] == ["hello", "You said: hello"]


async def test_messages_are_read_from_tasks_where_none_are_kept(new: Place) -> None:
    """The store has no contents then."""
    async with new.client(store_content=False) as client:
        outcome = await answered(client, "hello")
        messages = await client.messages.list(outcome.run.conversation_id)

    assert [message.text for message in messages.items] == ["hello", "You said: hello"]


async def test_an_agent_that_is_away_leaves_what_is_known(new: Place) -> None:
    """Messages that the store has are read without it."""
    async with new.client() as client:
        own_id = (await answered(client, "hello")).run.conversation_id
        new.faults.plan("POST", "/rpc", *[answer(503)] * 4)
        assert len((await client.messages.list(own_id)).items) == 2


async def test_title_metadata_and_archive_are_kept_here(place: Place) -> None:
    """A2A has none of them."""
    async with place.client() as client:
        own_id = (await answered(client, "hello")).run.conversation_id
        changed = await client.conversations.update(
            own_id, ConversationChanges(title="Trip", metadata={"a": "b"})
        )

    assert (changed.title, changed.metadata) == ("Trip", {"a": "b"})
