"""Answers from R2R: what is told of them, and what a run ends with where they break off."""

import logging
from collections.abc import Sequence

import pytest

from tertulia import (
    Client,
    EventKind,
    InvalidInputError,
    MessageDraft,
    NewConversation,
    NotFoundError,
    Role,
    RunStatus,
)
from tests.client.platforms.r2r import (
    AGENT,
    RAG,
    Place,
    ask,
    begun,
    history,
    journal,
    native,
)
from tests.doubles.network import App, Receive, Scope, Send, cut
from tests.doubles.r2r import ADMIN, FACT, NAME, lines, said
from tests.support.place import SECONDS

pytestmark = [pytest.mark.anyio, pytest.mark.io]


TEXT = ["text_message_start", "text_message_content", "text_message_end"]
CALL = ["tool_call_start", "tool_call_args", "tool_call_end"]


@pytest.mark.parametrize(
    ("text", "kinds", "reply"),
    [
        ("hello", TEXT, "You said: hello (turn 1)."),
        ("think first", ["reasoning", *TEXT], "You said: think first (turn 1)."),
        ("result please", [*CALL, "tool_call_result", *TEXT], "Found."),
        ("strange", ["raw", *TEXT], "Hm."),
        ("long", TEXT, " ".join(f"word{number}" for number in range(400))),
    ],
)
async def test_what_an_agent_streams_is_told_as_it_comes(
    talk: Client, text: str, kinds: Sequence[str], reply: str
) -> None:
    outcome = await ask(talk, text)
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, reply)
    told = list(dict.fromkeys(entry.kind for entry in await journal(talk, outcome)))
    assert told == ["message_added", "run_started", *kinds, "title_updated", "run_finished"]
    assert (await history(talk, outcome.run.conversation_id))[-1] == (Role.ASSISTANT, reply)


async def test_a_tool_and_what_was_cited_are_told(talk: Client) -> None:
    outcome = await ask(talk, "tool please")
    entries = await journal(talk, outcome)
    assert outcome.reply == f"It is 42 [{FACT[:7]}], said [be064a3]; so [{FACT[:7]}]."
    arguments = [entry.data["arguments"] for entry in entries if entry.kind is EventKind.TOOL_CALL_ARGS]
    assert arguments == [{"query": "tool please"}]
    cited = [entry.data["payload"] for entry in entries if entry.kind is EventKind.RAW]
    assert [(one["id"], one["span"]["start"], one["is_new"]) for one in cited] == [
        (FACT[:7], 9, True),
        ("be064a3", 25, True),
        (FACT[:7], 39, False),
    ]
    ends = [entry.data for entry in entries if entry.kind is EventKind.TEXT_MESSAGE_END]
    assert ["text" in end for end in ends] == [False, True]
    assert ends[1]["citations"][0]["payload"]["text"] == "A fact."
    reply = (await talk.messages.list(outcome.run.conversation_id)).items[-1]
    assert reply.id == outcome.run.reply_id
    assert reply.data is not None
    assert [source["id"] for source in reply.data["sources"]] == [FACT[:7], "be064a3"]
    assert reply.data["sources"][0] == {
        "id": FACT[:7],
        "title": "facts",
        "text": "A fact.",
        "document_id": ADMIN,
        "score": 0.5,
    }
    assert outcome.data == reply.data


async def test_the_title_that_r2r_makes_up_is_told(talk: Client) -> None:
    outcome = await ask(talk, "hello")
    assert (await talk.conversations.get_stored(outcome.run.conversation_id)).title == NAME
    named = await talk.conversations.create(NewConversation(agent=RAG, title="Mine"))
    sent = await talk.runs.send(named.id, MessageDraft(text="hello"))
    await talk.runs.wait(sent.run, timeout=SECONDS)
    assert (await talk.conversations.get(named.id)).title == "Mine"


