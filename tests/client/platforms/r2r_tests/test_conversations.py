"""Conversations on R2R, against a double of its server on a network that fails."""

import logging
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tertulia import (
    Client,
    ConversationChanges,
    ConversationQuery,
    Feature,
    InstanceSettings,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotConfiguredError,
    NotFoundError,
    NotOffered,
    Page,
    RunStatus,
    SearchQuery,
    SortKey,
    Status,
    UnavailableError,
)
from tests.client.inside import change
from tests.client.platforms.r2r import (
    NOWHERE,
    RAG,
    Place,
    ask,
    native,
    placed,
)
from tests.doubles.network import answer
from tests.doubles.r2r import FACT, KEY, R2RDouble
from tests.support.place import SECONDS

pytestmark = [pytest.mark.anyio, pytest.mark.io]


# Conversations


async def test_a_conversation_is_created_read_renamed_and_deleted(place: Place, talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG, title="Renewals"))
    assert (made.title, made.agent, made.status) == ("Renewals", RAG, Status.OPEN)
    assert made.created_at is not None
    assert await talk.conversations.get(made.id) == made
    renamed = await talk.conversations.update(made.id, ConversationChanges(title="Vertragsverlängerungen"))
    assert renamed.title == place.double.memory.get(native(made.id)).name == "Vertragsverlängerungen"
    await talk.conversations.delete(made.id)
    assert place.double.memory.conversations == {}
    with pytest.raises(NotFoundError):
        await talk.conversations.get(made.id)


@pytest.mark.parametrize("unknown", [NOWHERE, "r2r:nope", "r2r:..%2Fusers%2Fme", f"r2r:{FACT.upper()}"])
async def test_an_unknown_conversation_is_not_found_whatever_is_done_to_it(
    talk: Client, unknown: str
) -> None:
    message = MessageDraft(text="x")
    for attempt in (
        talk.conversations.get(unknown),
        talk.messages.list(unknown),
        talk.runs.send(unknown, message),
        talk.messages.add(unknown, message),
        talk.messages.update(unknown, FACT, MessageChanges(text="x")),
        talk.conversations.update(unknown, ConversationChanges(title="x")),
        talk.conversations.delete(unknown),
    ):
        with pytest.raises(NotFoundError):
            await attempt


async def test_what_belongs_to_another_account_is_not_there(path: Path) -> None:
    """R2R itself would rename it, add to it and change its messages."""
    double = R2RDouble(require_authentication=True, api_keys={KEY: "ada"})
    theirs = double.memory.create("bob", "Private")
    question = double.memory.add(theirs.id, {"role": "user", "content": "mine"})
    mine = double.memory.create("ada", "Mine")
    async with placed(path, double) as place, place.client(api_key=KEY) as talk:
        for attempt in (
            talk.conversations.get(f"r2r:{theirs.id}"),
            talk.conversations.update(f"r2r:{theirs.id}", ConversationChanges(title="x")),
            talk.messages.add(f"r2r:{theirs.id}", MessageDraft(text="x")),
            talk.messages.update(f"r2r:{theirs.id}", question.id, MessageChanges(text="x")),
            talk.messages.update(f"r2r:{mine.id}", question.id, MessageChanges(text="x")),
        ):
            with pytest.raises(NotFoundError):
                await attempt
        listed = await talk.conversations.list(ConversationQuery(instance="r2r"))
        assert [one.title for one in listed.items] == ["Mine"]
    assert (theirs.name, double.messages(theirs.id)) == ("Private", [("user", "mine")])


async def test_a_list_goes_page_by_page_newest_first(talk: Client) -> None:
    made = [
        (await talk.conversations.create(NewConversation(agent=RAG, title=f"{number}"))).id
        for number in range(5)
    ]
    query = ConversationQuery(instance="r2r", limit=2)
    seen: list[str] = []
    while True:
        page = await talk.conversations.list(query)
        seen += [one.id for one in page.items]
        assert page.total == 5
        if page.next_cursor is None:
            break
        query = ConversationQuery(instance="r2r", limit=2, cursor=page.next_cursor)
    assert seen == made[::-1]


