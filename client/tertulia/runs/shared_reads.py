"""Reads that many tasks ask for at the same moment, made in one transaction."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel

from tertulia.store.database import Store, Transaction
from tertulia.store.leases import LostLeaseError
from tertulia.vocabulary.errors import TertuliaError

T = TypeVar("T")

MOST_AT_ONCE = 50
"""How many reads are made in one transaction: it must end in time."""


class _Read(Generic[T]):
    """A read that somebody waits for."""

    def __init__(self, work: Callable[[Transaction], T]) -> None:
        self.work = work
        self.done = anyio.Event()
        self._outcome: tuple[T] | Exception | None = None

    def end(self, outcome: tuple[T] | Exception) -> None:
        self._outcome = outcome
        self.done.set()

    def result(self) -> T:
        assert self._outcome is not None
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome[0]


class SharedReads:
    """Makes reads in one transaction that are asked for at the same moment: one commit wakes many who follow."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: list[_Read[Any]] = []

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` makes of the store (see `Store.read`)."""
        await anyio.lowlevel.checkpoint()
        read = _Read(work)
        self._asked.append(read)
        if len(self._asked) == 1:
            with anyio.CancelScope(shield=True):  # others wait for it, too
                await self._make()
        await read.done.wait()
        return read.result()

    async def _make(self) -> None:
        await anyio.lowlevel.checkpoint()  # whoever was woken with the first asks by now
        asked, self._asked = self._asked, []
        for start in range(0, len(asked), MOST_AT_ONCE):
            await self._make_together(asked[start : start + MOST_AT_ONCE])

    async def _make_together(self, reads: Sequence[_Read[Any]]) -> None:
        try:
            outcomes = await self._store.read(partial(_all, reads=reads))
        except Exception as error:  # noqa: BLE001 - whoever asked raises it, and nobody else
            if isinstance(error, TertuliaError) or len(reads) == 1:
                outcomes = [error] * len(reads)
            else:
                for read in reads:
                    await self._make_together([read])
                return
        for read, outcome in zip(reads, outcomes, strict=True):
            read.end(outcome)


def _all(tx: Transaction, *, reads: Sequence[_Read[Any]]) -> list[tuple[Any] | Exception]:
    outcomes: list[tuple[Any] | Exception] = []
    for read in reads:
        try:
            outcomes.append((read.work(tx),))
        except (TertuliaError, LostLeaseError) as error:  # of what it looked for
            outcomes.append(error)
    return outcomes
