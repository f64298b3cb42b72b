"""The index over messages: what stands in which table, and how it is filled again after an upgrade."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import pytest

from tertulia.store import conversations, messages
from tertulia.store.database import Store, Transaction
from tertulia.store.index import filling
from tertulia.store.index.base import kind_of, scope
from tertulia.store.index.filling import index_next
from tertulia.store.index.fts5 import TABLES
from tertulia.store.schema import POSITION_BITS
from tertulia.store.search import search
from tertulia.store.sqlite import engine
from tertulia.store.sqlite.engine import SqliteEngine
from tertulia.store.sqlite.schema import STEPS
from tertulia.store.words import tokenizer, words
from tertulia.vocabulary import message_types
from tertulia.vocabulary.models import ConversationDraft, Message, Role, SearchQuery, SearchResult
from tertulia.vocabulary.states import Status
from tests.client.making import ME

pytestmark = [pytest.mark.anyio, pytest.mark.creates]


@pytest.fixture
def location(path: Path) -> Path:
    """Return where the store is: this index is SQLite's."""
    return path


BEFORE = STEPS[:7]
"""The last schema whose index read words otherwise."""
ONE = "local:one"


def fill(tx: Transaction, texts: Sequence[str]) -> None:
    """Enter a conversation as version 7 had it, the messages a second apart."""
    tx.run(
        "INSERT INTO conversations (principal, id, instance, agent, status, title, metadata, message_count, created_at,"
        " updated_at) VALUES (?, ?, 'local', 'local:archivist', 'open', 'Łódź', '{}', ?, 0, 0)",
        ME,
        ONE,
        len(texts),
    )
    tx.run("INSERT INTO title_index (rowid, title) VALUES (1, 'Łódź')")
    for number, text in enumerate(texts):
        position = number * 1000 << POSITION_BITS
        tx.run(
            "INSERT INTO messages (position, principal, conversation_id, id, scope, author, role, created_at, metadata,"
            " text) VALUES (?, ?, ?, ?, ?, 'user', ?, ?, '{}', ?)",
            position,
            ME,
            ONE,
            f"m{number}",
            scope(ME),
            "tool" if number % 3 == 0 else "user",
            number * 1_000_000,
            text,
        )
        tx.run("INSERT INTO message_index (rowid, text, scope) VALUES (?, ?, ?)", position, text, scope(ME))