async def test_the_pages_of_a_filtered_list_are_full(place: Place, talk: Client) -> None:
    for number in range(30):
        place.double.memory.create(None, f"{number}")
    kept = [
        (await talk.conversations.create(NewConversation(agent="r2r:research", title=f"R{number}"))).id
        for number in range(3)
    ]
    for number in range(30, 60):
        place.double.memory.create(None, f"{number}")
    query = ConversationQuery(instance="r2r", agent="r2r:research", limit=2)
    before = len(place.double.requests)
    first = await talk.conversations.list(query)
    assert [one.id for one in first.items] == kept[:0:-1]
    assert len(place.double.requests) == before + 1
    last = await talk.conversations.list(replace(query, cursor=first.next_cursor))
    assert ([one.id for one in last.items], last.next_cursor) == (kept[:1], None)
    dated = ConversationQuery(instance="r2r", created_after=datetime.now(UTC) + timedelta(days=1))
    assert await talk.conversations.list(dated) == Page(items=[])


@pytest.mark.parametrize(
    "filters",
    [
        {"statuses": frozenset({Status.COMPLETED})},
        {"archived": True},
        {"metadata": {"team": "sales"}},
        {"source": "crm"},
        {"source_ref": "4711"},
        {"entity_type": "lead"},
        {"awaiting": True},
        {"agent": "r2r:archivist"},
    ],
)
async def test_a_filter_that_nothing_can_pass_is_refused_at_once(
    place: Place, talk: Client, filters: dict[str, Any]
) -> None:
    with pytest.raises((NotOffered, NotFoundError)) as refused:
        await talk.conversations.list(ConversationQuery(instance="r2r", **filters))
    assert refused.value.hint
    assert place.double.requests == []


async def test_a_list_can_be_asked_for_some_ids(talk: Client) -> None:
    made = [(await talk.conversations.create(NewConversation(agent=RAG))).id for _ in range(3)]
    await talk.conversations.create(NewConversation(agent="local:archivist"))
    some = frozenset({made[0], made[2], NOWHERE})
    for instance in ("r2r", None):
        page = await talk.conversations.list(ConversationQuery(instance=instance, ids=some))
        assert {one.id for one in page.items} == {made[0], made[2]}
    others = frozenset({"local:7k2mq9x4ab", "r2r:nope"})
    assert not (await talk.conversations.list(ConversationQuery(instance="r2r", ids=others))).items


async def test_another_order_of_the_list_is_not_offered(talk: Client) -> None:
    for query in (
        ConversationQuery(instance="r2r", sort=SortKey.TITLE),
        ConversationQuery(instance="r2r", descending=False),
    ):
        with pytest.raises(NotOffered, match="newest first"):
            await talk.conversations.list(query)


async def test_an_unknown_agent_is_told_with_those_there_are(talk: Client) -> None:
    with pytest.raises(NotFoundError) as refused:
        await talk.conversations.create(NewConversation(agent="r2r:archivist"))
    assert refused.value.valid == ("r2r:rag", "r2r:research")


async def test_a_repeated_start_whose_message_was_taken_starts_no_other_conversation(
    place: Place, talk: Client
) -> None:
    """Its process died before it could note what it had done."""
    message = MessageDraft(text="hello")
    sent = await talk.runs.start(NewConversation(agent=RAG), message, idempotency_key="k1")
    await talk.runs.wait(sent.run, timeout=SECONDS)
    await change(place.path, "UPDATE receipts SET done = 0")
    again = await talk.runs.start(NewConversation(agent=RAG), message, idempotency_key="k1")
    assert (again.conversation.id, again.run.id) == (sent.conversation.id, sent.run.id)
    assert len(place.double.memory.conversations) == 1


