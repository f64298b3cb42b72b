"""A store is copied to another place, within an engine and from one to the other."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest

from tertulia import ConversationChanges, InvalidInputError, NotFoundError, StoreError
from tertulia.store import conversations, leases, messages, runs, secrets
from tertulia.store.copy import CopyListener, copy_store, reopen_store
from tertulia.store.database import Store, Transaction
from tertulia.store.index.base import MessageMatch, TitleMatch
from tertulia.store.index.fts5 import Fts5
from tertulia.store.sqlite.copy import FileEnd
from tertulia.store.terms import Expression, Phrase
from tertulia.vocabulary.location import PostgresUrl, StoreLocation
from tertulia.vocabulary.states import RunStatus
from tests.client.inside import everything, names
from tests.client.making import ME, add_conversation, add_message, add_run
from tests.support.postgres import Database

pytestmark = [pytest.mark.anyio, pytest.mark.io]

_TYPES: Mapping[str, str] = {"text": "TEXT", "bigint": "INTEGER", "bytea": "BLOB"}
ODD = "back\\slash \\N\ttab\r\nline 'quotes\" $1 ? %s é 語 👩‍👧"
"""What one of the ways from engine to engine could take for something else."""


@pytest.fixture
def elsewhere(postgres: Database) -> Generator[PostgresUrl]:
    """Return a database in which nothing is."""
    with Database.made(postgres.url.url) as database:
        yield database.url


CROSSING = ["file to database", "database to file"]
ALL_WAYS = pytest.mark.parametrize(
    "places", [*CROSSING, "file to file", "database to database"], indirect=True
)


@pytest.fixture(params=CROSSING)
def places(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: Database
) -> Generator[tuple[StoreLocation, StoreLocation]]:
    """Return where a store is, and where it is copied to."""
    with ExitStack() as databases:

        def place(kind: str, name: str) -> StoreLocation:
            if kind == "file":
                return tmp_path / name / "store.db"
            return databases.enter_context(Database.made(postgres.url.url)).url

        source, target = request.param.split(" to ")
        yield place(source, "from"), place(target, "to")


def _columns(tx: Transaction) -> Mapping[str, Mapping[str, str]]:
    """Return the types of the columns of each table, but for those of the one engine and of its index."""
    described = (
        "SELECT t.name, c.name, c.type FROM pragma_table_list AS t CROSS JOIN pragma_table_info(t.name) AS c"
        " WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite_%'"
        if isinstance(tx.index, Fts5)
        else "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'tertulia' AND table_name NOT LIKE '%_words' AND table_name <> 'incarnations'"
    )
    tables: dict[str, dict[str, str]] = {}
    for table, column, kind in tx.all(described):
        tables.setdefault(table, {})[column] = _TYPES.get(kind, kind)
    return tables


def _fill(tx: Transaction, count: int = 3) -> None:
    """Put rows into every table: what is in them need not make sense, but must come along."""
    for table, columns in _columns(tx).items():
        if table == "meta":
            continue
        for number in range(1, count + 1):
            values: list[Any] = []
            for name, kind in columns.items():
                if name in {"role", "status"}:
                    values.append({"role": "user", "status": "completed"}[name])
                elif kind == "TEXT":
                    values.append(f"{name} {number} {ODD}")
                else:
                    values.append(number if kind == "INTEGER" else bytes([number, 0, 255, 92]))
            tx.run(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' for _ in columns)})",
                *values,
            )
    secrets.share(tx, "key", "sealed")


def _stored(tx: Transaction) -> Mapping[str, Sequence[object]]:
    """Return what any engine has, column by column in one order."""
    shared = {
        table: sorted(
            tx.all(f"SELECT {', '.join(sorted(columns))} FROM {table}"),
            key=str,
        )
        for table, columns in _columns(tx).items()
        if table not in {"meta", "leases"}
    }
    return shared | {
        "meta": tx.all("SELECT value FROM meta WHERE name IN ('epoch', 'secret:key') ORDER BY 1")
    }


def _same_tables(tx: Transaction) -> Mapping[str, Sequence[str]]:
    return {table: sorted(columns) for table, columns in _columns(tx).items()}


@ALL_WAYS
async def test_every_row_of_every_table_comes_along(places: tuple[StoreLocation, StoreLocation]) -> None:
    """But for leases; the epoch and the secrets do, so that cursors and open forms stay good."""
    source, target = places
    async with Store(source) as store:
        await store.write(partial(_fill, count=250))
        before = await store.read(_stored)

    report = copy_store(source, target)

    assert report.rows == {name: 250 for name in before if name != "meta"}
    async with Store(target) as store:
        assert await store.read(_stored) == before
        assert await store.read(lambda tx: tx.all("SELECT count(*) FROM leases")) == [(0,)]
        assert store.epoch != ""


async def test_the_tables_of_all_engines_have_the_same_columns(
    tmp_path: Path, elsewhere: PostgresUrl
) -> None:
    """Or a column would get lost on the way."""
    async with Store(tmp_path / "store.db") as file, Store(elsewhere) as database:
        assert await file.read(_same_tables) == await database.read(_same_tables)


def _converse(tx: Transaction) -> None:
    add_conversation(tx, title="Renewals")
    for number in range(120):
        add_message(tx, f"Acme renews in May, {number} of them", id=f"m_{number}")
    add_message(tx, "long " + "word " * 60_000 + "bolt", id="m_long")
    add_run(tx, "run_1")


def _found(tx: Transaction, text: str) -> list[int]:
    match = MessageMatch(principal=ME, expression=Expression([[Phrase(tuple(text.split()))]]))
    return list(tx.index.newest(match, 50))


def _titled(tx: Transaction, word: str) -> list[str]:
    match = TitleMatch(principal=ME, expression=Expression([[Phrase((word,))]]))
    return list(tx.index.titles(match, 50).values())


@ALL_WAYS
async def test_a_copy_is_searched_and_gone_on_with(places: tuple[StoreLocation, StoreLocation]) -> None:
    """Its index has all words, its numbers go on, and the planner knows its size."""
    source, target = places
    queries = ["acme", "renews in may", "bolt", "37 of"]
    async with Store(source) as store:
        await store.write(_converse)
        before = [await store.read(partial(_found, text=text)) for text in queries]
        assert all(before)

    copy_store(source, target)

    async with Store(target) as store:
        assert [await store.read(partial(_found, text=text)) for text in queries] == before
        await store.write(partial(add_message, text="Acme again", id="m_new"))
        assert len(await store.read(partial(_found, text="again"))) == 1
        await store.write(
            partial(messages.remove, principal=ME, conversation_id="local:c1", message_id="m_long")
        )
        assert await store.read(partial(_found, text="bolt")) == []
        assert await store.read(partial(_titled, word="renewals")) == ["local:c1"]
        await store.write(
            partial(
                conversations.change,
                principal=ME,
                conversation_id="local:c1",
                changes=ConversationChanges(title="Bolts"),
            )
        )
        assert await store.read(partial(_titled, word="renewals")) == []

        def second(tx: Transaction) -> list[tuple[Any, ...]]:
            runs.set_status(tx, runs.get(tx, ME, "run_1"), RunStatus.COMPLETED)
            add_run(tx, "run_2")
            return tx.all("SELECT number FROM runs ORDER BY number")

        assert await store.write(second) == [(1,), (2,)]


async def test_who_uses_the_source_is_told_where_the_store_is(
    places: tuple[StoreLocation, StoreLocation],
) -> None:
    """Whether it has it open or opens it then."""
    source, target = places
    async with Store(source) as store:
        await store.write(_converse)

        copy_store(source, target)

        async with Store(source) as another:
            for each in (store, another):
                with pytest.raises(StoreError) as refused:
                    await each.read(lambda tx: tx.one("SELECT 1"))
                assert refused.value.message == f"The store {source} has moved to {target}."
                with pytest.raises(StoreError, match="has moved to"):
                    await each.write(lambda tx: add_message(tx, "lost"))
    with pytest.raises(StoreError, match="has moved to"):
        copy_store(source, target)


async def test_a_store_that_has_moved_can_be_opened_again(
    places: tuple[StoreLocation, StoreLocation],
) -> None:
    """It is a store of its own then: what was sent elsewhere is not sent again."""
    source, target = places
    async with Store(source) as store:
        await store.write(_remote_run)
        epoch = store.epoch
    with pytest.raises(InvalidInputError, match="has not moved"):
        reopen_store(source)
    copy_store(source, target)

    assert reopen_store(source) == 1

    async with Store(source) as store:
        assert (await store.read(lambda tx: runs.get(tx, ME, "run_1"))).status is RunStatus.INTERRUPTED
        assert store.epoch != epoch
    async with Store(target) as store:
        assert (await store.read(lambda tx: runs.get(tx, ME, "run_1"))).status is RunStatus.RUNNING
        assert store.epoch == epoch


def _remote_run(tx: Transaction) -> None:
    tx.run(
        "INSERT INTO conversations (number, principal, id, instance, status, metadata, created_at, updated_at)"
        " VALUES (1, ?, 'r2r:c1', 'r2r', 'open', '{}', 1, 1)",
        ME,
    )
    add_message(tx, "Hello", id="m_1", conversation_id="r2r:c1")
    run = add_run(tx, "run_1", conversation_id="r2r:c1")
    runs.set_status(tx, run, RunStatus.RUNNING)
    leases.take(tx, ME, "r2r:c1", "owner")


async def test_a_copy_beside_its_source_is_a_store_of_its_own(
    places: tuple[StoreLocation, StoreLocation],
) -> None:
    """The source goes on; what it has sent to a platform, the copy does not send a second time."""
    source, target = places
    async with Store(source) as store:
        await store.write(_remote_run)

        assert copy_store(source, target, keep=True).interrupted == 1

        assert (await store.read(lambda tx: runs.get(tx, ME, "run_1"))).status is RunStatus.RUNNING
        async with Store(target) as copy:
            run = await copy.read(lambda tx: runs.get(tx, ME, "run_1"))
            assert run.status is RunStatus.INTERRUPTED
            assert "was copied" in (run.error or "")
            assert copy.epoch != store.epoch
    with pytest.raises(InvalidInputError, match="has conversations of its own"):
        copy_store(source, target, keep=True)


class StoppedError(Exception):
    """Stands for Ctrl-C."""


async def test_a_copy_that_is_stopped_leaves_everything_as_it_was(
    places: tuple[StoreLocation, StoreLocation],
) -> None:
    """While rows are copied, or compared; it can be repeated."""
    source, target = places
    async with Store(source) as store:
        await store.write(_converse)
        before = await store.read(everything)
    for moment in (0.0, 0.4, 0.8, 1.0):
        _stop(source, target, moment)

        if isinstance(target, Path):
            assert names(target) == set()
        else:
            with pytest.raises(NotFoundError, match="There is no store in"):
                reopen_store(target)
        async with Store(source) as store:
            assert await store.read(everything) == before
    assert copy_store(source, target).repeated is False


def _stop(source: StoreLocation, target: StoreLocation, moment: float) -> None:
    """Stop a copy when that part of its rows are done."""
    sizes: list[int] = []
    done = 0

    def stop(count: int) -> None:
        nonlocal done
        done += count
        if done >= max(1, round(moment * sizes[0])):
            raise StoppedError

    with pytest.raises(StoppedError):
        copy_store(source, target, listener=CopyListener(on_size=sizes.append, on_rows=stop))


async def test_nobody_writes_the_source_meanwhile(places: tuple[StoreLocation, StoreLocation]) -> None:
    """What they wrote would be nowhere afterwards."""
    source, target = places
    async with Store(source) as store:
        await store.write(_converse)
    refused: list[bool] = []

    def write(_: int) -> None:
        if isinstance(source, Path):
            connection: Any = apsw.Connection(str(source))
            with pytest.raises(apsw.BusyError):
                connection.execute("BEGIN IMMEDIATE")
            connection.close()
        else:
            with psycopg.connect(source.url) as connection:
                row = connection.execute(
                    "SELECT pg_try_advisory_xact_lock_shared(classid::int, objid::int) FROM pg_locks"
                    " WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND database ="
                    " (SELECT oid FROM pg_database WHERE datname = current_database())"
                ).fetchone()
                assert row == (False,)
        refused.append(True)

    copy_store(source, target, listener=CopyListener(on_size=write))

    assert refused == [True]


@pytest.mark.parametrize("used", [False, True])
async def test_a_copy_whose_source_was_not_closed_is_found_complete(
    places: tuple[StoreLocation, StoreLocation], used: bool
) -> None:
    """The process died between the two commits. A target that was used since is no copy any more."""
    source, target = places
    async with Store(source) as store:
        await store.write(_converse)
        epoch = store.epoch
    copy_store(source, target)
    reopen_store(source)
    async with Store(source) as store:
        await store.write(lambda tx: tx.run("UPDATE meta SET value = ? WHERE name = 'epoch'", epoch))
    if used:
        async with Store(target) as store:
            await store.write(partial(add_message, text="since", id="m_since"))
        with pytest.raises(StoreError, match="has other rows than the source in the table"):
            copy_store(source, target)
    else:
        assert copy_store(source, target).repeated is True
        with pytest.raises(StoreError, match="has moved to"):
            copy_store(source, target)


async def test_a_row_that_gets_lost_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is copied."""
    source, target = tmp_path / "from" / "store.db", tmp_path / "to" / "store.db"
    async with Store(source) as store:
        await store.write(_converse)
    fill = FileEnd.fill

    def losing(end: FileEnd, table: str, rows: Any) -> None:
        fill(end, table, list(rows)[1:])

    monkeypatch.setattr(FileEnd, "fill", losing)
    with pytest.raises(StoreError, match="in the table conversations"):
        copy_store(source, target)
    assert names(target) == set()


