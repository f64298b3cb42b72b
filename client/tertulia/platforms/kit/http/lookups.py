"""Finding out whether a call that got no answer was carried out, from what the platform shows afterwards."""

from collections.abc import Awaitable, Callable, Sequence

import anyio

from tertulia.platforms.kit.http.retries import pauses
from tertulia.vocabulary.errors import UnavailableError

LONGEST_PAUSE = 30.0
"""Seconds between two looks while a platform cannot be reached."""


async def shows_up(look: Callable[[], Awaitable[bool]], *, after: Sequence[float], patience: float) -> bool:
    """Whether `look` finds it: `after` each of these pauses, in seconds, and as soon as the platform can be reached.

    Raises:
        TimeoutError: the platform could not be reached for `patience` seconds.
        TertuliaError: whatever else `look` raises.
    """
    for pause in after:
        await anyio.sleep(pause)
        if await _reached(look, patience):
            return True
    return False


async def _reached(look: Callable[[], Awaitable[bool]], patience: float) -> bool:
    waits = pauses(longest=LONGEST_PAUSE)
    with anyio.fail_after(patience):
        while True:
            try:
                return await look()
            except UnavailableError:
                await anyio.sleep(next(waits))
