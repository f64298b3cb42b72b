"""What `benchmarks/people.py` plays: two people at once, with tokens, through nginx, on two server processes.

The two share a file, or a database.
"""

from functools import partial

import anyio
import pytest

from benchmarks.people import play
from tests.doubles.proxy import NGINX

pytestmark = [
    pytest.mark.io,
    pytest.mark.long,
    pytest.mark.counterpart(name="nginx", apart=True),
    pytest.mark.skipif(not NGINX, reason="nginx is not installed"),
]


@pytest.mark.parametrize("postgres", [False, True])
def test_two_people_are_alone_each_on_two_servers_behind_the_shipped_proxy(*, postgres: bool) -> None:
    """Nothing of one shows to the other, and no tool takes longer to refuse what is another's."""
    assert anyio.run(partial(play, 20.0, 60, 1 + postgres, postgres=postgres)) == []
