"""Waiting for what a run's platform saves of it, in whichever process that happens."""

from typing import Any

from tertulia.store import runs
from tertulia.store.database import Store
from tertulia.vocabulary.models import Run


async def saved(store: Store, run: Run, name: str, *, within: float) -> dict[str, Any]:
    """Return a run's checkpoint once it has `name`, or as it is after `within` seconds.

    One that is empty is returned at once: nothing is on its way to the platform.
    """

    async def read() -> dict[str, Any]:
        return await store.read(lambda tx: runs.checkpoint(tx, run.id))

    with store.watch(run.conversation_id) as watch:
        checkpoint = await read()
        with store.clock.move_on_after(within):
            while checkpoint and not checkpoint.get(name):
                await watch.changed()
                checkpoint = await read()
    return checkpoint
