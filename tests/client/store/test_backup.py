"""Backups and restorations, while other processes use the store."""

import os
import stat
from functools import partial
from pathlib import Path

import pytest

from tertulia import InvalidInputError, NotFoundError, StoreError
from tertulia.store import leases, runs
from tertulia.store.database import Store, Transaction
from tertulia.store.sqlite.backup import Copied, back_up, restore
from tertulia.store.sqlite.engine import SqliteEngine
from tertulia.store.sqlite.schema import STEPS
from tertulia.vocabulary.models import Run
from tertulia.vocabulary.states import RunStatus
from tests.client.inside import contents, names, raw
from tests.client.making import ME, add_conversation, add_message, add_run

pytestmark = [pytest.mark.anyio, pytest.mark.creates]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where a backup may be."""
    return tmp_path / "backup.db"


def said(tx: Transaction) -> list[str]:
    """Return what was said."""
    return [text for (text,) in tx.all("SELECT text FROM messages ORDER BY position")]


def found(tx: Transaction, word: str) -> int:
    """Count the messages that the full-text index finds."""
    return len(tx.all("SELECT rowid FROM message_index WHERE message_index MATCH ?", word))


async def test_a_backup_has_all_that_was_written_while_the_store_is_open(path: Path, file: Path) -> None:
    """It is one file, and only its owner can read it."""
    async with Store(path) as store:
        await store.write(add_conversation)
        await store.write(partial(add_message, text="newest"))

        assert back_up(path, file) == Copied(conversations=1, messages=1)

        assert names(file) - {"tertulia"} == {"backup.db"}
        if os.name != "nt":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert await contents(file) == await contents(path)


async def test_a_restored_store_is_what_it_was_for_those_who_have_it_open(path: Path, file: Path) -> None:
    """They go on with it at once, and write into it."""
    async with Store(path) as store:
        await store.write(add_conversation)
        await store.write(partial(add_message, text="before"))
        back_up(path, file)
        await store.write(partial(add_message, text="after"))
        epoch = store.epoch

        assert restore(file, path) == Copied(conversations=1, messages=1)

        assert await store.read(said) == ["before"]
        assert await store.read(partial(found, word="after")) == 0
        assert store.epoch != epoch  # cursors from before are refused
        await store.write(partial(add_message, text="since"))
        assert await store.read(said) == ["before", "since"]
        assert await store.read(partial(found, word="since")) == 1
        assert await store.read(lambda tx: tx.one("PRAGMA integrity_check")) == ("ok",)
    assert names(path) == {"store.db"}


async def test_a_store_that_is_gone_can_be_restored(path: Path, file: Path) -> None:
    """Also where another one has begun meanwhile, or none."""
    async with Store(path) as store:
        await store.write(add_conversation)
    back_up(path, file)
    path.unlink()

    restore(file, path)

    async with Store(path) as store:
        assert await store.read(lambda tx: tx.one("SELECT count(*) FROM conversations")) == (1,)
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _run_in(tx: Transaction, instance: str) -> None:
    """Enter a conversation with a run that is being executed."""
    conversation_id = f"{instance}:c1"
    tx.run(
        "INSERT INTO conversations (principal, id, instance, status, metadata, created_at, updated_at)"
        " VALUES (?, ?, ?, 'open', '{}', 1, 1)",
        *(ME, conversation_id, instance),
    )
    add_message(tx, "Hello", id="m_1", conversation_id=conversation_id)
    run = add_run(tx, f"run_{instance}", conversation_id=conversation_id)
    runs.set_status(tx, run, RunStatus.RUNNING)
    leases.take(tx, ME, conversation_id, "owner")


async def test_what_may_have_been_sent_since_is_interrupted(path: Path, file: Path) -> None:
    """A platform would get it a second time. What the store itself answers goes on, and nobody holds a lease."""
    async with Store(path) as store:
        await store.write(lambda tx: [_run_in(tx, instance) for instance in ("local", "r2r")])
        back_up(path, file)

        assert restore(file, path).interrupted == 1

        def status(tx: Transaction, instance: str) -> Run:
            return runs.get(tx, ME, f"run_{instance}")

        assert (await store.read(partial(status, instance="local"))).status is RunStatus.RUNNING
        interrupted = await store.read(partial(status, instance="r2r"))
        assert interrupted.status is RunStatus.INTERRUPTED
        assert "restored from a backup" in (interrupted.error or "")
        assert await store.read(lambda tx: leases.held(tx, ME, "local:c1")) is False


async def test_a_backup_of_an_earlier_version_is_brought_up_to_date(path: Path, file: Path) -> None:
    """Before it becomes the store."""
    async with Store(path, engine=partial(SqliteEngine, steps=STEPS[:-1])) as store:
        await store.write(lambda tx: tx.run("INSERT INTO meta VALUES ('old', '1')"))
    path.rename(file)

    restore(file, path)

    async with Store(path) as store:
        assert await store.read(lambda tx: tx.one("SELECT value FROM meta WHERE name = 'old'")) == ("1",)


async def test_what_is_no_backup_of_ours_is_refused_and_the_store_left_as_it_is(
    path: Path, file: Path
) -> None:
    """A damaged file, another program's, an empty one, and none at all."""
    async with Store(path) as store:
        await store.write(add_conversation)
    before = raw(path)
    back_up(path, file)
    whole = raw(file)

    for content in (b"Dear diary,\n" * 1000, b"", whole[:5000], whole[:4096] + b"\xff" * (len(whole) - 4096)):
        file.write_bytes(content)
        with pytest.raises(StoreError):
            restore(file, path)
    file.unlink()
    with pytest.raises(NotFoundError, match="There is no file"):
        restore(file, path)

    assert raw(path) == before
    assert names(path) == {"store.db"}


async def test_a_backup_replaces_no_file(path: Path, file: Path) -> None:
    """It may be the last good one."""
    async with Store(path) as store:
        await store.write(add_conversation)
    file.write_text("precious")

    with pytest.raises(InvalidInputError, match="exists already"):
        back_up(path, file)
    with pytest.raises(NotFoundError, match="There is no file"):
        back_up(path.with_name("other.db"), file.with_name("new.db"))
    with pytest.raises(InvalidInputError, match="There is no folder"):
        back_up(path, file.parent / "nowhere" / "backup.db")

    assert file.read_text() == "precious"
    assert not path.with_name("other.db").exists()
