"""The filters of lists: the store leaves the same conversations as the rule in Python, on whatever page."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia import ConversationQuery, InvalidInputError, SortKey, Status
from tertulia.platforms.kit import paging
from tertulia.store import conversation_pages, conversations, runs
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.models import Conversation, ConversationDraft, RequestDraft, RequestKind
from tertulia.vocabulary.ranges import EARLIEST
from tests.client.making import ME, add_run
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio

BEGINNING = datetime(2026, 11, 3, 9, tzinfo=UTC)
KEYS = st.sampled_from(["team", "a.b", 'qu"ote', "back\\slash", "", "ключ", "\0", "$", "😀"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.0, 1.0, -0.0, 1.5, 1e15, 10**15, -2e16, 2**53 + 1, 2**70, -(2**63)])
    | st.sampled_from(["", "sales", "Sales", '"', "\\", "1", "true", "null", "\0", "日本", "{}"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)
METADATA = st.dictionaries(KEYS, VALUES, max_size=3)
NAMES = st.sampled_from(["website", "crm", "CRM"])
MOMENTS = st.integers(0, 3).map(lambda minutes: BEGINNING + timedelta(minutes=minutes))

CONVERSATIONS = st.lists(
    st.builds(
        Conversation,
        id=st.just(""),
        agent=st.sampled_from(["local:a", "local:b"]),
        status=st.sampled_from(Status),
        title=st.none() | st.sampled_from(["", "A", "a", "Ä", "日本", "😀", "\uffff"]),
        metadata=METADATA,
        entity_type=st.none() | st.sampled_from(["user", "lead"]),
        source=st.none() | NAMES,
        source_ref=st.none() | NAMES,
        archived=st.booleans(),
        awaiting=st.booleans(),
        created_at=MOMENTS,
        updated_at=MOMENTS,
    ),
    max_size=8,
).map(lambda made: [replace(one, id=f"local:c{number}") for number, one in enumerate(made)])

QUERIES = st.builds(
    ConversationQuery,
    instance=st.just("local"),
    ids=st.frozensets(st.integers(0, 9).map("local:c{}".format), max_size=3),
    agent=st.none() | st.just("local:a"),
    statuses=st.frozensets(st.sampled_from(Status), max_size=3),
    source=st.none() | NAMES,
    exclude_source=st.none() | NAMES,
    source_ref=st.none() | NAMES,
    entity_type=st.none() | st.just("lead"),
    metadata=st.just(dict[str, Any]()) | st.dictionaries(KEYS, VALUES, max_size=2),
    created_after=st.none() | MOMENTS,
    created_before=st.none() | MOMENTS,
    archived=st.none() | st.booleans(),
    awaiting=st.booleans(),
    sort=st.sampled_from(SortKey),
    descending=st.booleans(),
    limit=st.integers(1, 4),
)


def enter(tx: Transaction, made: list[Conversation]) -> None:
    """Enter conversations as their platform tells of them, and one of another principal."""
    for one in made:
        conversations.remember(tx, ME, one)
    conversations.remember(tx, "alice", Conversation(id="local:c0", agent="local:a", status=Status.OPEN))


def everything(tx: Transaction, query: ConversationQuery) -> list[Conversation]:
    """Turn the pages of a list; every one tells how many there are in all, unless they are too many."""
    found = list[Conversation]()
    totals = set[int | None]()
    while True:
        page = conversation_pages.page(tx, ME, query)
        found += page.items
        totals.add(page.total)
        if page.next_cursor is None:
            assert totals == {len(found) if len(found) <= conversation_pages.MAX_COUNT else None}
            return found
        assert len(page.items) == query.limit
        query = replace(query, cursor=page.next_cursor)


def sought_among(made: list[Conversation]) -> list[Mapping[str, Any]]:
    """Return metadata filters that find something."""
    return [{key: value} for one in made for key, value in one.metadata.items()]


KEY: Mapping[SortKey, Callable[[Conversation], Any]] = {
    SortKey.UPDATED: lambda one: one.updated_at,
    SortKey.CREATED: lambda one: one.created_at,
    SortKey.TITLE: lambda one: one.title or "",
}


@examples(60)
@given(CONVERSATIONS, QUERIES, st.sampled_from([0, 1, 10_000]), st.data())
async def test_a_list_leaves_what_the_rule_leaves_in_order_on_pages_that_add_up(
    made: list[Conversation], query: ConversationQuery, most: int, data: st.DataObject
) -> None:
    """Whatever is filtered and however it is sorted, and whether all that matches is counted or not."""
    some = sought_among(made)
    if some and data.draw(st.booleans()):
        query = replace(query, metadata=data.draw(st.sampled_from(some)))
    with TemporaryDirectory() as folder, anyio.fail_after(20), pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversation_pages, "MAX_COUNT", most)
        patch.setattr(conversation_pages, "MAX_SORTED", most)
        async with Store(Path(folder) / "store.db") as store:
            await store.write(partial(enter, made=made))
            found = await store.read(partial(everything, query=query))

    fitting = [one for one in made if paging.fits(one, query)]
    assert {one.id for one in found} == {one.id for one in fitting}
    assert len(found) == len(fitting)
    assert [KEY[query.sort](one) for one in found] == sorted(
        map(KEY[query.sort], fitting), reverse=query.descending
    )


@examples(80)
@example({"a": True}, {"a": 1})
@example({"a": 1}, {"a": 1.0})
@example({"a": {"b": 1, "c": [2]}}, {"a": {"c": [2.0], "b": 1}})
@example({"x": {"a": "deep"}}, {"a": "deep"})
@given(METADATA, METADATA)
async def test_metadata_is_compared_as_json_is(has: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Under the key itself and not deeper; true is not 1, 1 is 1.0, and the order of keys means nothing."""
    one = Conversation(id="local:c0", agent="local:a", status=Status.OPEN, metadata=has)
    query = ConversationQuery(metadata=wanted)
    with TemporaryDirectory() as folder, anyio.fail_after(20):
        async with Store(Path(folder) / "store.db") as store:
            await store.write(partial(enter, made=[one]))
            found = await store.read(partial(everything, query=query))
            itself = await store.read(partial(everything, query=replace(query, metadata=has)))

    assert bool(found) is paging.fits(one, query)
    assert [each.id for each in itself] == ["local:c0"]