async def test_too_many_calls_are_told_with_how_long_to_wait(place: Place, talk: Client) -> None:
    limited = {"detail": "Per-route per-minute rate limit exceeded"}
    place.faults.plan("POST", "/conversations", answer(429, limited), answer(429, limited, retry_after="7"))
    with pytest.raises(UnavailableError, match="Per-route per-minute rate limit exceeded") as refused:
        await talk.conversations.create(NewConversation(agent=RAG))
    assert refused.value.retryable
    with pytest.raises(UnavailableError) as refused:
        await talk.conversations.create(NewConversation(agent=RAG))
    assert refused.value.hint == "Wait 7 seconds, then call again."
    await talk.conversations.create(NewConversation(agent=RAG))


@pytest.mark.parametrize(
    "body",
    [
        {"message": "key sk-123", "error_type": "R2RException"},
        {"detail": {"message": "key sk-123", "error": "key sk-123", "error_type": "ValueError"}},
        {"detail": "key sk-123"},
        ["key sk-123"],
        None,
    ],
)
async def test_what_a_failing_server_says_is_kept_from_everybody(
    place: Place, talk: Client, caplog: pytest.LogCaptureFixture, body: object
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await talk.conversations.create(NewConversation(agent=RAG))
    place.faults.plan("GET", native(made.id), answer(500, body))
    with pytest.raises(UnavailableError, match="failed over this call") as refused:
        await talk.messages.list(made.id)
    assert "sk-123" not in f"{refused.value!r} {refused.value.ids} {caplog.text}"


# What is gone upstream, and when things were


async def seen(talk: Client) -> tuple[list[str], list[str]]:
    """Return which conversations the store lists, and in which it finds `Zebra`."""
    listed = await talk.conversations.list(ConversationQuery())
    hits = (await talk.search.messages(SearchQuery(text="Zebra"))).hits
    return [one.id for one in listed.items], sorted({hit.conversation_id for hit in hits})


@pytest.mark.parametrize("notice", ["get", "messages", "send", "sync"])
async def test_what_is_gone_upstream_is_gone_here_and_can_be_deleted(
    place: Place, talk: Client, notice: str
) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG, title="Zebra"))
    await talk.messages.add(made.id, MessageDraft(text="A zebra."))
    await talk.search.sync("r2r")
    assert await seen(talk) == ([made.id], [made.id])
    kept = place.double.memory.conversations.pop(native(made.id))
    if notice == "sync":
        assert (await talk.search.sync("r2r")).gone == 1
    else:
        asked = talk.conversations.get(made.id) if notice != "messages" else talk.messages.list(made.id)
        with pytest.raises(NotFoundError) as refused:
            await asked
        assert refused.value.hint is not None
        assert "delete_conversation removes what Tertulia has kept" in refused.value.hint
    assert await seen(talk) == ([], [])
    assert await talk.conversations.suggest("Zebra") == []
    with pytest.raises(NotFoundError):
        await talk.runs.send(made.id, "Anybody there?")
    place.double.memory.conversations[kept.id] = kept
    assert (await talk.conversations.get(made.id)).title == "Zebra"
    assert await seen(talk) == ([made.id], [made.id])
    del place.double.memory.conversations[kept.id]
    await talk.conversations.delete(made.id)
    assert await seen(talk) == ([], [])
    with pytest.raises(NotFoundError):
        await talk.conversations.delete(made.id)


async def test_a_conversation_that_a_sync_misses_in_a_moving_list_is_not_gone(
    place: Place, talk: Client
) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG, title="Zebra"))
    await talk.search.sync("r2r")
    place.faults.plan("GET", "/conversations", answer(200, {"results": [], "total_entries": 0}))
    await talk.search.sync("r2r")
    assert [one.id for one in (await talk.conversations.list(ConversationQuery())).items] == [made.id]


