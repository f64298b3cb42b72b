"""The leases of this process: it takes them, renews them while they are held, and returns them."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio

from tertulia.store import leases
from tertulia.store.database import Store, Transaction
from tertulia.store.leases import Lease
from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.identifiers import new_id
from tertulia.vocabulary.models import LOCAL_PRINCIPAL

logger = logging.getLogger(__name__)

WORKER = "worker"
"""What the lease of a store's worker is for; it is held in the name of `LOCAL_PRINCIPAL`."""


async def has_worker(store: Store) -> bool:
    """Return whether a worker of this store is running, in whichever process."""
    return await store.read(partial(leases.held, principal=LOCAL_PRINCIPAL, resource=WORKER))


class LeaseHolder:
    """Takes, renews and returns leases for this process."""

    def __init__(self, store: Store) -> None:
        self.owner = new_id("own_")
        self._store = store
        self._held = 0

    @asynccontextmanager
    async def hold(self, principal: str, resource: str) -> AsyncGenerator[Lease | None]:
        """Hold a lease; None while another process has it. Returning it wakes those who watch `resource`."""
        self._held += 1
        lease: Lease | None = None
        try:
            with anyio.CancelScope(
                shield=True
            ):  # a caller cancelled now would leave a lease that nobody returns
                lease = await self._store.write(
                    partial(leases.take, principal=principal, resource=resource, owner=self.owner)
                )
            try:
                yield lease
            finally:
                if lease is not None:
                    with anyio.CancelScope(shield=True):
                        await self._store.write(partial(_release, lease=lease))
        finally:
            self._held -= 1

    async def renew(self) -> None:
        """Renew the leases that are held, until this task is cancelled."""
        while True:
            await self._store.clock.tick(leases.RENEWAL)
            if self._held:
                try:
                    await self._store.write(partial(leases.renew, owner=self.owner))
                except TertuliaError:
                    logger.warning("leases could not be renewed; the next attempt follows", exc_info=True)


def _release(tx: Transaction, *, lease: Lease) -> None:
    leases.release(tx, lease)
    tx.touched.add(lease.resource)
