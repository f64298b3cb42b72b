"""Making the tables and changing them, while other processes use the database or want to; and losing the server."""

from collections.abc import AsyncGenerator, Generator
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg.errors
import pytest

from tertulia import StoreError, UnavailableError, UncertainError
from tertulia.store.database import Store, Transaction
from tertulia.store.postgres.engine import PostgresEngine
from tertulia.store.postgres.schema import STEPS
from tertulia.vocabulary.location import PostgresUrl
from tests.client.making import add_conversation
from tests.client.opening import opened_at_once
from tests.doubles.postgres_wire import wire
from tests.support.postgres import Database, own_server, somebody_waits

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SECONDS = 60
NEWER = partial(
    PostgresEngine, steps=(*STEPS, "CREATE TABLE labels (name text); INSERT INTO labels VALUES ('a')")
)
"""The engine of a later version."""


@pytest.fixture
def empty(postgres: Database) -> Generator[Database]:
    """Return a database in which nothing is."""
    with Database.made(postgres.url.url) as empty:
        yield empty


def ids(tx: Transaction) -> list[str]:
    """Return the conversations there are."""
    return [name for (name,) in tx.all("SELECT id FROM conversations ORDER BY id")]


async def test_processes_that_open_an_empty_database_at_once_share_one_store(empty: Database) -> None:
    """One makes the tables, the others wait and find them."""
    epochs = await opened_at_once(empty.url.url)

    assert len(epochs) == 1
    async with Store(empty.url) as store:
        assert len(await store.read(ids)) == 3


async def test_an_older_process_is_refused_once_a_newer_one_has_changed_the_tables(empty: Database) -> None:
    """It says which versions there are and what to do; what it had written before is there."""
    async with Store(empty.url) as older, Store(empty.url, engine=NEWER) as newer:
        await older.write(add_conversation)
        epoch = older.epoch
        assert await newer.read(ids) == ["local:c1"]

        for call in (older.read(ids), older.write(partial(add_conversation, native_id="c2"))):
            with pytest.raises(StoreError, match=r"newer Tertulia \(schema 2; this one knows 1\)") as raised:
                await call
            assert "Upgrade Tertulia" in (raised.value.hint or "")
        async with Store(empty.url) as another:
            with pytest.raises(StoreError, match="newer Tertulia"):
                await another.read(ids)

        await newer.write(partial(add_conversation, native_id="c3"))
        assert await newer.read(ids) == ["local:c1", "local:c3"]
        assert newer.epoch == epoch


async def test_the_tables_change_between_two_transactions_of_others(empty: Database) -> None:
    """What an older process is writing is finished first; what it writes next is refused."""
    async with Store(empty.url) as older, Store(empty.url, engine=NEWER) as newer:
        await older.write(lambda _: None)
        held, go_on = anyio.Event(), anyio.Event()

        def slowly(tx: Transaction) -> None:
            anyio.from_thread.run_sync(held.set)
            anyio.from_thread.run(go_on.wait)
            add_conversation(tx)

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(older.write, slowly, principal="local"))
                await held.wait()
                tasks.start_soon(newer.read, ids)
                await somebody_waits(empty)
                assert empty.execute("SELECT to_regclass('tertulia.labels')").fetchone() == (None,)
                go_on.set()

        assert await newer.read(ids) == ["local:c1"]
        with pytest.raises(StoreError, match="newer Tertulia"):
            await older.write(add_conversation)


async def test_nothing_of_a_change_that_fails_stays(empty: Database) -> None:
    """The database is as it was, and the earlier version goes on with it."""
    broken = partial(
        PostgresEngine, steps=(*STEPS, "CREATE TABLE labels (n int)", "INSERT INTO nowhere VALUES (1)")
    )
    async with Store(empty.url) as store:
        await store.write(add_conversation)
        async with Store(empty.url, engine=broken) as newer:
            with pytest.raises(psycopg.errors.UndefinedTable, match="nowhere"):
                await newer.read(ids)

        assert await store.read(ids) == ["local:c1"]
    assert empty.execute("SELECT to_regclass('tertulia.labels')").fetchone() == (None,)


