"""How often one principal may call, so that others are served too. Each process counts for itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError

from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import QuotaExceededError
from tertulia_tools.errors import failure, sentence_of

TOO_MANY_CALLS = -32029
"""The code of the error, among those that the protocol leaves to servers."""
MINUTE = 60.0
MAX_KNOWN = 1_000
"""How many principals are remembered before those are forgotten who may call as often as ever."""


@dataclass(slots=True)
class _Bucket:
    """What is left of a principal's calls, at a time; it fills up evenly."""

    left: float
    at: float


class Calls:
    """What is left to each principal of the calls that they may make in a minute."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def __len__(self) -> int:
        """Return how many principals are remembered."""
        return len(self._buckets)

    def take(self, principal: str, limit: int) -> float:
        """Take a call from what is left to a principal; return how many whole seconds it must wait if nothing is."""
        now = self._clock.now()
        bucket = self._buckets.get(principal)
        if bucket is None:
            if len(self._buckets) >= MAX_KNOWN:
                self._forget(now)
            bucket = self._buckets[principal] = _Bucket(limit, now)
        bucket.left = min(limit, bucket.left + (now - bucket.at) * limit / MINUTE)
        bucket.at = now
        if bucket.left >= 1:
            bucket.left -= 1
            return 0.0
        return -((bucket.left - 1) * MINUTE // limit) if limit else MINUTE

    def _forget(self, now: float) -> None:
        """Forget those who have not called for a minute: they may call as often as ever."""
        self._buckets = {name: each for name, each in self._buckets.items() if now - each.at < MINUTE}


class CallLimit:
    """Refuses the calls of a principal beyond so many a minute. It is middleware of the SDK.

    A principal may make a whole minute's calls at once. `principal_of` returns who makes a call, or None if nobody is
    known; `limit_of` how many that principal may make in a minute, or None if as many as they like.
    """

    def __init__(
        self,
        principal_of: Callable[[ServerRequestContext[Any, Any]], str | None],
        limit_of: Callable[[str], int | None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._principal_of = principal_of
        self._limit_of = limit_of
        self._calls = Calls(clock)

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass a message on, or refuse it if it is a call too many."""
        principal = self._principal_of(ctx)
        limit = None if principal is None or ctx.request_id is None else self._limit_of(principal)
        wait = 0.0 if principal is None or limit is None else self._calls.take(principal, limit)
        if not wait:
            return await call_next(ctx)
        error = QuotaExceededError(
            f"You have made {limit} calls within a minute, and may make no more; the next one in {wait:.0f} seconds.",
            hint="Wait as long, and call again. One call that waits (wait_seconds) takes the place of many.",
            retry_after=wait,
        )
        if ctx.method == "tools/call":
            return failure(error)
        raise MCPError(TOO_MANY_CALLS, sentence_of(error), {"retry_after": wait})
