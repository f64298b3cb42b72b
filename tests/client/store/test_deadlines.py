"""Deadlines of reads: whatever is asked of the store, it answers or says why not, and then answers the next."""

import pytest

from tertulia.store.database import Store, Transaction
from tertulia.store.search import search
from tertulia.store.spelling import variants
from tertulia.vocabulary.errors import StoreTimeoutError
from tertulia.vocabulary.location import StoreLocation
from tertulia.vocabulary.models import SearchQuery
from tests.client.making import ME, add_conversation, add_message

pytestmark = pytest.mark.anyio

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
MIXED = "".join(map(chr, [0x61, 0x3B1, 0x431, 0x561, *range(0x10D0, 0x1800, 0x60), 0x1E01, 0x2C61]))[:24]
"""A word whose letters are of as many scripts as it is long."""


def ask_at_length(tx: Transaction) -> None:
    """Make a statement that never ends."""
    tx.all(ENDLESS)


def ask_endlessly(tx: Transaction) -> None:
    """Make one short statement after another."""
    while True:
        tx.one("SELECT 1")


async def test_a_read_that_takes_too_long_is_stopped_and_told(location: StoreLocation) -> None:
    """Whether one statement takes so long, or there are too many; the next read is answered."""
    async with Store(location, read_seconds=0.05) as store:
        for work in (ask_at_length, ask_endlessly):
            with pytest.raises(StoreTimeoutError, match=r"longer than 0\.05 seconds") as raised:
                await store.read(work)
            assert raised.value.retryable
            assert "ask for less" in (raised.value.hint or "")
            assert await store.read(lambda tx: tx.one("SELECT 2")) == (2,)


async def test_a_write_has_no_deadline_of_reads(location: StoreLocation) -> None:
    """An import may take its time; it is divided into short transactions elsewhere."""
    async with Store(location, read_seconds=0.0) as store:
        await store.write(add_conversation)


@pytest.mark.parametrize(
    "word", [MIXED, "договорённостьдоговоренн", "東京都庁舎議会議", "interoperabilitymanagers"]
)
async def test_no_word_is_looked_up_in_more_than_two_thousand_spellings(file_store: Store, word: str) -> None:
    """Whatever its scripts are: the search is answered, also where four such words are looked for."""
    assert len(variants(word)) <= 2_000

    def work(tx: Transaction) -> None:
        add_conversation(tx)
        add_message(tx, "Something else.")

    await file_store.write(work)
    found = await file_store.read(lambda tx: search(tx, ME, SearchQuery(text=" ".join([word] * 4))))
    assert not found.hits


async def test_a_word_of_two_scripts_is_still_corrected(file_store: Store) -> None:
    """As Japanese has them, and names of products in Cyrillic texts."""

    def work(tx: Transaction) -> None:
        add_conversation(tx)
        add_message(tx, "Установи pythonом пакет.")

    await file_store.write(work)
    found = await file_store.read(lambda tx: search(tx, ME, SearchQuery(text="pythnом")))
    assert found.suggestion == "pythonом"
