"""Making a copy a store of its own, beside the one that it was copied from."""

import secrets

from tertulia.store import runs
from tertulia.store.database import Transaction
from tertulia.store.transitions import end_run
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import Run
from tertulia.vocabulary.states import RunStatus

COPIED = (
    "The store was copied while this was unanswered, and the original goes on with it. Whether the message reached the "
    "platform is shown there: list_messages asks it."
)
REOPENED = (
    "The store had moved elsewhere while this was unanswered, and may have gone on with it there. Whether the message "
    "reached the platform is shown there: list_messages asks it."
)
RESTORED = (
    "The store was restored from a backup while this was unanswered. Whether the message reached the platform is shown "
    "there: list_messages asks it."
)
EMBEDDED = "local"
"""The instance whose conversations are in the store itself: nothing was sent anywhere."""


def separate(tx: Transaction, reason: str) -> int:
    """Make the store one in which nothing is being done, under an epoch of its own; return how many runs it ended.

    Cursors from before are refused. Nobody knows what becomes of the runs that have sent something to a platform: they
    are interrupted for the `reason`, one of the above, so that nothing is sent twice. Those of the embedded platform
    continue.
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
