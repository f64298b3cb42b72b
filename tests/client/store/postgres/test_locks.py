"""Who waits for whom: those who write what is one principal's, and nobody else."""

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tertulia import UnavailableError
from tertulia.store import leases
from tertulia.store.database import Store, Transaction
from tertulia.store.engine import Row
from tertulia.store.leases import Lease, LostLeaseError
from tertulia.vocabulary.location import PostgresUrl
from tests.client.making import add_conversation
from tests.support.postgres import Database, somebody_waits

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SECONDS = 20


class Held:
    """A transaction that stays open until `go_on`; `begun` once it has its locks, and `over` once it has ended."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.over = False

    def __call__(self, tx: Transaction) -> None:
        """Do nothing but stay open."""
        self.begun.set()
        assert self.go_on.wait(SECONDS)


@asynccontextmanager
async def holding(
    store: Store, work: Callable[[Transaction], object] | None = None, **exclusion: Any
) -> AsyncGenerator[Held]:
    """Have a transaction open that has done `work`, until the end of the context or its own."""
    held = Held()

    def write(tx: Transaction) -> None:
        if work is not None:
            work(tx)
        held(tx)

    async def hold() -> None:
        await store.write(write, **exclusion)
        held.over = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        try:
            assert await anyio.to_thread.run_sync(held.begun.wait, SECONDS)
            yield held
        finally:
            held.go_on.set()


@pytest.fixture
async def stores(database: PostgresUrl) -> AsyncGenerator[tuple[Store, Store]]:
    """Return two stores, as two processes have them, that have been used."""
    with anyio.fail_after(SECONDS):
        async with Store(database) as one, Store(database) as two:
            for store in (one, two):
                await store.write(lambda _: None)
            yield one, two


def count(tx: Transaction) -> Row | None:
    """Count the conversations."""
    return tx.one("SELECT count(*) FROM conversations")


ALICE: dict[str, Any] = {"principal": "alice"}
BOB: dict[str, Any] = {"principal": "bob"}
CAROL: dict[str, Any] = {"principal": "carol"}
BOTH = {"principal": frozenset({"alice", "bob"})}
NOBODY: dict[str, Any] = {"principal": frozenset[str]()}
ANYBODY: dict[str, Any] = {}
MANY = {"principal": frozenset(map(str, range(1_000)))}
SHARED = {"conversation_id": "remote:c1"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ALICE, ALICE),
        (ALICE, ANYBODY),
        (ANYBODY, ALICE),
        (NOBODY, ANYBODY),
        (BOTH, BOB),
        (ALICE, BOTH),
        (CAROL, MANY),
        (ALICE | SHARED, BOB | SHARED),
    ],
)
async def test_who_may_write_the_same_waits(
    stores: tuple[Store, Store], postgres: Database, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Whichever process it is in, and sees then what the first has written."""
    first = partial(add_conversation, native_id="first")

    async with holding(stores[0], first, **one) as held, anyio.create_task_group() as tasks:

        async def write() -> None:
            assert await stores[1].write(count, **other) == (1,)

        tasks.start_soon(write)
        await somebody_waits(postgres)
        assert not held.over
        held.go_on.set()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ALICE, BOB),
        (BOTH, CAROL),
        (ALICE, NOBODY),
        (ALICE | SHARED, BOB),
        (ALICE | SHARED, BOB | {"conversation_id": "remote:c2"}),
    ],
)
async def test_who_writes_something_else_does_not(
    stores: tuple[Store, Store], one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Another principal's long import holds up no message."""
    async with holding(stores[0], **one) as held:
        await stores[1].write(partial(add_conversation, native_id="other"), **other)
        assert not held.over


async def test_many_principals_write_at_once(stores: tuple[Store, Store]) -> None:
    """As many as a process has connections for, in each process."""
    names = [f"p{number}" for number in range(8)]
    all_here = threading.Barrier(len(names), timeout=SECONDS)

    arrived: set[str] = set()

    def write(tx: Transaction, principal: str) -> None:
        if principal not in arrived:  # two that give a conversation the same number: one of them is repeated
            arrived.add(principal)
            all_here.wait()
        add_conversation(tx, principal, principal=principal)

    async with anyio.create_task_group() as tasks:
        for number, name in enumerate(names):
            tasks.start_soon(
                partial(stores[number % 2].write, partial(write, principal=name), principal=name)
            )

    assert await stores[0].read(count) == (8,)


async def test_sets_of_principals_never_wait_in_a_circle(stores: tuple[Store, Store]) -> None:
    """All take them in one order, whatever order they are named in."""
    names = [f"p{number}" for number in range(6)]
    written: list[int] = []

    async def write_some(number: int) -> None:
        some = frozenset(names[(number + step) % len(names)] for step in range(3))
        await stores[number % 2].write(lambda tx: tx.one("SELECT pg_sleep(0)"), principal=some)
        written.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(60):
            tasks.start_soon(write_some, number)

    assert sorted(written) == list(range(60))


async def test_nobody_takes_a_lease_while_something_is_written_under_it(
    stores: tuple[Store, Store], postgres: Database
) -> None:
    """Fencing holds the row itself: it needs no lock of the principal's."""

    def take(tx: Transaction) -> Lease:
        taken = leases.take(tx, "alice", "local:c1", "own")
        assert taken is not None
        return taken

    lease = await stores[0].write(take)
    check = partial(leases.check, lease=lease)

    async with holding(stores[0], check, **NOBODY) as held, anyio.create_task_group() as tasks:
        end = partial(leases.end, principal="alice", resource="local:c1")
        tasks.start_soon(partial(stores[1].write, end, **NOBODY))
        await somebody_waits(postgres)
        held.go_on.set()

    with pytest.raises(LostLeaseError):
        await stores[0].write(check, **NOBODY)


async def test_a_lock_that_is_held_too_long_is_told(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was written; calling again may help."""
    monkeypatch.setattr(
        "tertulia.store.postgres.engine._SETTINGS",
        "SET LOCAL search_path = tertulia; SET LOCAL lock_timeout = '50ms';",
    )
    async with holding(stores[0], **ALICE):
        with pytest.raises(UnavailableError, match="was locked by others") as raised:
            await stores[1].write(add_conversation, **ALICE)
        assert raised.value.retryable