def test_the_rule_itself_tells_true_from_one_and_not_one_from_one_point_zero() -> None:
    """So that the store cannot agree with it on something else."""

    def fits(has: Any, wanted: Any) -> bool:
        one = Conversation(id="local:c", agent=None, status=Status.OPEN, metadata={"a": has})
        return paging.fits(one, ConversationQuery(metadata={"a": wanted}))

    assert fits(1, 1.0)
    assert fits({"b": 1, "c": [None]}, {"c": [None], "b": 1})
    assert not fits(True, 1)
    assert not fits(0, False)
    assert not fits(None, False)
    assert not fits([1], [1, 1])
    assert not fits({"b": 1}, {})


async def test_what_came_from_nowhere_is_not_excluded_with_a_source(store: Store) -> None:
    """Only what came from there is."""

    def make(tx: Transaction) -> None:
        for name, source in (("web", "website"), ("crm", "crm"), ("none", None)):
            draft = ConversationDraft(agent="local:a", native_id=name, source=source)
            conversations.insert(tx, ME, f"local:{name}", draft, Status.OPEN)

    await store.write(make)
    found = await store.read(partial(everything, query=ConversationQuery(exclude_source="website")))

    assert {one.id for one in found} == {"local:crm", "local:none"}


async def test_awaiting_me_are_those_with_a_pending_request_and_those_whose_turn_it_is(store: Store) -> None:
    """Not those in which nothing is asked."""

    def make(tx: Transaction) -> None:
        for name in ("asks", "turn", "quiet"):
            draft = ConversationDraft(agent="local:a", native_id=name)
            conversations.insert(tx, ME, f"local:{name}", draft, Status.OPEN)
        run = add_run(tx, conversation_id="local:asks")
        runs.add_request(tx, ME, run, RequestDraft(kind=RequestKind.QUESTION, prompt="Which?"))
        tx.run("UPDATE conversations SET awaiting = 1 WHERE id = 'local:turn'")

    await store.write(make)
    found = await store.read(partial(everything, query=ConversationQuery(awaiting=True)))

    assert {one.id for one in found} == {"local:asks", "local:turn"}


