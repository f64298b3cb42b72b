"""The seam between the store and a database engine: connections, transactions, errors, and changes by others.

`Store` picks the engine by where the store is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    from tertulia.store.database import Transaction
    from tertulia.store.notices import Notices
    from tertulia.vocabulary.location import PostgresUrl

T = TypeVar("T")
Row = tuple[Any, ...]

BUSY_SECONDS = 10
"""How long a transaction waits for another process's before it gives up."""
READ_SECONDS = 2.0
"""How long a read may take: others wait for it meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What every engine is told."""

    clock: Clock = SYSTEM_CLOCK
    content_free: frozenset[str] = frozenset()
    """The instances of which the store keeps no contents."""
    read_seconds: float = READ_SECONDS
    """How long a read may take."""
    listen_url: PostgresUrl | None = None
    """Where a database delivers notices, if it does not where it is reached."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What nobody else may write during a transaction that writes."""

    principals: frozenset[str] | None = None
    """Whose rows; None: anybody's."""
    conversation_id: str | None = None
    """A conversation that other principals may reach, too."""


EVERYTHING = Exclusion()
"""Nobody else writes at all."""


class Engine(Protocol):
    """A store's database, as one process uses it. It is opened at the first use and not before.

    Raises (from `read` and `write`):
        StoreError: the database is damaged, of a newer version, or cannot be opened or written.
        StoreUnavailableError: it cannot be reached, or others kept it locked for `BUSY_SECONDS`.
    """

    @property
    def epoch(self) -> str:
        """What names this store, from its creation or restoration on; empty until the first use."""
        ...

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` makes of one consistent view of the store. It must not write.

        Raises:
            StoreTimeoutError: it took longer than a read may.
        """
        ...

    async def write(self, work: Callable[[Transaction], T], exclusion: Exclusion = EVERYTHING) -> T:
        """Return what `work` returns, after its changes are committed; if it raises, nothing was changed.

        `work` may be called more than once: it changes nothing but what is rolled back with its transaction.
        Meanwhile nobody else writes what `exclusion` names; an engine may let nobody write at all.

        Raises:
            StoreUncertainError: whether the changes were committed is not known.
        """
        ...

    def exists(self) -> bool:
        """Whether there is a store already, which the first use would open and not create."""
        ...

    async def opened(self) -> None:
        """Return once the store has been used; this does not open it."""
        ...

    async def run(self, notices: Notices) -> None:
        """Wake the readers of what other processes change, and tidy up, until cancelled."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class Cursor(Protocol):
    """The result of a statement."""

    def fetchone(self) -> Row | None:
        """Return the next row."""
        ...

    def fetchall(self) -> list[Row]:
        """Return the rows that are left."""
        ...


class Statements(Protocol):
    """An open transaction, as an engine executes its statements."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Cursor:
        """Execute a statement."""
        ...

    def changes(self) -> int:
        """Return how many rows the last statement changed."""
        ...


class ReplacedError(Exception):
    """Raised when what is in the store's place is not what was opened."""


class OverdueError(Exception):
    """Raised when a read has taken longer than it may: `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Deadline:
    """The moment by which a transaction must have ended."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def passed(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() > self._at

    def check(self) -> None:
        """Raise `OverdueError` once it has passed."""
        if self.passed():
            raise OverdueError(self.seconds)
