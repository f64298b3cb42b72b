"""One tree of errors. Each says what happened, carries the ids as attributes, and knows what to do next.

`str(error)` is one sentence, or two, that says what happened. `hint` is the next step. `retryable` says whether the
same call may succeed later unchanged.
"""

from collections.abc import Sequence
from typing import Any


class TertuliaError(Exception):
    """Raised as one of its subclasses; catch it to catch all of them."""

    code = "error"
    retryable = False
    unsent = False
    """Whether the platform has nothing of the message that the error is about."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        valid: Sequence[str] = (),
        retryable: bool | None = None,
        **ids: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.valid = tuple(valid)
        """The values that would have been accepted, as far as they can be listed."""
        if retryable is not None:
            self.retryable = retryable
        self.ids: dict[str, Any] = {name: value for name, value in ids.items() if value is not None}
        """Identifiers the error is about: `conversation_id`, `run_id`, `request_id`, `instance`, …"""


class InvalidInputError(TertuliaError):
    """Raised when an argument cannot be used; nothing was done."""

    code = "invalid_input"


class NotFoundError(TertuliaError):
    """Raised when an agent, instance, conversation, message, run or request does not exist for this principal."""

    code = "not_found"


class ConflictError(TertuliaError):
    """Raised when the call does not fit the present state; it shows that state."""

    code = "conflict"


class MovedOnError(ConflictError):
    """Raised when a platform no longer waits for the decision that a person has made, or no longer answers."""


class NotOffered(TertuliaError):
    """Raised when the platform has no such feature; names what does, and what to do instead."""

    code = "not_offered"


class NotConfiguredError(TertuliaError):
    """Raised when an instance lacks something in its configuration; names the one thing to set."""

    code = "not_configured"


class NotAllowedError(TertuliaError):
    """Raised when the caller may not do this."""

    code = "not_allowed"


class LimitExceededError(TertuliaError):
    """Raised when a platform sends more than the instance takes of it; names the option that sets how much that is."""

    code = "limit_exceeded"


class QuotaExceededError(TertuliaError):
    """Raised when a principal takes more than they may; says when there is room again, where that is known.

    `ids["retry_after"]` has the seconds until then.
    """

    code = "quota_exceeded"
    retryable = True


class UncertainError(TertuliaError):
    """Raised when an effect may or may not have happened and the platform cannot say which."""

    code = "uncertain"


class StoreUncertainError(UncertainError):
    """Raised when the store was lost while it was written, and whether that happened is not known."""


class UnavailableError(TertuliaError):
    """Raised when a platform or the store cannot be reached now."""

    code = "unavailable"
    retryable = True


class StoreUnavailableError(UnavailableError):
    """Raised when the store cannot be reached now, or others keep it locked: nothing was written."""


class StoreError(TertuliaError):
    """Raised when the store's file cannot be used: a newer version, a damaged file, no room."""

    code = "store"


class StoreTimeoutError(StoreError):
    """Raised when a read of the store took longer than it may, and was stopped: it is busy, or was asked too much."""

    retryable = True