@pytest.mark.parametrize(
    "other",
    [
        {"source": "crm"},
        {"exclude_source": "crm"},
        {"source_ref": "r2"},
        {"metadata": {"team": "ops"}},
        {"entity_type": "lead"},
        {"created_after": BEGINNING},
        {"created_before": BEGINNING + timedelta(days=900)},
        {"sort": SortKey.TITLE},
        {"descending": False},
    ],
)
async def test_a_cursor_belongs_to_one_set_of_filters(store: Store, other: dict[str, Any]) -> None:
    """With others it is refused, rather than skipping what nobody has seen."""

    def make(tx: Transaction) -> None:
        for number in range(3):
            draft = ConversationDraft(agent="local:a", native_id=f"c{number}", metadata={"team": "sales"})
            conversations.insert(tx, ME, f"local:c{number}", draft, Status.OPEN)

    await store.write(make)
    query = ConversationQuery(metadata={"team": "sales"}, limit=1)
    cursor = (await store.read(partial(conversation_pages.page, principal=ME, query=query))).next_cursor

    with pytest.raises(InvalidInputError, match="other filters"):
        await store.read(
            partial(conversation_pages.page, principal=ME, query=replace(query, cursor=cursor, **other))
        )


@examples(100)
@given(CONVERSATIONS, QUERIES)
def test_lists_that_are_made_of_a_whole_platform_have_the_same_rule_and_add_up_too(
    made: list[Conversation], query: ConversationQuery
) -> None:
    """Where the platform itself has neither filters nor pages."""
    found = list[Conversation]()
    cursor: str | None = None
    while True:
        page = paging.page(made, replace(query, cursor=cursor))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break

    fitting = [one for one in made if paging.fits(one, query)]
    assert page.total == len(found) == len(fitting)
    assert {one.id for one in found} == {one.id for one in fitting}
    assert [KEY[query.sort](one) for one in found] == sorted(
        map(KEY[query.sort], fitting), reverse=query.descending
    )


@pytest.mark.parametrize(
    "query",
    [
        ConversationQuery(),
        ConversationQuery(archived=None),
        ConversationQuery(descending=False),
        ConversationQuery(sort=SortKey.CREATED),
        ConversationQuery(agent="local:a"),
        ConversationQuery(instance="local"),
        ConversationQuery(statuses=frozenset({Status.FAILED})),
        ConversationQuery(source="crm"),
        ConversationQuery(entity_type="lead"),
        ConversationQuery(exclude_source="crm"),
        ConversationQuery(sort=SortKey.CREATED, created_after=BEGINNING),
        ConversationQuery(sort=SortKey.TITLE),
        ConversationQuery(sort=SortKey.TITLE, archived=None),
        ConversationQuery(agent="local:a", archived=None),
    ],
)
async def test_a_page_is_read_in_the_order_of_an_index(
    file_store: Store, query: ConversationQuery, plans: list[str]
) -> None:
    """However many conversations there are, it reads those of the page, and sorts nothing."""
    await file_store.read(partial(conversation_pages.page, principal=ME, query=query))

    own = [plan for plan in plans if "conversations" in plan]
    assert own
    assert all(plan.startswith("SEARCH") for plan in own)
    assert not any("TEMP B-TREE" in plan for plan in plans)


@pytest.mark.parametrize(
    "query",
    [
        ConversationQuery(created_after=BEGINNING),
        ConversationQuery(agent="local:a", sort=SortKey.CREATED),
        ConversationQuery(source_ref="1"),
        ConversationQuery(metadata={"team": "sales"}, instance="local"),
    ],
)
async def test_what_no_index_has_in_order_is_sorted_by_its_places_alone(
    file_store: Store, query: ConversationQuery, plans: list[str]
) -> None:
    """What matches is found by an index; only the rows of the page are read whole."""
    await file_store.read(partial(conversation_pages.page, principal=ME, query=query))

    own = [plan for plan in plans if "conversations" in plan]
    assert own
    assert all("archived=?" in plan or "rowid=?" in plan for plan in own)
    assert not any("TEMP B-TREE" in plan for plan in plans)


