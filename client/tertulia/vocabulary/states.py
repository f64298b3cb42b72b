"""The states of conversations, runs and requests, and which transitions are allowed.

The conversation's table is that of Rine's documentation ("Conversations", State Machine), with which
A2A's task states coincide.
"""

from enum import StrEnum
from types import MappingProxyType


class Status(StrEnum):
    """Where a conversation stands."""

    SUBMITTED = "submitted"
    OPEN = "open"
    PAUSED = "paused"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    REJECTED = "rejected"
    CANCELED = "canceled"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        """Whether no transition leaves this state."""
        return not TRANSITIONS[self]


_ENDINGS = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED})

TRANSITIONS = MappingProxyType(
    {
        Status.SUBMITTED: frozenset({Status.OPEN, Status.REJECTED, Status.CANCELED, Status.FAILED}),
        Status.OPEN: _ENDINGS | {Status.PAUSED, Status.INPUT_REQUIRED},
        Status.PAUSED: _ENDINGS | {Status.OPEN},
        Status.INPUT_REQUIRED: _ENDINGS | {Status.OPEN},
        Status.COMPLETED: frozenset[Status](),
        Status.REJECTED: frozenset[Status](),
        Status.CANCELED: frozenset[Status](),
        Status.FAILED: frozenset[Status](),
    }
)
"""For each state, the states that may follow it."""


class RunStatus(StrEnum):
    """Where one answer stands that is being produced."""

    QUEUED = "queued"
    RUNNING = "running"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    INTERRUPTED = "interrupted"

    @property
    def active(self) -> bool:
        """Whether the run may still produce something. A conversation has at most one such run."""
        return self in ACTIVE_RUN


ACTIVE_RUN = frozenset({RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.INPUT_REQUIRED})


class RequestStatus(StrEnum):
    """What became of something a run asked a person."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    ANSWERED = "answered"
    WITHDRAWN = "withdrawn"
    """The run ended before anybody decided."""
