"""A place for the tests of Knowrithm."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.doubles.knowrithm import AGENT, KEY, SECRET, KnowrithmDouble
from tests.support import place
from tests.support.place import served_place

SUPPORT = "knowrithm:support"

start = partial(place.start, agent=SUPPORT)
answered = partial(place.answered, agent=SUPPORT)


class Place(place.Place[KnowrithmDouble]):
    """The double of Knowrithm, and clients."""

    instance = "knowrithm"

    @property
    def url(self) -> str:
        """What `base_url` is."""
        return f"{self.origin}/api"

    @property
    def options(self) -> Mapping[str, Any]:
        """A key with its secret, an address, and the agent `support`."""
        return {
            "api_key": KEY,
            "api_secret": SECRET,
            "base_url": self.url,
            "agents": {"support": AGENT},
        }


@asynccontextmanager
async def placed(path: Path, double: KnowrithmDouble | None = None) -> AsyncGenerator[Place]:
    """Serve a double."""
    async with served_place(Place(path / "store.db", double or KnowrithmDouble())) as served:
        yield served
