"""Messages in conversations on R2R that are added, changed and listed."""

from functools import partial

import anyio
import pytest

from tertulia import (
    Client,
    EventKind,
    InvalidInputError,
    Message,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotFoundError,
    Page,
    Role,
    SearchQuery,
    UnavailableError,
    UncertainError,
)
from tests.client.platforms.r2r import RAG, Place, history, native
from tests.doubles.network import App, Receive, Scope, Send, answer, drop, lose, unheard
from tests.doubles.r2r import FACT

pytestmark = [pytest.mark.anyio, pytest.mark.io]


async def test_a_message_is_added_with_metadata_and_parent(place: Place, talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    first = await talk.messages.add(made.id, MessageDraft(text="Hello", metadata={"k": "v"}))
    second = await talk.messages.add(
        made.id, MessageDraft(text="Be kind.", role=Role.SYSTEM, parent_id=first.id)
    )
    assert (first.role, first.text, first.metadata) == (Role.USER, "Hello", {"k": "v"})
    assert place.double.memory.get(native(made.id)).messages[1].parent_id == first.id
    assert (await talk.messages.list(made.id)).items == [first, second]
    assert [entry.kind for entry in (await talk.conversations.events(made.id)).entries] == [
        EventKind.MESSAGE_ADDED
    ] * 2


async def test_metadata_other_than_text_is_refused_before_it_is_sent(place: Place, talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    added = await talk.messages.add(made.id, MessageDraft(text="Hello"))
    before = len(place.sent("POST"))
    with pytest.raises(InvalidInputError, match="only texts"):
        await talk.messages.add(made.id, MessageDraft(text="x", metadata={"n": 1}))
    with pytest.raises(InvalidInputError, match="only texts"):
        await talk.messages.update(made.id, added.id, MessageChanges(metadata={"n": None}))
    assert len(place.sent("POST")) == before


@pytest.mark.parametrize(
    "draft",
    [
        MessageDraft(data={"a": 1}),
        MessageDraft(text="x", data={"a": 1}),
        MessageDraft(text="x", type="note"),
        MessageDraft(text="x", role=Role.TOOL),
    ],
)
async def test_what_r2r_cannot_keep_is_refused(talk: Client, draft: MessageDraft) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    with pytest.raises(InvalidInputError):
        await talk.messages.add(made.id, draft)


async def test_an_unknown_parent_is_told_in_r2rs_words(talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    with pytest.raises(NotFoundError, match=f"Parent message {FACT} not found"):
        await talk.messages.add(made.id, MessageDraft(text="x", parent_id=FACT))
    with pytest.raises((InvalidInputError, NotFoundError)):
        await talk.messages.add(made.id, MessageDraft(text="x", parent_id="nope"))


async def test_a_message_whose_addition_got_no_answer_is_not_added_again(place: Place, talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    place.faults.plan("POST", "/messages", lose)
    with pytest.raises(UncertainError):
        await talk.messages.add(made.id, MessageDraft(text="Once."), idempotency_key="k1")
    added = await talk.messages.add(made.id, MessageDraft(text="Once."), idempotency_key="k1")
    assert await talk.messages.add(made.id, MessageDraft(text="Once."), idempotency_key="k1") == added
    assert place.double.messages(native(made.id)) == [("user", "Once.")]


async def test_a_message_whose_addition_was_lost_is_added_when_it_is_repeated(
    place: Place, talk: Client
) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    place.faults.plan("POST", "/messages", drop)
    with pytest.raises(UncertainError):
        await talk.messages.add(made.id, MessageDraft(text="Once."), idempotency_key="k1")
    await talk.messages.add(made.id, MessageDraft(text="Once."), idempotency_key="k1")
    assert place.double.messages(native(made.id)) == [("user", "Once.")]


async def test_a_message_that_never_reached_r2r_is_added_behind_one_with_the_same_text(
    place: Place, talk: Client
) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    await talk.messages.add(made.id, MessageDraft(text="ping"), idempotency_key="k1")
    place.faults.plan("GET", native(made.id), *[answer(503)] * 5)
    with pytest.raises(UnavailableError):
        await talk.messages.add(made.id, MessageDraft(text="ping"), idempotency_key="k2")
    place.faults.plan("POST", "/messages", drop)
    with pytest.raises(UncertainError):
        await talk.messages.add(made.id, MessageDraft(text="ping"), idempotency_key="k2")
    again = await talk.messages.add(made.id, MessageDraft(text="ping"), idempotency_key="k2")
    assert place.double.messages(native(made.id)) == [("user", "ping")] * 2
    assert again.id == place.double.memory.get(native(made.id)).messages[1].id


@pytest.mark.parametrize("title", [None, "Renewals"])
async def test_creating_twice_under_one_key_finds_the_first(
    place: Place, talk: Client, title: str | None
) -> None:
    """The process died right after the call: its answer came to nobody."""
    used = place.double.memory.create(None, title)
    place.double.memory.add(used.id, {"role": "user", "content": "Somebody else's, and used."})
    new = NewConversation(agent=RAG, title=title)
    reached = anyio.Event()

    async def dying(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, unheard)
        reached.set()
        await anyio.sleep_forever()

    place.faults.plan("POST", "/conversations", dying)
    async with place.client() as dead, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(dead.conversations.create, new, idempotency_key="k1"))
        await reached.wait()
        tasks.cancel_scope.cancel()
    made = await talk.conversations.create(new, idempotency_key="k1")
    assert [native(made.id)] == [one for one in place.double.memory.conversations if one != used.id]


async def test_a_creation_whose_answer_was_lost_is_found_in_the_same_call(place: Place, talk: Client) -> None:
    used = place.double.memory.create(None, None)
    place.double.memory.add(used.id, {"role": "user", "content": "Somebody else's, and used."})
    place.faults.plan("POST", "/conversations", lose)
    made = await talk.conversations.create(NewConversation(agent=RAG))
    assert [used.id, native(made.id)] == [*place.double.memory.conversations]
    assert place.sent("POST") == ["/v3/conversations"]
    place.faults.plan("POST", "/conversations", drop)
    with pytest.raises(UncertainError, match="whether the conversation was created is not known"):
        await talk.conversations.create(NewConversation(agent=RAG))


async def test_a_message_is_changed_in_its_place(talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    first = await talk.messages.add(made.id, MessageDraft(text="Helo", metadata={"k": "v"}))
    await talk.messages.add(made.id, MessageDraft(text="Hi.", role=Role.ASSISTANT))
    rated = await talk.messages.update(made.id, first.id, MessageChanges(metadata={"rating": "up"}))
    assert rated.metadata == {"k": "v", "rating": "up", "edited": False}
    changed = await talk.messages.update(made.id, first.id, MessageChanges(text="Hello"))
    assert (changed.id, changed.text, changed.metadata["edited"]) == (first.id, "Hello", True)
    assert await history(talk, made.id) == [(Role.USER, "Hello"), (Role.ASSISTANT, "Hi.")]
    assert (await talk.search.messages(SearchQuery(text="hello"))).hits
    assert not (await talk.search.messages(SearchQuery(text="helo"))).hits


@pytest.mark.parametrize("newest_first", [False, True])
async def test_messages_go_page_by_page(talk: Client, newest_first: bool) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    for number in range(5):
        await talk.messages.add(made.id, MessageDraft(text=f"{number}"))
    pages: list[Page[Message]] = []
    cursor = None
    while cursor is not None or not pages:
        pages.append(
            await talk.messages.list(made.id, MessageQuery(limit=2, cursor=cursor, newest_first=newest_first))
        )
        cursor = pages[-1].next_cursor
        if newest_first:  # what comes meanwhile moves nothing
            await talk.messages.add(made.id, MessageDraft(text="new"))
    texts = [[one.text for one in page.items] for page in pages]
    assert texts == ([["4", "3"], ["2", "1"], ["0"]] if newest_first else [["0", "1"], ["2", "3"], ["4"]])
