"""Orphans: active runs that no process executes, since theirs died, was stopped, or has more to do than it may.

Whoever follows a run continues it (`Runner.followed`). A process that stays finds the others, whosesoever they are.
"""

import logging
from collections.abc import Sequence

from tertulia.runs.runner import Runner
from tertulia.store import runs
from tertulia.store.database import Store
from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.models import Run
from tertulia.vocabulary.states import RunStatus

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
"""Seconds between two looks. A run is an orphan if two looks in a row find it without a lease: between the admission of
a run and its lease, or between two attempts, it has none either."""


async def continue_orphans(store: Store, runner: Runner, instances: Sequence[str]) -> None:
    """Continue the orphans of some instances, as far as this process has places for runs, until cancelled.

    Several processes may do so: the lease of a conversation decides which of them executes its run.
    """
    while not store.exists():
        await store.clock.tick(LOOK_SECONDS)
    seen: set[str] = set()
    reachable = True
    while True:
        try:
            found = await store.read(runs.left) if runner.places else []
        except TertuliaError:
            if reachable:
                logger.warning("runs that nobody executes cannot be looked for now", exc_info=True)
            reachable = False
        else:
            reachable = True
            idle = [(principal, run) for principal, run in found if _can_go_on(run, instances)]
            for principal, run in idle:
                if run.id in seen and runner.places and runner.execute_run(principal, run):
                    logger.info("run %s is continued here: no process executed it", run.id)
            seen = {run.id for _, run in idle}
        await store.clock.tick(LOOK_SECONDS)


def _can_go_on(run: Run, instances: Sequence[str]) -> bool:
    """Whether a run of one of these instances waits for nobody's decision."""
    return run.status is not RunStatus.INPUT_REQUIRED and run.conversation_id.partition(":")[0] in instances