async def test_what_matches_is_counted_up_to_a_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it, a page says that there are more."""
    made = [Conversation(id=f"local:c{number}", agent="local:a", status=Status.OPEN) for number in range(4)]
    await store.write(partial(enter, made=made))
    query = ConversationQuery(limit=2)

    for most, total, more_than in ((4, 4, None), (3, None, 3)):
        monkeypatch.setattr(conversation_pages, "MAX_COUNT", most)
        page = await store.read(partial(conversation_pages.page, principal=ME, query=query))
        assert (len(page.items), page.total, page.more_than) == (2, total, more_than)


@pytest.mark.parametrize("archived", [False, None])
@pytest.mark.parametrize("descending", [True, False])
async def test_a_span_of_creation_is_in_the_order_of_updates(
    store: Store, descending: bool, archived: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where more match than are counted: what was created in one month is merged with what was in others."""
    made = [
        Conversation(
            id=f"local:c{number}",
            agent="local:a",
            status=Status.OPEN,
            archived=number % 3 == 0,
            created_at=BEGINNING + number * timedelta(days=13),
            updated_at=BEGINNING + timedelta(days=1000 + 7 * number % 40),
        )
        for number in range(40)
    ]
    query = ConversationQuery(
        created_after=made[5].created_at,
        created_before=made[35].created_at,
        archived=archived,
        descending=descending,
        limit=4,
    )
    monkeypatch.setattr(conversation_pages, "MAX_COUNT", 2)

    await store.write(partial(enter, made=made))
    found = await store.read(partial(everything, query=query))

    fitting = [one for one in made[5:35] if archived is None or not one.archived]
    assert {one.id for one in found} == {one.id for one in fitting}
    assert len(found) == len(fitting)
    assert [one.updated_at for one in found] == sorted(
        (one.updated_at for one in fitting if one.updated_at is not None), reverse=descending
    )


async def test_a_span_of_creation_is_read_month_by_month(
    file_store: Store, plans: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of updates, so that nothing is read of what is too old or too young, and nothing sorted."""
    query = ConversationQuery(created_before=BEGINNING)
    one = Conversation(id="local:c0", agent="local:a", status=Status.OPEN, created_at=EARLIEST)
    monkeypatch.setattr(conversation_pages, "MAX_COUNT", 0)
    await file_store.write(partial(enter, made=[one]))

    await file_store.read(partial(conversation_pages.page, principal=ME, query=query))

    months = [plan for plan in plans if "conversations_of_month" in plan]
    assert len(months) == 3  # the first month, those that follow it, and the places of one
    assert all(plan.startswith("SEARCH") for plan in months)
    assert not any("TEMP B-TREE" in plan for plan in plans)


@pytest.mark.parametrize("first", [1_000, 0])
@pytest.mark.parametrize(
    ("query", "index"),
    [
        (ConversationQuery(agent="local:b", entity_type="lead"), "conversations_of_agent"),
        (ConversationQuery(agent="local:a", entity_type="user"), "conversations_of_type"),
        (ConversationQuery(agent="local:b", exclude_source="crm"), "conversations_of_agent"),
        (ConversationQuery(source="crm", source_ref="1"), "conversations_by_reference"),
    ],
)
async def test_of_several_filters_the_one_with_the_fewest_conversations_is_looked_through(
    file_store: Store,
    query: ConversationQuery,
    index: str,
    first: int,
    plans: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SQLite, which has no statistics, is told which index that is; where none has few, all are counted further."""
    monkeypatch.setattr(conversation_pages, "COMPARED", (first, 30_000))
    made = [
        Conversation(
            id=f"local:c{number}",
            agent="local:a" if number else "local:b",
            status=Status.OPEN,
            entity_type="lead" if number < 9 else "user",
        )
        for number in range(10)
    ]
    await file_store.write(partial(enter, made=made))

    await file_store.read(partial(conversation_pages.page, principal=ME, query=query))

    places = [plan for plan in plans if "conversations" in plan and "rowid=?" not in plan]
    assert f"INDEX {index} " in places[-1]
