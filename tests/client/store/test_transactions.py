"""Transactions: everything or nothing, whoever leaves or fails meanwhile."""

import threading
from pathlib import Path

import anyio
import pytest

from tertulia import UnavailableError
from tertulia.store.database import Store, Transaction
from tertulia.store.sqlite import connections
from tests.client.making import add_conversation

pytestmark = pytest.mark.anyio

SECONDS = 10


def ids(tx: Transaction) -> list[str]:
    """Return the conversations there are."""
    return [name for (name,) in tx.all("SELECT id FROM conversations ORDER BY id")]


def add_two(tx: Transaction) -> None:
    """Do two things that belong together."""
    add_conversation(tx, "a")
    add_conversation(tx, "b")


async def test_what_a_transaction_returns_is_what_the_caller_gets(store: Store) -> None:
    """And what it wrote is there."""
    assert (await store.write(add_conversation)).id == "local:c1"
    assert await store.read(ids) == ["local:c1"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
async def test_nothing_of_a_transaction_that_fails_stays(store: Store, error: BaseException) -> None:
    """The caller gets the error, and the next transaction begins afresh."""

    def fail(tx: Transaction) -> None:
        add_two(tx)
        raise error

    with pytest.raises(type(error)):
        await store.write(fail)

    assert await store.read(ids) == []
    await store.write(add_two)
    assert await store.read(ids) == ["local:a", "local:b"]


@pytest.mark.parametrize("ticks", range(10))
async def test_a_caller_who_leaves_leaves_everything_or_nothing(store: Store, ticks: int) -> None:
    """Whenever it is; and the store can be used at once."""
    await store.read(ids)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.write, add_two)
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

        assert await store.read(ids) in ([], ["local:a", "local:b"])
        await store.write(add_two)
        assert await store.read(ids) == ["local:a", "local:b"]


async def test_a_caller_who_leaves_between_two_statements_is_not_waited_for(file_store: Store) -> None:
    """The caller is gone at once; the transaction comes to its end by itself."""
    await file_store.read(ids)
    between, go_on = threading.Event(), threading.Event()

    def write(tx: Transaction) -> None:
        add_conversation(tx, "a")
        between.set()
        assert go_on.wait(SECONDS)
        add_conversation(tx, "b")

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(file_store.write, write)
            await anyio.to_thread.run_sync(between.wait, SECONDS)
            tasks.cancel_scope.cancel()
        go_on.set()

        await file_store.write(lambda tx: None)
        assert await file_store.read(ids) == ["local:a", "local:b"]


async def test_a_reader_sees_one_moment_and_holds_up_no_writer(store: Store) -> None:
    """A long search does not delay a message, nor does it see half of it."""
    await store.write(lambda tx: add_conversation(tx, "0"))
    began, go_on = threading.Event(), threading.Event()
    seen: list[list[str]] = []

    def slowly(tx: Transaction) -> None:
        seen.append(ids(tx))
        began.set()
        assert go_on.wait(SECONDS)
        seen.append(ids(tx))

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.read, slowly)
            await anyio.to_thread.run_sync(began.wait, SECONDS)
            await store.write(add_two)
            go_on.set()

    assert seen == [["local:0"], ["local:0"]]
    assert await store.read(ids) == ["local:0", "local:a", "local:b"]


async def test_writers_of_one_process_take_turns(store: Store) -> None:
    """What one read, no other changed before it wrote."""

    def increment(tx: Transaction) -> None:
        row = tx.one("SELECT value FROM meta WHERE name = 'count'")
        tx.run(
            "INSERT INTO meta VALUES ('count', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            str(1 + (0 if row is None else int(row[0]))),
        )

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(store.write, increment)

    assert await store.read(lambda tx: tx.one("SELECT value FROM meta WHERE name = 'count'")) == ("50",)


async def test_a_store_that_stays_locked_is_unavailable_for_now(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says so, and that calling again may help."""
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0)
    locked, go_on = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        locked.set()
        assert go_on.wait(SECONDS)

    with anyio.fail_after(SECONDS):
        async with Store(path) as one, Store(path) as two, anyio.create_task_group() as tasks:
            await one.read(ids)
            await two.read(ids)
            tasks.start_soon(one.write, hold)
            await anyio.to_thread.run_sync(locked.wait, SECONDS)

            with pytest.raises(UnavailableError, match="locked by others") as raised:
                await two.write(add_two)

            assert raised.value.retryable
            assert await two.read(ids) == []
            go_on.set()


def test_a_deadline_that_passes_during_a_query_is_no_error_of_the_store(path: Path) -> None:
    """Whoever started the event loop: APSW has a mind of its own where `anyio.run` did."""
    endless = (
        "WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted)"
        " SELECT count(*) FROM counted"
    )

    async def wait() -> bool:
        with anyio.fail_after(SECONDS):
            async with Store(path) as store:
                await store.read(ids)
                for milliseconds in range(1, 20):
                    with anyio.move_on_after(milliseconds / 1000) as scope:
                        await store.read(lambda tx: tx.one(endless))
                    if not scope.cancelled_caught:
                        return False
                return True

    assert anyio.run(wait)
