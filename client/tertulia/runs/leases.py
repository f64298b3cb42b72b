"""The leases of this process: it takes them, renews them while they are held, and returns them."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import anyio

from tertulia.store import leases
from tertulia.store.database import Store, Transaction
from tertulia.store.leases import Lease
from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.identifiers import new_id
from tertulia.vocabulary.models import LOCAL_PRINCIPAL

logger = logging.getLogger(__name__)

T = TypeVar("T")

WORKER = "worker"
"""What the lease of a store's worker is for; it is held in the name of `LOCAL_PRINCIPAL`."""


async def has_worker(store: Store) -> bool:
    """Return whether a worker of this store is running, in whichever process."""
    return await store.read(partial(leases.held, principal=LOCAL_PRINCIPAL, resource=WORKER))


def new_owner() -> str:
    """Return a name that no other taking of a lease has."""
    return new_id("own_")


class LeaseHolder:
    """Takes, renews and returns leases for this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: set[Lease] = set()
        self._unreturned: dict[Lease, None] = {}
        """The leases whose return could not be written."""

    @asynccontextmanager
    async def hold(self, principal: str, resource: str) -> AsyncGenerator[Lease | None]:
        """Hold a lease; None while another process has it. Returning it wakes those who watch `resource`.

        A lease that cannot be returned now is returned later, or runs out: what was done under it stays done.
        """
        async with self.hold_for(principal, resource, lambda _, lease: lease) as lease:
            yield lease

    @asynccontextmanager
    async def hold_for(
        self,
        principal: str,
        resource: str,
        begin: Callable[[Transaction, Lease], T],
        *,
        needed: Callable[[Transaction], bool] | None = None,
    ) -> AsyncGenerator[T | None]:
        """Hold a lease for what begins in the transaction that takes it; yield what `begin` returns, as `hold` does.

        It is not taken where it is not `needed` any more; None is yielded then, too.
        """

        def take(tx: Transaction) -> tuple[Lease, T] | None:
            if needed is not None and not needed(tx):
                return None
            taken = leases.take(tx, principal, resource, owner)
            return None if taken is None else (taken, begin(tx, taken))

        owner = new_owner()
        taken: tuple[Lease, T] | None = None
        with anyio.CancelScope(shield=True):  # a caller cancelled now would leave a lease that nobody returns
            taken = await self._store.write(take, principal=principal)
        if taken is None:
            yield None
            return
        lease, begun = taken
        async with self.keep(lease):
            yield begun

    @asynccontextmanager
    async def keep(self, lease: Lease) -> AsyncGenerator[None]:
        """Hold a lease that a transaction of the caller's has taken, as `hold` does."""
        self._held.add(lease)
        try:
            yield
        finally:
            if lease in self._held:
                self._held.remove(lease)
                with anyio.CancelScope(shield=True):
                    await self._give_back(lease)

    def ended(self, lease: Lease) -> None:
        """Note that a lease ended with what was done under it, in the same transaction: there is nothing to return."""
        self._held.discard(lease)

    async def renew(self) -> None:
        """Renew the leases that are held, and return those that could not be returned, until this task is cancelled."""
        while True:
            await self._store.clock.tick(leases.RENEWAL)
            if self._held:
                try:
                    # A row has one owner only, who must not lose it while others write at length.
                    renew = partial(leases.renew, held=tuple(self._held))
                    await self._store.write(renew, principal=frozenset())
                except TertuliaError:
                    logger.warning("leases could not be renewed; the next attempt follows", exc_info=True)
            for lease in tuple(self._unreturned):
                await self._give_back(lease)

    async def _give_back(self, lease: Lease) -> None:
        try:
            await self._store.write(partial(_release, lease=lease), principal=lease.principal)
        except TertuliaError:
            self._unreturned[lease] = None
            logger.warning("a lease could not be returned; the next attempt follows", exc_info=True)
        else:
            self._unreturned.pop(lease, None)


def _release(tx: Transaction, *, lease: Lease) -> None:
    leases.release(tx, lease)
    tx.touched.add(lease.resource)
