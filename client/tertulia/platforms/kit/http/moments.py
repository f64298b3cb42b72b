"""Times as platforms write them."""

from datetime import UTC, datetime
from typing import Any


def moment(value: Any) -> datetime | None:
    """Return a time on the wire (RFC 3339; one without a zone is in UTC); None for what is none."""
    try:
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return None
