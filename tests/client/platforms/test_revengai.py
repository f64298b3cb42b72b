"""Conversations at RevEng.AI, through the façade, against its double."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from tertulia import (
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
    Role,
    RunStatus,
    SearchQuery,
    SortKey,
    Status,
    UncertainError,
)
from tests.client.platforms.revengai import ASSISTANT, Place, answered, placed, start, told
from tests.doubles.network import answer, drop, lose
from tests.doubles.revengai import KEY, NAMES, RevEngAIDouble, refusal
from tests.support.place import SECONDS, journal, native

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return RevEng.AI as it is documented."""
    async with placed(tmp_path) as place:
        yield place


async def test_a_conversation_is_created_with_title_and_context(place: Place) -> None:
    """The key stands alone in its header, and nothing else is sent."""
    async with place.client() as client:
        context = {"analysis_id": 7, "function_id": 9}
        created = await client.conversations.create(
            NewConversation(agent=ASSISTANT, title="Packers", context=context)
        )

        assert (created.title, created.context, created.agent) == ("Packers", context, ASSISTANT)
        assert created.status is Status.OPEN
        assert await client.conversations.get(created.id) == replace(created, message_count=0)
    assert place.double.bodies == [{"title": "Packers", "context": context}]


async def test_a_message_is_answered(place: Place) -> None:
    """The question and its answer are in the history, under RevEng.AI's ids."""
    async with place.client() as client:
        outcome = await answered(client, "What packs this?")
        page = await client.messages.list(outcome.run.conversation_id)
        entries = await journal(client, outcome.run.conversation_id)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: What packs this?")
    assert [(message.role, message.text) for message in page.items] == [
        (Role.USER, "What packs this?"),
        (Role.ASSISTANT, "You said: What packs this?"),
    ]
    assert told(entries) == [
        ("message_added", {"author": "user", "role": "user"}),
        ("run_started", {"agent": ASSISTANT}),
        ("step_started", {"name": "answer"}),
        ("text_message_start", {"message_id": "msg_1", "role": "assistant"}),
        ("text_message_content", {"message_id": "msg_1", "delta": "You said: What packs this?"}),
        ("text_message_end", {"message_id": "msg_1"}),
        ("message_added", {"author": ASSISTANT, "role": "assistant"}),
        ("run_finished", {}),
    ]


@pytest.mark.parametrize("keeps_all", [False, True])
@pytest.mark.parametrize("snake", [False, True])
async def test_every_event_is_told_however_its_data_is_spelled_and_kept(
    tmp_path: Path, snake: bool, keeps_all: bool
) -> None:
    """Data is untyped at RevEng.AI: camelCase or snake_case; what we have no word for is kept under `raw`."""
    async with (
        placed(tmp_path, RevEngAIDouble(snake=snake, keeps_all=keeps_all)) as place,
        place.client() as client,
    ):
        outcome = await answered(client, "all")
        entries = await journal(client, outcome.run.conversation_id)
        page = await client.messages.list(outcome.run.conversation_id)

    assert outcome.reply == "First.\n\nLast."
    assert told(entries)[2:-2] == [
        ("step_started", {"name": "think"}),
        ("text_message_start", {"message_id": "msg_1", "role": "assistant"}),
        ("text_message_content", {"message_id": "msg_1", "delta": "First."}),
        ("text_message_end", {"message_id": "msg_1"}),
        ("tool_call_start", {"tool_call_id": "call_1", "tool": "rename_function"}),
        ("tool_call_args", {"tool_call_id": "call_1", "delta": '{"fun'}),
        ("tool_call_args", {"tool_call_id": "call_1", "delta": 'ction_id": 9, "name": "parse_header"}'}),
        ("tool_call_end", {"tool_call_id": "call_1"}),
        ("tool_call_progress", {"tool_call_id": "call_1", "message": "50 %", "raw": {"percent": 50}}),
        ("tool_call_result", {"tool_call_id": "call_1", "result": "done"}),
        ("context_compacted", {"raw": {"before": 90000, "after": 4000}}),
        ("title_updated", {"title": "All of it"}),
        ("text_message_start", {"message_id": "msg_2", "role": "assistant"}),
        ("text_message_content", {"message_id": "msg_2", "delta": "Last."}),
        ("text_message_end", {"message_id": "msg_2"}),
        ("step_finished", {"name": "think"}),
    ]
    said = [message.text for message in page.items if message.role is not Role.TOOL]
    assert said == ["all", "First.", "Last."]


