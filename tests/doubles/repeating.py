"""An engine that runs each write twice, as one does that met another transaction or lost its connection."""

import copy
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tertulia.store.database import Transaction, engine_of
from tertulia.store.engine import EVERYTHING, EngineOptions, Exclusion
from tertulia.vocabulary.location import StoreLocation

if TYPE_CHECKING:
    from tertulia.store.notices import Notices

T = TypeVar("T")


_MADE_UP = re.compile(r"(?<=_)[0-9a-hjkmnp-tv-z]{8,}|0x[0-9a-f]+")
"""What is another one each time: the ids that we make, which may begin like addresses, and addresses in memory."""


class Repeating:
    """The engine of a location; what it writes is written, rolled back and written again."""

    def __init__(self, location: StoreLocation, options: EngineOptions) -> None:
        self._engine = engine_of(location, options)
        self.differed: list[tuple[str, str]] = []
        """The results of functions that returned another one when they were repeated."""

    @property
    def epoch(self) -> str:
        """See `Engine.epoch`."""
        return self._engine.epoch

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See `Engine.read`."""
        return await self._engine.read(work)

    async def write(self, work: Callable[[Transaction], T], exclusion: Exclusion = EVERYTHING) -> T:
        """Write twice; what an earlier attempt has done to the store is gone when the later one begins."""

        def twice(tx: Transaction) -> T:
            attempt = copy.copy(tx)
            attempt.__dict__.pop("index", None)
            tx.run("SAVEPOINT attempt")
            first = work(attempt)
            tx.run("ROLLBACK TO attempt")
            tx.run("RELEASE attempt")
            second = work(tx)
            results = (_MADE_UP.sub("*", repr(first)), _MADE_UP.sub("*", repr(second)))
            if results[0] != results[1]:
                self.differed.append(results)
            return second

        return await self._engine.write(twice, exclusion)

    def exists(self) -> bool:
        """See `Engine.exists`."""
        return self._engine.exists()

    async def opened(self) -> None:
        """See `Engine.opened`."""
        await self._engine.opened()

    async def run(self, notices: "Notices") -> None:
        """See `Engine.run`."""
        await self._engine.run(notices)

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        await self._engine.aclose()
