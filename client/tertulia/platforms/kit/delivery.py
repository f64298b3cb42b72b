"""Delivery: a message reaches its platform once, whatever fails on the way.

The states of a delivery, and what the checkpoint holds in each:

    new        nothing: the platform's history is marked, and the mark saved, before anything is sent
    tried      `mark`: the message may have arrived, and is looked for in what the platform has after the mark
    delivered  `delivered`: the platform has it

An accepted message is never lost, and never silently sent twice.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.outages import LOOKS, PATIENCE_SECONDS, OutOfReachError, look_for
from tertulia.vocabulary.errors import TertuliaError, UncertainError

MARK = "mark"
"""Where the checkpoint has what `Sender.mark` returned."""
DELIVERED = "delivered"
"""Where the checkpoint says that the platform has the message."""
NOT_KEPT = "The message is not kept here, and the process that had it ended before it was sent."

S_co = TypeVar("S_co", covariant=True)
F_co = TypeVar("F_co", covariant=True)


class Outcome(StrEnum):
    """What came of a delivery."""

    SENT = "sent"
    """The platform took the message just now."""
    FOUND = "found"
    """The platform has it: from an earlier attempt, or from a call whose answer was lost."""
    KNOWN = "known"
    """An earlier attempt recorded that the platform has it; nothing was asked."""
    ABSENT = "absent"
    """The platform does not have it, which its history proves (`DeliveryPolicy.absence_is_proof`)."""
    ENDED = "ended"
    """The message cannot be sent any more, since its contents are not stored. The run was interrupted."""


class Sender(Protocol[S_co, F_co]):
    """How one message is sent on one platform.

    What `send` and `find` put into the attempt's checkpoint is saved when they return.
    """

    async def mark(self) -> Any:
        """Return, as JSON, where the platform's history ends before the message, and whatever identifies it there."""
        ...

    async def send(self, *, repeated: bool) -> S_co:
        """Send the message; `repeated` if an earlier attempt may have reached the platform.

        Raises:
            UncertainError: whether the platform has it is not known.
            TertuliaError: the platform does not have it; the run fails with this.
        """
        ...

    async def find(self, mark: Any) -> F_co | None:
        """Return the message as the platform has it, or None. Only what is after the mark may be taken for it."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How a platform's messages are looked for, and whether they may be sent again."""

    looks: Sequence[float] = LOOKS
    """Seconds before each look for a message that may have arrived."""
    patience: float = PATIENCE_SECONDS
    """How long a look waits for a platform that cannot be reached."""
    resends: int = 0
    """How often a message that is not found is sent again. Only where the platform takes one key once, or where its
    history shows at once whatever it has taken."""
    absence_is_proof: bool = False
    """Whether a message that is not found was not taken, and the outcome is `ABSENT`; else that is uncertain."""
    finds_without_contents: bool = False
    """Whether `find` knows the message by an id, so that its contents are not needed."""


@dataclass(frozen=True, slots=True)
class Delivery(Generic[S_co, F_co]):
    """What came of a delivery."""

    outcome: Outcome
    sent: S_co | None = None
    """What `send` returned, if the message was sent just now."""
    found: F_co | None = None
    """What `find` returned, if the message was found."""
    cause: UncertainError | None = None
    """Why the message was looked for, if that is because of how `send` failed."""


DEFAULT_POLICY = DeliveryPolicy()


async def deliver(
    attempt: Attempt, sender: Sender[S_co, F_co], policy: DeliveryPolicy = DEFAULT_POLICY
) -> Delivery[S_co, F_co]:
    """Bring the message of an attempt to its platform, unless it is there.

    Raises:
        UncertainError: the platform may have the message, and does not show it.
        TertuliaError: the platform does not take it.
    """
    if attempt.checkpoint.get(DELIVERED):
        return Delivery(Outcome.KNOWN)
    tried = looks_first = MARK in attempt.checkpoint
    if not tried:
        if not attempt.has_contents:
            return await _not_kept(attempt)
        with _unsent():
            attempt.checkpoint[MARK] = await sender.mark()
        await attempt.emit()
    cause: UncertainError | None = None
    for resends_left in range(policy.resends, -1, -1):
        if not looks_first:
            try:
                with _unsent(certain=not tried or policy.absence_is_proof):
                    sent = await sender.send(repeated=tried)
            except UncertainError as error:
                cause = error
            else:
                await _delivered(attempt)
                return Delivery(Outcome.SENT, sent=sent)
        found = await _find(attempt, sender, policy)
        if found is not None:
            await _delivered(attempt)
            return Delivery(Outcome.FOUND, found=found, cause=cause)
        if resends_left and not attempt.has_contents:
            return await _not_kept(attempt)
        tried, looks_first = True, False
    if policy.absence_is_proof and (attempt.has_contents or policy.finds_without_contents):
        return Delivery(Outcome.ABSENT, cause=cause)
    raise _uncertain(attempt, "its history does not show it (yet)") from cause


@contextmanager
def _unsent(*, certain: bool = True) -> Generator[None]:
    """Note on an error that the platform has nothing of the message, unless that is not `certain`."""
    try:
        yield
    except TertuliaError as error:
        error.unsent = certain and not isinstance(error, UncertainError)
        raise


async def _find(attempt: Attempt, sender: Sender[S_co, F_co], policy: DeliveryPolicy) -> F_co | None:
    if not attempt.has_contents and not policy.finds_without_contents:
        return None
    try:
        return await look_for(
            partial(sender.find, attempt.checkpoint[MARK]),
            clock=attempt.clock,
            looks=policy.looks,
            patience=policy.patience,
        )
    except OutOfReachError as error:
        raise _uncertain(attempt, "cannot be asked whether it has it: that is not known") from error


async def _delivered(attempt: Attempt) -> None:
    attempt.checkpoint[DELIVERED] = True
    await attempt.emit()


async def _not_kept(attempt: Attempt) -> Delivery[Any, Any]:
    await attempt.context.interrupt(NOT_KEPT)
    return Delivery(Outcome.ENDED)


def _uncertain(attempt: Attempt, found: str) -> UncertainError:
    return UncertainError(
        f"{attempt.platform} gave no answer to the message, and {found}.",
        hint="Look with list_messages in a moment; send it again if it is still missing then.",
        conversation_id=attempt.context.conversation.id,
    )
