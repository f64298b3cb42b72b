"""Opening the store's file: as late as possible, and only if it is ours."""

import logging
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import apsw
import pytest

from tertulia import StoreError
from tertulia.store.database import Store, Transaction
from tertulia.store.sqlite.connections import Worker, connect
from tertulia.store.sqlite.engine import SqliteEngine
from tertulia.store.sqlite.schema import APPLICATION_ID, STEPS
from tests.client.inside import names, raw
from tests.client.making import add_conversation
from tests.client.opening import opened_at_once

pytestmark = [pytest.mark.anyio, pytest.mark.creates]

windows = pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")


NEWER = partial(SqliteEngine, steps=(*STEPS, "CREATE TABLE labels (name TEXT)"))
"""The engine of a later version."""


def look(tx: Transaction) -> int:
    """Count the conversations."""
    (row,) = tx.all("SELECT count(*) FROM conversations")
    return row[0]


async def looked_at(path: Path) -> int:
    """Use the store once."""
    async with Store(path) as store:
        return await store.read(look)


async def test_there_is_no_file_before_the_first_use(path: Path) -> None:
    """A host lists our tools without touching the store."""
    async with Store(path) as store:
        with store.watch("local:c1") as watch, anyio.fail_after(10):
            await watch.changed()  # somebody looked whether the file has changed
        assert names(path) == set()
        assert store.epoch == ""

        await store.read(look)

        assert "store.db" in names(path)
        assert store.epoch


async def test_a_store_that_was_never_used_leaves_nothing_behind(path: Path) -> None:
    """Neither a file nor its folder."""
    async with Store(path):
        pass

    assert names(path) == set()


@windows
async def test_only_its_owner_can_read_the_file_and_enter_its_folder(path: Path) -> None:
    """Whatever the umask; what SQLite writes beside the file has the same permissions."""
    umask = os.umask(0)
    try:
        async with Store(path) as store:
            await store.write(add_conversation)

            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {
                "store.db": 0o600,
                "store.db-wal": 0o600,
                "store.db-shm": 0o600,
            }
    finally:
        os.umask(umask)


@windows
async def test_every_folder_that_is_made_is_the_owners_own(tmp_path: Path) -> None:
    """Not only the last one."""
    umask = os.umask(0)
    try:
        await looked_at(tmp_path / "a" / "b" / "c" / "store.db")
    finally:
        os.umask(umask)

    made = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    assert [stat.S_IMODE(each.stat().st_mode) for each in made] == [0o700] * 3


@windows
async def test_a_store_that_others_can_read_is_closed_to_them(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With what stands beside it; and that is told, once."""
    caplog.set_level(logging.WARNING)
    async with Store(path) as other:
        await other.write(add_conversation)
        files = [path, *(path.with_name(f"store.db{end}") for end in ("-wal", "-shm"))]
        for each in files:
            each.chmod(0o666)

        await looked_at(path)

        assert [stat.S_IMODE(each.stat().st_mode) for each in files] == [0o600] * 3
        assert all(f"could read or change {each}; they cannot any more" in caplog.text for each in files)
        caplog.clear()
        await looked_at(path)
        assert caplog.text == ""


@windows
async def test_the_file_of_another_user_stays_as_it_is(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That others can read it is told all the same."""
    caplog.set_level(logging.WARNING)
    await looked_at(path)
    path.chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)

    await looked_at(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert f"can read or change {path}: its owner should" in caplog.text


@windows
async def test_a_link_to_no_file_is_not_followed(path: Path) -> None:
    """Whoever made it would choose where conversations are written."""
    path.parent.mkdir(parents=True)
    path.symlink_to(path.with_name("elsewhere"))

    with pytest.raises(StoreError, match="is a link to a file that is not there, and is not followed"):
        await looked_at(path)

    assert names(path) == {"store.db"}


@windows
async def test_a_link_to_a_store_is_followed(path: Path, tmp_path: Path) -> None:
    """A person may keep it on another disk."""
    await looked_at(tmp_path / "elsewhere.db")
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere.db")

    assert await looked_at(path) == 0


async def test_a_store_keeps_its_name_and_no_other_has_it(tmp_path: Path) -> None:
    """The epoch tells one store's cursors from another's."""
    epochs: list[str] = []
    for name in ("a.db", "a.db", "b.db"):
        async with Store(tmp_path / name) as store:
            await store.read(look)
            epochs.append(store.epoch)

    assert epochs[0] == epochs[1]
    assert epochs[2] != epochs[0]


async def test_many_first_uses_at_once_open_one_store(store: Store) -> None:
    """They wait for each other."""
    found: list[int] = []

    async def use() -> None:
        found.append(await store.read(look))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(use)

    assert found == [0] * 10


@pytest.mark.parametrize("ticks", range(8))
async def test_a_first_user_who_leaves_meanwhile_does_not_spoil_the_store(path: Path, ticks: int) -> None:
    """Whenever it is: the next one opens it, and no thread is left at the end."""
    with anyio.fail_after(10):
        async with Store(path) as store:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.read, look)
                for _ in range(ticks):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()

            assert await store.read(look) == 0


