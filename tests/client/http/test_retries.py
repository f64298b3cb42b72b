"""How long to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.platforms.kit.http.retries import pauses, retry_after


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("7", 7), ("0.25", 0.25), (" 3 ", 3), ("-5", 0)])
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    """Whole or not; a time in the past means now."""
    assert retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    """The other form of RFC 9110."""
    later = datetime.now(UTC) + timedelta(seconds=90)

    assert retry_after(format_datetime(later, usegmt=True)) == pytest.approx(90, abs=5)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 -0000") == 0


@given(st.none() | st.sampled_from(["", "soon", "nan", "inf", "1e999", "21 Oct"]) | st.text())
def test_what_cannot_be_read_is_no_header(value: str | None) -> None:
    """A server's header never breaks a call."""
    found = retry_after(value)

    assert found is None or 0 <= found < float("inf")


def test_pauses_double_up_to_the_longest_and_are_never_quite_the_same() -> None:
    """Each lies within half of its mark."""
    found = list(islice(pauses(1, longest=10), 8))

    for pause, mark in zip(found, [1, 2, 4, 8, 10, 10, 10, 10], strict=True):
        assert mark / 2 <= pause <= min(1.5 * mark, 10)
    assert len(set(found)) == len(found)
