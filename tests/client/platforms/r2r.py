"""A place for the tests of R2R."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from tests.doubles.r2r import R2RDouble
from tests.support import place
from tests.support.place import served_place

RAG = "r2r:rag"

answered = partial(place.answered, agent=RAG)


class Place(place.Place[R2RDouble]):
    """The double of R2R, and clients."""

    instance = "r2r"

    def sent(self, method: str) -> list[str]:
        """Return the paths of the requests that came with a method."""
        return [path for sent, path in self.double.requests if sent == method]


@asynccontextmanager
async def placed(path: Path, double: R2RDouble | None = None) -> AsyncGenerator[Place]:
    """Serve a double, with a store at `path`."""
    async with served_place(Place(path, double or R2RDouble())) as served:
        yield served
