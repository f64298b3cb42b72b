"""Telling a platform what a person has decided, and stopping what it works on."""

import json
from collections.abc import Awaitable, Callable

from tertulia.platforms.base import ChangedRequestError
from tertulia.vocabulary.errors import ConflictError, MovedOnError, NotFoundError, UncertainError
from tertulia.vocabulary.models import Request, RequestDraft
from tertulia.vocabulary.untrusted import named, shown

LONGEST_QUOTE = 300


async def decide(
    request: Request,
    tell: Callable[[], Awaitable[object]],
    *,
    platform: str,
    is_pending: Callable[[], Awaitable[bool | None]] | None = None,
) -> None:
    """Tell a decision about a request that is still pending on the platform.

    `is_pending` says whether the platform waits for it: None, where the platform does not show that. It may raise
    `MovedOnError` to say what the platform waits for instead.

    Raises:
        MovedOnError: the platform does not wait for it any more; nothing was decided.
        UncertainError: whether the decision arrived is not known.
    """
    if is_pending is not None and await is_pending() is False:
        raise moved_on(request, platform=platform)
    try:
        await tell()
    except MovedOnError:
        raise
    except (NotFoundError, ConflictError) as error:
        raise moved_on(request, platform=platform) from error
    except UncertainError as error:
        pending = None if is_pending is None else await _still(is_pending)
        if pending is False:
            return  # it was pending a moment ago: the decision has arrived
        waits = ", and still waits for it" if pending else ""
        raise UncertainError(
            f"{platform} gave no answer to the decision about {request.id}{waits}.",
            hint="Decide again in a moment."
            if pending
            else "stream_conversation shows whether it arrived; if nothing goes on, decide again.",
            **error.ids,
        ) from error


def moved_on(request: Request, *, platform: str, now: str = "does not wait for it any more") -> MovedOnError:
    """Return the error for a decision that a platform does not wait for; `now` says what it does instead."""
    return MovedOnError(
        f"{platform} {now} in {request.conversation_id}: {request.id} was settled elsewhere, or its time was over.",
        hint="stream_conversation shows how the answer goes on, and what it asks.",
        conversation_id=request.conversation_id,
        request_id=request.id,
        run_id=request.run_id,
    )


def asks_something_else(request: Request, now: RequestDraft, *, platform: str) -> ChangedRequestError:
    """Return the error for a decision about what a platform has changed since it was shown; it shows the new."""
    arguments = shown(json.dumps(now.arguments, ensure_ascii=False), LONGEST_QUOTE)
    return ChangedRequestError(
        f"{platform} has changed what {request.id} is about since it was shown: it asks for {named(now.tool or '')} "
        f"with {arguments} now.",
        now=now,
        hint="Nothing was decided. get_conversation (include requests) shows the new request as a whole.",
        conversation_id=request.conversation_id,
        request_id=request.id,
        run_id=request.run_id,
    )


async def _still(is_pending: Callable[[], Awaitable[bool | None]]) -> bool | None:
    try:
        return await is_pending()
    except MovedOnError:
        return False
