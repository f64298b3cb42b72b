"""Conversations on R2R, through the façade, against a double of its server on a network that fails."""

import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConversationChanges,
    ConversationQuery,
    EventKind,
    Feature,
    InstanceSettings,
    InvalidInputError,
    JournalEntry,
    Message,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotConfiguredError,
    NotFoundError,
    NotOffered,
    Page,
    Role,
    Run,
    RunResult,
    RunStatus,
    SearchQuery,
    SortKey,
    Status,
    UnavailableError,
    UncertainError,
)
from tertulia.platforms.r2r.wire import IDLE_SECONDS
from tests.client.inside import change
from tests.client.platforms.r2r import RAG, Place, placed
from tests.doubles.network import App, Receive, Scope, Send, answer, cut, drop, lose, unheard
from tests.doubles.r2r import ADMIN, FACT, KEY, NAME, R2RDouble, lines, said
from tests.support.place import SECONDS

NOWHERE = "r2r:00000000-0000-0000-0000-000000000001"
AGENT = "/retrieval/agent"

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@pytest.fixture
async def place(path: Path) -> AsyncGenerator[Place]:
    """Return a server that asks for no credentials."""
    async with placed(path) as place:
        yield place


@pytest.fixture
async def talk(place: Place) -> AsyncGenerator[Client]:
    """Return a client of it."""
    async with place.client() as client:
        yield client


async def ask(talk: Client, text: str, agent: str = RAG, **draft: Any) -> RunResult:
    """Ask in a new conversation; return what came of it."""
    sent = await talk.runs.start(NewConversation(agent=agent), MessageDraft(text=text, **draft))
    return await talk.runs.wait(sent.run, timeout=SECONDS)


async def journal(talk: Client, outcome: RunResult) -> Sequence[JournalEntry]:
    """Return what happened in a run."""
    return (await talk.conversations.events(outcome.run.conversation_id)).entries


async def history(talk: Client, conversation_id: str) -> list[tuple[Role, str | None]]:
    """Return who said what."""
    return [(one.role, one.text) for one in (await talk.messages.list(conversation_id)).items]


def native(conversation_id: str) -> str:
    """Return R2R's own id."""
    return conversation_id.removeprefix("r2r:")


# Configuration


async def test_an_address_is_all_that_an_instance_needs(talk: Client) -> None:
    agents = await talk.agents.list("r2r")
    assert [agent.address for agent in agents] == ["r2r:rag", "r2r:research"]
    assert all(agent.available and agent.hint is None for agent in agents)
    assert agents[0].features == {
        Feature.CREATE,
        Feature.GET,
        Feature.LIST,
        Feature.DELETE,
        Feature.SEND,
        Feature.STREAM,
        Feature.MESSAGES,
        Feature.ADD_MESSAGE,
        Feature.UPDATE_MESSAGE,
        Feature.TITLE,
        Feature.CANCEL,
    }


async def test_what_is_not_offered_is_refused_with_a_word_on_who_offers_it(talk: Client) -> None:
    made = await talk.conversations.create(NewConversation(agent=RAG))
    with pytest.raises(NotOffered, match="does not offer status") as refused:
        await talk.conversations.update_status(made.id, Status.PAUSED)
    assert refused.value.hint is not None
    assert "local" in refused.value.hint
    with pytest.raises(NotOffered, match="metadata"):
        await talk.conversations.create(NewConversation(agent=RAG, metadata={"team": "sales"}))
    for field in ("entity_type", "source", "source_ref"):
        about: dict[str, Any] = {field: "lead"}
        with pytest.raises(InvalidInputError, match=f"has no place for `{field}` of a conversation"):
            await talk.conversations.create(NewConversation(agent=RAG, **about))
    with pytest.raises(NotOffered, match="metadata"):
        await talk.conversations.update(made.id, ConversationChanges(metadata={"team": "sales"}))
    with pytest.raises(NotOffered, match="archive"):
        await talk.conversations.update(made.id, ConversationChanges(archived=True))
    with pytest.raises(NotOffered, match="branches"):
        await talk.conversations.branches(made.id)
    with pytest.raises(NotOffered, match="branches"):
        await talk.messages.list(made.id, MessageQuery(branch="b"))


async def test_a_key_goes_into_its_own_header(path: Path) -> None:
    double = R2RDouble(require_authentication=True, api_keys={KEY: "ada"})
    async with placed(path, double) as place, place.client({"R2R_API_KEY": KEY}) as talk:
        assert (await ask(talk, "hello")).run.status is RunStatus.COMPLETED


async def test_a_login_is_made_once_and_again_when_its_token_has_ended(path: Path) -> None:
    double = R2RDouble(require_authentication=True, users={"ada@example.org": "geheim ä"})
    login = {"R2R_EMAIL": "ada@example.org", "R2R_PASSWORD": "geheim ä"}
    async with placed(path, double) as place, place.client(login) as talk:
        outcome = await ask(talk, "hello")
        assert outcome.run.status is RunStatus.COMPLETED
        assert place.sent("POST").count("/v3/users/login") == 1
        double.tokens.clear()
        added = await talk.messages.add(outcome.run.conversation_id, MessageDraft(text="One more."))
        assert added.text == "One more."
        assert place.sent("POST").count("/v3/users/login") == 2


