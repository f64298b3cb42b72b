"""What has come of a run by now, read in one transaction."""

from collections.abc import Sequence
from contextlib import suppress

from tertulia.store import conversations, journal, messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.errors import NotFoundError
from tertulia.vocabulary.models import Request, Run, RunResult
from tertulia.vocabulary.states import RequestStatus


def result(tx: Transaction, principal: str, *, run: Run, store: Store) -> RunResult:
    """Return the run's current state and reply, without marking it as delivered."""
    run, answer = conversations.run_now(tx, principal, run), None
    cursor = journal.newest(tx, principal, run.conversation_id, store.epoch)
    if run.reply_id is not None:
        with suppress(NotFoundError):  # it was removed with its branch; the journal still has its text
            answer = messages.get(tx, principal, run.conversation_id, run.reply_id)
    reply = None if answer is None else answer.text
    if reply is None:
        reply = journal.reply_text(journal.read_all(tx, principal, run))
    return RunResult(
        run=run,
        reply=reply,
        data=None if answer is None else answer.data,
        pending=_pending(tx, run),
        seq=cursor.seq,
        cursor=str(cursor),
    )


def _pending(tx: Transaction, run: Run) -> Sequence[Request]:
    if not run.status.active:  # what was pending is withdrawn at the end
        return []
    return [request for request in runs.requests_of(tx, run.id) if request.status is RequestStatus.PENDING]


def take_result(
    tx: Transaction, principal: str, *, run: Run, store: Store, answered: bool = False
) -> RunResult:
    """Return the run's current state and reply, marked as delivered: the identical call is a new one from then on.

    `answered`: the caller did not begin the run, but answered it with a message.
    """
    found = result(tx, principal, run=run, store=store)
    runs.mark_delivered(tx, found.run, to_answerer=answered)
    return found
