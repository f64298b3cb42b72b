"""Reads beside each other: a slow one holds up nobody, and those that wait are served when one ends."""

import threading
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tertulia.store.database import Store, Transaction
from tertulia.store.sqlite.connections import Worker, connect
from tertulia.store.sqlite.engine import SqliteEngine
from tertulia.store.sqlite.readers import MAX_READERS, Readers

pytestmark = pytest.mark.anyio

SECONDS = 10


async def test_a_slow_read_holds_up_no_other(store: Store) -> None:
    """It has a connection, and a thread, of its own."""
    begun, end = threading.Event(), threading.Event()

    def slow(_tx: Transaction) -> None:
        begun.set()
        assert end.wait(SECONDS)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.read, slow)
            await anyio.to_thread.run_sync(begun.wait, SECONDS)
            assert await store.read(lambda tx: tx.one("SELECT 1")) == (1,)
            end.set()


async def test_no_more_than_a_few_read_at_once_and_the_rest_wait_for_their_turn(path: Path) -> None:
    """A connection is made when one is needed, and used again."""
    made: list[Worker] = []

    async def connect_and_count(path: Path) -> Worker:
        made.append(await connect(path))
        return made[-1]

    async with Store(path, engine=partial(SqliteEngine, connector=connect_and_count)) as store:
        for _ in range(5):
            await store.read(lambda tx: tx.one("SELECT 1"))
        together = threading.Barrier(MAX_READERS)
        answers: list[int] = []

        async def read() -> None:
            answers.append(await store.read(lambda _tx: together.wait(SECONDS)))

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                for _ in range(2 * MAX_READERS):
                    tasks.start_soon(read)

    assert sorted(answers) == sorted([*range(MAX_READERS)] * 2)
    assert len(made) <= 1 + MAX_READERS


async def test_who_waits_while_the_connections_are_closed_gets_none(path: Path) -> None:
    """They are opened anew then; one that was made meanwhile is closed, too."""
    path.parent.mkdir()
    made: list[Worker] = []

    async def connect_late() -> Worker:
        await readers.aclose()
        made.append(await connect(path))
        return made[-1]

    readers = Readers(await connect(path), connect_late)
    async with readers.reader() as first:
        assert first is not None
        async with readers.reader() as second:
            assert second is None
    with pytest.raises(Exception, match="closed"):
        await made[0].asynchronous.async_run(made[0].sync.execute, "SELECT 1")
