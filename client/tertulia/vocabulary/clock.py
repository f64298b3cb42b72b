"""The clock: code that waits or measures time is given one, so that a test can give another."""

import time
from contextlib import AbstractContextManager
from typing import Protocol

import anyio


class Clock(Protocol):
    """Returns the time and waits."""

    def now(self) -> float:
        """Return the seconds of a clock that never goes back; only differences mean something."""
        ...

    def time(self) -> int:
        """Return the microseconds since 1970, UTC, as the machine's clock tells them; somebody may set it back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def tick(self, interval: float) -> None:
        """Wait for the next round of work that is done in rounds: a look at a file, the renewal of a lease."""
        ...

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Cancel what runs in the context once it has taken this long; the scope's `cancelled_caught` says so."""
        ...


class SystemClock:
    """The clock of the event loop."""

    def now(self) -> float:
        """Return the machine's monotonic time, which is the event loop's."""
        return time.monotonic()

    def time(self) -> int:
        """Return the machine's time."""
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        """Wait in the event loop."""
        await anyio.sleep(seconds)

    async def tick(self, interval: float) -> None:
        """Wait in the event loop."""
        await anyio.sleep(interval)

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Set a deadline in the event loop."""
        return anyio.move_on_after(seconds)


SYSTEM_CLOCK: Clock = SystemClock()
"""The clock of every object that is given no other."""