async def test_settings_of_instance_conversation_and_message_reach_the_agent_in_turn(place: Place) -> None:
    agent = {"search_mode": "advanced", "rag_generation_config": {"model": "m"}, "rag_tools": ["web_search"]}
    async with place.client(agent=agent) as talk:
        made = await talk.conversations.create(
            NewConversation(
                agent="r2r:research", context={"search_mode": "basic", "task_prompt": "Be brief."}
            )
        )
        context = {
            "search_settings": {"limit": 3},
            "research_generation_config": {"temperature": 0, "stream": False},
        }
        sent = await talk.runs.send(made.id, MessageDraft(text="hello", context=context))
        await talk.runs.wait(sent.run, timeout=SECONDS)
    assert place.double.bodies == [
        {
            "message": {"role": "user", "content": "hello"},
            "conversation_id": native(made.id),
            "mode": "research",
            "search_mode": "basic",
            "search_settings": {"limit": 3},
            "rag_generation_config": {"model": "m", "stream": True},
            "research_generation_config": {"temperature": 0, "stream": True},
            "rag_tools": ["web_search"],
            "task_prompt": "Be brief.",
            "use_system_context": False,
        }
    ]


@pytest.mark.parametrize(
    "draft",
    [
        MessageDraft(text="x", context={"analysis_id": 5}),
        MessageDraft(text="x", metadata={"k": "v"}),
        MessageDraft(text="x", parent_id=FACT),
        MessageDraft(text="x", role=Role.SYSTEM),
        MessageDraft(data={"a": 1}),
    ],
)
async def test_what_agents_cannot_be_sent_is_refused_and_not_recorded(
    place: Place, talk: Client, draft: MessageDraft
) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    with pytest.raises(InvalidInputError):
        await talk.runs.send(made.id, draft)
    assert await talk.runs.latest(made.id) is None
    assert place.double.bodies == []


async def test_a_failed_agent_is_told_with_its_reason_without_keys_and_its_question_seen_once(
    place: Place, talk: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    outcome = await ask(talk, "boom")
    assert (outcome.run.status, outcome.run.retryable) == (RunStatus.FAILED, True)
    assert outcome.run.error is not None
    assert outcome.run.error.startswith("R2R's agent failed. It says: “Agent error: Error code: 500")
    assert "key … in /srv/llm.py" in outcome.run.error
    entries = await journal(talk, outcome)
    assert "sk-123" not in f"{outcome} {entries} {caplog.text}"
    conversation_id = outcome.run.conversation_id
    assert place.double.messages(native(conversation_id)) == [("user", "boom")] * 2
    assert await history(talk, conversation_id) == [(Role.USER, "boom")]
    again = await talk.runs.wait(
        (await talk.runs.send(conversation_id, MessageDraft(text="boom"))).run, timeout=SECONDS
    )
    assert again.run.status is RunStatus.FAILED
    assert await history(talk, conversation_id) == [(Role.USER, "boom")] * 2


async def test_a_summary_at_the_limit_of_iterations_is_the_answer_although_r2r_fails_over_it(
    talk: Client,
) -> None:
    outcome = await ask(talk, "cut please")
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "I could not complete this.")
    assert outcome.run.reply_id == (await talk.messages.list(outcome.run.conversation_id)).items[-1].id


async def test_an_answer_that_r2r_has_not_stored_is_told_as_such(talk: Client) -> None:
    """Its database went away; the conversation does not know the answer."""
    outcome = await ask(talk, "forget it")
    assert (outcome.run.status, outcome.reply) == (RunStatus.INTERRUPTED, "You said: forget it (turn 1).")
    assert outcome.run.error is not None
    assert "R2R has not stored it" in outcome.run.error
    assert await history(talk, outcome.run.conversation_id) == [(Role.USER, "forget it")]


async def test_an_answer_in_a_conversation_that_was_deleted_meanwhile_is_not_told_as_stored(
    place: Place, talk: Client
) -> None:
    sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="hold"))
    await begun(talk, sent.run)
    place.double.memory.conversations.clear()
    place.double.released.set()
    outcome = await talk.runs.wait(sent.run, timeout=SECONDS)
    assert (outcome.run.status, outcome.reply) == (RunStatus.INTERRUPTED, "One two.")


async def test_an_empty_answer_is_a_failure(talk: Client) -> None:
    outcome = await ask(talk, "empty")
    assert (outcome.run.status, outcome.reply) == (RunStatus.FAILED, "")
    assert outcome.run.error == "R2R's agent ended without an answer."


async def test_a_stream_cut_in_mid_frame_interrupts_and_keeps_the_question(
    place: Place, talk: Client
) -> None:
    place.faults.plan("POST", AGENT, cut('"value": "said'))
    outcome = await ask(talk, "hello")
    assert (outcome.run.status, outcome.run.retryable) == (RunStatus.INTERRUPTED, True)
    assert outcome.reply == "You "
    conversation_id = outcome.run.conversation_id
    assert await history(talk, conversation_id) == [(Role.USER, "hello")]
    again = await talk.runs.wait(
        (await talk.runs.send(conversation_id, MessageDraft(text="hello"))).run, timeout=SECONDS
    )
    assert (again.run.status, again.reply) == (RunStatus.COMPLETED, "You said: hello (turn 2).")


