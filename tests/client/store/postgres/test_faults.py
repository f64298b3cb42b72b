"""Lost connections, transactions that meet, a server that is away: what is told, and what is there then."""

import threading
from collections.abc import AsyncGenerator, Callable
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg.errors
import pytest

from tertulia import UnavailableError, UncertainError
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.location import PostgresUrl
from tests.client.making import add_conversation, add_message
from tests.doubles.clocks import SkippingClock
from tests.doubles.postgres_wire import COMMIT, Lost, PostgresWire, wire
from tests.support.postgres import Database, somebody_waits

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SECONDS = 20


@pytest.fixture
async def network(database: PostgresUrl) -> AsyncGenerator[PostgresWire]:
    """Return the network between the stores and their server."""
    async with wire(database) as network:
        yield network


@pytest.fixture
async def store(network: PostgresWire) -> AsyncGenerator[Store]:
    """Return a store that has been used."""
    with anyio.fail_after(SECONDS):
        async with Store(network.url) as store:
            await store.write(lambda _: None)
            yield store


def ids(tx: Transaction) -> list[str]:
    """Return the conversations there are."""
    return [name for (name,) in tx.all("SELECT id FROM conversations ORDER BY id")]


class Stopped(SkippingClock):
    """Shows the same moment to all transactions."""

    def time(self) -> int:
        """Return it."""
        return 1_790_000_000_000_000


class Attempts:
    """Adds a conversation; before, the first attempts do something else. `count` says how many there were."""

    def __init__(self, *first: Callable[[Transaction], object]) -> None:
        self._first = list(first)
        self.count = 0

    def __call__(self, tx: Transaction) -> str:
        """Add it; return its id."""
        self.count += 1
        if self._first:
            self._first.pop(0)(tx)
        return add_conversation(tx).id


