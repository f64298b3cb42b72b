"""What platforms save of their runs: waiting for it, in whichever process it is saved, and finding it again."""

from typing import Any

from tertulia.store import runs
from tertulia.store.database import Store, Transaction
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


def newest(tx: Transaction, principal: str, instance: str, name: str) -> dict[str, str]:
    """Return the newest text under `name` in the checkpoints of each conversation's runs, by the conversation's id."""
    rows = tx.all(
        "SELECT conversation_id, checkpoint ->> ?1 FROM runs WHERE principal = ?2"
        " AND conversation_id > ?3 AND conversation_id < ?4 AND checkpoint ->> ?1 IS NOT NULL ORDER BY first_seq",
        name,
        principal,
        f"{instance}:",
        f"{instance};",  # the character after the colon
    )
    return {own_id: str(value) for own_id, value in rows}
