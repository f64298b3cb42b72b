"""Waiting for what a run's platform saves of it, in whichever process that happens."""

from typing import Any

import anyio

from tertulia.store import runs
from tertulia.store.database import Store
from tertulia.vocabulary.models import Run


async def saved(store: Store, run: Run, name: str, *, within: float) -> dict[str, Any]:
    """Return a run's checkpoint once it has `name`, or as it is after `within` seconds.

    One that is empty is returned at once: nothing is on its way to the platform.
    """
    checkpoint: dict[str, Any] = {}
    with anyio.move_on_after(within), store.watch(run.conversation_id) as watch:
        while True:
            checkpoint = await store.read(lambda tx: runs.checkpoint(tx, run.id))
            if not checkpoint or checkpoint.get(name):
                break
            await watch.changed()
    return checkpoint
