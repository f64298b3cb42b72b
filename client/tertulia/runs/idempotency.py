"""Calls that are safe to repeat: the same key and arguments have the same effect, once.

The store records a call under its key, with the ids that it will use, before anything happens. While a process carries
the call out, it holds a lease; the same call in another process waits for it. An interrupted call is carried out again
with the same ids, so that it finds what it did before.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from tertulia.runs.leases import LeaseHolder
from tertulia.store import idempotency, leases
from tertulia.store.database import Store, Transaction
from tertulia.store.idempotency import IdempotencyRecord
from tertulia.vocabulary.errors import StoreError, TertuliaError, UnavailableError, UncertainError
from tertulia.vocabulary.identifiers import digest
from tertulia.vocabulary.text import checked_line

Effect = dict[str, Any]
"""What a call did: the ids of what it made, and whatever else its result needs."""

PATIENCE_SECONDS = 30
"""How long a call waits for the same call in another process."""
LONGEST_KEY = 200


class Idempotency:
    """Carries out repeatable calls for one process."""

    def __init__(self, store: Store, holder: LeaseHolder) -> None:
        self._store = store
        self._leases = holder

    async def once(
        self,
        principal: str,
        key: str | None,
        operation: str,
        call: Mapping[str, Any],
        ids: Effect,
        carry_out: Callable[[Effect, bool], Awaitable[Effect]],
    ) -> Effect:
        """Carry out a call, or return the effect that it had before.

        `carry_out` gets the ids to use and whether an earlier attempt may have had an effect.

        Raises:
            ConflictError: the key was used for another call.
            UnavailableError: another process still carries out the same call.
        """
        if key is None:
            return await carry_out(ids, False)
        key = checked_line("idempotency_key", key, limit=LONGEST_KEY)
        enter = partial(
            idempotency.enter,
            principal=principal,
            key=key,
            operation=operation,
            call_digest=digest(call),
            effect=ids,
        )
        resource = f"call {key}"
        clock = self._store.clock
        record = await self._store.write(enter)
        async with AsyncExitStack() as held:
            with self._store.watch(resource) as watch, clock.move_on_after(PATIENCE_SECONDS) as waiting:
                while not record.done:
                    if await held.enter_async_context(self._leases.hold(principal, resource)) is not None:
                        break
                    await held.aclose()
                    with clock.move_on_after(leases.RENEWAL):
                        await watch.changed()
                    record = await self._store.write(enter)
            if not waiting.cancelled_caught:
                return (
                    record.effect
                    if record.done
                    else await self._carry_out(principal, record, enter, carry_out)
                )
        raise UnavailableError(
            "The same call, with the same idempotency key, is still being carried out.",
            hint="Repeat it in a moment, with the same key.",
        )

    async def _carry_out(
        self,
        principal: str,
        record: IdempotencyRecord,
        enter: Callable[[Transaction], IdempotencyRecord],
        carry_out: Callable[[Effect, bool], Awaitable[Effect]],
    ) -> Effect:
        # Read again under the lease: its previous holder may have completed the call, or have been refused.
        latest = await self._store.write(enter)
        if latest.done:
            return latest.effect
        first = record.first or latest.first
        try:
            effect = await carry_out(latest.effect, not first)
        except (StoreError, UncertainError, UnavailableError):
            raise  # what was done until then may have had an effect
        except TertuliaError:
            if first:
                await self._store.write(partial(idempotency.withdraw, principal=principal, key=record.key))
            raise

        def complete(tx: Transaction) -> None:
            idempotency.complete(tx, principal, record.key, effect)

        await self._store.write(complete)
        return effect
