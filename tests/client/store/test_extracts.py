"""Reading a bounded part of what was said, and what happened beside it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.store import branches, conversations, messages
from tertulia.store.database import Store, Transaction
from tertulia.store.extracts import (
    Reach,
    background,
    frequency,
    having,
    positions,
    spread,
    texts,
    time_of,
    titled_with,
)
from tertulia.store.milestones import STARTED, milestones
from tertulia.store.terms import read
from tertulia.store.transitions import move
from tertulia.vocabulary.models import ConversationDraft, Message, Role
from tertulia.vocabulary.states import Status

pytestmark = pytest.mark.anyio


START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


async def put(
    store: Store,
    conversation: str,
    *said: str,
    principal: str = "local",
    title: str | None = None,
    kind: str | None = None,
) -> None:
    """Add messages a day apart, named `m0`, `m1` and so on."""

    def work(tx: Transaction) -> None:
        draft = ConversationDraft(
            agent="local:archivist", native_id=conversation.partition(":")[2], title=title
        )
        conversations.insert(tx, principal, conversation, draft, Status.OPEN)
        for number, text in enumerate(said):
            message = Message(
                id=f"m{number}",
                conversation_id=conversation,
                author="somebody",
                role=Role.USER,
                text=text,
                created_at=START + number * DAY,
                type=kind,
            )
            messages.add(tx, principal, message)

    await store.write(work)


async def ids(store: Store, reach: Reach, most: int = 100, *, newest: bool = True) -> list[str]:
    """The messages within reach, by conversation and id."""

    def work(tx: Transaction) -> list[str]:
        found = positions(tx, reach, most, newest=newest)
        named = {each.position: f"{each.conversation_id} {each.message_id}" for each in texts(tx, found, 10)}
        return [named[position] for position in found]

    return await store.read(work)


async def test_a_reach_is_a_conversation_a_search_and_a_span_of_time(store: Store) -> None:
    """Each narrows it down; the newest come first, or the oldest, and no more than asked for."""
    await put(store, "local:a", "acme one", "two", "acme three")
    await put(store, "local:b", "acme four")
    await put(store, "local:b", "acme five", principal="somebody")
    every = Reach(principal="local")
    a = Reach(principal="local", conversation_id="local:a")
    acme = Reach(principal="local", terms=read("acme"))

    assert await ids(store, every) == ["local:a m2", "local:a m1", "local:b m0", "local:a m0"]
    assert await ids(store, every, 1) == ["local:a m2"]
    assert await ids(store, a, newest=False) == ["local:a m0", "local:a m1", "local:a m2"]
    assert await ids(store, acme) == ["local:a m2", "local:b m0", "local:a m0"]
    assert await ids(store, Reach(principal="local", conversation_id="local:a", terms=read("acme -one"))) == [
        "local:a m2"
    ]
    assert await ids(store, Reach(principal="local", since=START + DAY, until=START + 2 * DAY)) == [
        "local:a m1"
    ]
    assert await ids(store, Reach(principal="nobody")) == []


async def test_what_was_written_anew_takes_the_place_of_what_it_was(store: Store) -> None:
    """Of a conversation, the branch that was written on last is read."""
    await put(store, "local:a", "acme one", "acme two", "acme three")

    def rewrite(tx: Transaction) -> None:
        place = branches.place(tx, "local", "local:a", "m0")
        message = Message(
            id="n1",
            conversation_id="local:a",
            author="somebody",
            role=Role.USER,
            text="acme anew",
            created_at=START + 3 * DAY,
            branch=place.branch,
            parent_id=place.parent_id,
        )
        messages.add(tx, "local", message)

    await store.write(rewrite)

    for terms in (None, read("acme")):
        reach = Reach(principal="local", conversation_id="local:a", terms=terms)
        assert await ids(store, reach) == ["local:a n1", "local:a m0"]


async def test_types_can_be_left_out(store: Store) -> None:
    """Of a conversation, and of what matches; what has no type stays."""
    await put(store, "local:a", "acme one", kind="tool")
    await put(store, "local:b", "acme two")
    without = frozenset({"tool", "other"})

    assert await ids(store, Reach(principal="local", exclude_types=without)) == ["local:b m0"]
    assert await ids(store, Reach(principal="local", terms=read("acme"), exclude_types=without)) == [
        "local:b m0"
    ]
    assert not await ids(store, Reach(principal="local", conversation_id="local:a", exclude_types=without))


async def test_of_a_text_the_beginning_is_read_and_it_is_known_whether_it_goes_on(store: Store) -> None:
    """In the order in which the texts were said, whatever order was asked for."""
    await put(store, "local:a", "0123456789", "01234567890")

    found = await store.read(lambda tx: texts(tx, positions(tx, Reach(principal="local"), 10), 10))

    assert [(each.message_id, each.text, each.cut) for each in found] == [
        ("m0", "0123456789", False),
        ("m1", "0123456789", True),
    ]
    assert [time_of(each.position) for each in found] == [START, START + DAY]


@given(st.sets(st.integers(0, 100_000), max_size=300).map(list), st.integers(1, 100))
def test_a_part_stands_for_the_whole(found: list[int], most: int) -> None:
    """No more than asked for, in order, with the last; where there is room for several, the first too."""
    part = spread(found, most)

    assert len(part) == min(most, len(found)) or (most >= 8 and most - 4 < len(part) <= most)
    assert part == sorted(part)
    assert set(part) <= set(found)
    assert not found or part[-1] == max(found)
    assert not found or most < 8 or part[0] == min(found)


async def test_how_common_a_word_is_is_counted_in_the_principals_other_messages(store: Store) -> None:
    """Not in the conversation at hand, in others' messages, in types that are left out, nor in older ones."""
    await put(store, "local:a", "acme", "acme", "acme")
    await put(store, "local:b", "acme one", "two", "acme three")
    await put(store, "local:c", "acme", kind="tool")
    await put(store, "local:d", "acme", principal="somebody")
    tool = frozenset({"tool"})

    def work(tx: Transaction) -> list[tuple[int, int]]:
        behind = [
            background(tx, "local", 100, outside="local:a", exclude_types=tool),
            background(tx, "local", 2, outside="local:a", exclude_types=tool),
            background(tx, "local", 100),
            background(tx, "nobody", 100),
        ]
        return [(len(each.positions), frequency(tx, "acme", each)) for each in behind]

    assert await store.read(work) == [(3, 2), (2, 1), (7, 6), (0, 0)]