def fails_with(code: str) -> Callable[[Transaction], object]:
    """Return what the server answers with an error."""
    return lambda tx: tx.run(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")


def loses_connection(tx: Transaction) -> None:
    """Have the server end the connection, as it does when somebody restarts it."""
    tx.one("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.parametrize(
    "trouble", [fails_with("40001"), fails_with("40P01"), loses_connection], ids=["met", "deadlock", "lost"]
)
async def test_a_transaction_that_was_refused_or_lost_is_repeated(
    store: Store, trouble: Callable[[Transaction], object]
) -> None:
    """The caller does not notice."""
    attempts = Attempts(trouble, trouble)

    assert await store.write(attempts) == "local:c1"

    assert attempts.count == 3
    assert await store.read(ids) == ["local:c1"]


@pytest.mark.parametrize("further", [0, 1, 250])
async def test_what_is_written_last_is_refused_as_anything_else_is(
    store: Store, further: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes to the server with the commit, which then does not happen, or with what is written after it.

    Nobody is warned of that: it is done again.
    """
    tries = 0

    def write(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        add_conversation(tx)
        if tries < 3:
            fails_with("40001")(tx)
        for _ in range(further):
            tx.run("UPDATE conversations SET title = title")

    await store.write(write)

    assert tries == 3
    assert await store.read(ids) == ["local:c1"]
    assert [record for record in caplog.records if record.name == "psycopg"] == []


async def test_what_the_database_does_not_take_is_told_though_it_goes_there_with_the_commit(
    store: Store,
) -> None:
    """The first error counts: nothing after it was done."""

    def twice(tx: Transaction) -> None:
        add_conversation(tx)
        for _ in range(3):
            tx.run("INSERT INTO meta VALUES ('epoch', 'another')")

    with pytest.raises(psycopg.errors.UniqueViolation):
        await store.write(twice)
    assert await store.read(ids) == []


async def test_what_is_written_is_seen_by_what_is_read_after_it(store: Store) -> None:
    """Also if more waits than goes to the server at once."""

    def write(tx: Transaction) -> list[object]:
        add_conversation(tx)
        seen: list[object] = []
        for number in (1, 250):
            for title in range(number):
                tx.run("UPDATE conversations SET title = ?", str(title))
            seen += tx.all("SELECT title FROM conversations")
        seen.append(tx.changed("UPDATE conversations SET title = ''"))
        return seen

    assert await store.write(write) == [("0",), ("249",), 1]


async def test_a_read_whose_connection_was_lost_is_repeated(store: Store) -> None:
    """It has changed nothing."""
    await store.write(add_conversation)
    first = [loses_connection]

    def read(tx: Transaction) -> list[str]:
        if first:
            first.pop()(tx)
        return ids(tx)

    assert await store.read(read) == ["local:c1"]


async def test_a_transaction_is_not_repeated_for_ever(store: Store) -> None:
    """The caller is told to try later."""
    attempts = Attempts(*[fails_with("40001")] * 100)

    with pytest.raises(UnavailableError) as raised:
        await store.write(attempts)

    assert raised.value.retryable
    assert 1 < attempts.count < 20
    assert await store.read(ids) == []


async def test_an_error_of_ours_is_not_repeated(store: Store) -> None:
    """It would fail in the same way."""

    def fail(_: Transaction) -> None:
        raise ValueError

    attempts = Attempts(fail)
    with pytest.raises(ValueError, match=r"^$"):
        await store.write(attempts)
    assert attempts.count == 1


async def test_messages_of_one_moment_get_positions_of_their_own(
    database: PostgresUrl, postgres: Database
) -> None:
    """Whoever comes second finds the position taken that was free before, and takes the next."""
    inside, go_on = threading.Event(), threading.Event()
    tries: list[str] = []

    def write(tx: Transaction, principal: str) -> None:
        tries.append(principal)
        add_message(tx, "Hello", principal=principal)
        assert tx.all("SELECT 1 FROM messages")  # what was to be written is written now
        if principal == "alice":
            inside.set()
            assert go_on.wait(SECONDS)

    with anyio.fail_after(SECONDS):
        async with Store(database, clock=Stopped()) as store:
            for name in ("alice", "bob"):
                await store.write(partial(add_conversation, principal=name))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(store.write, partial(write, principal="alice"), principal="alice"))
                await anyio.to_thread.run_sync(inside.wait, SECONDS)
                tasks.start_soon(partial(store.write, partial(write, principal="bob"), principal="bob"))
                await somebody_waits(postgres)
                go_on.set()
            positions = await store.read(lambda tx: tx.all("SELECT position FROM messages"))

    assert len(positions) == 2
    assert tries == ["alice", "bob", "bob"]


@pytest.mark.parametrize("lost", Lost)
async def test_a_connection_that_is_lost_in_the_commit_loses_nothing_and_doubles_nothing(
    store: Store, network: PostgresWire, lost: Lost
) -> None:
    """The server is asked whether the transaction was committed; if not, it is repeated."""
    attempts = Attempts()
    network.cut(COMMIT, lost)

    assert await store.write(attempts) == "local:c1"

    assert attempts.count == (1 if lost is Lost.ANSWER else 2)
    assert await store.read(ids) == ["local:c1"]


@pytest.mark.parametrize("lost", Lost)
async def test_a_commit_that_nobody_can_be_asked_about_is_uncertain(
    store: Store, network: PostgresWire, lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says so, and what to do; later it can be seen."""
    monkeypatch.setattr("tertulia.store.postgres.outcomes._SECONDS", 0.2)
    network.cut(COMMIT, lost, down=True)

    with pytest.raises(UncertainError, match="may or may not have happened") as raised:
        await store.write(add_conversation)

    assert "idempotency key" in (raised.value.hint or "")
    assert "password" not in str(raised.value)
    network.up = True
    assert await store.read(ids) == (["local:c1"] if lost is Lost.ANSWER else [])


async def test_the_server_comes_back_while_it_is_asked_about_a_commit(
    store: Store, network: PostgresWire
) -> None:
    """A restart takes a moment: the caller waits for it, and is told what became of the call."""
    network.cut(COMMIT, Lost.ANSWER, down=True)

    async with anyio.create_task_group() as tasks:

        async def come_back() -> None:
            while network.up:
                await anyio.lowlevel.checkpoint()
            network.up = True

        tasks.start_soon(come_back)
        assert (await store.write(add_conversation)).id == "local:c1"

    assert await store.read(ids) == ["local:c1"]


async def test_a_server_that_is_away_is_told_as_such_and_found_again(
    store: Store, network: PostgresWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the store and what is the matter, and says that calling again helps."""
    monkeypatch.setattr("tertulia.store.postgres.pool.PATIENCE_SECONDS", 0.2)
    await store.write(add_conversation)
    network.up = False
    network.cut_all()

    for call in (store.read(ids), store.write(partial(add_conversation, native_id="c2"))):
        with pytest.raises(
            UnavailableError, match=r"store postgresql://.* cannot be reached now: .*closed the connection"
        ) as raised:
            await call
        assert raised.value.retryable

    network.up = True
    assert await store.read(ids) == ["local:c1"]
    await store.write(partial(add_conversation, native_id="c3"))


async def test_all_connections_are_lost_at_once(store: Store, network: PostgresWire) -> None:
    """As in a restart of the server, or of what stands before it: no call fails."""
    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(store.write, partial(add_conversation, native_id=f"before{number}"))
    network.cut_all()

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(store.write, partial(add_conversation, native_id=f"after{number}"))

    assert len(await store.read(ids)) == 16


async def test_who_leaves_a_slow_read_is_not_waited_for(network: PostgresWire) -> None:
    """The next read has another connection; the server ends the slow one when nobody is there for it any more."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    began, left = threading.Event(), anyio.Event()

    def read(tx: Transaction) -> None:
        began.set()
        tx.one(endless)

    async with Store(network.url, read_seconds=3 * SECONDS) as store:
        async with anyio.create_task_group() as tasks:

            async def leave() -> None:
                with anyio.CancelScope() as scope:
                    tasks.start_soon(cancel, scope)
                    await store.read(read)
                left.set()

            async def cancel(scope: anyio.CancelScope) -> None:
                await anyio.to_thread.run_sync(began.wait, SECONDS)
                scope.cancel()

            tasks.start_soon(leave)
            with anyio.fail_after(SECONDS):
                await left.wait()
        assert await store.read(ids) == []