def check(tx: Transaction) -> None:
    """Fail unless each index has exactly what its view has."""
    for table in TABLES.values():
        tx.run(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")


async def found(store: Store, text: str) -> SearchResult:
    """Search."""
    return await store.read(partial(search, principal=ME, query=SearchQuery(text=text, limit=50)))


@pytest.fixture
async def old(path: Path) -> Path:
    """Return a file of version 7 with ten messages."""
    async with Store(path, engine=partial(SqliteEngine, steps=BEFORE)) as store:
        await store.write(partial(fill, texts=[f"l'été à Łódź, number{number}" for number in range(10)]))
    return path


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Index three messages at a time, and only when a test does."""
    monkeypatch.setattr(filling, "_BATCH", 3)
    monkeypatch.setattr(engine, "BATCHES_AT_ONCE", 0)
    monkeypatch.setattr(engine, "INDEXING_PAUSE", 3600)


async def test_a_small_store_is_indexed_again_when_it_is_opened(old: Path) -> None:
    """Its messages and titles are found by the words as they are read now, without a moment in which they are not."""
    async with Store(old) as store:
        result = await found(store, "ete")
        titled = await found(store, "lodz number3")

        assert (len(result.hits), result.indexing) == (10, False)
        assert [hit.message_id for hit in titled.hits] == ["m3"]
        assert (await found(store, "lodz")).hits[0].conversation_title == "Łódź"
        await store.write(check)


@pytest.mark.usefixtures("slowly")
async def test_a_large_store_is_indexed_by_and_by_and_says_so(old: Path) -> None:
    """The newest first; whoever opens the file next continues where this process stopped."""
    async with Store(old) as store:
        first = await found(store, "ete")
        assert await store.write(index_next)
        second = await found(store, "ete")
    async with Store(old) as store:
        rounds = 1
        while await store.write(index_next):
            rounds += 1
        last = await found(store, "ete")
        await store.write(check)

    assert (first.hits, first.indexing) == ([], True)
    assert sorted(hit.message_id or "" for hit in second.hits) == ["m7", "m8", "m9"]
    assert second.indexing
    assert (len(last.hits), last.indexing, rounds) == (10, False, 4)


@pytest.mark.usefixtures("slowly")
async def test_what_changes_meanwhile_is_indexed_once(old: Path) -> None:
    """Messages that are added, reworded and removed, on either side of where the indexing is."""

    def change(tx: Transaction) -> None:
        for number in (2, 8):
            messages.remove(tx, ME, ONE, f"m{number}")
        for number in (1, 7):
            reworded = messages.get(tx, ME, ONE, f"m{number}")
            message = Message(
                id=reworded.id,
                conversation_id=ONE,
                author="user",
                role=Role.USER,
                text="l'hiver",
                created_at=None,
            )
            messages.remember(tx, ME, ONE, [message], settled=True)
        for number, at in enumerate((reworded.created_at, None)):
            message = Message(
                id=f"new{number}",
                conversation_id=ONE,
                author="user",
                role=Role.USER,
                text="l'hiver",
                created_at=at,
            )
            messages.remember(tx, ME, ONE, [message], settled=True)
        messages.rescope(tx, ME, ONE)

    async with Store(old) as store:
        await store.write(index_next)
        await store.write(change)
        while await store.write(index_next):
            pass
        await store.write(check)

        assert len((await found(store, "hiver")).hits) == 4
        assert len((await found(store, "ete")).hits) == 6
        await store.write(lambda tx: conversations.delete(tx, ME, ONE))
        await store.write(check)


async def test_a_process_indexes_the_rest_by_itself(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs to ask."""
    monkeypatch.setattr(filling, "_BATCH", 3)
    monkeypatch.setattr(engine, "BATCHES_AT_ONCE", 1)
    monkeypatch.setattr(engine, "INDEXING_PAUSE", 0)
    async with Store(old) as store:
        with anyio.fail_after(10):
            while not await store.read(lambda tx: tx.index.is_complete()):
                await anyio.lowlevel.checkpoint()

        assert len((await found(store, "ete")).hits) == 10


@pytest.mark.parametrize(
    ("role", "kind"),
    [(role, None) for role in Role]
    + [
        (Role.SYSTEM, kind)
        for name, kind in vars(message_types).items()
        if name.isupper() and isinstance(kind, str)
    ],
)
async def test_a_message_is_in_the_index_that_its_view_says(
    store: Store, role: Role, kind: str | None
) -> None:
    """What writes an entry and what removes it agree on whether a program put the message in."""

    def work(tx: Transaction) -> None:
        conversations.insert(
            tx, ME, ONE, ConversationDraft(agent="local:archivist", native_id="one"), Status.OPEN
        )
        messages.add(
            tx, ME, Message(id="m", conversation_id=ONE, author="a", role=role, type=kind, text="some words")
        )
        check(tx)
        for part, table in TABLES.items():
            rows = tx.all(f"SELECT rowid FROM {table} WHERE {table} MATCH 'words'")
            assert len(rows) == (part is kind_of(role, kind))

    await store.write(work)


async def test_a_long_text_is_read_in_pieces_from_the_file(store: Store) -> None:
    """Its index is the same as that of a short one: what it finds, and what is removed."""
    text = "".join(f"ligne{number} de l'été, " for number in range(30_000)) + "ж" * 100_000

    def work(tx: Transaction) -> None:
        conversations.insert(
            tx, ME, ONE, ConversationDraft(agent="local:archivist", native_id="one"), Status.OPEN
        )
        messages.add(tx, ME, Message(id="m", conversation_id=ONE, author="a", role=Role.USER, text=text))
        check(tx)

    await store.write(work)
    for word in ("ligne0", "ligne29999", "ete", '"ligne2999 de lete ligne3000"'):
        assert [hit.message_id for hit in (await found(store, word)).hits] == ["m"]
    await store.write(lambda tx: messages.remove(tx, ME, ONE, "m"))
    await store.write(check)
    assert not (await found(store, "ligne0")).hits


async def test_a_text_that_looks_like_a_reference_is_a_text(store: Store) -> None:
    """Nobody can have another's message indexed as one's own."""

    def work(tx: Transaction) -> None:
        conversations.insert(
            tx, ME, ONE, ConversationDraft(agent="local:archivist", native_id="one"), Status.OPEN
        )
        messages.add(
            tx, ME, Message(id="m0", conversation_id=ONE, author="a", role=Role.USER, text="confidential")
        )
        position = tx.all("SELECT position FROM messages")[0][0]
        for number, prefix in enumerate(("", " ", "\0", f"{'0' * 32} "), 1):
            text = f"{prefix}{position}"
            messages.add(
                tx, ME, Message(id=f"m{number}", conversation_id=ONE, author="a", role=Role.USER, text=text)
            )

    await store.write(work)

    assert [hit.message_id for hit in (await found(store, "confidential")).hits] == ["m0"]


def test_the_tokenizer_reads_the_same_words_in_pieces() -> None:
    """Also where a piece ends within a run without blanks, of characters of several bytes."""
    from apsw import FTS5_TOKENIZE_DOCUMENT

    text = json.dumps({"text": "l'été v3.2.0 getUserById 대한민국 " * 9_000}, ensure_ascii=False)

    read = list(tokenizer(None, [])(text.encode(), FTS5_TOKENIZE_DOCUMENT, None))

    assert read == [word.spellings for word in words(text)]
