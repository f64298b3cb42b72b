"""What `benchmarks/replicas.py` plays: two servers on one PostgreSQL database behind nginx, all of which die."""

import sys

import anyio
import pytest

from benchmarks.replicas import Figures, play
from tertulia import RunStatus
from tests.doubles.proxy import NGINX

pytestmark = [
    pytest.mark.io,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP"),
    pytest.mark.skipif(not NGINX, reason="nginx is not installed"),
]


def check(found: Figures) -> None:
    """Check that whatever was acknowledged is there once, no journal has a gap, and every run has its answer."""
    print(found)
    assert found.lost == []
    assert found.doubled == []
    assert found.gaps == []
    assert set(found.runs) == {RunStatus.COMPLETED}
    assert found.acknowledged > 0
    assert found.troubles.total() > 0


def test_replicas_that_die_lose_nothing_and_do_nothing_twice() -> None:
    """For a few seconds, with whatever happens in them."""
    check(anyio.run(lambda: play(3.0, 2, forked=True, pause=2.0)))


@pytest.mark.long
@pytest.mark.parametrize("seed", [11, 12])
def test_replicas_that_die_for_a_minute_lose_nothing_and_do_nothing_twice(seed: int) -> None:
    """The database, its connections and the proxy with them; and replicas stand still for longer than a lease."""
    found = anyio.run(play, 60.0, seed)
    check(found)
    assert found.troubles["replica killed"] > 5
