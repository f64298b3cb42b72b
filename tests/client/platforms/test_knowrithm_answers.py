"""Having messages answered at Knowrithm: by its stream, by its tasks, and through a network that fails."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    ConflictError,
    EventKind,
    InvalidInputError,
    MessageDraft,
    NewConversation,
    NotOffered,
    Role,
    RunStatus,
)
from tests.client.elsewhere import elsewhere, say, told
from tests.client.inside import leases_run_out
from tests.client.platforms.knowrithm import SUPPORT, Place, answered, placed, start
from tests.doubles.clocks import SkippingClock
from tests.doubles.knowrithm import KEY, SECRET, KnowrithmDouble, refusal
from tests.doubles.network import (
    App,
    Fault,
    Hang,
    Receive,
    Scope,
    Send,
    answer,
    cut,
    drop,
    lose,
    served,
    stall,
    unheard,
)
from tests.support.place import SECONDS, journal, native

pytestmark = [pytest.mark.anyio, pytest.mark.io]

REPLY = "You said: hi"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return Knowrithm as it is documented."""
    async with placed(tmp_path) as place:
        yield place


def asked(place: Place) -> int:
    """Return how often a task was asked for."""
    return sum("/tasks/" in call for call in place.double.calls)


async def test_a_reply_comes_by_the_stream_which_was_open_before_the_message(place: Place) -> None:
    """How far it is, the whole reply, what it cites; heartbeats and comments are nothing. No task is asked for."""
    async with place.client() as client:
        outcome = await answered(client, "hi")
        entries = await journal(client, outcome.run.conversation_id)

    reply_id = place.double.conversations[native(outcome)].messages[-1]["id"]
    about = {"message_id": reply_id}
    citations = [{"title": "Prices", "url": "https://example.org/prices"}]
    assert (outcome.run.status, outcome.reply, outcome.run.reply_id) == (
        RunStatus.COMPLETED,
        REPLY,
        reply_id,
    )
    assert [(entry.kind, dict(entry.data)) for entry in entries][1:-2] == [
        ("run_started", {"agent": SUPPORT}),
        ("step_started", {"name": "queued"}),
        ("step_finished", {"name": "queued"}),
        ("text_message_start", about),
        ("text_message_end", {**about, "text": REPLY, "citations": citations}),
    ]
    calls = [call.partition("?")[0].rpartition("/")[2] for call in place.double.calls[1:]]
    assert calls == ["stream", "messages", "chat"]
    assert place.double.bodies[-1] == {"message": "hi"}
    await place.double.listened_to(0)


@pytest.mark.parametrize("names", [["task_id"], ["message_id"], ["conversation_id"], []])
async def test_a_reply_is_ours_by_whichever_name_says_so_and_else_by_its_task(
    place: Place, names: list[str]
) -> None:
    """The task decides where the stream does not say whose a reply is."""
    place.double.names = names
    async with place.client() as client:
        assert (await answered(client, "hi")).reply == REPLY
    assert asked(place) == (0 if {"task_id", "message_id"} & set(names) else 1)


async def test_what_the_stream_tells_of_others_is_not_taken_for_ours(place: Place) -> None:
    """Before the message was sent, and while it is answered, with and without a word on whose it is."""
    theirs = {"role": "assistant", "content": "Not for you"}
    async with place.client() as client:
        conversation = await client.conversations.create(NewConversation(agent=SUPPORT))
        native_id = conversation.id.partition(":")[2]

        async def before(app: App, scope: Scope, receive: Receive, send: Send) -> None:
            place.double.tell(native_id, "chat_response", {"message": theirs})
            await app(scope, receive, send)

        place.faults.plan("POST", "/chat", before)
        sent = await client.runs.send(conversation.id, MessageDraft(text="hold"))
        await place.double.listened_to()
        await place.double.holds(native_id)
        others: Sequence[dict[str, Any]] = (
            *({"task_id": "other"}, {"conversation_id": "other"}, {"message_id": "other"}, {}),
            {"conversation_id": ["other"], "task_id": {"a": 1}},
        )
        for about in others:
            place.double.tell(native_id, "chat_response", {"response": "Not for you", **about})
            place.double.tell(native_id, "chat_status", {"status": "failed", **about})
        place.double.release(native_id)
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hold")