async def test_a_wrong_password_is_told_without_telling_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    double = R2RDouble(require_authentication=True, users={"ada@example.org": "right"})
    async with (
        placed(path, double) as place,
        place.client(email="ada@example.org", password="s3cr3t") as talk,
    ):
        with pytest.raises(NotConfiguredError, match="The instance r2r gets no token for R2R") as refused:
            await talk.conversations.create(NewConversation(agent=RAG))
        agents = await talk.agents.list("r2r")
        assert not agents[0].available
        assert agents[0].hint == "Check `email` and `password` in the configuration."
    assert "s3cr3t" not in f"{refused.value!r} {refused.value.ids} {caplog.text}"


async def test_a_server_that_asks_for_credentials_says_what_to_set(path: Path) -> None:
    async with placed(path, R2RDouble(require_authentication=True)) as place, place.client() as talk:
        with pytest.raises(NotConfiguredError, match="asks for credentials") as refused:
            await talk.conversations.create(NewConversation(agent=RAG))
        assert refused.value.hint is not None
        assert "R2R_API_KEY" in refused.value.hint
        assert (await talk.agents.list("r2r"))[0].hint == refused.value.hint


async def test_a_key_and_a_login_are_not_possible_together(place: Place) -> None:
    with pytest.raises(InvalidInputError, match="an API key and a login"):
        async with place.client(api_key=KEY, email="ada@example.org", password="x"):
            pass
    with pytest.raises(InvalidInputError, match="an API key and a login"):
        async with place.client({"R2R_API_KEY": KEY, "R2R_EMAIL": "ada@example.org"}):
            pass


async def test_what_the_configuration_names_goes_before_what_the_environment_has(path: Path) -> None:
    double = R2RDouble(require_authentication=True, users={"ada@example.org": "pw"})
    everybody = {"R2R_API_KEY": "public.others", "R2R_API_BASE": "http://127.0.0.1:9"}
    async with (
        placed(path, double) as place,
        place.client(everybody, email="ada@example.org", password="pw") as talk,
    ):
        await talk.conversations.create(NewConversation(agent=RAG))


async def test_a_login_without_its_password_is_not_configured(place: Place) -> None:
    async with place.client(email="ada@example.org") as talk:
        agents = await talk.agents.list("r2r")
        assert not agents[0].available
        assert agents[0].hint == "Set `password` (or R2R_PASSWORD), or remove `email`."
        with pytest.raises(NotConfiguredError):
            await talk.conversations.create(NewConversation(agent=RAG))
    assert place.double.requests == []


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "localhost:7272"},
        {"base_url": "http://ada:s3cr3t@localhost"},
        {"api_key": "s3cr3t\ns3cr3t"},
        {"apikey": "s3cr3t"},
        {"agent": {"mood": "s3cr3t"}},
        {"agent": {"rag_generation_config": "s3cr3t"}},
    ],
)
async def test_an_impossible_option_is_refused_without_its_value(
    place: Place, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        async with place.client(**options):
            pass
    assert "s3cr3t" not in str(refused.value)


async def test_a_server_that_is_not_there_is_told_as_such(path: Path) -> None:
    async with placed(path) as place:
        pass
    with anyio.fail_after(SECONDS):
        async with place.client() as talk:
            assert not (await talk.agents.list("r2r"))[0].available
            with pytest.raises(UnavailableError, match="cannot be reached") as refused:
                await talk.conversations.create(NewConversation(agent=RAG))
            assert refused.value.retryable


async def test_what_is_no_r2r_server_is_told_as_such(place: Place, talk: Client) -> None:
    place.faults.plan(
        "POST", "/conversations", answer(200, {"ok": True}), answer(404, {"detail": "Not Found"})
    )
    with pytest.raises(UnavailableError, match="answered something else than the new conversation"):
        await talk.conversations.create(NewConversation(agent=RAG))
    with pytest.raises(NotOffered, match="does not know this call"):
        await talk.conversations.create(NewConversation(agent=RAG))


async def test_two_servers_stand_side_by_side(path: Path, tmp_path: Path) -> None:
    async with placed(path) as one, placed(path) as other:
        instances = {
            name: InstanceSettings(platform="r2r", options={"base_url": place.url}, environment={})
            for name, place in (("one", one), ("other", other))
        }
        async with Client.open(ClientSettings(store=path, instances=instances)) as talk:
            made = [
                await talk.conversations.create(NewConversation(agent=f"{name}:rag", title=name))
                for name in instances
            ]
            assert [one.title for one in made] == ["one", "other"]
            assert len(one.double.memory.conversations) == len(other.double.memory.conversations) == 1


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


# Messages


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


# Answers

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


# Several questions in one conversation


async def begun(talk: Client, run: Run) -> None:
    """Wait for the first words of an answer."""
    async for entries in talk.runs.follow(run):
        if any(entry.kind is EventKind.TEXT_MESSAGE_CONTENT for entry in entries):
            return


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
