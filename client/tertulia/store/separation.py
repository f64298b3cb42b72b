"""Making a copy a store of its own, beside the one that it was copied from."""

import secrets

from tertulia.store import runs
from tertulia.store.database import Transaction
from tertulia.store.transitions import end_run
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import Run
from tertulia.vocabulary.states import RunStatus

EMBEDDED = "local"
"""The instance whose conversations are in the store itself: nothing was sent anywhere."""


def separate(tx: Transaction, reason: str) -> int:
    """Make the store one in which nothing is being done, under an epoch of its own; return how many runs it ended.

    Cursors from before are refused. Nobody knows what becomes of the runs that have sent something to a platform: they
    are interrupted for that `reason`, so that nothing is sent twice. Those of the embedded platform continue.
    """
    tx.run("DELETE FROM leases")
    tx.run("UPDATE meta SET value = ? WHERE name = 'epoch'", secrets.token_hex(8))
    remote = [(principal, run) for principal, run in runs.all_active(tx) if not _is_embedded(run)]
    for principal, run in remote:
        event = Event(EventKind.RUN_INTERRUPTED, {"message": reason})
        end_run(tx, principal, run, RunStatus.INTERRUPTED, event, error=reason)
    return len(remote)


def _is_embedded(run: Run) -> bool:
    return run.conversation_id.startswith(f"{EMBEDDED}:")
