"""The end of idle conversations, in which nothing has happened for as long as the configuration allows.

An open conversation is completed; one that its agent never answered is canceled. Conversations that are paused, that
wait for a person or that have an active run are left alone.
"""

from dataclasses import dataclass
from datetime import timedelta

from tertulia.store import runs
from tertulia.store.database import Store, Transaction
from tertulia.store.transitions import move
from tertulia.vocabulary.states import Status

AT_ONCE = 100
"""How many conversations one transaction ends: other processes wait for it."""
ROUNDS = 10
"""How often idle conversations are looked for within the time after which one is due."""
LONGEST_ROUND = 60.0
"""The most seconds between two such looks."""

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
    def interval_seconds(self) -> float:
        """The seconds between two looks for idle conversations."""
        return min(self.after.total_seconds() / ROUNDS, LONGEST_ROUND)

    async def end(self, store: Store) -> None:
        """End the conversations that are due. Several processes may do so at once: each conversation ends once."""
        while await store.read(self._any_due):
            await store.write(self._end_some)

    def _any_due(self, tx: Transaction) -> bool:
        return tx.one(f"SELECT 1 {_DUE} LIMIT 1", *self._bound(tx)) is not None

    def _end_some(self, tx: Transaction) -> None:
        due = tx.all(
            f"SELECT principal, id, status {_DUE} ORDER BY updated_at LIMIT ?", *self._bound(tx), AT_ONCE
        )
        for principal, conversation_id, status in due:
            was_open = status == Status.OPEN
            move(
                tx,
                principal,
                conversation_id,
                Status.COMPLETED if was_open else Status.CANCELED,
                reason=f"{'idle' if was_open else 'not answered'} for longer than {_duration(self.after)}",
            )

    def _bound(self, tx: Transaction) -> tuple[str, int, int]:
        limit = tx.at - self.after // timedelta(microseconds=1)
        return self.instance, limit, limit


def _duration(span: timedelta) -> str:
    seconds = span.total_seconds()
    units = (("day", 86400), ("hour", 3600), ("minute", 60))
    unit, length = next(((unit, length) for unit, length in units if seconds % length == 0), ("second", 1))
    count = seconds / length
    return f"{count:g} {unit}{'' if count == 1 else 's'}"