async def test_a_store_that_is_deleted_meanwhile_is_told_and_made_anew(empty: Database) -> None:
    """Nothing is acknowledged into tables that are gone."""
    async with Store(empty.url) as store:
        await store.write(add_conversation)
        epoch = store.epoch
        empty.execute("DROP SCHEMA tertulia CASCADE")

        with pytest.raises(StoreError, match="deleted or replaced"):
            await store.write(partial(add_conversation, native_id="c2"))

        assert await store.read(ids) == []
        assert store.epoch != epoch


async def test_a_user_who_may_not_make_the_tables_is_told_so(empty: Database) -> None:
    """With what the user must be allowed."""
    empty.execute("DROP ROLE IF EXISTS nobody_much")
    empty.execute("CREATE ROLE nobody_much")
    try:
        url = PostgresUrl(
            f"{empty.url.url}{'&' if '?' in empty.url.url else '?'}options=-crole%3Dnobody_much"
        )
        async with Store(url) as store:
            with pytest.raises(StoreError, match="lacks a privilege") as raised:
                await store.read(ids)
        assert "schema `tertulia`" in (raised.value.hint or "")
    finally:
        empty.execute("DROP ROLE nobody_much")


@pytest.fixture(params=["immediate", "fast"])
async def restarted(request: pytest.FixtureRequest) -> AsyncGenerator[tuple[PostgresUrl, partial[None]]]:
    """Return a database, and what restarts its server: after a crash, or in order."""
    with own_server(synchronous_commit="on") as server:

        def restart() -> None:
            server.stop(request.param)
            server.start()

        yield PostgresUrl(server.url), partial(restart)


async def test_the_server_is_restarted_while_stores_are_in_use(
    restarted: tuple[PostgresUrl, partial[None]],
) -> None:
    """Nobody is told that it was away: what is written is repeated, and waits for it. Nothing is lost or doubled."""
    url, restart = restarted
    acknowledged: set[str] = set()
    unknown: set[str] = set()
    over = anyio.Event()

    async def write(store: Store, principal: str) -> None:
        number = 0
        while not over.is_set() or number < 3:
            number += 1
            name = f"{principal}-{number:04}"
            add = partial(add_conversation, native_id=name, principal=principal)
            try:
                await store.write(add, principal=principal)
            except UncertainError:
                unknown.add(f"local:{name}")
            else:
                acknowledged.add(f"local:{name}")
                await store.read(ids)

    with anyio.fail_after(SECONDS):
        async with Store(url) as one, Store(url) as two:
            for store in (one, two):
                await store.write(lambda _: None)
            async with anyio.create_task_group() as tasks:
                for number in range(6):
                    tasks.start_soon(write, (one, two)[number % 2], f"p{number}")
                while len(acknowledged) < 12:
                    await anyio.lowlevel.checkpoint()
                await anyio.to_thread.run_sync(restart)
                before = len(acknowledged)
                while len(acknowledged) < before + 12:
                    await anyio.lowlevel.checkpoint()
                over.set()
            stored = await one.read(ids)

    assert len(set(stored)) == len(stored)
    assert acknowledged <= set(stored) <= acknowledged | unknown


async def test_a_server_that_stays_away_is_told_at_once_after_a_while(
    database: PostgresUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first calls wait for it; those that follow do not wait one after the other."""
    monkeypatch.setattr("tertulia.store.postgres.pool.PATIENCE_SECONDS", 0.5)
    with anyio.fail_after(SECONDS):
        async with wire(database) as network, Store(network.url) as store:
            await store.read(ids)
            network.up = False
            network.cut_all()
            for _ in range(20):
                with pytest.raises(UnavailableError, match="cannot be reached now"):
                    await store.read(ids)
            network.up = True
            assert await store.read(ids) == []
