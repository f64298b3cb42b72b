"""Waiting for a platform that cannot be reached, and looking for something a bounded number of times."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from tertulia.platforms.kit.http.retries import pauses
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import TertuliaError, UnavailableError

LOOKS: Sequence[float] = (0.5, 1.5, 4.0)
"""Seconds before each look for something that the platform may show a little later than it has it."""
LONGEST_PAUSE = 30.0
"""The most seconds between two attempts to reach a platform."""
LONGEST_WISH = 600.0
"""The most seconds that a platform may ask to be left alone."""
PATIENCE_SECONDS = 600.0
"""How long a platform is waited for: what it works on goes on there all the same."""

T = TypeVar("T")


class OutOfReachError(UnavailableError):
    """Raised when a platform could not be reached for longer than the caller waits, or cannot be used at all."""


class Outage:
    """How long a platform has been out of reach. `pause_after` says when to try again, until the patience is over."""

    def __init__(self, clock: Clock, patience: float = PATIENCE_SECONDS) -> None:
        self._clock = clock
        self._patience = patience
        self._since: float | None = None
        self._waits: Iterator[float] = pauses(longest=LONGEST_PAUSE)

    def over(self) -> None:
        """Note that the platform was reached."""
        if self._since is not None:
            self._since = None
            self._waits = pauses(longest=LONGEST_PAUSE)

    def pause_after(self, error: TertuliaError, *, even_final: bool = False) -> float:
        """Return the seconds to wait after a failure, at least as many as the platform asks for.

        `even_final` has the platform waited for even if the error is not retryable.

        Raises:
            OutOfReachError: the error is not retryable, or the platform has been out of reach for too long.
        """
        now = self._clock.now()
        self._since = now if self._since is None else self._since
        wish = float(error.ids.get("retry_after", 0))
        if not (error.retryable or even_final) or now + wish - self._since > self._patience:
            raise OutOfReachError(
                error.message, hint=error.hint, retryable=error.retryable, **error.ids
            ) from error
        return max(min(wish, LONGEST_WISH), next(self._waits))


async def look_for(
    look: Callable[[], Awaitable[T | None]],
    *,
    clock: Clock,
    looks: Sequence[float] = LOOKS,
    patience: float = PATIENCE_SECONDS,
) -> T | None:
    """Return what `look` finds, or None: it looks after each of these pauses, and waits while the platform is away.

    Raises:
        OutOfReachError: the platform could not be reached for `patience` seconds.
        TertuliaError: whatever else `look` raises.
    """
    for pause in looks:
        await clock.sleep(pause)
        found = await when_reached(look, clock=clock, patience=patience)
        if found is not None:
            return found
    return None


async def when_reached(call: Callable[[], Awaitable[T]], *, clock: Clock, patience: float) -> T:
    """Make a call that changes nothing, again and again until the platform answers it.

    Raises:
        OutOfReachError: the platform could not be reached for `patience` seconds.
    """
    outage = Outage(clock, patience)
    while True:
        try:
            return await call()
        except UnavailableError as error:
            await clock.sleep(outage.pause_after(error))
