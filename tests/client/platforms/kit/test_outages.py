"""Looking for something on a platform that may be away."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from tertulia.platforms.kit.outages import Outage, OutOfReachError, look_for, when_reached
from tertulia.vocabulary.errors import NotFoundError, UnavailableError
from tests.doubles.clocks import JumpingClock

pytestmark = pytest.mark.anyio

AWAY = UnavailableError("away", hint="Wait.", instance="here")


def looking(*seen: str | Exception | None) -> tuple[Callable[[], Awaitable[str | None]], list[object]]:
    """Return a look that sees this, in turn, and what it has still to see."""
    left: list[object] = list(seen)

    async def look() -> str | None:
        await anyio.lowlevel.checkpoint()
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        assert found is None or isinstance(found, str)
        return found

    return look, left


async def test_it_is_looked_for_after_each_pause_until_it_is_there() -> None:
    """Or until there is no pause left."""
    clock = JumpingClock()
    look, left = looking(None, "it", "it")
    assert await look_for(look, clock=clock, looks=(1, 2, 3)) == "it"
    assert (left, clock.waited) == (["it"], [1, 2])
    assert await look_for(looking(None, None)[0], clock=clock, looks=(1, 2)) is None
    assert await look_for(looking()[0], clock=clock, looks=()) is None


async def test_a_platform_that_is_away_is_waited_for() -> None:
    """Not being reached is no look."""
    look, _ = looking(AWAY, AWAY, None, AWAY, "it")
    assert await look_for(look, clock=JumpingClock(), looks=(0, 0)) == "it"


async def test_a_platform_that_stays_away_is_not_waited_for_for_ever() -> None:
    """The error is the platform's last, and says all that this one said."""
    clock = JumpingClock()
    with pytest.raises(OutOfReachError) as caught:
        await when_reached(looking(*[AWAY] * 99)[0], clock=clock, patience=60)

    assert 30 < clock.now() <= 91
    assert (caught.value.message, caught.value.hint, caught.value.ids) == (
        "away",
        "Wait.",
        {"instance": "here"},
    )


async def test_a_refusal_to_look_is_passed_on() -> None:
    """It would come again."""
    with pytest.raises(NotFoundError):
        await look_for(looking(NotFoundError("gone"))[0], clock=JumpingClock())


def test_an_outage_counts_from_its_own_beginning() -> None:
    """A success ends it; a wish counts as if it had been waited already, and is heeded within bounds."""
    clock = JumpingClock()
    outage = Outage(clock, patience=60)
    assert outage.pause_after(AWAY) <= 0.75
    assert outage.pause_after(UnavailableError("busy", retry_after=50.0)) == 50
    with pytest.raises(OutOfReachError):
        outage.pause_after(UnavailableError("busy", retry_after=61.0))
    with pytest.raises(OutOfReachError):
        outage.pause_after(UnavailableError("no platform", retryable=False))
    outage.over()
    assert outage.pause_after(AWAY) <= 0.75
    assert Outage(clock, patience=float("inf")).pause_after(UnavailableError("busy", retry_after=9e9)) == 600
