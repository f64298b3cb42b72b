"""The times and numbers that are kept: whatever is beyond them becomes the nearest that is within.

The store has integers of 64 bits, and numbers its messages by their times. Others write `9999-12-31` for "never".
"""

from datetime import UTC, datetime, timedelta

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(2200, 1, 1, tzinfo=UTC)
"""What comes right after the latest time."""
LATEST = END - timedelta(microseconds=1)
LARGEST = (1 << 53) - 1
"""What every reader of JSON keeps as it is. The store's integers have room to count on from there."""


def time_within(at: datetime, latest: datetime = LATEST) -> datetime:
    """Return a time in UTC, from `EARLIEST` to `latest`; one without a zone is taken to be in UTC."""
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max(aware, EARLIEST), latest).astimezone(UTC)


def number_within(value: int) -> int:
    """Return a number from -`LARGEST` to `LARGEST`."""
    return min(max(value, -LARGEST), LARGEST)
