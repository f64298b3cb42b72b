"""Change notices: they wake readers when any process changes the store.

A change through this process's `Store` wakes the readers of what it touched, at once. Of changes by other processes the
engine tells; one that cannot is asked every `INTERVAL` seconds, and only while there are readers.
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
    """The readers of one store."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
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

    async def wanted(self) -> None:
        """Return once there are readers."""
        if not self._watches:
            self._wanted = anyio.Event()
            await self._wanted.wait()

    async def poll(self, version: Callable[[], Awaitable[object]]) -> None:
        """Check for other processes' changes until cancelled.

        `version` reads a value that changes when another process has changed the store; it is called only while there
        are readers. Where it takes longer than `INTERVAL`, because the store is being written, all readers are woken.
        """
        seen: object = None
        while True:
            await self.wanted()
            found: object = None
            with anyio.move_on_after(INTERVAL):
                found = await version()
            if found is None or found != seen:
                seen = found
                self.publish(None)
            await self._clock.tick(INTERVAL)
