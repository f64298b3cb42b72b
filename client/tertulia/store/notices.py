"""Change notices: they wake readers when any process changes the store.

A change through this process's `Store` wakes the readers of what it touched, at once. For changes by other processes,
the notices read SQLite's `PRAGMA data_version` every `INTERVAL` seconds, and only while there are readers. They read it
on the connection that writes: on every other one, this process's own commits look like another's, and each of them
would wake all readers.
"""

from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager

import anyio

from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock

INTERVAL = 0.1
"""Seconds between two checks for changes by other processes."""


class Watch:
    """One reader's interest in a conversation, or in everything (`conversation_id` None)."""

    def __init__(self, conversation_id: str | None) -> None:
        self.conversation_id = conversation_id
        self._event = anyio.Event()

    async def changed(self) -> None:
        """Wait until something may have changed since the last call (or since the watch began).

        It may return without a change: the reader looks at the store and decides.
        """
        await self._event.wait()
        self._event = anyio.Event()

    def notify(self) -> None:
        """Wake the reader."""
        self._event.set()


class Notices:
    """The readers of one store.

    `version` reads a value that changes when another process has changed the file; it is called only while there are
    readers. Where it takes longer than `INTERVAL`, because the store is being written, all readers are woken.
    """

    def __init__(self, version: Callable[[], Awaitable[object]], clock: Clock = SYSTEM_CLOCK) -> None:
        self._version = version
        self._clock = clock
        self._seen: object = None
        self._watches: dict[Watch, None] = {}
        """In the order in which they began; they are woken in it."""
        self._wanted = anyio.Event()

    @contextmanager
    def watch(self, conversation_id: str | None = None) -> Generator[Watch]:
        """Begin a watch: every commit after this call wakes it."""
        watch = Watch(conversation_id)
        self._watches[watch] = None
        self._wanted.set()
        try:
            yield watch
        finally:
            del self._watches[watch]

    def publish(self, conversation_ids: Iterable[str] | None) -> None:
        """Wake the readers of these conversations (None: all readers)."""
        touched = None if conversation_ids is None else set(conversation_ids)
        for watch in self._watches:
            if touched is None or watch.conversation_id is None or watch.conversation_id in touched:
                watch.notify()

    async def poll(self) -> None:
        """Check for other processes' changes until cancelled."""
        while True:
            if not self._watches:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            version: object = None
            with anyio.move_on_after(INTERVAL):
                version = await self._version()
            if version is None or version != self._seen:
                self._seen = version
                self.publish(None)
            await self._clock.tick(INTERVAL)
