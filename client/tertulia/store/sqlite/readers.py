"""The connections that one process reads with: as many as reads go on at once, up to a few.

SQLite and APSW release the interpreter's lock while a statement runs, so that a long search holds up nobody who can
have another connection. All but the first are made when they are needed.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from tertulia.store.sqlite.connections import Worker

MAX_READERS = 3
"""How many reads go on at once; more wait for the first that ends."""


class Readers:
    """The reading connections of an open file. `connect` makes another one."""

    def __init__(self, first: Worker, connect: Callable[[], Awaitable[Worker]]) -> None:
        self._connect = connect
        self._free = [first]
        self._all = [first]
        self._slots = anyio.Semaphore(MAX_READERS, fast_acquire=True)
        self._closed = False

    @asynccontextmanager
    async def reader(self) -> AsyncGenerator[Worker | None]:
        """Have a connection that nobody else reads with now; None if they were closed meanwhile."""
        async with self._slots:
            worker = self._free.pop() if self._free else await self._added()
            if self._closed:
                yield None
                return
            try:
                yield worker
            finally:
                self._free.append(worker)

    async def aclose(self) -> None:
        """Close all connections, each after the read that goes on in it."""
        self._closed = True
        for worker in self._all:
            await worker.asynchronous.aclose()

    async def _added(self) -> Worker:
        worker = await self._connect()
        self._all.append(worker)
        if self._closed:
            with anyio.CancelScope(shield=True):
                await worker.asynchronous.aclose()
        return worker