async def test_what_no_database_takes_is_replaced(tmp_path: Path, elsewhere: PostgresUrl) -> None:
    """An earlier version kept U+0000. What only looks like it, in a text, stays."""
    path = tmp_path / "store.db"
    async with Store(path) as store:
        await store.write(add_conversation)
        await store.write(partial(add_message, text="zero \\u0000", id="m_1", metadata={"a": "b"}))
    connection: Any = apsw.Connection(str(path))
    connection.execute(
        "UPDATE messages SET author = ?, metadata = ?, unindexed = text || char(0)",
        ("a\0b", '{"a\\u0000":"\\\\u0000"}'),
    )
    connection.close()

    copy_store(path, elsewhere)

    async with Store(elsewhere) as store:
        rows = await store.read(lambda tx: tx.all("SELECT author, metadata, text, unindexed FROM messages"))
    assert rows == [("a\ufffdb", '{"a\ufffd":"\\\\u0000"}', "zero \\u0000", "zero \\u0000\ufffd")]


async def test_what_cannot_be_copied_is_refused(tmp_path: Path, elsewhere: PostgresUrl) -> None:
    """Nothing is made, and nothing is lost."""
    path = tmp_path / "from" / "store.db"
    with pytest.raises(NotFoundError, match="There is no file"):
        copy_store(path, elsewhere)
    with pytest.raises(NotFoundError, match="There is no store in"):
        copy_store(elsewhere, path)
    assert names(path) == set()
    async with Store(path) as store, Store(elsewhere) as other:
        await store.write(add_conversation)
        await other.write(add_conversation)
        with pytest.raises(InvalidInputError, match="has conversations of its own"):
            copy_store(path, elsewhere)
        with pytest.raises(InvalidInputError, match="to itself"):
            copy_store(path, path.parent / ".." / "from" / "store.db")
        assert await store.read(lambda tx: tx.all("SELECT count(*) FROM conversations")) == [(1,)]
        assert await other.read(lambda tx: tx.all("SELECT count(*) FROM conversations")) == [(1,)]


async def test_a_server_that_was_only_started_is_no_store_of_its_own(
    tmp_path: Path, elsewhere: PostgresUrl
) -> None:
    """It has made the tables and its secrets; it goes on with the copy."""
    path = tmp_path / "store.db"
    async with Store(path) as store, Store(elsewhere) as started:
        await store.write(_converse)
        await started.write(lambda tx: secrets.share(tx, "key", "fresh"))
        await store.write(lambda tx: secrets.share(tx, "key", "sealed"))

        copy_store(path, elsewhere)

        assert len(await started.read(partial(_found, text="acme"))) == 50
        assert await started.read(lambda tx: secrets.find(tx, "key")) == "sealed"
        assert started.epoch == store.epoch
