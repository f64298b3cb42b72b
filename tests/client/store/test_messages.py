"""Messages in the store: the order in which they arrived, and every page of it once."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import InvalidInputError, NotFoundError, SearchQuery
from tertulia.store import messages
from tertulia.store.database import Store, Transaction, to_datetime
from tertulia.store.search import search
from tertulia.vocabulary.models import MessageQuery, MessageRecord, Rating, Role
from tests.client.making import ME, add_conversation, add_message
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio

C1 = "local:c1"
NOON = round(datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp() * 1_000_000)
HOUR = 3_600_000_000


def texts(
    tx: Transaction, limit: int = 100, newest_first: bool = False, conversation_id: str = C1
) -> list[str]:
    """Return what was said, page by page."""
    query = MessageQuery(limit=limit, newest_first=newest_first)
    found = messages.page(tx, ME, conversation_id, query)
    items = [*found.items]
    while found.next_cursor is not None:
        found = messages.page(tx, ME, conversation_id, replace(query, cursor=found.next_cursor))
        items += found.items
    return [message.text or "" for message in items]


@examples(40)
@given(
    clock=st.lists(st.tuples(st.sampled_from(["c1", "c2"]), st.integers(-2000, 2000)), max_size=12),
    limit=st.integers(1, 4),
)
async def test_messages_keep_the_order_of_their_arrival_whatever_the_clock_does(
    clock: list[tuple[str, int]], limit: int
) -> None:
    """It may stand still, and be set back: to each conversation its own order, each message on one page."""

    def say(tx: Transaction) -> None:
        for name in ("c1", "c2"):
            add_conversation(tx, name)
        for number, (name, microseconds) in enumerate(clock):
            tx.at = NOON + microseconds
            add_message(tx, str(number), conversation_id=f"local:{name}")

    with TemporaryDirectory() as folder, anyio.fail_after(20):
        async with Store(Path(folder) / "store.db") as store:
            await store.write(say)
            for name in ("c1", "c2"):
                said = [str(number) for number, (where, _) in enumerate(clock) if where == name]
                page = partial(texts, limit=limit, conversation_id=f"local:{name}")
                assert await store.read(page) == said
                assert await store.read(partial(page, newest_first=True)) == said[::-1]


async def test_a_message_keeps_its_own_time(store: Store) -> None:
    """Though its place may be behind one that is later by the clock."""

    def say(tx: Transaction) -> list[datetime | None]:
        add_conversation(tx)
        for at in (NOON, NOON - HOUR):
            tx.at = at
            add_message(tx, "hello")
        page = messages.page(tx, ME, C1, MessageQuery(limit=10))
        return [message.created_at for message in page.items]

    assert await store.write(say) == [to_datetime(NOON), to_datetime(NOON - HOUR)]


async def test_a_million_messages_in_a_moment_have_their_places(store: Store) -> None:
    """More than a millisecond has room for run over into the next."""

    def say(tx: Transaction) -> None:
        add_conversation(tx)
        add_conversation(tx, "c2")
        tx.at = NOON
        add_message(tx, "first")
        tx.run("UPDATE messages SET position = ?", messages.position_at(NOON + 1000) - 1)
        add_message(tx, "second")
        tx.at = NOON + 1000
        add_message(tx, "third", conversation_id="local:c2")
        add_message(tx, "fourth")

    await store.write(say)

    assert await store.read(texts) == ["first", "second", "fourth"]
    assert await store.read(partial(texts, conversation_id="local:c2")) == ["third"]


async def test_a_message_that_is_there_already_is_left_alone(store: Store) -> None:
    """By its id in its conversation; it counts once, and is found once."""

    def say(tx: Transaction) -> int | None:
        add_conversation(tx)
        add_message(tx, "the first", id="m")
        add_message(tx, "the second", id="m")
        page = messages.page(tx, ME, C1, MessageQuery(limit=10))
        return page.total

    assert await store.write(say) == 1
    assert await store.read(texts) == ["the first"]
    assert not (await store.read(lambda tx: search(tx, ME, SearchQuery(text="second")))).hits


async def test_an_id_means_something_only_together_with_its_conversation(store: Store) -> None:
    """And with its principal."""

    def say(tx: Transaction) -> None:
        for name in ("c1", "c2"):
            add_conversation(tx, name)
            add_message(tx, f"in {name}", id="m", conversation_id=f"local:{name}")
        add_conversation(tx, principal="alice")
        add_message(tx, "hers", id="m", principal="alice")

    await store.write(say)

    assert (await store.read(lambda tx: messages.get(tx, ME, C1, "m"))).text == "in c1"
    assert (await store.read(lambda tx: messages.get(tx, ME, "local:c2", "m"))).text == "in c2"
    assert (await store.read(lambda tx: messages.get(tx, "alice", C1, "m"))).text == "hers"
    with pytest.raises(NotFoundError, match="local:c1 has no message x"):
        await store.read(lambda tx: messages.get(tx, ME, C1, "x"))


async def test_a_message_comes_back_as_it_was_entered(store: Store) -> None:
    """With all it has."""
    more: dict[str, Any] = {
        "data": {"a": [1, 2.5, None, "é"]},
        "type": "note",
        "parent_id": "m_0",
        "metadata": {"k": "v"},
        "created_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "branch": "main",
    }

    def say(tx: Transaction) -> bool:
        add_conversation(tx)
        message = add_message(tx, " text\n", **more)
        return messages.get(tx, ME, C1, message.id) == message

    assert await store.write(say)


async def test_the_newest_message_dates_its_conversation(store: Store) -> None:
    """An older one that is entered later does not date it back."""

    def say(tx: Transaction) -> tuple[object, ...] | None:
        tx.at = NOON
        add_conversation(tx)
        add_message(tx, "now", created_at=to_datetime(NOON) + timedelta(hours=1))
        add_message(tx, "then", created_at=to_datetime(NOON) - timedelta(hours=1))
        return tx.one("SELECT updated_at, message_count FROM conversations")

    assert await store.write(say) == (NOON + HOUR, 2)


@pytest.mark.parametrize("limit", [0, 101])
async def test_a_page_of_messages_has_from_one_to_a_hundred(store: Store, limit: int) -> None:
    """The error says so."""
    with pytest.raises(InvalidInputError, match="must be from 1 to 100"):
        await store.read(lambda tx: messages.page(tx, ME, C1, MessageQuery(limit=limit)))


async def test_the_cursor_of_a_history_belongs_to_its_conversation_and_direction(store: Store) -> None:
    """Anything else would skip messages."""

    def say(tx: Transaction) -> str | None:
        for name in ("c1", "c2"):
            add_conversation(tx, name)
            for text in ("one", "two"):
                add_message(tx, text, conversation_id=f"local:{name}")
        return messages.page(tx, ME, C1, MessageQuery(limit=1)).next_cursor

    cursor = await store.write(say)
    for conversation_id, newest_first in (("local:c2", False), (C1, True)):
        query = MessageQuery(cursor=cursor, limit=1, newest_first=newest_first)
        with pytest.raises(InvalidInputError, match="other filters"):
            await store.read(
                partial(messages.page, principal=ME, conversation_id=conversation_id, query=query)
            )


async def test_what_a_platform_empties_is_emptied_and_what_it_does_not_say_stays(store: Store) -> None:
    """Metadata and a rating."""
    said = MessageRecord(id="m1", conversation_id=C1, author="user", role=Role.USER, text="Hello.")
    rated = replace(said, metadata={"k": "v"}, rating=Rating(value=4, feedback="Good."))

    def remember(tx: Transaction, record: MessageRecord) -> tuple[Mapping[str, Any], Rating | None]:
        messages.remember(tx, ME, C1, [record], settled=True)
        stored = messages.get(tx, ME, C1, "m1")
        merged = messages.merged(tx, ME, record)
        assert (merged.metadata, merged.rating) == (stored.metadata, stored.rating)
        return stored.metadata, stored.rating

    await store.write(add_conversation)
    assert await store.write(partial(remember, record=rated)) == (rated.metadata, rated.rating)
    assert await store.write(partial(remember, record=said)) == (rated.metadata, rated.rating)
    emptied = replace(said, metadata={}, rating=None)
    assert await store.write(partial(remember, record=emptied)) == ({}, None)
