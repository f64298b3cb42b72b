"""Leases: one owner at a time, and nothing is written under a lease that was lost."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import anyio
import anyio.from_thread
import pytest

from tertulia import StoreError
from tertulia.runs.leases import LeaseHolder
from tertulia.store import leases
from tertulia.store.database import Store, Transaction
from tertulia.store.leases import TTL, Lease, LostLeaseError
from tests.client.making import ME
from tests.doubles.clocks import SkippingClock

pytestmark = pytest.mark.anyio

C1 = "local:c1"
SECONDS = 10


def take(tx: Transaction, owner: str, resource: str = C1, principal: str = ME) -> Lease | None:
    """Try to take a lease."""
    return leases.take(tx, principal, resource, owner)


def taken(tx: Transaction, owner: str) -> Lease:
    """Take a lease that is free."""
    lease = take(tx, owner)
    assert lease is not None
    return lease


def time_passes(tx: Transaction, seconds: float) -> None:
    """Move every lease closer to its end."""
    tx.run("UPDATE leases SET expires_at = expires_at - ?", round(seconds * 1_000_000))


async def test_a_lease_that_is_held_is_given_to_nobody_else(store: Store) -> None:
    """Not even to its owner a second time: that would be two doing one thing."""
    assert await store.write(partial(take, owner="a")) is not None
    assert await store.write(partial(take, owner="b")) is None
    assert await store.write(partial(take, owner="a")) is None
    assert await store.read(lambda tx: leases.held(tx, ME, C1))


async def test_leases_of_other_things_and_other_principals_are_free(store: Store) -> None:
    """Each is its own."""
    await store.write(partial(take, owner="a"))

    assert await store.write(partial(take, owner="b", resource="local:c2")) is not None
    assert await store.write(partial(take, owner="b", principal="alice")) is not None


async def test_a_lease_that_was_given_back_is_free(store: Store) -> None:
    """At once."""
    lease = await store.write(partial(taken, owner="a"))
    await store.write(lambda tx: leases.release(tx, lease))

    assert not await store.read(lambda tx: leases.held(tx, ME, C1))
    assert await store.write(partial(take, owner="b")) is not None


async def test_a_lease_that_nobody_renewed_is_free_after_its_time(store: Store) -> None:
    """Its owner may have died."""
    await store.write(partial(taken, owner="a"))
    await store.write(partial(time_passes, seconds=TTL - 1))
    assert await store.write(partial(take, owner="b")) is None

    await store.write(partial(time_passes, seconds=1))

    assert not await store.read(lambda tx: leases.held(tx, ME, C1))
    assert await store.write(partial(take, owner="b")) is not None


async def test_renewing_keeps_what_is_named_and_was_not_lost(store: Store) -> None:
    """A lease that is not named runs out, and so does one that another owner has taken since."""

    def hold(tx: Transaction) -> list[Lease]:
        held = [take(tx, f"a {name}", name) for name in ("one", "two", "three")]
        leases.end(tx, ME, "three")
        take(tx, "b", "three")
        return [lease for lease in (held[0], held[2]) if lease is not None]

    renewed = await store.write(hold)
    await store.write(partial(time_passes, seconds=TTL - 1))
    await store.write(lambda tx: leases.renew(tx, renewed))
    await store.write(partial(time_passes, seconds=2))

    held = await store.read(lambda tx: [leases.held(tx, ME, name) for name in ("one", "two", "three")])
    assert held == [True, False, False]


async def test_who_lost_a_lease_can_write_nothing_under_it(store: Store) -> None:
    """Though it may not know yet that it was taken for dead."""
    old = await store.write(partial(taken, owner="a"))
    await store.write(partial(time_passes, seconds=TTL + 1))
    new = await store.write(partial(taken, owner="b"))

    def fenced(tx: Transaction) -> None:
        leases.check(tx, old)
        tx.run("INSERT INTO meta VALUES ('written', 'by the dead')")

    with pytest.raises(LostLeaseError):
        await store.write(fenced)
    await store.read(lambda tx: leases.check(tx, new))
    assert await store.read(lambda tx: tx.all("SELECT 1 FROM meta WHERE name = 'written'")) == []


async def test_who_lost_a_lease_and_got_it_again_has_another_one(store: Store) -> None:
    """What a process still does under the first one cannot be written under the second."""
    keeper = LeaseHolder(store)
    async with keeper.hold(ME, C1) as old:
        assert old is not None
        await store.write(lambda tx: leases.end(tx, ME, C1))
        async with keeper.hold(ME, C1) as new:
            assert new is not None
            with pytest.raises(LostLeaseError):
                await store.read(lambda tx: leases.check(tx, old))
            await store.read(lambda tx: leases.check(tx, new))


async def test_nothing_is_kept_of_leases_that_nobody_holds(store: Store) -> None:
    """Every call with an idempotency key takes one."""
    async with LeaseHolder(store).hold(ME, C1):
        pass
    async with LeaseHolder(store).hold(ME, C1):
        await store.write(lambda tx: leases.end(tx, ME, C1))

    assert await store.read(lambda tx: tx.all("SELECT * FROM leases")) == []


async def test_giving_back_what_was_lost_takes_it_from_nobody(store: Store) -> None:
    """The successor keeps it."""
    old = await store.write(partial(taken, owner="a"))
    await store.write(partial(time_passes, seconds=TTL + 1))
    new = await store.write(partial(taken, owner="b"))

    await store.write(lambda tx: leases.release(tx, old))

    await store.read(lambda tx: leases.check(tx, new))


async def test_a_lease_that_ran_out_is_good_until_somebody_takes_it(store: Store) -> None:
    """A process that was asleep for a while and had no rival goes on."""
    lease = await store.write(partial(taken, owner="a"))
    await store.write(partial(time_passes, seconds=TTL + 1))

    await store.read(lambda tx: leases.check(tx, lease))


async def test_ending_a_lease_fences_its_owner_off(store: Store) -> None:
    """That is how a canceled run is stopped, wherever it is worked on."""
    lease = await store.write(partial(taken, owner="a"))
    await store.write(lambda tx: leases.end(tx, ME, C1))

    with pytest.raises(LostLeaseError):
        await store.read(lambda tx: leases.check(tx, lease))
    assert await store.write(partial(take, owner="a")) is not None


async def test_a_keeper_gives_back_what_it_holds_whatever_happens(store: Store) -> None:
    """Also when the work under it fails or is cancelled."""
    keeper = LeaseHolder(store)

    with anyio.fail_after(SECONDS):
        with pytest.raises(ValueError, match=r"^$"):
            async with keeper.hold(ME, C1):
                raise ValueError
        with anyio.move_on_after(0):
            async with keeper.hold(ME, C1) as lease:
                assert lease is not None
                await anyio.sleep_forever()

    assert not await store.read(lambda tx: leases.held(tx, ME, C1))


async def test_two_keepers_of_one_thing_do_not_hold_it_at_once(store: Store) -> None:
    """The second learns it and does something else."""
    async with LeaseHolder(store).hold(ME, C1) as one, LeaseHolder(store).hold(ME, C1) as two:
        assert one is not None
        assert two is None
        await store.read(lambda tx: leases.check(tx, one))

    assert not await store.read(lambda tx: leases.held(tx, ME, C1))


async def test_a_caller_who_leaves_while_a_lease_is_taken_does_not_keep_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would ever give it back, and renewing what else is held would keep it for good."""
    scope, here, take_for_good = anyio.CancelScope(), anyio.lowlevel.current_token(), leases.take

    def leave_meanwhile(tx: Transaction, principal: str, resource: str, owner: str) -> Lease | None:
        lease = take_for_good(tx, principal, resource, owner)
        anyio.from_thread.run_sync(scope.cancel, token=here)
        return lease

    monkeypatch.setattr(leases, "take", leave_meanwhile)
    with anyio.fail_after(SECONDS):
        with scope:
            async with LeaseHolder(store).hold(ME, C1):
                await anyio.sleep_forever()

        assert not await store.write(lambda tx: leases.held(tx, ME, C1))


