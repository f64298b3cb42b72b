"""Questions to R2R: each is asked once and gets its own answer, also where its fate is unknown."""

from pathlib import Path

import anyio
import pytest

from tertulia import (
    Client,
    EventKind,
    MessageChanges,
    MessageDraft,
    NewConversation,
    Role,
    RunResult,
    RunStatus,
    SearchQuery,
)
from tertulia.platforms.r2r.wire import IDLE_SECONDS
from tests.client.platforms.r2r import AGENT, RAG, Place, ask, begun, history, journal, native, placed
from tests.doubles.network import App, Receive, Scope, Send, answer, drop, lose
from tests.doubles.r2r import KEY, R2RDouble, lines, said
from tests.support.place import SECONDS

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@pytest.mark.parametrize("question", ["hold", "story 1"])
async def test_the_answer_to_another_question_is_not_taken_for_ours(place: Place, question: str) -> None:
    """Both were open when the process died; R2R answers the other one only."""
    async with place.client() as talk:
        made = await talk.conversations.create(NewConversation(agent=RAG))
        answer_other = place.double.ask_elsewhere(native(made.id), "asked in R2R's own UI")
        run = (await talk.runs.send(made.id, MessageDraft(text=question))).run
        await begun(talk, run)
    await place.double.left.wait()
    answer_other("One or two things about R2R's own UI.")
    async with place.client() as talk:
        outcome = await talk.runs.wait(run, timeout=SECONDS)
        assert outcome.run.status is RunStatus.INTERRUPTED
        assert "own UI" not in outcome.reply


async def test_of_two_open_questions_each_gets_its_own_answer(place: Place) -> None:
    async with place.client() as talk:
        made = await talk.conversations.create(NewConversation(agent=RAG))
        answer_other = place.double.ask_elsewhere(native(made.id), "asked in R2R's own UI")
        run = (await talk.runs.send(made.id, MessageDraft(text="story 1"))).run
        await begun(talk, run)
    await place.double.left.wait()
    answer_other("Once upon a time, R2R had a user interface of its own, and that was that.")
    place.double.finish_lost()
    async with place.client() as talk:
        outcome = await talk.runs.wait(run, timeout=SECONDS)
    assert outcome.run.status is RunStatus.COMPLETED
    assert outcome.reply.endswith("that was story 1.")
    assert outcome.run.reply_id == place.double.memory.get(native(made.id)).messages[-1].id


async def test_answers_that_overlap_have_their_own_ids(place: Place, talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    run = (await talk.runs.send(made.id, MessageDraft(text="hold"))).run
    await begun(talk, run)
    place.double.ask_elsewhere(native(made.id), "another")("One two, another one.")
    place.double.released.set()
    outcome = await talk.runs.wait(run, timeout=SECONDS)
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "One two.")
    assert outcome.run.reply_id == place.double.memory.get(native(made.id)).messages[-1].id


async def test_a_reader_by_cursor_gets_the_rest_of_an_answer_that_was_picked_up(place: Place) -> None:
    async with place.client() as talk:
        sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="hold"))
        await begun(talk, sent.run)
        seen = (await talk.conversations.events(sent.conversation.id)).cursor
    await place.double.left.wait()
    place.double.finish_lost()
    async with place.client() as talk:
        outcome = await talk.runs.wait(sent.run, timeout=SECONDS)
        assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "One two.")
        rest = (await talk.conversations.events(sent.conversation.id, cursor=seen)).entries
        texts = [entry.data["delta"] for entry in rest if entry.kind is EventKind.TEXT_MESSAGE_CONTENT]
        assert texts == ["two."]


async def test_a_silent_stream_is_given_up(place: Place, talk: Client) -> None:
    sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="hold"))
    async for entries in talk.runs.follow(sent.run):
        if any(entry.kind is EventKind.TEXT_MESSAGE_CONTENT for entry in entries):
            break
    outcome = await talk.runs.wait(sent.run, timeout=0)
    while outcome.run.status is RunStatus.RUNNING:
        place.clock.skip(IDLE_SECONDS)
        outcome = await talk.runs.wait(sent.run, timeout=0.1)
    assert (outcome.run.status, outcome.reply) == (RunStatus.INTERRUPTED, "One ")
    await place.double.left.wait()


