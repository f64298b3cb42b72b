"""The outbox: bodies under keys, until they are known to have been sent."""

import pytest

from tertulia.store import outbox
from tertulia.store.database import Store, Transaction
from tests.client.making import ME

pytestmark = pytest.mark.anyio
PLACE = (ME, "rine", "k1")


async def test_what_is_put_first_under_a_key_is_what_is_sent(store: Store) -> None:
    """Whoever comes later gets that; another key, instance or principal has its own."""
    for expected in (b"first", b"first"):
        assert await store.write(lambda tx: outbox.put(tx, *PLACE, b"first")) == expected
    assert await store.write(lambda tx: outbox.put(tx, *PLACE, b"second")) == b"first"
    for other in (("you", "rine", "k1"), (ME, "other", "k1"), (ME, "rine", "k2")):
        assert await store.read(lambda tx, other=other: outbox.find(tx, *other)) is None


async def test_what_is_removed_is_gone(store: Store) -> None:
    """Removing it again is nothing."""
    await store.write(lambda tx: outbox.put(tx, *PLACE, b"first"))
    for _ in range(2):
        await store.write(lambda tx: outbox.remove(tx, *PLACE))
        assert await store.read(lambda tx: outbox.find(tx, *PLACE)) is None


async def test_what_nobody_came_back_for_is_forgotten(store: Store) -> None:
    """After a month, when something else is put there."""
    await store.write(lambda tx: outbox.put(tx, *PLACE, b"old"))

    def later(tx: Transaction) -> None:
        tx.at += 31 * 24 * 3600 * 1_000_000
        outbox.put(tx, ME, "rine", "k2", b"new")

    await store.write(later)
    assert await store.read(lambda tx: outbox.find(tx, *PLACE)) is None
