"""Noticing changes: at once those of this process, before long those of others, and only while somebody watches."""

import math
import os
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tertulia.store.database import Store, Transaction
from tertulia.store.notices import INTERVAL, Notices, Watch
from tertulia.vocabulary.location import store_location
from tests.client.elsewhere import elsewhere, say, told
from tests.client.making import add_conversation, add_message
from tests.doubles.clocks import SkippingClock

pytestmark = pytest.mark.anyio

SECONDS = 10


def messages(tx: Transaction) -> list[str]:
    """Return what was said."""
    return [text for (text,) in tx.all("SELECT text FROM messages ORDER BY position")]


async def says_something(path: str) -> None:
    """Add a message when told."""
    async with Store(store_location(path)) as store:
        await store.read(messages)
        say("ready")
        await told()
        await store.write(partial(add_message, text="from elsewhere"))
        say("done")


@pytest.mark.io
async def test_what_another_process_commits_wakes_a_watcher(store: Store) -> None:
    """It is noticed by looking at the file, or heard from the server."""
    await store.write(add_conversation)
    async with elsewhere(says_something, store.location) as other:
        assert await other.says() == "ready"
        with store.watch("local:c1") as watch, anyio.fail_after(SECONDS):
            assert await store.read(messages) == []
            await other.tell()
            while await store.read(messages) != ["from elsewhere"]:
                await watch.changed()


@pytest.fixture
async def deaf(path: Path) -> AsyncGenerator[Store]:
    """Return a store that looks at the file once only: it hears only of this process's own changes."""
    async with Store(path, clock=SkippingClock(every=math.inf)) as store:
        yield store


async def test_what_this_process_commits_wakes_those_who_watch_it_and_no_others(deaf: Store) -> None:
    """Somebody who watches everything is woken by anything."""
    await deaf.write(lambda tx: [add_conversation(tx, name) for name in ("c1", "c2")])
    woken: list[str] = []

    async def wait(name: str, watch: Watch) -> None:
        await watch.changed()
        woken.append(name)

    with (
        anyio.fail_after(SECONDS),
        deaf.watch("local:c1") as c1,
        deaf.watch("local:c2") as c2,
        deaf.watch() as all_,
    ):
        for watch in (c1, c2, all_):
            await watch.changed()  # the first look at the file
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, "c1", c1)
            tasks.start_soon(wait, "c2", c2)
            tasks.start_soon(wait, "all", all_)
            await anyio.wait_all_tasks_blocked()
            await deaf.write(partial(add_message, text="hello"))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    assert sorted(woken) == ["all", "c1"]


async def test_what_happens_between_looking_and_waiting_is_not_missed(deaf: Store) -> None:
    """A change that is there before `changed` was called wakes it all the same."""
    await deaf.write(add_conversation)
    with anyio.fail_after(SECONDS), deaf.watch("local:c1") as watch:
        await watch.changed()  # the first look at the file
        await deaf.write(partial(add_message, text="one"))
        await deaf.write(partial(add_message, text="two"))
        await watch.changed()

    assert await deaf.read(messages) == ["one", "two"]


async def test_a_transaction_that_fails_wakes_nobody(deaf: Store) -> None:
    """Whoever is woken may try again what has just failed, and would do so without an end while a disk is full."""
    await deaf.write(add_conversation)

    def fail(tx: Transaction) -> None:
        add_message(tx, "lost")
        raise ValueError

    with anyio.fail_after(SECONDS), deaf.watch("local:c1") as watch:
        await watch.changed()  # the first look at the file
        async with anyio.create_task_group() as tasks:
            woken = anyio.Event()

            async def wait() -> None:
                await watch.changed()
                woken.set()

            tasks.start_soon(wait)
            with pytest.raises(ValueError, match=r"^$"):
                await deaf.write(fail)
            await anyio.wait_all_tasks_blocked()
            assert not woken.is_set()
            await deaf.write(partial(add_message, text="kept"))
        assert await deaf.read(messages) == ["kept"]


class Counted(SkippingClock):
    """Counts the rounds in which the file was looked at."""

    def __init__(self) -> None:
        super().__init__(every=0)
        self.rounds = 0

    async def tick(self, interval: float) -> None:
        """Note a round of the notices."""
        await super().tick(interval)
        self.rounds += interval == INTERVAL


async def test_own_commits_are_not_taken_for_those_of_another_process(path: Path) -> None:
    """However often the file is looked at, they wake nobody who watches something else."""
    clock = Counted()
    async with Store(path, clock=clock) as store:
        await store.write(lambda tx: [add_conversation(tx, name) for name in ("c1", "c2")])

        woken: list[str] = []

        async def looked_at() -> None:
            before = clock.rounds
            while clock.rounds < before + 3:
                await anyio.lowlevel.checkpoint()

        with anyio.fail_after(SECONDS), store.watch("local:c1") as own, store.watch("local:c2") as other:
            await looked_at()
            await other.changed()  # the first look at the file
            await own.changed()

            async def note() -> None:
                await other.changed()
                woken.append("other")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(note)
                await store.write(partial(add_message, text="hello"))
                await own.changed()
                await looked_at()
                assert woken == []
                tasks.cancel_scope.cancel()


class Looks:
    """Counts how often the file was looked at, and what comes of it."""

    def __init__(self, *versions: int | Exception) -> None:
        self._versions = list(versions)
        self.count = 0

    async def __call__(self) -> int:
        """Look once."""
        self.count += 1
        version = self._versions.pop(0) if len(self._versions) > 1 else self._versions[0]
        if isinstance(version, Exception):
            raise version
        return version


async def test_nobody_looks_at_the_file_while_nobody_watches() -> None:
    """An idle server does nothing at all."""
    look = Looks(1)
    watched = Notices(SkippingClock(every=0))
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.poll, look)
            await anyio.wait_all_tasks_blocked()
            assert look.count == 0

            with watched.watch("local:c1") as watch:
                await watch.changed()
            await anyio.wait_all_tasks_blocked()

            looks = look.count
            await anyio.wait_all_tasks_blocked()
            assert look.count == looks > 0
            tasks.cancel_scope.cancel()


async def test_only_a_new_version_wakes_anybody() -> None:
    """Everybody then: which conversation it was, the version does not tell."""
    look = Looks(7, 7, 7, 8, 8)
    watched = Notices(SkippingClock(every=0))
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.poll, look)
            with watched.watch("local:c1") as one, watched.watch("local:c2") as two:
                await one.changed()
                await two.changed()
                await one.changed()
                await two.changed()
                assert look.count >= 4
            tasks.cancel_scope.cancel()


@pytest.mark.skipif(os.name == "nt", reason="Windows does not move a file that is open")
async def test_a_file_that_cannot_be_looked_at_for_now_is_looked_at_again(path: Path) -> None:
    """Whoever watches is woken, and learns from the store itself what is the matter; nobody else is harmed."""
    aside = path.with_name("aside.db")
    async with Store(path) as store:
        await store.write(add_conversation)
        path.rename(aside)
        with anyio.fail_after(SECONDS), store.watch("local:c1") as watch:
            await watch.changed()
            aside.rename(path)
            await store.write(partial(add_message, text="still there"))
            await watch.changed()