@pytest.mark.parametrize("synced", [False, True])
async def test_times_are_r2rs_or_unknown_and_never_now(place: Place, talk: Client, synced: bool) -> None:
    march = datetime(2025, 3, 1, 8, tzinfo=UTC)
    old = place.double.memory.create(None, "Old")
    old.created_at = march
    place.double.memory.add(old.id, {"role": "user", "content": "A zebra?"})
    place.double.memory.add(old.id, {"role": "assistant", "content": "No zebra."})
    own_id = f"r2r:{old.id}"
    if synced:
        await talk.search.sync("r2r")
    else:
        await talk.conversations.list(ConversationQuery(instance="r2r"))
        assert [one.created_at for one in (await talk.messages.list(own_id)).items] == [None, None]
    stored = await talk.conversations.get_stored(own_id)
    assert (stored.created_at, stored.updated_at) == (march, march)
    this_year = SearchQuery(text="zebra", since=datetime(2026, 1, 1, tzinfo=UTC))
    last_year = SearchQuery(text="zebra", until=datetime(2026, 1, 1, tzinfo=UTC))
    assert (await talk.search.messages(this_year)).hits == []
    assert len((await talk.search.messages(last_year)).hits) == 2
    place.double.memory.add(old.id, {"role": "user", "content": "Really no zebra?"})
    await talk.search.sync("r2r")
    assert (await talk.search.messages(this_year)).hits == [], "when it was said is not known"
    assert (await talk.conversations.get_stored(own_id)).updated_at == march
    texts = [hit.snippet for hit in (await talk.search.messages(last_year)).hits if hit.message_id]
    assert len(texts) == 3
    figures = await talk.conversations.analytics(own_id)
    assert figures.duration_seconds is None


# Servers of the 3.3 line


@pytest.fixture
async def older(path: Path) -> AsyncGenerator[Place]:
    """Return a server that has branches."""
    async with placed(path, R2RDouble(line="3.3")) as place:
        yield place


async def test_branches_are_found_where_a_server_has_them(older: Place) -> None:
    async with older.client() as talk:
        assert Feature.BRANCHES in (await talk.agents.list("r2r"))[0].features
        made = await talk.conversations.create(NewConversation(agent=RAG))
        await talk.messages.add(made.id, MessageDraft(text="Hello"))
        wrong = await talk.messages.add(made.id, MessageDraft(text="Helo?"))
        changed = await talk.messages.update(made.id, wrong.id, MessageChanges(text="Hello?"))
        assert changed.id != wrong.id
        first, second = await talk.conversations.branches(made.id)
        assert (first.parted_from, second.parted_from) == (None, wrong.id)
        by_branch = {
            branch: [
                one.text for one in (await talk.messages.list(made.id, MessageQuery(branch=branch))).items
            ]
            for branch in (first.id, second.id, None)
        }
        assert by_branch == {first.id: ["Hello", "Helo?"], second.id: ["Hello?"], None: ["Hello?"]}


async def test_an_older_server_changes_no_metadata_and_has_no_agent_that_we_understand(older: Place) -> None:
    async with older.client() as talk:
        made = await talk.conversations.create(NewConversation(agent=RAG))
        added = await talk.messages.add(made.id, MessageDraft(text="Hello"))
        with pytest.raises(NotOffered):
            await talk.messages.update(made.id, added.id, MessageChanges(metadata={"k": "v"}))
        outcome = await ask(talk, "hello")
        assert outcome.run.status is RunStatus.FAILED
        assert outcome.run.error is not None
        assert "something else than a stream of events" in outcome.run.error


async def test_nothing_shows_a_secret(place: Place) -> None:
    settings = InstanceSettings(platform="r2r", options={"api_key": "s3cr3t", "password": "s3cr3t"})
    assert "s3cr3t" not in repr(settings)
    async with place.client(api_key="s3cr3t.s3cr3t") as talk:
        with pytest.raises(NotConfiguredError) as refused:
            await talk.conversations.create(NewConversation(agent=RAG))
    assert "s3cr3t" not in f"{refused.value!r} {refused.value.hint} {refused.value.ids}"
