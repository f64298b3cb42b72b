"""Telling a platform a decision."""

from collections.abc import Sequence

import anyio
import pytest

from tertulia.platforms.kit.decisions import decide, moved_on
from tertulia.vocabulary.errors import ConflictError, MovedOnError, NotFoundError, UncertainError
from tertulia.vocabulary.models import Request, RequestKind
from tertulia.vocabulary.states import RequestStatus

pytestmark = pytest.mark.anyio

LOST = UncertainError("no answer", conversation_id="here:1")
REQUEST = Request(
    id="r_1",
    run_id="run_1",
    conversation_id="here:1",
    kind=RequestKind.CONFIRMATION,
    prompt="?",
    status=RequestStatus.PENDING,
)


async def told(pending: Sequence[bool | Exception | None], answer: Exception | None = None) -> int:
    """Tell a decision, while the platform shows this in turn; return how often it was told."""
    left, calls = list(pending), 0

    async def is_pending() -> bool | None:
        await anyio.lowlevel.checkpoint()
        shown = left.pop(0)
        if isinstance(shown, Exception):
            raise shown
        return shown

    async def tell() -> None:
        nonlocal calls
        await anyio.lowlevel.checkpoint()
        calls += 1
        if answer is not None:
            raise answer

    await decide(REQUEST, tell, platform="Somewhere", is_pending=is_pending if pending else None)
    return calls


@pytest.mark.parametrize("pending", [[True], [None], []])
async def test_a_decision_is_told_once(pending: list[bool | None]) -> None:
    """Also where the platform does not show what it waits for."""
    assert await told(pending) == 1


async def test_nothing_is_told_about_what_is_not_pending_any_more() -> None:
    """It would be taken for a decision about something else."""
    with pytest.raises(
        MovedOnError, match=r"^Somewhere does not wait for it any more in here:1: r_1"
    ) as caught:
        await told([False], AssertionError("told"))
    assert caught.value.ids == {"conversation_id": "here:1", "request_id": "r_1", "run_id": "run_1"}
    other = moved_on(REQUEST, platform="Somewhere", now="asks for another decision")
    with pytest.raises(MovedOnError, match="asks for another"):
        await told([other], AssertionError("told"))


@pytest.mark.parametrize("refusal", [NotFoundError("none"), ConflictError("settled")])
async def test_the_platform_has_the_last_word_about_what_is_pending(refusal: Exception) -> None:
    """Between looking and telling, too; where it says so itself, it is believed."""
    with pytest.raises(MovedOnError, match="does not wait for it"):
        await told([True], refusal)
    with pytest.raises(MovedOnError, match="its own words"):
        await told([True], MovedOnError("its own words"))


async def test_a_decision_whose_answer_was_lost_has_arrived_if_the_platform_moved_on() -> None:
    """Whatever it asks for by then."""
    assert await told([True, False], LOST) == 1
    assert await told([True, MovedOnError("asks for another")], LOST) == 1


async def test_a_decision_that_may_be_lost_is_uncertain() -> None:
    """It says whether the platform still waits, where that is known."""
    with pytest.raises(UncertainError, match="about r_1, and still waits for it") as caught:
        await told([True, True], LOST)
    assert (caught.value.hint, caught.value.ids) == (
        "Decide again in a moment.",
        {"conversation_id": "here:1"},
    )
    for pending in ([None, None], []):
        with pytest.raises(UncertainError, match=r"about r_1\.$") as caught:
            await told(pending, LOST)
        assert caught.value.hint is not None
        assert "if nothing goes on, decide again" in caught.value.hint