async def test_an_older_file_is_brought_up_to_date_with_what_it_holds(path: Path) -> None:
    """Step by step, each once."""
    async with Store(path) as store:
        await store.write(add_conversation)
        epoch = store.epoch
    steps = (
        *STEPS,
        "CREATE TABLE labels (name TEXT NOT NULL) STRICT; INSERT INTO labels VALUES ('a')",
        "ALTER TABLE labels ADD COLUMN colour TEXT",
    )

    for _ in range(2):
        async with Store(path, engine=partial(SqliteEngine, steps=steps)) as store:
            assert await store.read(look) == 1
            assert await store.read(lambda tx: tx.all("SELECT name, colour FROM labels")) == [("a", None)]
            assert store.epoch == epoch


async def test_nothing_of_an_upgrade_that_fails_stays(path: Path) -> None:
    """The file is as it was, and the earlier version goes on with it."""
    await looked_at(path)
    steps = (*STEPS, "CREATE TABLE labels (name TEXT)", "INSERT INTO nowhere VALUES (1)")

    async with Store(path, engine=partial(SqliteEngine, steps=steps)) as store:
        with pytest.raises(apsw.SQLError, match="nowhere"):
            await store.read(look)

    async with Store(path) as store:
        assert await store.read(lambda tx: tx.one("PRAGMA user_version")) == (len(STEPS),)
        assert await store.read(lambda tx: tx.all("SELECT 1 FROM sqlite_schema WHERE name = 'labels'")) == []


async def test_a_newer_file_is_refused_and_left_as_it_is(path: Path) -> None:
    """It says which versions there are, and what to do."""
    async with Store(path, engine=NEWER) as store:
        await store.read(look)
    before = raw(path)

    with pytest.raises(
        StoreError, match=rf"newer Tertulia \(schema {len(STEPS) + 1}; this one knows"
    ) as raised:
        await looked_at(path)

    assert "Upgrade Tertulia" in (raised.value.hint or "")
    assert raw(path) == before


@pytest.mark.parametrize("version", [0, len(STEPS), len(STEPS) + 1])
async def test_another_programs_database_is_refused_and_left_as_it_is(path: Path, version: int) -> None:
    """Whatever version it counts."""
    path.parent.mkdir()
    foreign: Any = apsw.Connection(str(path))
    foreign.execute(f"CREATE TABLE songs (name TEXT); PRAGMA user_version = {version}")
    foreign.close()
    before = raw(path)

    with pytest.raises(StoreError, match="another program's database") as raised:
        await looked_at(path)

    assert "--store" in (raised.value.hint or "")
    assert raw(path) == before
    assert names(path) == {"store.db"}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _overwritten(path: Path) -> None:
    path.write_text("Dear diary,\n" * 1000)


