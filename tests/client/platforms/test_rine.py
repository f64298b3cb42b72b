"""Conversations at Rine: begun by a message, gone on with in turns, found in the inbox."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    ConflictError,
    ConversationChanges,
    ConversationQuery,
    EventKind,
    InvalidInputError,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotFoundError,
    NotOffered,
    Rating,
    Role,
    RunStatus,
    SearchQuery,
    Status,
    UnavailableError,
)
from tests.client.platforms.rine import BOB, CAROL, Place, answered, placed, sent, start
from tests.doubles.network import answer
from tests.doubles.rine import ERROR, RECEIPT, REQUEST, RESPONSE
from tests.support.place import SECONDS, journal, native

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return Rine as its SDK knows it."""
    async with placed(tmp_path) as place:
        yield place


async def awaiting(client: Client) -> set[str]:
    """Return the conversations at Rine that await us, as a list tells them."""
    page = await client.conversations.list(ConversationQuery(instance="rine", awaiting=True))
    assert page.from_index
    return {one.id for one in page.items}


async def test_a_message_to_a_handle_begins_a_conversation_that_is_answered(place: Place) -> None:
    """It is told, journalled and found like any other; nothing is sent twice, and the waiting call is never used."""
    async with place.client() as client:
        outcome = await answered(client, "hello")
        own_id = outcome.run.conversation_id
        entries = await journal(client, own_id)
        page = await client.messages.list(own_id)
        found = await client.search.messages(SearchQuery(text="hello"))
        known = await client.conversations.get_stored(own_id)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello")
    assert place.double.said == [{"text": "hello"}]
    assert [(one.author, one.role, one.text, one.type) for one in page.items] == [
        ("user", Role.USER, "hello", REQUEST),
        (BOB, Role.ASSISTANT, "You said: hello", RESPONSE),
    ]
    assert {one.metadata["verification"] for one in page.items} == {"verified"}
    assert {hit.conversation_id for hit in found.hits} == {own_id}
    assert (known.agent, known.message_count) == (BOB, 2)
    assert [entry.kind for entry in entries if entry.kind is EventKind.MESSAGE_ADDED] == ["message_added"] * 2
    assert place.double.posts() == ["/messages"]
    assert not any("sync" in call for call in place.double.calls)


@pytest.mark.parametrize("address", ["rine:bob@beta", BOB, "rine:desk", "rine:{id}"])
async def test_an_agent_is_addressed_by_handle_alias_or_id(place: Place, address: str) -> None:
    """However that is written, the conversation is with its alias, or else with its whole handle."""
    for aliases, expected in (({"desk": "bob@beta"}, "rine:desk"), ({}, BOB)):
        async with place.client(agents=aliases) as client:
            if aliases or "desk" not in address:
                begun = await start(client, "hello", agent=address.format(id=place.double.bob.id))
                listed = await client.conversations.list(ConversationQuery(instance="rine", agent=expected))
                assert begun.conversation.agent == begun.run.agent == expected
                assert begun.conversation.id in {one.id for one in listed.items}


@pytest.mark.parametrize(
    ("address", "error", "sentence"),
    [
        ("rine:nobody@beta", NotFoundError, "Rine knows no agent “nobody@beta.rine.network”"),
        ("rine:nobody", NotFoundError, "There is no agent rine:nobody."),
        ("rine:#team@beta", InvalidInputError, "is a group: conversations with groups are not offered"),
        ("rine:name@organisation", InvalidInputError, "stands for the agents of Rine, and is none itself"),
        ("rine:alice@acme", InvalidInputError, "is the agent that we act as"),
        ("rine:a b@beta", InvalidInputError, "is not a handle"),
        ("rine:00000000-0000-4000-8000-000000000000", NotFoundError, "Rine knows no agent “00000000"),
    ],
)
async def test_an_agent_that_is_none_is_refused_before_anything_is_sent(
    place: Place, address: str, error: type[Exception], sentence: str
) -> None:
    """With what to write instead."""
    async with place.client() as client:
        with pytest.raises(error) as caught:
            await start(client, "hello", agent=address)
    assert sentence in str(caught.value)
    assert place.double.posts() == []