def test_the_double_knows_all_seventeen_events() -> None:
    """So that none is forgotten when the wire changes."""
    assert len(set(NAMES)) == 17


async def test_events_that_make_no_sense_end_nothing(place: Place) -> None:
    """Unknown names and odd data are kept as they came."""
    async with place.client() as client:
        outcome = await answered(client, "strange")
        entries = await journal(client, outcome.run.conversation_id)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "just text and more")
    assert ("raw", {"name": "SOMETHING_NEW", "payload": {"a": [1, None]}}) in told(entries)
    assert ("raw", {"name": "TITLE_UPDATED", "payload": {}}) in told(entries)


async def test_an_answer_that_comes_only_with_its_end_is_one(place: Place) -> None:
    """Without any delta, what the end says counts."""
    async with place.client() as client:
        assert (await answered(client, "silent")).reply == "Only at the end."


async def test_a_title_that_revengai_gives_is_known_at_once(place: Place) -> None:
    """In the list of everything, too, and in search, without asking again."""
    async with place.client() as client:
        await answered(client, "title")
        listed = await client.conversations.list(ConversationQuery())
        found = await client.search.messages(SearchQuery(text="about that"))

    assert [one.title for one in listed.items] == ["About that"]
    assert found.hits[0].conversation_title == "About that"


async def test_the_context_of_a_message_goes_with_it_alone(place: Place) -> None:
    """As `analysis_id` and `function_id`."""
    async with place.client() as client:
        draft = MessageDraft(text="hi", context={"function_id": 9})
        sent = await client.runs.start(NewConversation(agent=ASSISTANT), draft)
        await client.runs.wait(sent.run, timeout=SECONDS)
        again = await client.runs.send(sent.conversation.id, MessageDraft(text="more"))
        await client.runs.wait(again.run, timeout=SECONDS)

    assert place.double.contexts == [{"function_id": 9}, None]


@pytest.mark.parametrize("context", [{"binary_id": 7}, {"analysis_id": "7"}, {"analysis_id": True}])
async def test_a_context_that_revengai_does_not_know_is_refused_before_anything_is_sent(
    place: Place, context: dict[str, object]
) -> None:
    """The error names what can be said."""
    async with place.client() as client:
        with pytest.raises(InvalidInputError) as caught:
            await client.conversations.create(NewConversation(agent=ASSISTANT, context=context))
        conversation = await client.conversations.create(NewConversation(agent=ASSISTANT))
        with pytest.raises(InvalidInputError):
            await client.runs.send(conversation.id, MessageDraft(text="hi", context=context))

    assert caught.value.valid == ("analysis_id", "function_id")
    assert place.posts("messages") == 0


@pytest.mark.parametrize(
    "draft",
    [
        MessageDraft(data={"a": 1}),
        MessageDraft(text="hi", data={"a": 1}),
        MessageDraft(text="hi", metadata={"a": 1}),
        MessageDraft(text="hi", parent_id="1"),
        MessageDraft(text="hi", type="note"),
        MessageDraft(text="hi", role=Role.SYSTEM),
    ],
)
async def test_what_a_message_cannot_carry_there_is_refused_and_not_dropped(
    place: Place, draft: MessageDraft
) -> None:
    """Nothing is sent."""
    async with place.client() as client:
        conversation = await client.conversations.create(NewConversation(agent=ASSISTANT))
        with pytest.raises(InvalidInputError):
            await client.runs.send(conversation.id, draft)
        assert await client.runs.latest(conversation.id) is None

    assert place.posts("messages") == 0