async def test_a_keeper_renews_only_what_it_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle server writes nothing."""
    renewed: list[str] = []

    def note(_tx: Transaction, held: Iterable[Lease]) -> None:
        renewed.extend(lease.resource for lease in held)

    monkeypatch.setattr(leases, "renew", note)
    store = Store(path, clock=SkippingClock(every=0))
    keeper = LeaseHolder(store)

    with anyio.fail_after(SECONDS):
        async with store, anyio.create_task_group() as tasks:
            tasks.start_soon(keeper.renew)
            for _ in range(5):
                await store.read(lambda tx: None)
            assert renewed == []

            async with keeper.hold(ME, C1):
                while not renewed:
                    await store.read(lambda tx: None)
            tasks.cancel_scope.cancel()

    assert set(renewed) == {C1}


async def test_a_lease_whose_return_failed_is_returned_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not renewed meanwhile, whatever else is held: the disk may have been full when it was over."""
    full, tried, release = True, 0, leases.release

    def release_if_there_is_room(tx: Transaction, lease: Lease) -> None:
        nonlocal tried
        tried += 1
        if full:
            raise StoreError("There is no room left.")
        release(tx, lease)

    monkeypatch.setattr(leases, "release", release_if_there_is_room)
    store = Store(path, clock=SkippingClock(every=0))
    keeper = LeaseHolder(store)

    with anyio.fail_after(SECONDS):
        async with store, anyio.create_task_group() as tasks:
            tasks.start_soon(keeper.renew)
            async with keeper.hold(ME, "other"):
                async with keeper.hold(ME, C1):
                    pass  # what was done under it stays done: no error
                until = await store.read(lambda tx: leases.held_until(tx, ME, C1))
                while tried < 4:
                    await store.read(lambda tx: None)
                assert await store.read(lambda tx: leases.held_until(tx, ME, C1)) == until

                full = False
                while await store.read(lambda tx: leases.held(tx, ME, C1)):
                    pass
                assert await store.read(lambda tx: leases.held(tx, ME, "other"))
            tasks.cancel_scope.cancel()


async def test_a_clock_that_was_set_back_does_not_keep_a_dead_owners_lease(path: Path) -> None:
    """It would run out in an hour."""
    clock = SkippingClock()
    async with Store(path, clock=clock) as store:
        await store.write(partial(taken, owner="dead"))

        clock.set_ahead(-3600)

        assert not await store.read(lambda tx: leases.held(tx, ME, C1))
        assert await store.write(partial(take, owner="b")) is not None


async def test_a_clock_that_was_set_right_takes_no_lease_from_a_living_owner(path: Path) -> None:
    """Clocks go back by some seconds whenever they are compared with a better one."""
    clock = SkippingClock()
    async with Store(path, clock=clock) as store:
        await store.write(partial(taken, owner="a"))

        clock.set_ahead(-30)

        assert await store.read(lambda tx: leases.held(tx, ME, C1))
        assert await store.write(partial(take, owner="b")) is None


async def test_an_owner_renews_its_lease_on_a_clock_that_was_set_back(path: Path) -> None:
    """After the next renewal it is as safe as before."""
    clock = SkippingClock()
    async with Store(path, clock=clock) as store:
        lease = await store.write(partial(taken, owner="a"))

        clock.set_ahead(-3600)
        await store.write(lambda tx: leases.renew(tx, [lease]))

        assert await store.write(partial(take, owner="b")) is None