@pytest.mark.parametrize(
    ("text", "data", "payload"),
    [
        ("hello", None, {"text": "hello"}),
        (None, {"task": "sum", "of": [1, 2]}, {"task": "sum", "of": [1, 2]}),
        ("Add these", {"of": [1, 2]}, {"of": [1, 2], "text": "Add these"}),
    ],
)
async def test_text_and_data_both_have_a_place(
    place: Place, text: str | None, data: dict[str, Any] | None, payload: dict[str, Any]
) -> None:
    """And come back as they were sent."""
    async with place.client() as client:
        begun = await client.runs.start(
            NewConversation(agent=BOB), MessageDraft(text=text, data=data, type="acme.v1.sum")
        )
        outcome = await client.runs.wait(begun.run, timeout=SECONDS)
        ours = (await client.messages.list(outcome.run.conversation_id)).items[0]

    assert place.double.said == [payload]
    assert (ours.text, ours.data, ours.type) == (text, data, "acme.v1.sum")


async def test_the_longest_message_arrives(place: Place) -> None:
    """Sealed, it is just short enough."""
    text = "x" * (94_000 - len('{"text":""}'))
    async with place.client() as client:
        await start(client, text, agent=CAROL)
        with pytest.raises(InvalidInputError, match="has 94,001 bytes"):
            await start(client, text + "x", agent=CAROL)
    assert place.double.said == [{"text": text}]


async def test_an_answer_of_data_alone_is_told_as_json_and_kept_as_data(place: Place) -> None:
    """Whether or not the store keeps it."""
    for keeps in (True, False):
        async with place.client(store_content=keeps) as client:
            outcome = await answered(client, "data")
            page = await client.messages.list(outcome.run.conversation_id)
        assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, '{"rate": 7, "unit": "%"}')
        assert (page.items[-1].text, page.items[-1].data) == (None, {"rate": 7, "unit": "%"})


@pytest.mark.parametrize(
    ("payload", "text", "data"),
    [
        ({"message": "hi", "n": 1}, "hi", {"message": "hi", "n": 1}),
        ({"content": "hi"}, "hi", {"content": "hi"}),
        ({"text": 7}, None, {"text": 7}),
        ("just text", "just text", None),
        ([1, 2], None, {"value": [1, 2]}),
    ],
)
async def test_what_others_write_is_read_as_far_as_it_says(
    place: Place, payload: Any, text: str | None, data: Any
) -> None:
    """Nothing of it is lost."""
    own_id = f"rine:{place.double.write(payload)}"
    async with place.client() as client:
        (message,) = (await client.messages.list(own_id)).items
    assert (message.text, message.data) == (text, data)