async def test_what_revengai_does_not_offer_is_said_with_who_does(place: Place) -> None:
    """The hint names the configured instances that have the feature."""
    async with place.client() as client:
        created = await client.conversations.create(NewConversation(agent=ASSISTANT))
        calls = [
            client.conversations.update(created.id, ConversationChanges(title="Other")),
            client.conversations.update_status(created.id, Status.COMPLETED),
            client.conversations.delete(created.id),
            client.conversations.create(NewConversation(agent=ASSISTANT, metadata={"team": "x"})),
        ]
        for call in calls:
            with pytest.raises(NotOffered, match="revengai") as caught:
                await call
            assert caught.value.hint is not None
            assert caught.value.hint.startswith("It is offered by: local.")
        with pytest.raises(NotOffered):
            await client.messages.list(created.id, MessageQuery(branch="1"))


async def test_conversations_that_were_begun_elsewhere_are_listed_and_found(place: Place) -> None:
    """What was seen once is in our own list and index from then on."""
    async with place.client() as client:
        created = await answered(client, "hello from the web")
    place.path.unlink()
    async with place.client() as client:
        listed = await client.conversations.list(ConversationQuery(instance="revengai"))
        await client.messages.list(created.run.conversation_id)
        everything = await client.conversations.list(ConversationQuery())
        found = await client.search.messages(SearchQuery(text="web"))

    assert [one.id for one in listed.items] == [created.run.conversation_id]
    assert [one.id for one in everything.items] == [created.run.conversation_id]
    assert {hit.role for hit in found.hits} == {Role.ASSISTANT, Role.USER}


async def test_a_message_is_found_once_though_it_was_seen_twice(place: Place) -> None:
    """It was recorded when it was sent, and read with the history."""
    async with place.client() as client:
        outcome = await answered(client, "unmistakable")
        before = await client.search.messages(SearchQuery(text="unmistakable"))
        page = await client.messages.list(outcome.run.conversation_id)
        await client.messages.list(outcome.run.conversation_id, MessageQuery(newest_first=True))
        after = await client.search.messages(SearchQuery(text="unmistakable"))
        again = await client.runs.result(await client.runs.get(outcome.run.id))

    assert (len(before.hits), len(after.hits)) == (2, 2)
    assert {hit.message_id for hit in after.hits} == {message.id for message in page.items}
    assert again.reply == "You said: unmistakable"


async def test_an_answer_in_several_messages_is_found_once(place: Place) -> None:
    """It is recorded as a whole."""
    async with place.client() as client:
        outcome = await answered(client, "all")
        await client.messages.list(outcome.run.conversation_id)

        assert len((await client.search.messages(SearchQuery(text="last"))).hits) == 1


async def test_lists_have_the_filters_orders_and_pages_that_revengai_lacks(place: Place) -> None:
    """They are ours; nothing is listed twice or left out."""
    async with place.client() as client:
        created = [
            await client.conversations.create(NewConversation(agent=ASSISTANT, title=title))
            for title in ("b", "c", "a")
        ]
        pending = await answered(client, "confirm")

        async def titles(**query: object) -> list[str | None]:
            found = await client.conversations.list(ConversationQuery(instance="revengai", **query))  # pyright: ignore[reportArgumentType]
            return [one.title for one in found.items]

        first = await client.conversations.list(
            ConversationQuery(instance="revengai", sort=SortKey.TITLE, descending=False, limit=3)
        )
        assert ([one.title for one in first.items], first.total) == (["New conversation", "a", "b"], 4)
        assert await titles(sort=SortKey.TITLE, descending=False, limit=3, cursor=first.next_cursor) == ["c"]
        assert (await titles())[1:] == ["a", "c", "b"]
        assert await titles(awaiting=True) == ["New conversation"]
        assert await titles(statuses=frozenset({Status.INPUT_REQUIRED})) == ["New conversation"]
        assert await titles(archived=True) == []
        assert await titles(agent="revengai:nobody") == []
        assert pending.pending
        assert len(created) == 3


