"""Receipts: what a call with an idempotency key did."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tertulia import ConflictError
from tertulia.store import idempotency
from tertulia.store.database import Store, Transaction
from tertulia.store.idempotency import IdempotencyRecord
from tests.client.making import ME
from tests.doubles.clocks import SkippingClock

pytestmark = pytest.mark.anyio

DAY = 24 * 3600


def enter(
    tx: Transaction,
    *,
    key: str = "k1",
    principal: str = ME,
    operation: str = "send_message",
    call: str = "digest",
    effect: dict[str, Any] | None = None,
) -> IdempotencyRecord:
    """Enter a call."""
    effect = {"run_id": "run_1"} if effect is None else effect
    return idempotency.enter(tx, principal, key, operation=operation, call_digest=call, effect=effect)


async def test_a_receipt_is_there_before_anything_happens(store: Store) -> None:
    """With the ids that the call will use."""
    receipt = await store.write(enter)

    assert receipt == IdempotencyRecord(key="k1", effect={"run_id": "run_1"}, done=False, first=True)


async def test_the_same_call_gets_the_ids_of_the_first(store: Store) -> None:
    """Its own are forgotten: what the first attempt did is found under them."""
    await store.write(enter)

    again = await store.write(partial(enter, effect={"run_id": "run_2"}))

    assert again == IdempotencyRecord(key="k1", effect={"run_id": "run_1"}, done=False, first=False)


async def test_a_call_that_came_to_its_end_is_known_with_all_it_did(store: Store) -> None:
    """What it made along the way as well."""
    await store.write(enter)
    await store.write(lambda tx: idempotency.complete(tx, ME, "k1", {"run_id": "run_1", "joined": False}))

    again = await store.write(enter)

    assert again.done
    assert again.effect == {"run_id": "run_1", "joined": False}
    assert await store.read(lambda tx: idempotency.find(tx, ME, "k1")) == again


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"call": "another digest"}, "a send_message with other arguments"),
        ({"operation": "cancel_run"}, r"another call \(send_message\)"),
    ],
)
async def test_another_call_under_the_key_is_a_conflict_that_names_the_first(
    store: Store, other: dict[str, str], told: str
) -> None:
    """What it was, when, and its ids."""
    await store.write(enter)

    with pytest.raises(
        ConflictError, match=rf"was used on \d{{4}}-\d\d-\d\d at [\d:]+ UTC for {told}"
    ) as raised:
        await store.write(partial(enter, **other))

    assert raised.value.ids == {"first_operation": "send_message", "run_id": "run_1"}
    assert "new key" in (raised.value.hint or "")


async def test_the_key_of_another_principal_is_another_key(store: Store) -> None:
    """Nobody learns of anybody else's calls."""
    await store.write(enter)

    assert (await store.write(partial(enter, principal="alice", call="another"))).first


async def test_a_call_that_was_refused_leaves_its_key_free(store: Store) -> None:
    """It did nothing, and the next one may be another call."""
    await store.write(enter)
    await store.write(lambda tx: idempotency.withdraw(tx, ME, "k1"))

    assert (await store.write(partial(enter, call="another"))).first


async def test_a_call_that_came_to_its_end_cannot_be_forgotten(store: Store) -> None:
    """Whoever else was refused meanwhile."""
    await store.write(enter)
    await store.write(lambda tx: idempotency.complete(tx, ME, "k1", {"run_id": "run_1"}))

    await store.write(lambda tx: idempotency.withdraw(tx, ME, "k1"))

    assert (await store.write(enter)).done


async def test_a_key_is_known_for_thirty_days(path: Path) -> None:
    """After that, the same call is a new one, and so is another call under the key."""
    clock = SkippingClock()
    async with Store(path, clock=clock) as store:
        await store.write(enter)
        clock.set_ahead(30 * DAY - 60)
        assert not (await store.write(enter)).first

        clock.set_ahead(120)

        assert (await store.write(partial(enter, call="another"))).first


async def test_new_keys_make_old_ones_go(path: Path) -> None:
    """Whatever is older than that is gone before long, and nothing younger is."""
    clock = SkippingClock()
    async with Store(path, clock=clock) as store:
        await store.write(lambda tx: [enter(tx, key=f"old {n}") for n in range(100)])
        clock.set_ahead(20 * DAY)
        await store.write(lambda tx: [enter(tx, key=f"young {n}") for n in range(10)])
        clock.set_ahead(11 * DAY)

        await store.write(lambda tx: [enter(tx, key=f"new {n}") for n in range(10)])

        keys = await store.read(lambda tx: {key.split()[0] for (key,) in tx.all("SELECT key FROM receipts")})
        assert keys == {"young", "new"}