async def test_an_answer_that_was_lost_on_its_way_is_found_in_the_conversation(
    place: Place, talk: Client
) -> None:
    place.faults.plan("POST", AGENT, lose)
    outcome = await ask(talk, "hello")
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello (turn 1).")
    assert len(place.double.bodies) == 1


async def test_a_question_that_was_lost_on_its_way_is_told_as_such(place: Place, talk: Client) -> None:
    place.faults.plan("POST", AGENT, drop)
    outcome = await ask(talk, "hello")
    assert (outcome.run.status, outcome.run.retryable) == (RunStatus.FAILED, True)
    assert outcome.run.error == "R2R did not take the message."
    assert place.double.messages(native(outcome.run.conversation_id)) == []


@pytest.mark.parametrize("start", [False, True])
async def test_a_question_of_which_r2r_got_nothing_is_sent_when_its_call_is_repeated(
    place: Place, talk: Client, start: bool
) -> None:
    """Whether R2R was away before it, at it, or lost it."""
    made = None if start else await talk.conversations.create(NewConversation(agent=RAG))

    async def send() -> RunResult:
        message = MessageDraft(text="hello")
        if made is None:
            sent = await talk.runs.start(NewConversation(agent=RAG), message, idempotency_key="k1")
        else:
            sent = await talk.runs.send(made.id, message, idempotency_key="k1")
        return await talk.runs.wait(sent.run, timeout=SECONDS)

    faults = [answer(429, {"detail": "Per-route per-minute rate limit exceeded"}), drop]
    for fault in faults:
        place.faults.plan("POST", AGENT, fault)
        failed = await send()
        assert (failed.run.status, failed.run.unsent) == (RunStatus.FAILED, True)
    answered = await send()
    assert (answered.run.status, answered.reply) == (RunStatus.COMPLETED, "You said: hello (turn 1).")
    assert await send() == answered
    assert len(place.double.bodies) == 1
    assert [*place.double.memory.conversations] == [native(answered.run.conversation_id)]


async def test_a_question_that_r2r_took_is_not_sent_again_by_its_call(place: Place, talk: Client) -> None:
    sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="boom"), idempotency_key="k1")
    failed = await talk.runs.wait(sent.run, timeout=SECONDS)
    assert not failed.run.unsent
    again = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="boom"), idempotency_key="k1")
    assert again.run == failed.run
    assert len(place.double.bodies) == 1


async def test_a_question_that_arrives_late_is_not_told_as_lost(place: Place, talk: Client) -> None:
    """It is in the conversation by the second look only."""
    made = await talk.conversations.create(NewConversation(agent=RAG))
    path = f"/v3/conversations/{native(made.id)}"
    place.faults.plan("GET", path, *[answer(200, {"results": []})] * 2)
    place.faults.plan("POST", AGENT, lose)
    outcome = await talk.runs.wait(
        (await talk.runs.send(made.id, MessageDraft(text="hello"))).run, timeout=SECONDS
    )
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello (turn 1).")


