"""Readers of values in JSON that another program wrote."""

import re
from datetime import UTC, datetime
from typing import Any, cast

from tertulia.store.database import storable

_MILLISECONDS = 100_000_000_000
"""Seconds since 1970 reach this in the year 5138: a larger number counts milliseconds."""
_LONGEST_TITLE = 80
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]+")


def mapping(value: object) -> dict[str, Any]:
    """Return an object, or an empty one for any other value."""
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """Return a list, or an empty one for any other value."""
    return cast(list[Any], value) if isinstance(value, list) else []


def text(value: object) -> str | None:
    """Return a text that is not blank, or None for any other value."""
    return value if isinstance(value, str) and value.strip() else None


def parse_time(value: object) -> datetime | None:
    """Return the time that a value means: ISO 8601 (UTC without a zone), or seconds or milliseconds since 1970."""
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return datetime.fromtimestamp(value / 1000 if value > _MILLISECONDS else value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def without_empty(**values: Any) -> dict[str, Any]:
    """Return the values that are not empty."""
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


def first_line(value: object, limit: int = _LONGEST_TITLE) -> str | None:
    """Return the first line of a text that is not blank, shortened to a title, or None."""
    for line in value.splitlines() if isinstance(value, str) else ():
        words = _UNSEEN.sub(" ", storable(line)).strip()
        if words:
            return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"
    return None