async def test_messages_come_in_pages_in_both_directions(place: Place) -> None:
    """As of any other platform."""
    async with place.client() as client:
        outcome = await answered(client, "one")
        conversation_id = outcome.run.conversation_id
        for text in ("two", "three"):
            sent = await client.runs.send(conversation_id, MessageDraft(text=text))
            await client.runs.wait(sent.run, timeout=SECONDS)
        expected = ["one", "You said: one", "two", "You said: two", "three", "You said: three"]

        for newest_first in (False, True):
            texts: list[str | None] = []
            cursor: str | None = None
            while True:
                page = await client.messages.list(
                    conversation_id, MessageQuery(cursor=cursor, limit=4, newest_first=newest_first)
                )
                texts += [message.text for message in page.items]
                cursor = page.next_cursor
                assert page.total == 6
                if cursor is None:
                    break
            assert texts == (expected[::-1] if newest_first else expected)


@pytest.mark.parametrize(
    "native_id", ["no-uuid", "424b2ee0-5cf1-4ac8-a712-386a08c6a9a6", "..%2F..", "%2e%2e"]
)
async def test_an_id_that_revengai_does_not_know_is_not_found(place: Place, native_id: str) -> None:
    """Whether it is malformed or only unknown; nothing about it is remembered."""
    async with place.client() as client:
        for call in (
            client.conversations.get(f"revengai:{native_id}"),
            client.messages.list(f"revengai:{native_id}"),
            client.conversations.events(f"revengai:{native_id}"),
            client.runs.send(f"revengai:{native_id}", MessageDraft(text="hi")),
        ):
            with pytest.raises((NotFoundError, InvalidInputError)):
                await call
        assert (await client.conversations.list(ConversationQuery())).items == []


async def test_an_agent_that_is_not_there_is_refused_with_the_one_that_is(place: Place) -> None:
    """RevEng.AI has one."""
    async with place.client() as client:
        with pytest.raises(NotFoundError) as caught:
            await client.conversations.create(NewConversation(agent="revengai:analyst"))

    assert caught.value.valid == (ASSISTANT,)


async def test_a_creation_whose_answer_was_lost_is_found_in_the_list(place: Place) -> None:
    """It is not created again."""
    place.faults.plan("POST", "/conversations", lose)
    async with place.client() as client:
        created = await client.conversations.create(NewConversation(agent=ASSISTANT, title="Idempotency"))

    assert list(place.double.conversations) == [created.id.partition(":")[2]]


async def test_a_creation_that_cannot_be_found_is_uncertain_until_the_call_is_repeated(place: Place) -> None:
    """With the same key, it is created then, and only once."""
    place.faults.plan("POST", "/conversations", drop)
    async with place.client() as client:
        with pytest.raises(UncertainError, match="whether the conversation was created"):
            await client.conversations.create(
                NewConversation(agent=ASSISTANT, title="Idempotency"), idempotency_key="k"
            )
        created = await client.conversations.create(
            NewConversation(agent=ASSISTANT, title="Idempotency"), idempotency_key="k"
        )
        again = await client.conversations.create(
            NewConversation(agent=ASSISTANT, title="Idempotency"), idempotency_key="k"
        )

    assert created.id == again.id
    assert list(place.double.conversations) == [created.id.partition(":")[2]]