async def test_a_question_of_unknown_fate_is_told_as_such(place: Place, talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    place.faults.plan("GET", native(made.id), answer(200, {"results": []}), answer(500))
    place.faults.plan("POST", AGENT, drop)
    outcome = await talk.runs.wait(
        (await talk.runs.send(made.id, MessageDraft(text="hello"))).run, timeout=SECONDS
    )
    assert outcome.run.status is RunStatus.FAILED
    assert not outcome.run.retryable
    assert outcome.run.error is not None
    assert "not known" in outcome.run.error


async def test_a_server_that_fails_before_it_streams_is_told_as_such(place: Place, talk: Client) -> None:
    place.faults.plan("POST", AGENT, answer(500, {"message": "key sk-123", "error_type": "R2RException"}))
    outcome = await ask(talk, "hello")
    assert (outcome.run.status, outcome.run.error) == (RunStatus.FAILED, "R2R did not take the message.")


async def test_a_server_that_fails_after_it_took_the_question_is_told_as_such(
    place: Place, talk: Client
) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))

    async def failing(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        place.double.memory.add(native(made.id), {"role": "user", "content": "hello"})
        await answer(500)(app, scope, receive, send)

    place.faults.plan("POST", AGENT, failing)
    outcome = await talk.runs.wait(
        (await talk.runs.send(made.id, MessageDraft(text="hello"))).run, timeout=SECONDS
    )
    assert (outcome.run.status, outcome.run.retryable) == (RunStatus.FAILED, True)
    assert outcome.run.error == "R2R took the message, and failed before an answer began."


async def test_a_whole_answer_is_looked_for_again_where_a_look_fails(place: Place, talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG, title="Mine"))

    async def failing(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        place.faults.plan("GET", native(made.id), answer(500))
        await app(scope, receive, send)

    place.faults.plan("POST", AGENT, failing)
    outcome = await talk.runs.wait(
        (await talk.runs.send(made.id, MessageDraft(text="hello"))).run, timeout=SECONDS
    )
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello (turn 1).")


async def test_a_server_that_is_away_after_it_cut_its_stream_is_waited_for(
    place: Place, talk: Client
) -> None:
    """The answer may be whole there."""
    made = await talk.conversations.create(NewConversation(agent=RAG))

    async def restarting(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        place.faults.plan("GET", native(made.id), *[answer(503)] * 9)
        place.double.memory.add(native(made.id), {"role": "user", "content": "hello"})
        stored = {"role": "assistant", "content": "One two."}
        place.double.memory.add(native(made.id), stored, metadata={"output_tokens": 22})
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": "".join(lines(*said("One "))).encode()})

    place.faults.plan("POST", AGENT, restarting)
    outcome = await talk.runs.wait(
        (await talk.runs.send(made.id, MessageDraft(text="hello"))).run, timeout=SECONDS
    )
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "One two.")


async def test_a_question_that_r2r_refuses_is_told_in_its_words(place: Place) -> None:
    async with place.client() as talk:
        place.faults.plan(
            "POST",
            AGENT,
            answer(422, {"detail": [{"loc": ["body", "search_mode"], "msg": "Input should be 'basic'"}]}),
        )
        outcome = await ask(talk, "hello", context={"search_mode": "deep"})
    assert outcome.run.status is RunStatus.FAILED
    assert outcome.run.error is not None
    assert "body.search_mode: Input should be 'basic'" in outcome.run.error


async def test_cancelling_closes_the_stream(place: Place, talk: Client) -> None:
    sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="hold"))
    async for entries in talk.runs.follow(sent.run):
        if any(entry.kind is EventKind.TEXT_MESSAGE_CONTENT for entry in entries):
            break
    run = await talk.runs.cancel(sent.conversation.id)
    assert run.status is RunStatus.CANCELED
    await place.double.left.wait()
    assert await history(talk, sent.conversation.id) == [(Role.USER, "hold")]


async def test_an_answer_dies_with_its_process_and_its_question_is_not_asked_again(place: Place) -> None:
    async with place.client() as talk:
        sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="hold"))
        async for entries in talk.runs.follow(sent.run):
            if any(entry.kind is EventKind.TEXT_MESSAGE_CONTENT for entry in entries):
                break
    await place.double.left.wait()
    async with place.client() as talk:
        outcome = await talk.runs.wait(sent.run, timeout=SECONDS)
    assert (outcome.run.status, outcome.reply) == (RunStatus.INTERRUPTED, "One ")
    assert len(place.double.bodies) == 1


async def test_an_answer_that_was_whole_when_its_process_died_is_taken_over(place: Place) -> None:
    async with place.client() as talk:
        sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="hold"))
        async for entries in talk.runs.follow(sent.run):
            if any(entry.kind is EventKind.TEXT_MESSAGE_CONTENT for entry in entries):
                break
    await place.double.left.wait()
    stored = {"role": "assistant", "content": "One two."}
    place.double.memory.add(native(sent.conversation.id), stored, metadata={"output_tokens": 22})
    async with place.client() as talk:
        outcome = await talk.runs.wait(sent.run, timeout=SECONDS)
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "One two.")


