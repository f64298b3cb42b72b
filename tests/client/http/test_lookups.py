"""Finding out whether a call that got no answer was carried out."""

from collections.abc import Awaitable, Callable, Iterator
from itertools import repeat

import anyio
import pytest

from tertulia.platforms.kit.http import lookups
from tertulia.platforms.kit.http.lookups import shows_up
from tertulia.vocabulary.errors import NotFoundError, UnavailableError

pytestmark = pytest.mark.anyio

Look = Callable[[], Awaitable[bool]]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a platform that is away again without waiting first."""

    def pauses(*, longest: float) -> Iterator[float]:
        return repeat(min(0.0, longest))

    monkeypatch.setattr(lookups, "pauses", pauses)


def looking(*seen: bool | Exception) -> tuple[Look, list[bool | Exception]]:
    """Return a look that sees this, in turn, and what it has still to see."""
    left = list(seen)

    async def look() -> bool:
        await anyio.lowlevel.checkpoint()
        next_one = left.pop(0)
        if isinstance(next_one, Exception):
            raise next_one
        return next_one

    return look, left


async def test_it_is_looked_for_after_each_pause_until_it_is_there() -> None:
    """Or until there is no pause left."""
    look, left = looking(False, True, True)
    assert await shows_up(look, after=(0, 0, 0), patience=9)
    assert left == [True]
    assert not await shows_up(looking(False, False)[0], after=(0, 0), patience=9)
    assert not await shows_up(looking()[0], after=(), patience=9)


async def test_a_platform_that_is_away_is_waited_for() -> None:
    """Not being reached is no look."""
    away = UnavailableError("away")
    assert await shows_up(looking(away, away, False, away, True)[0], after=(0, 0), patience=9)


async def test_a_platform_that_stays_away_is_not_waited_for_for_ever() -> None:
    """The caller says what that means."""

    async def look() -> bool:
        await anyio.lowlevel.checkpoint()
        raise UnavailableError("away")

    with pytest.raises(TimeoutError):
        await shows_up(look, after=(0, 0), patience=0.01)


async def test_a_refusal_to_look_is_passed_on() -> None:
    """It would come again."""
    with pytest.raises(NotFoundError):
        await shows_up(looking(NotFoundError("gone"))[0], after=(0, 0), patience=9)
