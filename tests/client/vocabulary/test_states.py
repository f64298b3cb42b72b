"""The states of a conversation, against the table of the documentation, written down a second time."""

from itertools import product
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import TRANSITIONS, RunStatus, Status

DOCUMENTED = {
    "submitted": "open rejected canceled failed",
    "open": "paused input_required completed failed canceled",
    "paused": "open completed failed canceled",
    "input_required": "open completed failed canceled",
    "completed": "",
    "rejected": "",
    "canceled": "",
    "failed": "",
}


@pytest.mark.parametrize(("before", "after"), [*product(DOCUMENTED, repeat=2)])
def test_a_transition_is_allowed_exactly_where_the_documentation_allows_it(before: str, after: str) -> None:
    """All 64 pairs, among them that no state follows itself."""
    allowed = after in DOCUMENTED[before].split()

    assert (Status(after) in TRANSITIONS[Status(before)]) is allowed


@given(st.lists(st.sampled_from(Status)))
def test_any_sequence_of_attempts_ends_where_the_documentation_says(attempts: list[Status]) -> None:
    """Refused attempts change nothing, so a sequence leads to one place only."""
    ours, documented = Status.SUBMITTED, "submitted"
    for attempt in attempts:
        if attempt in TRANSITIONS[ours]:
            ours = attempt
        if attempt.value in DOCUMENTED[documented].split():
            documented = attempt.value

    assert ours.value == documented


def test_the_states_that_nothing_follows_are_the_terminal_ones() -> None:
    """They are named by what they are, not listed a second time."""
    assert {status for status in Status if status.terminal} == {
        *(Status.COMPLETED, Status.REJECTED, Status.CANCELED, Status.FAILED)
    }


def test_a_run_is_active_while_it_may_still_produce_something() -> None:
    """An active run is what a conversation has at most one of."""
    active = {status for status in RunStatus if status.active}

    assert active == {RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.INPUT_REQUIRED}


def test_the_table_cannot_be_changed() -> None:
    """Everybody shares the one table."""
    with pytest.raises(TypeError):
        cast(Any, TRANSITIONS)[Status.COMPLETED] = frozenset({Status.OPEN})
