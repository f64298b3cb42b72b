"""What an event of R2R's stream means."""

import pytest

from tertulia.platforms.r2r.mapping import EventMapper
from tertulia.vocabulary.events import Event, EventKind


@pytest.mark.parametrize("data", ["[" * 100_000, "{", "[]", '{"delta": {"content": [{"type": "text"}]}}'])
def test_an_event_that_cannot_be_read_is_kept_raw(data: str) -> None:
    """One that nests deeper than Python reads, too."""
    assert EventMapper("m").events("message", data) == [
        Event(EventKind.RAW, {"name": "message", "payload": data})
    ]
