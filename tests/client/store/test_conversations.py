"""Conversations in the store: pages, changes, and deleting for good."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import (
    ConversationChanges,
    ConversationQuery,
    Event,
    EventKind,
    InvalidInputError,
    NotFoundError,
    Page,
    RequestKind,
    SearchQuery,
    SortKey,
    Status,
)
from tertulia.store import conversation_pages, conversations, journal, leases, runs
from tertulia.store.database import Store, Transaction
from tertulia.store.index.fts5 import Fts5
from tertulia.store.search import search
from tertulia.vocabulary.models import Conversation, ConversationDraft, RequestDraft
from tertulia.vocabulary.states import RunStatus
from tests.client.inside import everything, names, raw
from tests.client.making import ME, add_conversation, add_message, add_run
from tests.doubles.clocks import SkippingClock
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio


def all_pages(tx: Transaction, query: ConversationQuery) -> list[Page[Conversation]]:
    """Turn the pages of a list from the first to the last."""
    pages = [conversation_pages.page(tx, ME, query)]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(conversation_pages.page(tx, ME, replace(query, cursor=cursor)))
    return pages


KEYS: dict[SortKey, Callable[[tuple[int, int, str]], int | str]] = {
    SortKey.CREATED: lambda made: made[0],
    SortKey.UPDATED: lambda made: made[1],
    SortKey.TITLE: lambda made: made[2],
}


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort", SortKey)
@examples(25)
@given(
    made=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["", "A", "a", "Ä", "日本"])),
        max_size=9,
    ),
    limit=st.integers(1, 4),
)
async def test_every_conversation_is_on_exactly_one_page(
    sort: SortKey, descending: bool, made: list[tuple[int, int, str]], limit: int
) -> None:
    """In order, whatever it is sorted by, and however many have the same time or title."""

    def build(tx: Transaction) -> None:
        for number, (created, updated, title) in enumerate(made):
            tx.at = created
            conversation = add_conversation(tx, f"c{number}", title=title or None)
            tx.run("UPDATE conversations SET updated_at = ? WHERE id = ?", updated, conversation.id)
        add_conversation(tx, "other", principal="alice")

    with TemporaryDirectory() as folder, anyio.fail_after(20):
        async with Store(Path(folder) / "store.db") as store:
            await store.write(build)
            query = ConversationQuery(sort=sort, descending=descending, limit=limit)
            pages = await store.read(partial(all_pages, query=query))

    key = KEYS[sort]
    found = [made[int(each.id.removeprefix("local:c"))] for page in pages for each in page.items]
    assert len({each.id for page in pages for each in page.items}) == len(made) == len(found)
    assert [key(each) for each in found] == sorted(map(key, made), reverse=descending)
    assert {page.total for page in pages} == {len(made)}
    assert all(len(page.items) == limit for page in pages[:-1])


@pytest.mark.parametrize("limit", [0, -1, 101])
async def test_a_page_has_from_one_to_a_hundred(store: Store, limit: int) -> None:
    """The error says so."""
    with pytest.raises(InvalidInputError, match=rf"`limit` is {limit}; it must be from 1 to 100"):
        await store.read(lambda tx: conversation_pages.page(tx, ME, ConversationQuery(limit=limit)))


def _some(tx: Transaction) -> None:
    add_conversation(tx, "open")
    add_conversation(tx, "paused", status=Status.PAUSED)
    add_conversation(tx, "done", status=Status.COMPLETED)
    conversations.insert(tx, ME, "r2r:1", ConversationDraft(agent="r2r:rag", native_id="1"), Status.OPEN)
    conversations.change(tx, ME, "local:done", ConversationChanges(archived=True))
    run = add_run(tx, conversation_id="local:open")
    runs.add_request(tx, ME, run, RequestDraft(kind=RequestKind.QUESTION, prompt="Which?"))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (ConversationQuery(), {"local:open", "local:paused", "r2r:1"}),
        (ConversationQuery(archived=True), {"local:done"}),
        (ConversationQuery(archived=None), {"local:open", "local:paused", "local:done", "r2r:1"}),
        (ConversationQuery(instance="r2r"), {"r2r:1"}),
        (ConversationQuery(agent="local:agent"), {"local:open", "local:paused"}),
        (ConversationQuery(agent="local:nobody"), set[str]()),
        (ConversationQuery(statuses=frozenset({Status.PAUSED})), {"local:paused"}),
        (
            ConversationQuery(statuses=frozenset({Status.PAUSED, Status.COMPLETED}), archived=None),
            {"local:paused", "local:done"},
        ),
        (ConversationQuery(awaiting=True), {"local:open"}),
        (ConversationQuery(awaiting=True, statuses=frozenset({Status.PAUSED})), set[str]()),
    ],
)
async def test_a_list_has_what_fits_all_its_filters(
    store: Store, query: ConversationQuery, found: set[str]
) -> None:
    """And counts it."""
    await store.write(_some)

    page = await store.read(lambda tx: conversation_pages.page(tx, ME, query))

    assert {each.id for each in page.items} == found
    assert page.total == len(found)


async def test_the_cursor_of_a_list_belongs_to_its_filters(store: Store) -> None:
    """Under others it would skip something, or show it twice."""
    await store.write(_some)
    query = ConversationQuery(limit=1)
    page = await store.read(lambda tx: conversation_pages.page(tx, ME, query))

    for other in (
        replace(query, archived=None),
        replace(query, sort=SortKey.TITLE),
        replace(query, descending=False),
        replace(query, instance="local"),
    ):
        again = replace(other, cursor=page.next_cursor)
        with pytest.raises(InvalidInputError, match="other filters"):
            await store.read(lambda tx, again=again: conversation_pages.page(tx, ME, again))
    with pytest.raises(InvalidInputError, match="other filters"):
        await store.read(
            lambda tx: conversation_pages.page(tx, "alice", replace(query, cursor=page.next_cursor))
        )


async def test_entering_a_conversation_again_finds_the_first(store: Store) -> None:
    """Whatever the second attempt says."""
    first = await store.write(partial(add_conversation, title="First"))
    again = await store.write(partial(add_conversation, title="Second"))

    assert again == first


async def test_metadata_are_merged_key_by_key(store: Store) -> None:
    """A None removes its key, whether or not it is there; what is deeper is replaced as a whole."""
    await store.write(partial(add_conversation, metadata={"team": "sales", "tags": {"a": 1}, "old": True}))
    changes = ConversationChanges(metadata={"tags": {"b": 2}, "old": None, "never": None, "new": 0})

    changed = await store.write(lambda tx: conversations.change(tx, ME, "local:c1", changes))

    assert changed.metadata == {"team": "sales", "tags": {"b": 2}, "new": 0}
    assert (changed.title, changed.archived) == (None, False)


async def test_a_new_title_is_found_and_the_old_one_is_not(file_store: Store) -> None:
    """The index changes with it, in one transaction."""
    await file_store.write(partial(add_conversation, title="Renewals"))
    await file_store.write(
        lambda tx: conversations.change(tx, ME, "local:c1", ConversationChanges(title="Acme"))
    )

    assert len((await file_store.read(lambda tx: search(tx, ME, SearchQuery(text="acme")))).hits) == 1
    assert not (await file_store.read(lambda tx: search(tx, ME, SearchQuery(text="renewals")))).hits


def _a_full_life(tx: Transaction, principal: str = ME) -> None:
    """Leave something of a conversation everywhere; `zanzibar` is in all of it."""
    words = {"zanzibar": "zanzibar"}
    add_conversation(tx, principal=principal, title="Zanzibar", metadata=words, context=words)
    message = add_message(tx, "A trip to Zanzibar", principal=principal, metadata=words, data=words)
    run = runs.insert(
        tx,
        principal,
        run_id=f"run_{principal}",
        conversation_id="local:c1",
        agent="local:agent",
        message_id=message.id,
        call_digest="d",
        context=words,
        first_seq=0,
    )
    runs.save_checkpoint(tx, run.id, words)
    draft = RequestDraft(kind=RequestKind.CONFIRMATION, prompt="Zanzibar?", tool="book", arguments=words)
    runs.add_request(tx, principal, run, draft)
    journal.append(tx, principal, "local:c1", [Event(EventKind.RAW, words, "zanzibar")], run.id)
    leases.take(tx, principal, "local:c1", "me")


INDEXES = ("message_index", "title_index")


def _mentions(tx: Transaction, word: str) -> set[str]:
    """Return the tables in which a word stands, and the full-text indexes that know it."""
    found = {
        table
        for table, rows in everything(tx).items()
        if not table.startswith(INDEXES) and any(word in str(cell).casefold() for row in rows for cell in row)
    }
    for index in INDEXES if isinstance(tx.index, Fts5) else ():
        tx.run(f"CREATE VIRTUAL TABLE temp.terms USING fts5vocab ('main', '{index}', 'row')")
        if tx.one("SELECT 1 FROM temp.terms WHERE term = ?", word):
            found.add(index)
        tx.run("DROP TABLE temp.terms")
    return found


async def test_deleting_leaves_nothing_but_that_it_was_deleted(file_store: Store) -> None:
    """In no table, and in no full-text index."""
    await file_store.write(_a_full_life)
    everywhere = {"conversations", "messages", "journal", "runs", "requests", *INDEXES}
    assert await file_store.write(partial(_mentions, word="zanzibar")) == everywhere

    await file_store.write(lambda tx: conversations.delete(tx, ME, "local:c1"))

    assert await file_store.write(partial(_mentions, word="zanzibar")) == set()
    assert await file_store.write(partial(_mentions, word="local:c1")) == {"deleted_conversations"}
    assert not (await file_store.read(lambda tx: search(tx, ME, SearchQuery(text="zanzibar OR trip")))).hits


def _a_long_life(tx: Transaction) -> None:
    """Make the conversation of `_a_full_life` longer: seven messages and answered runs more, eight events."""
    _a_full_life(tx)
    for number in range(7):
        add_message(tx, f"zanzibar {number}")
        journal.append(tx, ME, "local:c1", [Event(EventKind.RAW, {"zanzibar": number})], "run_1")
        runs.set_status(
            tx, runs.get(tx, ME, f"run_{number - 1}" if number else f"run_{ME}"), RunStatus.COMPLETED
        )
        add_run(tx, f"run_{number}")


def _counts(tx: Transaction) -> dict[str, int]:
    """Return how many rows the conversation has in each of the tables that make it long."""
    counts: dict[str, int] = {}
    for table in ("messages", "journal", "runs"):
        rows = tx.all(f"SELECT 1 FROM {table} WHERE principal = ? AND conversation_id = 'local:c1'", ME)
        counts[table] = len(rows)
    return counts


async def test_a_long_conversation_is_deleted_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is one transaction; what is left fits in the last one, and the active run is left to that."""
    monkeypatch.setattr(conversations, "_PART", 2)
    await store.write(_a_long_life)
    before = await store.read(_counts)
    while await store.write(partial(conversations.clear_next, principal=ME, conversation_id="local:c1")):
        after = await store.read(_counts)
        assert 0 < sum(before.values()) - sum(after.values()) <= 2
        count = await store.read(partial(conversations.get, principal=ME, conversation_id="local:c1"))
        assert count.message_count == after["messages"]
        before = after

    assert before == {"messages": 2, "journal": 2, "runs": 2}
    assert await store.read(partial(runs.active, principal=ME, conversation_id="local:c1")) is not None
    await store.write(partial(conversations.delete, principal=ME, conversation_id="local:c1"))

    assert await store.write(partial(_mentions, word="zanzibar")) == set()
    assert await store.write(partial(_mentions, word="local:c1")) == {"deleted_conversations"}


