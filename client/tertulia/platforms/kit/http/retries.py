"""When to try again, and after how long."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_PAUSE = 0.5
"""Seconds before the second attempt, on average."""


def pauses(first: float = FIRST_PAUSE, *, longest: float) -> Iterator[float]:
    """Yield seconds to wait: doubling from `first` up to `longest`, each by half more or less.

    Clients that were turned away together so do not come back together.
    """
    pause = first
    while True:
        yield random.uniform(pause / 2, min(pause * 1.5, longest))  # noqa: S311 - nothing depends on nobody guessing it
        pause = min(pause * 2, longest)


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a `Retry-After` header asks to wait, from either of its forms (RFC 9110, 10.2.3).

    Fractions of a second count, since Rine sends such; what cannot be read is no header.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        seconds = (at - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds < float("inf") else None
