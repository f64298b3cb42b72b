"""Ending conversations in which nothing has happened for as long as the configuration allows.

An open one is completed; one that its agent never answered is canceled. Those that are paused, that wait for a person,
or in which an answer is being produced, are left alone.
"""

from dataclasses import dataclass
from datetime import timedelta

from tertulia.store import runs
from tertulia.store.database import Store, Transaction
from tertulia.store.transitions import move
from tertulia.vocabulary.states import Status

AT_ONCE = 100
"""How many conversations one transaction ends: others want to write too."""
ROUNDS = 10
"""How often a conversation's end is looked for within the time after which it is due;"""
LONGEST_ROUND = 60.0
"""and after how many seconds at the latest."""

_DUE = f"""
    FROM conversations AS c WHERE instance = ? AND updated_at < ? AND status IN ('submitted', 'open')
    AND NOT EXISTS (
        SELECT 1 FROM runs WHERE principal = c.principal AND conversation_id = c.id
        AND (status IN ({runs.ACTIVE}) OR ended_at >= ?)
    )
"""


@dataclass(frozen=True, slots=True)
class IdleEnding:
    """Ends the conversations of one instance in which nothing was said or changed for longer than `after`."""

    instance: str
    after: timedelta

    @property
    def every_seconds(self) -> float:
        """How often to look."""
        return min(self.after.total_seconds() / ROUNDS, LONGEST_ROUND)

    async def end(self, store: Store) -> None:
        """End what is due. Several processes may do so at once: each conversation ends once."""
        while await store.read(self._any_due):
            await store.write(self._end_some)

    def _any_due(self, tx: Transaction) -> bool:
        return tx.one(f"SELECT 1 {_DUE} LIMIT 1", *self._bound(tx)) is not None

    def _end_some(self, tx: Transaction) -> None:
        due = tx.all(
            f"SELECT principal, id, status {_DUE} ORDER BY updated_at LIMIT ?", *self._bound(tx), AT_ONCE
        )
        for principal, own_id, status in due:
            opened = status == Status.OPEN
            move(
                tx,
                principal,
                own_id,
                Status.COMPLETED if opened else Status.CANCELED,
                reason=f"{'idle' if opened else 'not answered'} for longer than {_told(self.after)}",
            )

    def _bound(self, tx: Transaction) -> tuple[str, int, int]:
        limit = tx.at - self.after // timedelta(microseconds=1)
        return self.instance, limit, limit


def _told(span: timedelta) -> str:
    seconds = span.total_seconds()
    units = (("day", 86400), ("hour", 3600), ("minute", 60))
    unit, length = next(((unit, length) for unit, length in units if seconds % length == 0), ("second", 1))
    count = seconds / length
    return f"{count:g} {unit}{'' if count == 1 else 's'}"