async def test_a_part_has_few_bytes_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is long takes long; a message is never parted."""
    monkeypatch.setattr(conversations, "_PART_BYTES", 50)
    texts = ("a" * 20, "b" * 60, "c" * 20, "d" * 30, "e" * 20)

    def fill(tx: Transaction) -> None:
        add_conversation(tx)
        for text in texts:
            add_message(tx, text)

    await store.write(fill)
    left = [(await store.read(_counts))["messages"]]
    while await store.write(partial(conversations.clear_next, principal=ME, conversation_id="local:c1")):
        left.append((await store.read(_counts))["messages"])

    assert left == [5, 3, 1]


async def test_deleting_leaves_no_word_in_the_file(path: Path) -> None:
    """What is gone cannot be read with a hex editor, nor put together from the words that an index still has."""
    async with Store(path) as store:
        await store.write(_a_full_life)
        await store.write(lambda tx: conversations.delete(tx, ME, "local:c1"))

    content = raw(path)
    assert b"zanzibar" not in content.lower()
    assert names(path) == {"store.db"}


async def test_deleting_leaves_other_conversations_as_they_are(file_store: Store) -> None:
    """Those with the same words, and that of the same id which another principal has."""

    def build(tx: Transaction) -> None:
        _a_full_life(tx)
        _a_full_life(tx, "alice")
        add_conversation(tx, "c2", title="Zanzibar too")
        add_message(tx, "Zanzibar again", conversation_id="local:c2")

    def remains(tx: Transaction) -> dict[str, list[tuple[object, ...]]]:
        tables = ("conversations", "messages", "journal", "runs", "requests", "leases")
        return {name: tx.all(f"SELECT * FROM {name} WHERE principal = 'alice'") for name in tables}

    await file_store.write(build)
    before = await file_store.read(remains)

    await file_store.write(lambda tx: conversations.delete(tx, ME, "local:c1"))

    assert await file_store.read(remains) == before
    mine = await file_store.read(lambda tx: search(tx, ME, SearchQuery(text="zanzibar")))
    assert {hit.conversation_id for hit in mine.hits} == {"local:c2"}
    hers = await file_store.read(lambda tx: search(tx, "alice", SearchQuery(text="zanzibar")))
    assert {hit.conversation_id for hit in hers.hits} == {"local:c1"}


async def test_a_conversation_that_was_deleted_is_told_from_one_that_never_was(store: Store) -> None:
    """To the principal who had it, and to nobody else."""
    await store.write(add_conversation)
    await store.write(lambda tx: conversations.delete(tx, ME, "local:c1"))

    with pytest.raises(NotFoundError, match=r"local:c1 was deleted on \d{4}-\d\d-\d\d at \d\d:\d\d UTC"):
        await store.read(lambda tx: conversations.get(tx, ME, "local:c1"))
    with pytest.raises(NotFoundError, match="There is no conversation local:c2"):
        await store.read(lambda tx: conversations.get(tx, ME, "local:c2"))
    with pytest.raises(NotFoundError, match="There is no conversation local:c1"):
        await store.read(lambda tx: conversations.get(tx, "alice", "local:c1"))


class At(SkippingClock):
    """A clock whose time a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 1_700_000_000_000_000

    def time(self) -> int:
        """Return the time."""
        return self.at


async def test_cursors_tell_nothing_of_what_others_have(tmp_path: Path) -> None:
    """They are the same, however many conversations another principal has."""

    async def cursors(others: int) -> tuple[str | None, str | None]:
        clock = At()
        async with Store(tmp_path / f"{others}.db", clock=clock) as store:
            for number in range(4):
                for other in range(others):
                    name = f"o{number}-{other}"
                    await store.write(partial(add_conversation, native_id=name, principal="other"))
                clock.at += 1_000_000
                await store.write(partial(add_conversation, native_id=f"c{number}", title="acme"))
            listed = ConversationQuery(limit=2)
            page = await store.read(partial(conversation_pages.page, principal=ME, query=listed))
            searched = SearchQuery(text="acme", limit=2)
            found = await store.read(partial(search, principal=ME, query=searched))
            assert [each.id for each in page.items] == ["local:c3", "local:c2"]
            return page.next_cursor, found.next_cursor

    alone = await cursors(0)
    assert None not in alone
    assert await cursors(30) == alone