def _scratched(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


@pytest.mark.parametrize("accident", [_cut, _overwritten, _scratched])
async def test_a_damaged_file_is_told_as_such(path: Path, accident: Callable[[Path], None]) -> None:
    """In one sentence with the file's name, whatever happened to it."""
    async with Store(path) as store:
        await store.write(add_conversation)
    accident(path)

    with pytest.raises(StoreError, match=r"store\.db is not a store of ours, or is damaged") as raised:
        await looked_at(path)

    assert raised.value.hint


async def test_a_folder_in_the_files_place_is_told_as_such(path: Path) -> None:
    """Nothing is opened there."""
    path.mkdir(parents=True)

    with pytest.raises(StoreError, match="cannot be opened"):
        await looked_at(path)


async def test_a_file_in_the_folders_place_is_told_as_such(path: Path) -> None:
    """Nothing is made beneath it."""
    path.parent.write_text("not a folder")

    with pytest.raises(StoreError, match="cannot be opened"):
        await looked_at(path)


async def test_a_store_that_could_not_be_opened_is_tried_again(path: Path) -> None:
    """What was in its way may be gone by then."""
    path.mkdir(parents=True)
    async with Store(path) as store:
        with pytest.raises(StoreError):
            await store.read(look)
        path.rmdir()

        assert await store.read(look) == 0


@pytest.mark.io
async def test_processes_that_open_a_new_store_at_once_share_it(path: Path) -> None:
    """A host starts several at a time; one makes the tables, the others find them."""
    epochs = await opened_at_once(path)

    assert len(epochs) == 1
    assert await looked_at(path) == 3


async def test_the_file_says_whose_it_is(path: Path) -> None:
    """`file store.db` and others can tell."""
    await looked_at(path)

    async with Store(path) as store:
        assert await store.read(lambda tx: tx.one("PRAGMA application_id")) == (APPLICATION_ID,)


async def test_a_store_that_is_deleted_meanwhile_is_noticed(path: Path) -> None:
    """Nothing is acknowledged into a file that is gone; the next call opens what is there then."""
    async with Store(path) as store:
        await store.write(add_conversation)
        for file in path.parent.iterdir():
            file.unlink()

        with pytest.raises(StoreError, match="deleted or replaced while this process had it open"):
            await store.write(partial(add_conversation, native_id="c2"))

        assert await store.read(look) == 0


async def test_a_store_that_is_replaced_meanwhile_is_noticed(path: Path, tmp_path: Path) -> None:
    """Reading says so, too."""
    other = tmp_path / "other.db"
    async with Store(other) as store:
        await store.write(lambda tx: [add_conversation(tx, name) for name in ("c1", "c2")])
    async with Store(path) as store:
        await looked_at(path)
        assert await store.read(look) == 0
        other.replace(path)
        for name in ("store.db-wal", "store.db-shm"):
            path.with_name(name).unlink()

        with pytest.raises(StoreError, match="deleted or replaced"):
            await store.read(look)

        assert await store.read(look) == 2


async def test_a_store_that_is_upgraded_meanwhile_is_noticed(path: Path) -> None:
    """An older process writes nothing more into it."""
    async with Store(path) as store:
        await store.read(look)
        async with Store(path, engine=NEWER) as newer:
            await newer.read(look)

        with pytest.raises(StoreError, match="written by a newer Tertulia"):
            await store.write(add_conversation)
        with pytest.raises(StoreError, match="written by a newer Tertulia"):
            await store.read(look)


async def test_a_store_that_was_read_only_at_first_is_tried_again(path: Path) -> None:
    """SQLite keeps to reading for as long as it has such a file open."""
    await looked_at(path)

    async def connect_to_read(path: Path) -> Worker:
        worker = await connect(path)
        await worker.asynchronous.async_run(worker.sync.execute, "PRAGMA query_only = ON")
        return worker

    connector = connect_to_read

    async def connect_to_what_is_there(path: Path) -> Worker:
        return await connector(path)

    async with Store(path, engine=partial(SqliteEngine, connector=connect_to_what_is_there)) as store:
        assert await store.read(look) == 0
        connector = connect
        with pytest.raises(StoreError, match="cannot be opened for writing"):
            await store.write(add_conversation)

        await store.write(add_conversation)

        assert await store.read(look) == 1
