"""The system's clock, and the clocks that tests put in its place."""

import anyio
import pytest

from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tests.doubles.clocks import JumpingClock, SkippingClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "clock", [SYSTEM_CLOCK, SkippingClock(1_000), JumpingClock()], ids=["system", "fast", "jumping"]
)
async def test_a_clock_goes_on_while_somebody_waits(clock: Clock) -> None:
    """And a deadline ends what takes longer."""
    before = clock.now()
    await clock.sleep(0.01)
    assert clock.now() - before >= 0.009
    with clock.move_on_after(0.01) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    with clock.move_on_after(60) as scope:
        await clock.sleep(0.01)
    assert not scope.cancelled_caught


async def test_the_jumping_clock_wakes_everybody_in_the_order_of_their_times() -> None:
    """However long they wait."""
    clock = JumpingClock()
    woken: list[tuple[float, float]] = []

    async def wait(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.now()))

    async with anyio.create_task_group() as tasks:
        for seconds in (3600.0, 1.0, 60.0):
            tasks.start_soon(wait, seconds)

    assert woken == [(1.0, 1.0), (60.0, 60.0), (3600.0, 3600.0)]