async def test_an_event_that_nobody_knows_is_kept_as_it_came(place: Place) -> None:
    """And ends nothing, whatever is in it."""
    async with place.client() as client:
        sent = await start(client, "hold")
        await place.double.listened_to()
        native_id = native(sent)
        await place.double.holds(native_id)
        place.double.tell(native_id, "typing", {"who": "agent"})
        place.double.tell(native_id, "chat_status", "no json {")
        place.double.tell(native_id, "chat_status", [1])
        place.double.tell(native_id, "chat_response", {})
        place.double.release(native_id)
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        entries = await journal(client, sent.conversation.id)

    assert outcome.run.status is RunStatus.COMPLETED
    assert [entry.data for entry in entries if entry.kind is EventKind.RAW] == [
        {"name": "typing", "payload": {"who": "agent"}},
        {"name": "chat_status", "payload": "no json {"},
        {"name": "chat_status", "payload": "[1]"},
    ]


@pytest.mark.parametrize("word", ["completed", "success", "succeeded", "finished", "done", "SUCCESS"])
@pytest.mark.parametrize("under", [["status"], ["state"], ["status", "state"]])
async def test_without_a_stream_the_task_is_asked_until_it_has_ended(
    place: Place, word: str, under: list[str]
) -> None:
    """Whatever its words are, and wherever it says them."""
    double = place.double
    double.streams, double.slow, double.words, double.under = False, 2, ("processing", word), under
    async with place.client() as client:
        outcome = await answered(client, "hi")
        entries = await journal(client, outcome.run.conversation_id)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, REPLY)
    assert asked(place) == 3
    assert [entry.data["name"] for entry in entries if entry.kind is EventKind.STEP_STARTED] == ["processing"]


@pytest.mark.parametrize("word", ["failed", "failure", "error", "rejected", "REVOKED", "cancelled"])
@pytest.mark.parametrize("under", [["status"], ["state"], ["status", "state"]])
async def test_a_task_that_fails_ends_the_answer_with_its_words_quoted(
    place: Place, word: str, under: list[str]
) -> None:
    """Whatever its words are, and wherever it says them."""
    place.double.streams, place.double.failing, place.double.under = False, word, under
    async with place.client() as client:
        outcome = await answered(client, "fail")

    assert outcome.run.status is RunStatus.FAILED
    assert outcome.run.error == "Knowrithm failed over the answer: “LLM quota” (code “LLM_429”)."
    assert outcome.run.retryable


@pytest.mark.parametrize("names", [["task_id"], []])
async def test_a_failure_that_the_stream_tells_ends_the_answer(place: Place, names: list[str]) -> None:
    """At once, or when the task has confirmed it."""
    place.double.names = names
    async with place.client() as client:
        outcome = await answered(client, "fail")
    assert outcome.run.error == "Knowrithm failed over the answer: “LLM quota” (code “LLM_429”)."
    assert asked(place) == (0 if names else 1)


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [("Out of memory", ": “Out of memory”."), (None, "."), ({"code": "X"}, " (code “X”).")],
)
async def test_a_failure_says_what_there_is_to_say(place: Place, failure: Any, sentence: str) -> None:
    """A text, a code, or nothing."""
    place.double.streams = False
    place.double.failure = failure or ""
    async with place.client() as client:
        outcome = await answered(client, "fail")
    assert outcome.run.error == f"Knowrithm failed over the answer{sentence}"


@pytest.mark.parametrize("shape", ["messages", "message", "text", "none"])
@pytest.mark.parametrize("under", ["result", "data", "response"])
async def test_the_reply_is_found_in_what_a_task_returns_or_else_in_the_conversation(
    place: Place, shape: Any, under: str
) -> None:
    """A sentence about the call itself is no reply."""
    place.double.streams, place.double.result_shape, place.double.result_under = False, shape, under
    async with place.client() as client:
        outcome = await answered(client, "hi")
        page = await client.messages.list(outcome.run.conversation_id)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, REPLY)
    assert [(message.role, message.text) for message in page.items] == [
        (Role.USER, "hi"),
        (Role.ASSISTANT, REPLY),
    ]


