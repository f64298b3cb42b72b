"""The worker of a store: the one process that executes the runs which only a worker can execute.

It is found by its lease. Other processes see from the lease that it is there, and from the store what it does.
"""

from collections.abc import Sequence
from functools import partial

import anyio

from tertulia.runs.leases import LeaseHolder
from tertulia.runs.runner import Runner
from tertulia.store import leases, runs
from tertulia.store.database import Store, Transaction
from tertulia.store.leases import Lease, LostLeaseError
from tertulia.vocabulary.models import LOCAL_PRINCIPAL, Run

RESOURCE = "worker"
"""What the worker's lease is for."""


async def has_worker(store: Store) -> bool:
    """Whether a worker of this store is running."""
    return await store.read(partial(leases.held, principal=LOCAL_PRINCIPAL, resource=RESOURCE))


async def work(
    store: Store, holder: LeaseHolder, runner: Runner, instances: Sequence[str], *, idle: float | None
) -> bool:
    """Execute the runs of these instances, whoever begins them; return whether this process was the worker.

    It returns at once where another process is the worker; else when that lease is lost, or when there was nothing to
    do for `idle` seconds (None: never).
    """
    async with holder.hold(LOCAL_PRINCIPAL, RESOURCE) as lease:
        if lease is None:
            return False
        with store.watch() as news:
            quiet_since = anyio.current_time()
            while True:
                try:
                    found = await store.read(partial(_to_execute, lease=lease, instances=instances))
                except LostLeaseError:
                    return True
                for principal, run in found:
                    runner.execute_run(principal, run)
                if runner.busy:
                    quiet_since = anyio.current_time()
                elif idle is not None and anyio.current_time() - quiet_since >= idle:
                    return True
                # A lease that ran out wakes nobody: look again after the time in which that can be seen.
                with anyio.move_on_after(leases.RENEWAL if idle is None else min(leases.RENEWAL, idle)):
                    await news.changed()


def _to_execute(tx: Transaction, *, lease: Lease, instances: Sequence[str]) -> list[tuple[str, Run]]:
    leases.check(tx, lease)
    return runs.active_in(tx, instances)
