"""The write-ahead log: it is gone after a clean exit, and short while nobody writes."""

import shutil
from contextvars import Context
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tertulia.store.database import Store, Transaction
from tests.client.elsewhere import elsewhere, say, told
from tests.client.inside import names
from tests.client.making import add_conversation, add_message
from tests.doubles.clocks import Idling

pytestmark = pytest.mark.anyio

SECONDS = 10


def said(tx: Transaction) -> list[str]:
    """Return what was said."""
    return [text for (text,) in tx.all("SELECT text FROM messages ORDER BY position")]


async def wait_for_a_look(store: Store) -> None:
    """Return once the store has looked for other processes' changes."""
    with store.watch() as watch, anyio.fail_after(SECONDS):
        await watch.changed()


async def test_a_clean_exit_leaves_all_in_the_file(path: Path) -> None:
    """Also where somebody watched: a copy of the file alone has everything."""
    async with Store(path) as store:
        await store.write(add_conversation)
        await wait_for_a_look(store)
        await store.write(partial(add_message, text="newest"))

    assert names(path) == {"store.db"}
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    async with Store(copy) as store:
        assert await store.read(said) == ["newest"]


async def test_an_older_copy_can_be_put_back_after_a_clean_exit(path: Path) -> None:
    """No newer log is left that would be read into it."""
    copy = path.with_name("copy.db")
    for number in range(2):
        async with Store(path) as store:
            if not number:
                await store.write(add_conversation)
            await wait_for_a_look(store)
            await store.write(
                lambda tx, number=number: [add_message(tx, f"{number} {n}") for n in range(200)]
            )
        if not number:
            shutil.copy(path, copy)

    shutil.copy(copy, path)

    async with Store(path) as store:
        assert await store.read(said) == [f"0 {n}" for n in range(200)]
        assert await store.read(lambda tx: tx.one("PRAGMA integrity_check")) == ("ok",)


def log_size(path: Path) -> int:
    """Return how long the log is."""
    return path.with_name("store.db-wal").stat().st_size


async def test_the_log_is_truncated_when_nobody_writes(path: Path) -> None:
    """The file alone is complete then, though the process goes on."""
    clock = Idling()
    async with Store(path, clock=clock) as store:
        await store.write(add_conversation)
        await store.write(partial(add_message, text="newest"))
        assert log_size(path) > 0

        with anyio.fail_after(SECONDS):
            while log_size(path):
                clock.idle.set()
                await store.read(said)

        assert await store.read(said) == ["newest"]


async def reads_until_told(path: str) -> None:
    """Keep one view of the store open until told."""
    async with Store(Path(path)) as store:
        await store.read(said)

        def keep(tx: Transaction) -> None:
            tx.all("SELECT 1 FROM messages")
            say("reading")
            Context().run(anyio.run, told)  # the thread has the context of the loop that it works for

        await store.read(keep)
        say("done")


@pytest.mark.io
async def test_the_log_is_truncated_once_a_long_reader_has_left(path: Path) -> None:
    """Until then the store tries again, and holds nobody up."""
    clock = Idling()
    async with Store(path, clock=clock) as store:
        await store.write(add_conversation)
        async with elsewhere(reads_until_told, path) as other:
            assert await other.says() == "reading"
            await store.write(partial(add_message, text="newest"))
            with anyio.fail_after(SECONDS):
                for _ in range(2):
                    before = clock.pauses
                    clock.idle.set()
                    while clock.pauses == before:
                        await anyio.lowlevel.checkpoint()
                assert log_size(path) > 0
                await other.tell()
                assert await other.says() == "done"
                while log_size(path):
                    clock.idle.set()
                    await store.read(said)
