"""What one principal may take of what all share: runs at a time, room in the store, messages to platforms."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from functools import partial

from tertulia.settings import EVERYBODY, PrincipalLimits
from tertulia.store import messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.errors import QuotaExceededError
from tertulia.vocabulary.models import LOCAL_PRINCIPAL

DAY = timedelta(days=1)
MEASURE_SECONDS = 60.0
"""How long what a principal has stored is taken for measured: measuring reads all of it."""


class Limits:
    """The limits of each principal, and whether they allow one thing more.

    Room is measured at times, so that a principal can exceed it by what is written in between. Runs are counted where
    they begin, in one transaction.
    """

    def __init__(
        self, store: Store, limits: Mapping[str, PrincipalLimits], embedded: Collection[str]
    ) -> None:
        self._store = store
        self._limits = limits
        self._embedded = embedded
        """The instances that are no platform elsewhere."""
        self._measured: dict[str, tuple[float, int]] = {}

    async def check_room(self, principal: str) -> None:
        """Check that a principal may store more.

        Raises:
            QuotaExceededError: they have stored as much as they may.
        """
        most = self._limits_of(principal).stored_bytes
        if most is None:
            return
        now = self._store.clock.now()
        measured_at, stored = self._measured.get(principal, (float("-inf"), 0))
        if now - measured_at > MEASURE_SECONDS:
            stored = await self._store.read(partial(messages.stored_bytes, principal=principal))
            self._measured[principal] = now, stored
        if stored >= most:
            raise QuotaExceededError(
                f"Your messages take {stored:,} bytes, and may take {most:,}.",
                hint=f"Delete conversations, and send this again after {MEASURE_SECONDS:g} seconds.",
                retry_after=MEASURE_SECONDS,
            )

    def check_run(self, tx: Transaction, principal: str, instance: str) -> None:
        """Check that a principal may begin a run on an instance.

        Raises:
            QuotaExceededError: as many are active, or were begun on platforms within a day, as may be.
        """
        limits = self._limits_of(principal)
        if limits.active_runs is not None:
            active = len(runs.unfinished(tx, principal))
            if active >= limits.active_runs:
                raise QuotaExceededError(
                    f"{active} of your messages are being answered, and no more may be at a time.",
                    hint="Send this when one of the answers is there, or cancel one.",
                )
        if limits.upstream_runs_per_day is not None and instance not in self._embedded:
            since = tx.at - DAY // timedelta(microseconds=1)
            at = runs.nth_newest(tx, principal, limits.upstream_runs_per_day, since, self._embedded)
            if at is not None:
                seconds = (at - since) / 1_000_000
                raise QuotaExceededError(
                    f"You have sent {limits.upstream_runs_per_day} messages to platforms within a day, and no more may "
                    f"be; the next one may be sent in {_spoken(seconds)}.",
                    hint="Send this then. Conversations of the instance local are not counted.",
                    retry_after=seconds,
                )

    def _limits_of(self, principal: str) -> PrincipalLimits:
        others = PrincipalLimits() if principal == LOCAL_PRINCIPAL else self._limits.get(EVERYBODY)
        return self._limits.get(principal) or others or PrincipalLimits()


def _spoken(seconds: float) -> str:
    """Return a time as a person says it, rounded up."""
    minutes = -int(-seconds // 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