async def test_an_answer_without_a_reply_is_a_failure(place: Place) -> None:
    """Neither the task nor the conversation has one."""
    place.double.streams, place.double.result_shape = False, "none"
    async with place.client() as client:
        sent = await start(client, "hold")
        native_id = native(sent)
        await place.double.holds(native_id)
        task = place.double.conversations[native_id].held
        assert task is not None
        task.done = lambda: {"message": "Chat processed"}
        place.double.release(native_id)
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (outcome.run.status, outcome.run.error) == (RunStatus.FAILED, "Knowrithm ended without an answer.")


@pytest.mark.parametrize(
    "url",
    [
        "/v1/tasks/{task}/status",
        "/api/v1/tasks/{task}/status",
        "tasks/{task}/status",
        "ORIGIN/api/v1/tasks/{task}/status?verbose=1",
        "http://192.0.2.1/api/v1/tasks/{task}/status",
        "//192.0.2.1/v1/tasks/{task}/status",
        "/v1/../../tasks/{task}/status",
        None,
    ],
)
@pytest.mark.parametrize("name", ["poll_url", "status_url"])
async def test_a_task_is_asked_for_at_this_server_however_its_url_is_written(
    place: Place, name: str, url: str | None
) -> None:
    """A URL of another server would be sent our credentials; the id of the task says the same."""
    place.double.streams, place.double.poll_url = False, None
    setattr(place.double, name, url if url is None else url.replace("ORIGIN", place.origin))
    async with place.client() as client:
        assert (await answered(client, "hi")).reply == REPLY
    assert asked(place) == 1


async def test_credentials_go_to_no_other_server(place: Place) -> None:
    """Not even where the other one is there and listens."""
    strangers: list[Any] = []

    async def stranger(scope: Scope, receive: Receive, send: Send) -> None:
        strangers.append(scope)

    place.double.streams = False
    async with served(stranger) as other:
        place.double.poll_url = other + "/api/v1/tasks/{task}/status"
        async with place.client() as client:
            assert (await answered(client, "hi")).reply == REPLY
    assert strangers == []


@pytest.mark.parametrize(
    ("hints", "header"),
    [({"retry_after_ms": 6000}, None), ({"meta": {"retry_after": 6}}, None), ({}, "6")],
)
async def test_a_task_is_asked_again_when_its_server_wishes(
    place: Place, hints: dict[str, Any], header: str | None
) -> None:
    """In the body or in the header; without a word about that, it is asked long before."""
    double = place.double
    double.streams, double.slow, double.hints, double.retry_after = False, 1, hints, header
    async with place.client() as client:
        conversation = await client.conversations.create(NewConversation(agent=SUPPORT))
        began = place.clock.now()
        sent = await client.runs.send(conversation.id, MessageDraft(text="hi"))
        await client.runs.wait(sent.run, timeout=SECONDS)
        took = place.clock.now() - began

    assert took >= 6


@pytest.mark.parametrize(
    "behind", ["connected", "chat_status", "data: {", "chat_response", '"content": "You']
)
async def test_a_stream_that_breaks_leaves_the_rest_to_the_task(place: Place, behind: str) -> None:
    """It has no way to go on behind an event."""
    place.faults.plan("GET", "/stream", cut(behind))
    async with place.client() as client:
        assert (await answered(client, "hi")).reply == REPLY
    assert place.double.posts("/chat") == 1


async def test_a_stream_that_falls_silent_holds_no_answer_up(place: Place) -> None:
    """The task is asked after a while."""
    place.clock = SkippingClock(factor=100)
    place.faults.plan("GET", "/stream", stall("connected"))
    async with place.client() as client:
        assert (await answered(client, "hi")).reply == REPLY


@pytest.mark.parametrize("status", [503, 404, 405, 500, 302])
async def test_a_stream_that_cannot_be_had_is_not_missed(place: Place, status: int) -> None:
    """The message is sent all the same."""
    place.faults.plan("GET", "/stream", answer(status, refusal()))
    async with place.client() as client:
        assert (await answered(client, "hi")).reply == REPLY
    assert place.double.posts("/chat") == 1