@pytest.mark.parametrize(
    ("draft", "sentence"),
    [
        (MessageDraft(text="a", data={"text": "b"}), "say different things"),
        (MessageDraft(text="x" * 100_000), "Rine takes 94,000 at most"),
        (MessageDraft(text="a", type="note"), "a type has three parts"),
        (MessageDraft(text="a", parent_id="m1"), "takes no `parent_id`"),
        (MessageDraft(text="a", role=Role.SYSTEM), "of the role `user` only"),
        (MessageDraft(text="a", context={"x": 1}), "takes no `context`"),
        (MessageDraft(text="a", metadata={"x": "y" * 5000}), "takes 4,096 at most, and in clear"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_it_is(
    place: Place, draft: MessageDraft, sentence: str
) -> None:
    """Whether it would begin a conversation or go on with one."""
    own_id = f"rine:{place.double.write({'text': 'psst'})}"
    async with place.client() as client:
        for call in (
            client.runs.start(NewConversation(agent=BOB), draft),
            client.runs.send(own_id, draft),
        ):
            with pytest.raises(InvalidInputError) as caught:
                await call
            assert sentence in str(caught.value)
    assert place.double.posts() == []


async def test_a_reply_goes_to_the_last_message_that_is_addressed_to_us(place: Place) -> None:
    """And to that one only."""
    double = place.double
    own_id = double.write({"text": "first"})
    double.write({"text": "second"}, into=own_id)
    double.write({"received": True}, into=own_id, type=RECEIPT)
    last = double.conversations[own_id].rows[1]["id"]
    async with place.client() as client:
        outcome = await sent(client, f"rine:{own_id}", "hello")

    assert outcome.reply == "You said: hello"
    assert double.posts() == [f"/messages/{last}/reply"]


async def test_a_second_message_before_the_answer_is_a_conflict_that_says_so(place: Place) -> None:
    """While the first is waited for, and when nobody waits any more; what says the same is the same message."""
    async with place.client() as client:
        begun = await start(client, "hold")
        own_id = begun.conversation.id
        with pytest.raises(ConflictError, match="has not answered the last message") as caught:
            await client.runs.send(own_id, MessageDraft(text="and now?"))
        await client.runs.cancel(own_id)
        with pytest.raises(ConflictError, match="has not answered the last message"):
            await client.runs.send(own_id, MessageDraft(text="and now?"))
        place.double.write({"text": "late"}, into=native(begun), type=RESPONSE)
        outcome = await sent(client, own_id, "and now?")

    assert caught.value.hint is not None
    assert "stream_conversation" in caught.value.hint
    assert outcome.reply == "You said: and now?"
    assert len(place.double.posts()) == 2


async def test_a_receipt_is_no_answer(place: Place) -> None:
    """It is in the history, and says nothing about whose turn it is."""
    async with place.client() as client:
        begun = await start(client, "receipt")
        await place.double.called(f"{native(begun)}/messages", 3)
        running = await client.runs.get(begun.run.id)
        place.double.write({"text": "now"}, into=native(begun), type=RESPONSE)
        outcome = await client.runs.wait(begun.run, timeout=SECONDS)
        place.double.write({"received": True}, into=native(begun), type=RECEIPT)
        page = await client.messages.list(begun.conversation.id)
        still = await awaiting(client)

    assert running.status is RunStatus.RUNNING
    assert outcome.reply == "now"
    assert [(one.role, one.type) for one in page.items] == [
        (Role.USER, REQUEST),
        (Role.SYSTEM, RECEIPT),
        (Role.ASSISTANT, RESPONSE),
        (Role.SYSTEM, RECEIPT),
    ]
    assert still == {begun.conversation.id}


async def test_what_others_began_awaits_us_until_we_reply(place: Place) -> None:
    """Looking at it changes nothing, neither here nor at Rine."""
    double = place.double
    own_id = f"rine:{double.write({'text': 'Can you help?'}, sender=double.carol)}"
    async with place.client() as client:
        first = await awaiting(client)
        page = await client.messages.list(own_id)
        await client.conversations.get(own_id)
        looked = await awaiting(client)
        (row,) = double.conversations[own_id.partition(":")[2]].rows
        consumed = row["read_at"]
        begun = await client.runs.send(own_id, MessageDraft(text="Yes"))
        await double.called("/reply")
        async for entries in client.conversations.watch(own_id, after=0):
            if any(entry.kind is EventKind.RUN_STARTED for entry in entries):
                break
        while (await client.conversations.get_stored(own_id)).awaiting:
            await anyio.lowlevel.checkpoint()
        replied = await awaiting(client)
        known = await client.conversations.get_stored(own_id)

    assert first == looked == {own_id}
    assert [one.text for one in page.items] == ["Can you help?"]
    assert (consumed, all(double.peeked)) == (None, True)
    assert (replied, known.agent, begun.run.agent) == (set(), CAROL, CAROL)


async def test_only_what_is_new_in_the_inbox_is_read(place: Place) -> None:
    """A list costs one call when nothing has come, however many conversations there are; pages are followed."""
    double = place.double
    double.page = 2
    own_ids = {f"rine:{double.write({'text': 'psst'})}" for _ in range(3)}
    async with place.client() as client:
        assert await awaiting(client) == own_ids
        double.calls.clear()
        assert await awaiting(client) == own_ids
        quiet = list(double.calls)
        double.calls.clear()
        again = double.write({"text": "hello?"}, into=min(own_ids).partition(":")[2])
        await awaiting(client)
        read = list(double.calls)
        await sent(client, min(own_ids), "thanks")
        await awaiting(client)
        double.calls.clear()
        assert await awaiting(client) == own_ids
        replied = list(double.calls)

    inbox = {f"GET /agents/{double.alice.id}/messages"}
    assert set(quiet) == set(replied) == inbox
    assert [call for call in read if "/conversations/" in call] == [
        f"GET /conversations/{again}",
        f"GET /conversations/{again}/messages",
    ]


async def test_a_list_that_cannot_be_made_now_says_so(place: Place) -> None:
    """A conversation that is there and cannot be read is left out; the others are listed."""
    gone, there = (place.double.write({"text": "psst"}) for _ in range(2))
    async with place.client() as client:
        place.faults.plan("GET", f"/conversations/{gone}", *[answer(503)] * 9)
        with pytest.raises(UnavailableError):
            await awaiting(client)
        del place.double.conversations[gone].rows[0]
        place.double.write({"received": True}, type="rine.v1.sender_key_distribution")
        assert await awaiting(client) == {f"rine:{there}"}


async def test_the_identical_reply_is_joined_while_it_is_unanswered(place: Place) -> None:
    """It is the same message, not a second one."""
    own_id = f"rine:{place.double.write({'text': 'Can you help?'})}"
    async with place.client() as client:
        first, second = [await client.runs.send(own_id, MessageDraft(text="hold")) for _ in range(2)]
        await place.double.called("/reply")
        third = await client.runs.send(own_id, MessageDraft(text="hold"))

    assert (first.joined, second.joined, third.joined) == (False, True, True)
    assert first.run.id == second.run.id == third.run.id
    assert len(place.double.posts()) == 1


async def test_a_state_is_the_one_at_rine_whoever_moves_it(place: Place) -> None:
    """Also while an answer is awaited; a change is journalled when it is seen."""
    async with place.client() as client:
        begun = await start(client, "hold")
        own_id = begun.conversation.id
        first = (await client.conversations.get_stored(own_id)).status
        place.double.turn(native(begun), "open")
        second = (await client.conversations.get(own_id)).status
        await client.conversations.update_status(own_id, Status.PAUSED)
        entries = await journal(client, own_id)

    assert (first, second) == (Status.SUBMITTED, Status.OPEN)
    assert [entry.data for entry in entries if entry.kind is EventKind.STATUS_CHANGED] == [
        {"status": "open", "before": "submitted"},
        {"status": "paused", "before": "open"},
    ]


async def test_an_answer_that_is_an_error_fails_the_run_and_awaits_nothing(place: Place) -> None:
    """It is not to be answered."""
    async with place.client() as client:
        outcome = await answered(client, "error")
        own_id = outcome.run.conversation_id
        with pytest.raises(ConflictError):
            await client.runs.send(own_id, MessageDraft(text="why?"))
        last = (await client.messages.list(own_id)).items[-1]

    assert outcome.run.error == f"{BOB} answered with an error: “Out of office”."
    assert (outcome.run.status, last.type) == (RunStatus.FAILED, ERROR)


async def test_states_move_as_rine_allows(place: Place) -> None:
    """What it does not allow is a conflict that names what it does."""
    async with place.client() as client:
        begun = await start(client, "hold")
        own_id = begun.conversation.id
        with pytest.raises(ConflictError, match="is submitted at Rine and cannot become completed") as caught:
            await client.conversations.update_status(own_id, Status.COMPLETED)
        await client.conversations.update_status(own_id, Status.OPEN)
        running = await client.runs.get(begun.run.id)
        ended = await client.conversations.update_status(own_id, Status.COMPLETED)
        run = await client.runs.get(begun.run.id)
        with pytest.raises(ConflictError, match="is completed, which is final"):
            await client.runs.send(own_id, MessageDraft(text="more"))
        with pytest.raises(ConflictError, match="cannot become open") as final:
            await client.conversations.update_status(own_id, Status.OPEN)

    assert set(caught.value.valid) == {"open", "rejected", "canceled", "failed"}
    assert (running.status, ended.status, run.status) == (
        RunStatus.RUNNING,
        Status.COMPLETED,
        RunStatus.CANCELED,
    )
    assert final.value.valid == ()


async def test_a_message_to_a_conversation_that_is_paused_says_how_to_go_on(place: Place) -> None:
    """The other side may have paused it."""
    own_id = place.double.write({"text": "psst"})
    place.double.turn(own_id, "paused")
    async with place.client() as client:
        with pytest.raises(ConflictError, match="is paused") as caught:
            await client.runs.send(f"rine:{own_id}", MessageDraft(text="hello"))
    assert caught.value.hint == "Open it with update_status (status `open`), then send again."


@pytest.mark.parametrize(("status", "ends"), [("canceled", RunStatus.CANCELED), ("failed", RunStatus.FAILED)])
async def test_a_conversation_that_ends_without_an_answer_ends_the_run(
    place: Place, status: str, ends: RunStatus
) -> None:
    """Nothing can come any more."""
    async with place.client() as client:
        begun = await start(client, "hold")
        place.double.turn(native(begun), status)
        outcome = await client.runs.wait(begun.run, timeout=SECONDS)

    assert (outcome.run.status, outcome.run.error) == (
        ends,
        f"The conversation is {status} at Rine, and no answer came before.",
    )


async def test_participants_are_told_by_handle(place: Place) -> None:
    """With their roles."""
    async with place.client() as client:
        outcome = await answered(client, "hello")
        people = await client.conversations.participants(outcome.run.conversation_id)

    assert [(one.address, one.role) for one in people] == [
        ("rine:alice@acme.rine.network", "initiator"),
        (BOB, "responder"),
    ]


async def test_what_rine_has_no_word_for_is_not_offered(place: Place) -> None:
    """With what to do instead, where there is something."""
    async with place.client() as client:
        begun = await start(client, "hold")
        own_id = begun.conversation.id
        with pytest.raises(NotOffered, match="has no conversation without a message") as caught:
            await client.conversations.create(NewConversation(agent=BOB))
        for call in (
            client.conversations.delete(own_id),
            client.conversations.update(own_id, ConversationChanges(title="Mine")),
            client.conversations.branches(own_id),
            client.messages.add(own_id, MessageDraft(text="note")),
            start(client, "hello", title="Mine"),
            client.messages.rate(own_id, "m1", Rating(value=1)),
            client.conversations.invite(own_id, {CAROL: None}),
            client.conversations.generate_title(own_id),
            client.conversations.update_status(own_id, Status.CANCELED, rating=Rating(value=1)),
        ):
            with pytest.raises(NotOffered):
                await call
        for field in ("entity_type", "source", "source_ref"):
            with pytest.raises(InvalidInputError, match="has no place for"):
                await start(client, "hello", **{field: "USER"})
        with pytest.raises(InvalidInputError, match="takes no `reason`"):
            await client.conversations.update_status(own_id, Status.CANCELED, reason="done")

    assert caught.value.hint == f"Send the first message: send_message with the agent {BOB}."
    assert place.double.posts() == ["/messages"]


@pytest.mark.parametrize("native_id", ["1", "..%2Fagents", "00000000-0000-4000-8000-000000000000"])
async def test_a_conversation_that_is_none_is_not_found(place: Place, native_id: str) -> None:
    """Whatever its id says."""
    async with place.client() as client:
        for call in (
            client.conversations.get(f"rine:{native_id}"),
            client.messages.list(f"rine:{native_id}"),
        ):
            with pytest.raises(NotFoundError, match="Rine has no conversation"):
                await call


async def test_a_history_is_read_in_pages_from_either_end(place: Place) -> None:
    """What Rine leaves out of a long one is looked for in the inbox, and its length is then not known."""
    own_id = place.double.write({"text": "0"})
    for number in range(1, 5):
        place.double.write({"text": str(number)}, into=own_id)
    async with place.client() as client:
        for newest_first in (False, True):
            texts: list[str | None] = []
            cursor: str | None = None
            while True:
                page = await client.messages.list(
                    f"rine:{own_id}", MessageQuery(cursor=cursor, limit=2, newest_first=newest_first)
                )
                texts += [one.text for one in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert texts == sorted("01234", reverse=newest_first)
            assert page.total == 5
        place.double.keeps = 2
        page = await client.messages.list(f"rine:{own_id}")

    assert ([one.text for one in page.items], page.total) == (list("01234"), None)


async def test_an_answer_is_found_in_a_history_that_leaves_it_out(place: Place) -> None:
    """As a long one may."""
    place.double.keeps = 0
    async with place.client() as client:
        assert (await answered(client, "hello")).reply == "You said: hello"


async def test_metadata_goes_along_in_clear_and_cannot_pretend_to_be_ours(place: Place) -> None:
    """Neither theirs nor ours."""
    draft = MessageDraft(text="hello", metadata={"ticket": 7})
    async with place.client() as client:
        begun = await client.runs.start(NewConversation(agent=BOB, metadata={"team": "sales"}), draft)
        await client.runs.wait(begun.run, timeout=SECONDS)
        (conversation,) = place.double.conversations.values()
        conversation.rows[1]["metadata"] = {"verification": "invalid", "withheld": "ha", "x": 1}
        first, second = (await client.messages.list(begun.conversation.id)).items

    assert (conversation.metadata, conversation.rows[0]["metadata"]) == ({"team": "sales"}, {"ticket": 7})
    assert first.metadata == {"ticket": 7, "verification": "verified"}
    assert second.metadata == {"x": 1, "verification": "verified"}