async def test_a_stream_that_just_ends_interrupts(place: Place, talk: Client) -> None:
    async def short(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": "".join(lines(*said("One "))).encode()})

    place.faults.plan("POST", AGENT, short)
    outcome = await ask(talk, "hello")
    assert (outcome.run.status, outcome.reply) == (RunStatus.INTERRUPTED, "One ")


async def test_a_stream_cut_behind_the_final_answer_is_whole_once_r2r_has_stored_it(
    place: Place, talk: Client
) -> None:
    place.faults.plan("POST", AGENT, cut("event: done"))
    sent = await talk.runs.start(NewConversation(agent=RAG), MessageDraft(text="hello"))
    await place.double.left.wait()
    place.double.finish_lost()
    outcome = await talk.runs.wait(sent.run, timeout=SECONDS)
    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello (turn 1).")


async def test_an_answer_that_r2r_finished_after_its_connection_was_lost_is_found_later(
    place: Place, talk: Client
) -> None:
    """By the same call, and by whoever reads on."""
    place.faults.plan("POST", AGENT, cut('"value": "said'))
    message = MessageDraft(text="hello")
    sent = await talk.runs.start(NewConversation(agent=RAG), message, idempotency_key="k1")
    lost = await talk.runs.wait(sent.run, timeout=SECONDS)
    assert (lost.run.status, lost.reply) == (RunStatus.INTERRUPTED, "You ")
    seen = (await talk.conversations.events(sent.conversation.id)).cursor
    place.double.finish_lost()
    again = await talk.runs.start(NewConversation(agent=RAG), message, idempotency_key="k1")
    found = await talk.runs.wait(again.run, timeout=SECONDS)
    assert (found.run.id, found.run.status) == (lost.run.id, RunStatus.COMPLETED)
    assert found.reply == "You said: hello (turn 1)."
    assert found.run.error is None
    rest = (await talk.conversations.events(sent.conversation.id, cursor=seen)).entries
    assert [entry.kind for entry in rest] == [
        EventKind.TEXT_MESSAGE_CONTENT,
        EventKind.TEXT_MESSAGE_END,
        EventKind.MESSAGE_ADDED,
        EventKind.RUN_FINISHED,
    ]
    assert rest[0].data["delta"] == "said: hello (turn 1)."
    assert await talk.runs.wait(again.run, timeout=SECONDS) == found
    assert len(place.double.bodies) == 1
    assert [one.id for one in (await talk.messages.list(sent.conversation.id)).items] == [
        found.run.message_id,
        found.run.reply_id,
    ]


# Agents


async def test_each_message_may_have_another_agent(place: Place, talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    for agent in ("r2r:research", None, "r2r:rag"):
        sent = await talk.runs.send(made.id, MessageDraft(text=f"hello {agent}", agent=agent))
        outcome = await talk.runs.wait(sent.run, timeout=SECONDS)
        assert outcome.run.agent == (agent or RAG)
    assert [body["mode"] for body in place.double.bodies] == ["research", "rag", "rag"]
    assert (await talk.conversations.get(made.id)).agent == RAG
    with pytest.raises(NotFoundError, match="Did you mean r2r:research") as refused:
        await talk.runs.send(made.id, MessageDraft(text="hello", agent="r2r:reserch"))
    assert refused.value.valid == ("r2r:rag", "r2r:research")


async def test_a_conversation_that_was_made_in_r2r_has_no_agent_and_who_answers_is_told(
    place: Place, talk: Client
) -> None:
    own_id = f"r2r:{place.double.memory.create(None, 'Made there').id}"
    assert (await talk.conversations.get(own_id)).agent is None
    outcome = await talk.runs.wait((await talk.runs.send(own_id, "hello")).run, timeout=SECONDS)
    assert outcome.run.agent == RAG
    started = next(one for one in await journal(talk, outcome) if one.kind is EventKind.RUN_STARTED)
    assert started.data["agent"] == RAG
    assert (await talk.conversations.get(own_id)).agent is None