async def test_a_stream_that_does_not_open_is_not_waited_for(place: Place) -> None:
    """Nor does it hold up the message."""

    async def hang(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep_forever()

    place.clock = SkippingClock(factor=100)
    place.faults.plan("GET", "/stream", hang)
    async with place.client() as client:
        assert (await answered(client, "hi")).reply == REPLY


async def gateway(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in the place of an app that has done what it was asked."""

    await app(scope, receive, unheard)
    await answer(502, "<html>")(app, scope, receive, send)


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("fault", [lose, gateway])
async def test_a_message_whose_answer_was_lost_was_sent_once(
    place: Place, fault: Fault, streams: bool
) -> None:
    """The conversation shows it, and its reply."""
    place.double.streams = streams
    place.faults.plan("POST", "/chat", fault)
    async with place.client() as client:
        outcome = await answered(client, "hi")

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, REPLY)
    assert place.double.posts("/chat") == 1


async def test_a_message_that_may_be_lost_is_not_sent_again(place: Place) -> None:
    """It is uncertain; the same words of an earlier message are not taken for it."""
    async with place.client() as client:
        first = await answered(client, "hi")
        place.faults.plan("POST", "/chat", drop)
        sent = await client.runs.send(first.run.conversation_id, MessageDraft(text="hi"))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.run.status is RunStatus.FAILED
    assert outcome.run.error == (
        "Knowrithm gave no answer to the message, and its history does not show it (yet). "
        "Look with list_messages in a moment; send it again if it is still missing then."
    )
    assert place.double.posts("/chat") == 1


async def test_a_lost_message_is_found_behind_many_others(place: Place) -> None:
    """Whatever is said in the conversation meanwhile, and however few messages a page holds."""
    place.double.most_per_page = 7
    async with place.client() as client:
        conversation = await client.conversations.create(NewConversation(agent=SUPPORT))
        native_id = conversation.id.partition(":")[2]
        for number in range(30):
            place.double.say(native_id, "user" if number % 2 else "assistant", f"{number}")
        place.double.say(native_id, "user", "hi")

        async def crowded(app: App, scope: Scope, receive: Receive, send: Send) -> None:
            for number in range(15):
                place.double.say(native_id, "user", f"other {number}")
            await lose(app, scope, receive, send)
            place.double.say(native_id, "user", "late")

        place.faults.plan("POST", "/chat", crowded)
        place.double.streams = False
        sent = await client.runs.send(conversation.id, MessageDraft(text="hi"))
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, REPLY)
    assert place.double.posts("/chat") == 1


async def test_a_task_that_is_forgotten_leaves_the_reply_to_the_conversation(place: Place) -> None:
    """As does one whose acknowledgement names none."""
    place.double.streams = False
    place.faults.plan("GET", "/status", answer(404, refusal("Task not found")))
    place.faults.plan("POST", "/chat", _without_body)
    async with place.client() as client:
        first = await answered(client, "hi")
        second = await answered(client, "hi there")
    assert (first.reply, second.reply) == (REPLY, "You said: hi there")


async def _without_body(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, unheard)
    await answer(202, {"status": "queued"})(app, scope, receive, send)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"status": "completed", "response": REPLY}, RunStatus.COMPLETED),
        ({"status": "failed", "error": "No model"}, RunStatus.FAILED),
    ],
)
async def test_a_message_may_be_answered_at_once(place: Place, body: Any, status: RunStatus) -> None:
    """Without a task."""
    place.faults.plan("POST", "/chat", answer(200, body))
    async with place.client() as client:
        outcome = await answered(client, "hi")
    assert outcome.run.status is status
    assert REPLY in outcome.reply or "No model" in (outcome.run.error or "")
    assert asked(place) == 0


async def test_that_a_message_was_taken_well_is_not_its_end(place: Place) -> None:
    """A task that is named is asked, whatever the word beside it."""

    async def taken(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, unheard)
        (task_id,) = place.double.tasks
        await answer(200, {"status": "success", "task_id": task_id})(app, scope, receive, send)

    place.double.streams = False
    place.faults.plan("POST", "/chat", taken)
    async with place.client() as client:
        assert (await answered(client, "hi")).reply == REPLY
    assert asked(place) == 1


async def test_a_server_that_is_away_for_a_while_is_asked_again(place: Place) -> None:
    """Its task goes on there."""
    place.double.streams = False
    away = [answer(503, refusal())] * 9
    place.faults.plan("GET", "/status", drop, answer(429, refusal(), retry_after="0"), *away)
    async with place.client() as client:
        assert (await answered(client, "hi")).reply == REPLY


async def test_a_server_that_stays_away_leaves_the_answer_interrupted(place: Place) -> None:
    """The message is there, and its answer may be."""
    place.double.streams = False
    place.faults.plan("GET", "/status", *[drop] * 200)
    async with place.client() as client:
        outcome = await answered(client, "hi")

    assert outcome.run.status is RunStatus.INTERRUPTED
    assert outcome.run.error == (
        "Knowrithm (knowrithm) cannot be reached. The answer may have gone on there: list_messages shows what "
        "Knowrithm has of it."
    )


async def test_an_answer_that_does_not_end_is_given_up(place: Place) -> None:
    """After a while; it may come all the same."""
    place.clock = SkippingClock(factor=2_000)
    async with place.client() as client:
        outcome = await answered(client, "hold")
    assert outcome.run.status is RunStatus.INTERRUPTED
    assert "has not finished the answer" in (outcome.run.error or "")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (
            429,
            refusal("Too many requests", "RATE_001"),
            "Knowrithm takes no more calls from knowrithm for now. It says: “Too many requests (RATE_001)”. "
            "Wait 7 seconds, then call again.",
        ),
        (
            400,
            refusal("Validation failed", "DOC_001", {"message": ["too long", "no text"]}),
            "Knowrithm cannot use this call. It says: “Validation failed; message: too long, no text (DOC_001)”.",
        ),
        (
            401,
            refusal("Invalid API credentials", "AUTH_001"),
            "Knowrithm does not accept the key and secret of the instance knowrithm. It says: “Invalid API credentials "
            "(AUTH_001)”. Set `api_key` and `api_secret` of this instance to a valid pair.",
        ),
    ],
)
async def test_a_message_that_is_refused_says_what_to_do(
    place: Place, status: int, body: Any, error: str
) -> None:
    """Nothing was sent, and nothing is tried again."""
    place.faults.plan("POST", "/chat", answer(status, body, retry_after="7"))
    async with place.client() as client:
        outcome = await answered(client, "hi")
    assert (outcome.run.status, outcome.run.error) == (RunStatus.FAILED, error)
    assert place.double.posts("/chat") == 0


async def test_an_answer_is_followed_on_by_the_next_process(place: Place) -> None:
    """By its task, which goes on at Knowrithm; its steps are told once."""
    async with place.client() as client:
        sent = await start(client, "hold")
        async for entries in client.runs.follow(sent.run):
            if any(entry.data.get("name") == "in_progress" for entry in entries):
                break
    await place.double.listened_to(0)
    place.double.release(native(sent))
    async with place.client() as client:
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)
        entries = await journal(client, sent.conversation.id)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hold")
    assert [(entry.kind, entry.data["name"]) for entry in entries if entry.kind.startswith("step")] == [
        ("step_started", "queued"),
        ("step_finished", "queued"),
        ("step_started", "in_progress"),
        ("step_finished", "in_progress"),
    ]
    assert place.double.posts("/chat") == 1


async def ask_and_wait(path: str, url: str) -> None:
    """Send a message that is held, and tell its run; then wait for its answer."""
    place = Place(Path(path), KnowrithmDouble())
    place.origin = url
    async with place.client() as client:
        sent = await start(client, "hold")
        async for entries in client.runs.follow(sent.run):
            if any(entry.data.get("name") == "in_progress" for entry in entries):
                break
        say(f"{sent.run.id}")
        await told()


async def test_an_answer_survives_the_death_of_its_process(place: Place) -> None:
    """Killed in the middle of it: another process finds the task, and nothing is sent twice."""
    async with elsewhere(ask_and_wait, place.path, place.origin) as other:
        run_id = await other.says()
        await other.dies()
    await leases_run_out(place.path)
    (native_id,) = place.double.conversations
    place.double.release(native_id)
    async with place.client() as client:
        outcome = await client.runs.wait(await client.runs.get(run_id), timeout=SECONDS)
        await journal(client, outcome.run.conversation_id)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hold")
    assert place.double.posts("/chat") == 1


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_process_that_dies_over_sending_leaves_it_to_the_next_to_find_out(
    place: Place, arrives: bool
) -> None:
    """A message that arrived is followed; one that did not is uncertain, and never sent again."""
    hanging = Hang(arrives=arrives)
    place.faults.plan("POST", "/chat", hanging)
    async with place.client() as client:
        sent = await start(client, "hi")
        await hanging.reached.wait()
    async with place.client() as client:
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert outcome.run.status is (RunStatus.COMPLETED if arrives else RunStatus.FAILED)
    assert place.double.posts("/chat") == (1 if arrives else 0)


async def test_a_process_that_dies_before_it_sends_leaves_a_message_that_the_next_one_sends(
    place: Place,
) -> None:
    """While its stream opens nothing was sent, so that nothing is uncertain."""
    hanging = Hang(arrives=False)
    place.faults.plan("GET", "/stream", hanging)
    async with place.client() as client:
        sent = await start(client, "hi")
        await hanging.reached.wait()
    async with place.client() as client:
        outcome = await client.runs.wait(sent.run, timeout=SECONDS)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, REPLY)
    assert place.double.posts("/chat") == 1


async def test_leaving_closes_the_stream_at_once(place: Place) -> None:
    """Nothing is left behind at Knowrithm."""
    async with place.client() as client:
        await start(client, "hold")
        await place.double.listened_to(1)
    await place.double.listened_to(0)


async def test_an_answer_cannot_be_stopped_since_knowrithm_has_no_call_for_that(place: Place) -> None:
    """It goes on, here as there."""
    async with place.client() as client:
        sent = await start(client, "hold")
        await place.double.listened_to(1)
        with pytest.raises(NotOffered, match="does not offer cancel"):
            await client.runs.cancel(sent.conversation.id)
        await place.double.holds(native(sent))
        place.double.release(native(sent))
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).run.status is RunStatus.COMPLETED


async def test_one_message_at_a_time_is_answered(place: Place) -> None:
    """The others are told which run to wait for."""
    async with place.client() as client:
        sent = await start(client, "hold")
        with pytest.raises(ConflictError, match="is still answering"):
            await client.runs.send(sent.conversation.id, MessageDraft(text="more"))


@pytest.mark.parametrize(
    "draft",
    [
        MessageDraft(data={"a": 1}),
        MessageDraft(text="hi", type="note"),
        MessageDraft(text="hi", parent_id="m"),
        MessageDraft(text="hi", metadata={"a": 1}),
        MessageDraft(text="hi", role=Role.ASSISTANT),
        MessageDraft(text="hi", context={"a": 1}),
    ],
)
async def test_what_a_message_cannot_carry_there_is_refused_and_not_dropped(
    place: Place, draft: MessageDraft
) -> None:
    """Before anything is sent or recorded."""
    async with place.client() as client:
        conversation = await client.conversations.create(NewConversation(agent=SUPPORT))
        with pytest.raises(InvalidInputError, match="Knowrithm takes"):
            await client.runs.send(conversation.id, draft)
        assert await client.runs.latest(conversation.id) is None


async def test_nothing_that_is_said_is_kept_where_it_must_not_be(place: Place) -> None:
    """The answer is told all the same, as Knowrithm has it; also by a process that never saw the message."""
    secret = "xylophone"
    async with place.client(store_content=False) as client:
        outcome = await answered(client, f"say {secret}", title=secret, metadata={"a": secret})
        sent = await start(client, "hold")
        async for entries in client.runs.follow(sent.run):
            if any(entry.kind is EventKind.STEP_STARTED for entry in entries):
                break
    place.double.release(native(sent))
    async with place.client(store_content=False) as client:
        later = await client.runs.wait(sent.run, timeout=SECONDS)

    kept = b"".join(file.read_bytes() for file in place.path.parent.iterdir())
    assert (outcome.reply, later.reply) == (f"You said: say {secret}", "You said: hold")
    assert secret.encode() not in kept


async def test_the_key_and_the_secret_appear_nowhere_but_in_their_headers(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in what is stored, logged or told."""
    caplog.set_level(0)
    async with place.client() as client:
        agents = await client.agents.list()
        outcome = await answered(client, "hi")
        entries = await journal(client, outcome.run.conversation_id)
    kept = b"".join(file.read_bytes() for file in place.path.parent.iterdir())
    for secret in (KEY, SECRET):
        assert secret not in f"{agents!r} {outcome!r} {entries!r} {caplog.text}"
        assert secret.encode() not in kept
