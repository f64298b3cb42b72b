"""Searches of platforms that find conversations: the filters that they lack."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tertulia import Conversation, SearchQuery, Status
from tertulia.platforms.kit import hits

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
FOUND = Conversation(
    id="somewhere:c1",
    agent="somewhere:agent",
    status=Status.OPEN,
    title="Renewal",
    created_at=NOON - timedelta(days=1),
    updated_at=NOON,
)
ANY = SearchQuery(text="renewal")


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        (ANY, True),
        (replace(ANY, agent="somewhere:agent"), True),
        (replace(ANY, agent="somewhere:other"), False),
        (replace(ANY, conversation_id="somewhere:c1"), True),
        (replace(ANY, conversation_id="somewhere:c2"), False),
        (replace(ANY, since=NOON), True),
        (replace(ANY, since=NOON + timedelta(seconds=1)), False),
        (replace(ANY, until=NOON), False),
        (replace(ANY, until=NOON + timedelta(seconds=1)), True),
    ],
)
def test_a_conversation_is_found_if_it_fits_each_filter(query: SearchQuery, fits: bool) -> None:
    """By the time at which it moved last; the end of the span is left out."""
    assert hits.fits(FOUND, query) == fits
    assert hits.is_filtered(query) == (query != ANY)


def test_a_conversation_without_a_time_moved_before_every_time() -> None:
    """Where the platform names none."""
    timeless = replace(FOUND, created_at=None, updated_at=None)
    assert not hits.fits(timeless, replace(ANY, since=NOON))
    assert hits.fits(timeless, replace(ANY, until=NOON))


def test_a_hit_is_a_conversation_s_title_at_the_time_when_it_moved_last() -> None:
    """No message was found."""
    (hit,) = hits.hits([FOUND])
    assert (hit.conversation_id, hit.snippet, hit.message_id, hit.at) == (
        "somewhere:c1",
        "Renewal",
        None,
        NOON,
    )