async def test_a_creation_that_may_be_one_of_several_stays_uncertain(place: Place) -> None:
    """None is taken for it by chance."""
    async with place.client() as client:
        await client.conversations.create(NewConversation(agent=ASSISTANT, title="Twin"))
        await client.conversations.create(NewConversation(agent=ASSISTANT, title="Twin"))
    place.path.unlink()
    place.faults.plan("POST", "/conversations", drop)
    async with place.client() as client:
        for _ in range(2):
            with pytest.raises(UncertainError):
                await client.conversations.create(
                    NewConversation(agent=ASSISTANT, title="Twin"), idempotency_key="k"
                )

    assert len(place.double.conversations) == 2


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (
            402,
            "INSUFFICIENT_CREDITS",
            "The account of revengai has no RevEng.AI credits left. Nothing was sent: add",
        ),
        (402, "SOMETHING_NEW", "The account of revengai has no RevEng.AI credits left."),
        (
            403,
            "ACCESS_DENIED",
            "RevEng.AI does not let the account of revengai do this. Check whose key it is",
        ),
        (409, "RUN_ALREADY_ACTIVE", "RevEng.AI is still answering another message in revengai:"),
        (422, "VALIDATION_FAILED", "RevEng.AI cannot use this call. It says: “No.”."),
        (429, "TOO_MANY_REQUESTS", "RevEng.AI takes no more calls from revengai for now."),
        (401, "TOKEN_EXPIRED", "RevEng.AI does not accept the key of the instance revengai. Set `api_key`"),
    ],
)
async def test_a_message_that_is_refused_says_what_to_do(
    place: Place, status: int, code: str, sentence: str
) -> None:
    """Its run fails with that; the conversation stays open for the next."""
    place.faults.plan("POST", "/messages", answer(status, refusal(code)))
    async with place.client() as client:
        outcome = await answered(client, "hi")
        assert outcome.run.status is RunStatus.FAILED
        assert outcome.run.error is not None
        assert outcome.run.error.startswith(sentence)
        again = await client.runs.send(outcome.run.conversation_id, MessageDraft(text="again"))
        assert (await client.runs.wait(again.run, timeout=SECONDS)).run.status is RunStatus.COMPLETED

    assert place.posts("messages") == 1


async def test_a_run_that_was_begun_elsewhere_is_not_disturbed(place: Place) -> None:
    """RevEng.AI itself refuses a second message (409)."""
    async with place.client() as client:
        outcome = await answered(client, "hi")
        place.double.begin(native(outcome), "hold")
        sent = await client.runs.send(outcome.run.conversation_id, MessageDraft(text="me too"))
        refused = await client.runs.wait(sent.run, timeout=SECONDS)

    assert refused.run.error is not None
    assert "wait for the end of that answer" in refused.run.error


async def test_one_message_at_a_time_is_answered(place: Place) -> None:
    """The second is refused here, before anything is sent."""
    async with place.client() as client:
        sent = await start(client, "hold")
        with pytest.raises(ConflictError, match="still answering"):
            await client.runs.send(sent.conversation.id, MessageDraft(text="more"))


async def test_revengais_error_ends_the_run_with_its_words_quoted(place: Place) -> None:
    """What came before stays."""
    async with place.client() as client:
        outcome = await answered(client, "boom")
        entries = await journal(client, outcome.run.conversation_id)

    assert (outcome.run.status, outcome.reply) == (RunStatus.FAILED, "Well,")
    assert outcome.run.error == "RevEng.AI ended the answer with an error: “The model is overloaded”."
    assert entries[-1].kind is EventKind.RUN_ERROR


async def test_the_key_appears_nowhere_but_in_its_header(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in what is stored, logged or told."""
    caplog.set_level(0)
    async with place.client() as client:
        agents = await client.agents.list()
        outcome = await answered(client, "hi")
        shown = f"{agents!r} {outcome!r} {await journal(client, outcome.run.conversation_id)!r} {caplog.text}"

    assert KEY not in shown
    assert KEY.encode() not in b"".join(file.read_bytes() for file in place.path.parent.iterdir())
