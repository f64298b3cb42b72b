"""Clocks for tests: nobody waits."""

import asyncio
import heapq
import math
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from itertools import count

import anyio
import anyio.lowlevel

from tertulia.store.sqlite.engine import IDLE_SECONDS
from tertulia.vocabulary.clock import SYSTEM_CLOCK

_QUIET_TURNS = 100
"""After so many turns of the event loop in which nobody set an earlier time, everybody waits for the time."""


class JumpingClock:
    """A clock whose time jumps to what is due next as soon as every task waits; for tests without real input or output.

    `waited` are the seconds that somebody slept, in order.
    """

    def __init__(self) -> None:
        self.waited: list[float] = []
        self._now = 0.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count()
        self._armed = False

    def now(self) -> float:
        """Return the time, which stands still between two jumps."""
        return self._now

    def time(self) -> int:
        """Return the time since the clock began, in 1970."""
        return round(self._now * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        """Wait for a jump to the end of this time."""
        self.waited.append(seconds)
        over = anyio.Event()
        self._at(seconds, over.set)
        await over.wait()

    async def tick(self, interval: float) -> None:
        """Wait as `sleep` does."""
        await self.sleep(interval)

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Cancel what runs in the context at the jump to the end of this time."""
        return self._move_on_after(seconds)

    @contextmanager
    def _move_on_after(self, seconds: float) -> Generator[anyio.CancelScope]:
        with anyio.CancelScope() as scope:
            entry = self._at(seconds, scope.cancel)
            try:
                yield scope
            finally:
                if entry in self._due:
                    self._due.remove(entry)
                    heapq.heapify(self._due)

    def _at(self, seconds: float, wake: Callable[[], object]) -> tuple[float, int, Callable[[], object]]:
        entry = (self._now + seconds, next(self._number), wake)
        if seconds < float("inf"):
            heapq.heappush(self._due, entry)
            self._arm(_QUIET_TURNS)
        return entry

    def _arm(self, turns: int) -> None:
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._turn, turns)

    def _turn(self, left: int) -> None:
        self._armed = False
        if left:
            self._arm(left - 1)
        elif self._due:
            at, _, wake = heapq.heappop(self._due)
            self._now = max(self._now, at)
            wake()
            self._arm(_QUIET_TURNS)


class SkippingClock:
    """A clock on which nobody sleeps: the time moves on at once. For tests over real connections.

    Deadlines are real, or as much shorter as the time runs faster (`factor`), unless a test skips past them. With 0 the
    time stands still but for sleeps and skips. Work that is done in rounds keeps to real time, or to `every` seconds.
    """

    def __init__(self, factor: float = 1.0, every: float | None = None) -> None:
        self._factor = factor
        self._every = every
        self._ahead = 0
        self._skipped = 0.0
        self._deadlines: dict[anyio.CancelScope, float] = {}
        self._lengths: dict[anyio.CancelScope, float] = {}

    def now(self) -> float:
        """Return the time."""
        return anyio.current_time() * self._factor + self._skipped

    def time(self) -> int:
        """Return the machine's time, as it was set: what is written does not skip."""
        return SYSTEM_CLOCK.time() + self._ahead

    async def sleep(self, seconds: float) -> None:
        """Move the time on; others have their turn first."""
        await anyio.sleep(0.001)
        self._skipped += seconds

    async def tick(self, interval: float) -> None:
        """Wait for real, without moving the time on: rounds have no end."""
        await anyio.sleep(interval if self._every is None else self._every)

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Set a deadline."""
        return self._move_on_after(seconds)

    def set_ahead(self, seconds: float) -> None:
        """Set the machine's clock by this much, or back."""
        self._ahead += round(seconds * 1_000_000)

    def skip(self, seconds: float) -> None:
        """Move the time on, past whatever deadline is due by then."""
        self._skipped += seconds
        for scope, at in self._deadlines.items():
            if at <= self.now():
                scope.cancel()

    async def skip_deadline(self, seconds: float) -> None:
        """Wait until somebody sets a deadline of so many seconds; move the time on, past it."""
        before = set(self._lengths)
        while not any(scope not in before and long == seconds for scope, long in self._lengths.items()):
            await anyio.lowlevel.checkpoint()
        self.skip(seconds)

    @contextmanager
    def _move_on_after(self, seconds: float) -> Generator[anyio.CancelScope]:
        with anyio.move_on_after(seconds / self._factor if self._factor else math.inf) as scope:
            self._deadlines[scope] = self.now() + seconds
            self._lengths[scope] = seconds
            try:
                yield scope
            finally:
                del self._deadlines[scope], self._lengths[scope]


class Idling(SkippingClock):
    """Ends the pause after which a store tidies up when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = anyio.Event()
        self.pauses = 0

    async def tick(self, interval: float) -> None:
        """Wait as long as before, or for the test."""
        if interval != IDLE_SECONDS:
            await super().tick(interval)
            return
        self.pauses += 1
        await self.idle.wait()
        self.idle = anyio.Event()
