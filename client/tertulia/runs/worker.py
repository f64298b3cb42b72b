"""The worker of a store: the one process that executes the runs which only a worker can execute.

Other processes find it by its lease, and see from the store what it does.
"""

from collections.abc import Callable, Sequence
from functools import partial

import anyio

from tertulia.runs.leases import WORKER, LeaseHolder
from tertulia.runs.runner import Runner
from tertulia.store import leases, runs
from tertulia.store.database import Store, Transaction
from tertulia.store.leases import Lease, LostLeaseError
from tertulia.vocabulary.models import LOCAL_PRINCIPAL, Run


class StoreWorker:
    """This process as the worker of a store, for the runs of some instances."""

    def __init__(self, store: Store, holder: LeaseHolder, runner: Runner, instances: Sequence[str]) -> None:
        self._store = store
        self._leases = holder
        self._runner = runner
        self._instances = instances

    async def work(self, *, idle: float | None, stale: Callable[[], bool]) -> bool:
        """Execute runs, whoever begins them; return whether this process was the worker.

        It returns at once where another process is the worker. Else it stops taking up runs once that lease is lost,
        when there was nothing to do for `idle` seconds (None: never), or when `stale` says that another worker must
        take over; and it returns when those that it has taken up are done.
        """
        async with self._leases.hold(LOCAL_PRINCIPAL, WORKER) as lease:
            if lease is None:
                return False
            await self._take_up(lease, idle, stale)
        await self._runner.wait_until_done()  # another worker may be there by now
        return True

    async def _take_up(self, lease: Lease, idle: float | None, stale: Callable[[], bool]) -> None:
        quiet_since = anyio.current_time()
        with self._store.watch() as news:
            while not stale():
                try:
                    found = await self._store.read(partial(self._active, lease=lease))
                except LostLeaseError:
                    return
                for principal, run in found:
                    self._runner.execute_run(principal, run)
                if self._runner.busy:
                    quiet_since = anyio.current_time()
                elif idle is not None and anyio.current_time() - quiet_since >= idle:
                    return
                # Nobody writes when a lease runs out: look again after the time in which that can be seen.
                with anyio.move_on_after(leases.RENEWAL if idle is None else min(leases.RENEWAL, idle)):
                    await news.changed()

    def _active(self, tx: Transaction, *, lease: Lease) -> list[tuple[str, Run]]:
        leases.check(tx, lease)
        return runs.active_in(tx, self._instances)
