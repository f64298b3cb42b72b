"""An engine that runs each write twice, as one does that met another transaction or lost its connection."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tertulia.store.database import Transaction
from tertulia.store.engine import EVERYTHING, Engine, Exclusion

if TYPE_CHECKING:
    from tertulia.store.notices import Notices

T = TypeVar("T")


class Repeating:
    """The `engine`; what it writes is written, rolled back and written again, with the same result."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.differed: list[tuple[Callable[[Transaction], Any], object, object]] = []
        """The functions whose second result was another one, with both results."""

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
            if first != second:
                self.differed.append((work, first, second))
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
