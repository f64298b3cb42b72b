"""Calls that are safe to repeat: the same key and arguments have the same effect, once.

The store records a call under its key, with the ids that it will use, before anything happens. While a process carries
the call out, it holds a lease; the same call in another process waits for it. An interrupted call is carried out again
with the same ids, so that it finds what it did before. A process that stood still for longer than its lease may find
that another has carried the call out meanwhile, and further calls upon it: what became of it is theirs to say.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from tertulia.runs.leases import LeaseHolder
from tertulia.store import idempotency, leases
from tertulia.store.database import Store, Transaction
from tertulia.store.idempotency import IdempotencyRecord
from tertulia.store.leases import Lease, LostLeaseError
from tertulia.vocabulary.errors import StoreError, TertuliaError, UnavailableError, UncertainError
from tertulia.vocabulary.identifiers import digest
from tertulia.vocabulary.text import checked_line

Effect = dict[str, Any]
"""What a call did: the ids of what it made, and whatever else its result needs."""

PATIENCE_SECONDS = 30
"""How long a call waits for the same call in another process."""
LONGEST_KEY = 200


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is safe to repeat: it has its effect once."""

    operation: str
    arguments: Mapping[str, Any]
    """What identifies the call, beside the operation, when it is repeated."""
    ids: Effect
    """The ids that its first attempt uses."""
    key: str | None = None
    """The idempotency key; None where each call has an effect of its own."""


CarryOut = Callable[[Effect, bool], Awaitable[Effect]]
"""Carries a call out: it gets the ids to use, and whether an earlier attempt may have had an effect."""


class Idempotency:
    """Carries out repeatable calls for one process."""

    def __init__(self, store: Store, holder: LeaseHolder) -> None:
        self._store = store
        self._leases = holder

    async def once(self, principal: str, call: Call, carry_out: CarryOut) -> Effect:
        """Carry out a call, or return the effect that it had before.

        Raises:
            ConflictError: the key was used for another call.
            UnavailableError: another process still carries out the same call.
        """
        if call.key is None:
            return await carry_out(call.ids, False)
        key = checked_line("idempotency_key", call.key, limit=LONGEST_KEY)
        enter = partial(
            idempotency.enter,
            principal=principal,
            key=key,
            operation=call.operation,
            call_digest=digest(call.arguments),
            effect=call.ids,
        )
        while True:
            async with AsyncExitStack() as held:
                lease, record = await self._enter(principal, f"call {key}", enter, held)
                if lease is None or record.done:
                    return record.effect
                with suppress(LostLeaseError):  # another process carries it out, or has done so
                    return await self._carry_out(lease, record, carry_out)

    async def _enter(
        self,
        principal: str,
        resource: str,
        enter: Callable[[Transaction], IdempotencyRecord],
        held: AsyncExitStack,
    ) -> tuple[Lease | None, IdempotencyRecord]:
        """Return the record of a call, with the lease under which to carry it out; without one if it is done.

        Raises:
            UnavailableError: another process still carries it out.
        """
        clock = self._store.clock
        with self._store.watch(resource) as watch, clock.move_on_after(PATIENCE_SECONDS):
            while True:
                # Read under the lease: its previous holder may have completed the call, or have been refused.
                hold = self._leases.hold_for(principal, resource, lambda tx, lease: (lease, enter(tx)))
                entered = await held.enter_async_context(hold)
                if entered is not None:
                    return entered
                await held.aclose()
                record = await self._store.write(enter, principal=principal)
                if record.done:
                    return None, record
                with clock.move_on_after(leases.RENEWAL):
                    await watch.changed()
        raise UnavailableError(
            "The same call, with the same idempotency key, is still being carried out.",
            hint="Repeat it in a moment, with the same key.",
        )

    async def _carry_out(self, lease: Lease, record: IdempotencyRecord, carry_out: CarryOut) -> Effect:
        """Carry out a call, and record what became of it.

        Raises:
            LostLeaseError: another process has taken it over.
        """
        principal = lease.principal
        try:
            effect = await carry_out(record.effect, not record.first)
        except (StoreError, UncertainError, UnavailableError):
            raise  # what was done until then may have had an effect
        except TertuliaError:
            if record.first:
                await self._end(lease, partial(idempotency.withdraw, principal=principal, key=record.key))
            raise
        complete = partial(idempotency.complete, principal=principal, key=record.key, effect=effect)
        await self._end(lease, complete)
        return effect

    async def _end(self, lease: Lease, record: Callable[[Transaction], None]) -> None:
        """Record what became of a call, and return its lease, at once."""

        def end(tx: Transaction) -> None:
            if not leases.release(tx, lease):
                raise LostLeaseError(lease.resource)
            record(tx)
            tx.touched.add(lease.resource)

        await self._store.write(end, principal=lease.principal)
        self._leases.ended(lease)