async def test_where_else_a_word_stands_is_told_by_conversation(store: Store) -> None:
    """In messages, one entry for each, and in titles; the principal's own only."""
    await put(store, "local:a", "acme")
    await put(store, "local:b", "acme", "acme", "other", title="Acme")
    await put(store, "local:c", "acme", kind="tool")
    await put(store, "local:d", "acme", principal="somebody", title="Acme")

    def work(tx: Transaction) -> tuple[list[str], list[str]]:
        found = having(tx, "local", "acme", 10, outside="local:a", exclude_types=frozenset({"tool"}))
        return found, titled_with(tx, "local", "acme", 10)

    assert await store.read(work) == (["local:b", "local:b"], ["local:b"])


async def test_milestones_are_found_without_reading_the_journal(store: Store) -> None:
    """The newest of some conversations, or of all; through indexes that have nothing else."""
    await put(store, "local:a", title="A")
    await put(store, "local:b")
    await put(store, "local:a", principal="somebody")
    for known in ("local:a", "local:b"):
        await store.write(lambda tx, known=known: move(tx, "local", known, Status.INPUT_REQUIRED))
        await store.write(lambda tx, known=known: move(tx, "local", known, Status.OPEN))
        await store.write(lambda tx, known=known: move(tx, "local", known, Status.COMPLETED, reason="Done."))

    every = await store.read(lambda tx: milestones(tx, "local", most=10))
    newest = await store.read(lambda tx: milestones(tx, "local", most=1))
    of_a = await store.read(lambda tx: milestones(tx, "local", among={"local:a"}, most=10))
    none = await store.read(lambda tx: milestones(tx, "local", until=START, most=10))

    assert [(each.conversation_id, each.what, each.about) for each in every] == [
        ("local:b", "completed", "Done."),
        ("local:a", "completed", "Done."),
        ("local:b", STARTED, None),
        ("local:a", STARTED, None),
    ]
    assert newest == every[:1]
    assert of_a == [each for each in every if each.conversation_id == "local:a"]
    assert none == []


@pytest.mark.parametrize("among", [None, {"local:a"}])
async def test_sqlite_uses_the_indexes_that_are_there_for_it(
    file_store: Store, monkeypatch: pytest.MonkeyPatch, among: set[str] | None
) -> None:
    """No statement about milestones walks through a table."""
    plans: list[str] = []
    every = Transaction.all

    def explained(self: Transaction, sql: str, *values: object) -> list[tuple[object, ...]]:
        plans.extend(str(row[3]) for row in every(self, f"EXPLAIN QUERY PLAN {sql}", *values))
        return every(self, sql, *values)

    monkeypatch.setattr(Transaction, "all", explained)

    await file_store.read(lambda tx: milestones(tx, "local", among=among, since=START, most=10))

    assert any("INDEX milestones" in plan for plan in plans)
    assert not [plan for plan in plans if plan.startswith("SCAN") and "VIRTUAL TABLE" not in plan]