async def test_a_question_that_died_with_its_process_before_it_was_taken_is_asked_again(place: Place) -> None:
    asked = anyio.Event()

    async def never(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            asked.set()

    place.faults.plan("POST", AGENT, never)
    async with place.client() as talk:
        sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="hello"))
        await asked.wait()
    async with place.client() as talk:
        outcome = await talk.runs.wait(sent.run, timeout=SECONDS)
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello (turn 1).")
    assert len(place.double.bodies) == 1


async def test_what_is_said_can_be_kept_out_of_the_store(place: Place) -> None:
    async with place.client(store_content=False) as talk:
        outcome = await ask(talk, "tool please")
        assert outcome.reply.startswith("It is 42")
        assert not (await talk.search.messages(SearchQuery(text="42"))).hits
        assert "A fact." not in str(await journal(talk, outcome))


async def test_a_question_that_was_kept_nowhere_is_not_asked_by_another_process(place: Place) -> None:
    async with place.client(store_content=False) as talk:
        sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="hold"))
        while not place.double.bodies:
            await talk.runs.wait(sent.run, timeout=0.01)
    async with place.client(store_content=False) as talk:
        outcome = await talk.runs.wait(sent.run, timeout=SECONDS)
    assert outcome.run.status is RunStatus.INTERRUPTED
    assert len(place.double.bodies) == 1


async def test_the_first_turn_makes_as_few_requests_as_it_can(path: Path) -> None:
    """Each costs a server that knows us by an API key a bcrypt."""
    double = R2RDouble(require_authentication=True, api_keys={KEY: "ada"})
    async with placed(path, double) as place, place.client(api_key=KEY) as talk:
        outcome = await ask(talk, "hello")
        of_it = f"/v3/conversations/{native(outcome.run.conversation_id)}"
        assert sorted(double.requests) == [
            ("GET", "/v3/conversations"),  # the title that R2R made up
            ("GET", of_it),  # whether the answer was stored, and under which id
            ("POST", "/v3/conversations"),
            ("POST", "/v3/retrieval/agent"),
        ]
        double.requests.clear()
        titled = await talk.runs.start(NewConversation(agent=RAG, title="T"), MessageDraft(text="hello"))
        await talk.runs.wait(titled.run, timeout=SECONDS)
        assert len(double.requests) == 3
        double.requests.clear()
        again = await talk.runs.send(titled.conversation.id, "hello again")
        await talk.runs.wait(again.run, timeout=SECONDS)
        assert len(double.requests) == 3


@pytest.mark.parametrize("of", ["question", "reply"])
async def test_a_message_id_of_an_event_or_a_search_can_be_used(place: Place, talk: Client, of: str) -> None:
    """Also of a question that has got no answer, and after its id in R2R has become known."""
    sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="hello zebra"))
    first = await talk.runs.wait(sent.run, timeout=SECONDS)
    ids = [
        entry.data["message_id"]
        for entry in await journal(talk, first)
        if entry.kind is EventKind.MESSAGE_ADDED
    ]
    message_id = ids[0 if of == "question" else 1]
    place.double.require_authentication = False
    text = "Hello, zebra!" if of == "question" else "So you said."
    changed = await talk.messages.update(first.run.conversation_id, message_id, MessageChanges(text=text))
    assert changed.text == text
    for hit in (await talk.search.messages(SearchQuery(text="zebra"))).hits:
        assert hit.message_id is not None
        noted = MessageChanges(metadata={"seen": "yes"})
        await talk.messages.update(first.run.conversation_id, hit.message_id, noted)


async def test_a_question_that_the_store_has_named_is_found_in_the_list(place: Place, talk: Client) -> None:
    sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="hold"))
    await begun(talk, sent.run)
    await talk.runs.cancel(sent.conversation.id)
    asked = (await talk.runs.get(sent.run.id)).message_id
    assert asked.startswith("m_")
    changed = await talk.messages.update(sent.conversation.id, asked, MessageChanges(text="Hold it."))
    assert place.double.messages(native(sent.conversation.id)) == [("user", "Hold it.")]
    assert changed.id == place.double.memory.get(native(sent.conversation.id)).messages[0].id
