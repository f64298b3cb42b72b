"""Hearing at once of what other processes change, and looking for it where nothing can be heard."""

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from tertulia.store.database import Store, Transaction
from tertulia.store.notices import INTERVAL, Watch
from tertulia.vocabulary.location import PostgresUrl
from tests.client.making import add_conversation, add_message
from tests.doubles.clocks import SkippingClock
from tests.doubles.pgbouncer import pgbouncer
from tests.doubles.postgres_wire import wire
from tests.support.postgres import Database

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SECONDS = 20
_LISTENING = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN tertulia'"
    " AND state = 'idle'"
)


class Rounds(SkippingClock):
    """Counts the looks for changes, and the attempts to listen again; each takes no time."""

    def __init__(self) -> None:
        super().__init__(every=0)
        self.looks = 0
        self.attempts = 0

    async def tick(self, interval: float) -> None:
        """Note a round."""
        self.looks += interval == INTERVAL
        self.attempts += interval == 1.0
        await super().tick(interval)


@pytest.fixture
async def other(database: PostgresUrl) -> AsyncGenerator[Store]:
    """Return the store as another process has it, with one conversation."""
    with anyio.fail_after(SECONDS):
        async with Store(database) as store:
            await store.write(add_conversation)
            yield store


def messages(tx: Transaction) -> int:
    """Count the messages."""
    (row,) = tx.all("SELECT count(*) FROM messages")
    return row[0]


async def hears(postgres: Database, *, but_not: int = 0) -> int:
    """Wait until somebody listens; return the number of the server's process."""
    while True:
        row = postgres.execute(_LISTENING).fetchone()
        if row is not None and row[0] != but_not:
            return row[0]
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def watching(store: Store) -> AsyncGenerator[Watch]:
    """Watch a conversation in a store that has been used."""
    await store.read(messages)
    with store.watch("local:c1") as watch:
        yield watch


async def comes(store: Store, watch: Watch, count: int) -> None:
    """Wait until the watcher has been woken by so many messages."""
    while await store.read(messages) < count:
        await watch.changed()


async def test_a_watcher_is_woken_by_what_another_process_commits(
    database: PostgresUrl, other: Store, postgres: Database
) -> None:
    """Without a look at the database in between."""
    clock = Rounds()
    async with Store(database, clock=clock) as store, watching(store) as watch:
        await watch.changed()  # it listens from now on
        await hears(postgres)
        for number in range(3):
            await other.write(partial(add_message, text="Hello"))
            await watch.changed()
            assert await store.read(messages) == number + 1
    assert clock.looks == 0


async def test_a_watcher_is_woken_by_its_own_conversation_only(
    database: PostgresUrl, other: Store, postgres: Database
) -> None:
    """And by a transaction that has changed very many, which names none."""
    await other.write(lambda tx: [add_conversation(tx, f"n{number}") for number in range(200)])
    async with Store(database) as store, watching(store) as watch:
        await watch.changed()
        await hears(postgres)
        woken = 0

        async def count() -> None:
            nonlocal woken
            while True:
                await watch.changed()
                woken += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            with store.watch("local:n7") as another:
                await other.write(partial(add_message, text="Hello", conversation_id="local:n7"))
                await another.changed()
            assert woken == 0
            await other.write(lambda tx: tx.touched.update(f"local:n{number}" for number in range(200)))
            while not woken:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()


async def test_what_happens_while_nothing_is_heard_is_seen_afterwards(
    database: PostgresUrl, other: Store, postgres: Database
) -> None:
    """The connection is lost, and made again."""
    async with Store(database, clock=SkippingClock(every=0)) as store, watching(store) as watch:
        await watch.changed()
        first = await hears(postgres)
        postgres.execute(f"SELECT pg_terminate_backend({first})")
        await other.write(partial(add_message, text="missed"))
        await comes(store, watch, 1)

        await hears(postgres, but_not=first)
        await other.write(partial(add_message, text="heard"))
        await comes(store, watch, 2)


async def test_listening_goes_on_when_the_server_is_back(database: PostgresUrl, other: Store) -> None:
    """It was away for a while, for this process at least."""
    clock = Rounds()
    async with wire(database) as network, Store(network.url, clock=clock) as store, watching(store) as watch:
        await watch.changed()
        network.up = False
        network.cut_all()
        while clock.attempts < 3:
            await anyio.lowlevel.checkpoint()
        await other.write(partial(add_message, text="missed"))
        network.up = True
        await comes(store, watch, 1)


@pytest.fixture
def pooler(database: PostgresUrl) -> Generator[PostgresUrl]:
    """Return the URL of the database through pgbouncer."""
    with pgbouncer(database) as url:
        yield url


async def test_behind_a_pooler_that_delivers_nothing_changes_are_looked_for(
    pooler: PostgresUrl, other: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes LISTEN and says nothing; that is told, with what to do."""
    monkeypatch.setattr("tertulia.store.postgres.listener.HEARD_SECONDS", 0.2)
    caplog.set_level(logging.WARNING)
    clock = Rounds()
    async with Store(pooler, clock=clock) as store, watching(store) as watch:
        await other.write(partial(add_message, text="Hello"))
        await comes(store, watch, 1)
        while clock.looks < 3:
            await anyio.lowlevel.checkpoint()
        await other.write(partial(add_message, text="Hello again"))
        await comes(store, watch, 2)
    assert "delivers no notices (LISTEN)" in caplog.text
    assert "store_listen_url" in caplog.text


async def test_a_url_of_the_server_itself_is_listened_at(
    pooler: PostgresUrl, database: PostgresUrl, other: Store, postgres: Database
) -> None:
    """Everything else goes through the pooler; what it commits is heard by others, and the other way round."""
    clock = Rounds()
    async with Store(pooler, clock=clock, listen_url=database) as store, watching(store) as watch:
        await watch.changed()
        await hears(postgres)
        await other.write(partial(add_message, text="Hello"))
        await watch.changed()
        assert await store.read(messages) == 1
        async with watching(other) as others:
            await others.changed()
            await store.write(partial(add_message, text="Hello yourself"))
            await comes(other, others, 2)
    assert clock.looks == 0


async def test_much_goes_through_a_pooler_at_once(pooler: PostgresUrl) -> None:
    """Connections change hands between two transactions: settings, statements and locks must not be left behind."""
    principals = [f"p{number}" for number in range(4)]
    with anyio.fail_after(SECONDS):
        async with Store(pooler) as one, Store(pooler) as two:
            for principal in principals:
                await one.write(partial(add_conversation, principal=principal), principal=principal)

            async def talk(store: Store, principal: str) -> None:
                for number in range(10):
                    say = partial(add_message, text=f"{number}", principal=principal)
                    await store.write(say, principal=principal)
                    await store.read(messages)

            async with anyio.create_task_group() as tasks:
                for principal in principals:
                    for store in (one, two):
                        tasks.start_soon(talk, store, principal)
            assert await one.read(messages) == 80
