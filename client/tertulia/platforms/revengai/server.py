"""RevEng.AI's API v2: its calls, and what its refusals mean."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import anyio

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning
from tertulia.platforms.kit.http.streams import BrokenStreamError, Frames, resumed
from tertulia.platforms.revengai import history
from tertulia.platforms.revengai.events import CONFIRMATION_REQUIRED, UpstreamEvent, read
from tertulia.vocabulary.errors import (
    ConflictError,
    MovedOnError,
    NotAllowedError,
    NotConfiguredError,
    NotFoundError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.identifiers import conversation_id

PLATFORM = "RevEng.AI"
BASE_URL = "https://api.reveng.ai"
"""`configuration.py` of the SDK."""
IDLE_SECONDS = 75.0
"""How long a stream may be silent until it is opened anew. Whether RevEng.AI keeps one alive is not documented."""
PATIENCE_SECONDS = 600.0
"""How long an answer is kept while RevEng.AI cannot be reached: it goes on there all the same."""
LOOK_SECONDS = 10.0
QUIET_SECONDS = 0.3
"""A replay is over when nothing came for this long; it comes at once."""


def _refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    """Read `{"error": {"code", "message", "trace_id", …}}` (`models/error_body.py` of the SDK)."""
    error: Any = cast(Mapping[str, Any], body).get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return None, None, None
    fields = cast(Mapping[str, Any], error)
    code, text, trace = (
        value if isinstance(value, str) else None
        for value in (fields.get("code"), fields.get("message"), fields.get("trace_id"))
    )
    return code, text, trace


_NO_CONVERSATION = Meaning(
    NotFoundError,
    "{platform} has no conversation {conversation_id}.",
    "list_conversations with the instance {instance} shows those there are.",
)
_NO_CREDITS = Meaning(
    NotAllowedError,
    "The account of {instance} has no {platform} credits left.",
    "Nothing was sent: add credits to the account, then send again.",
)
_DENIED = Meaning(
    NotAllowedError,
    "{platform} does not let the account of {instance} do this.",
    "Check whose key it is, and that the account may see the `analysis_id` and `function_id` of the context.",
)
_BAD_KEY = Meaning(
    NotConfiguredError,
    "{platform} does not accept the key of the instance {instance}.",
    "Set `api_key` of this instance to a valid key.",
)
ERRORS = ErrorTable(
    PLATFORM,
    {
        "CONVERSATION_NOT_FOUND": _NO_CONVERSATION,
        "INVALID_CONVERSATION_ID": _NO_CONVERSATION,
        "RUN_ALREADY_ACTIVE": Meaning(
            ConflictError,
            "{platform} is still answering another message in {conversation_id}, which was not sent from here.",
            "Nothing was sent: wait for the end of that answer, then send again.",
        ),
        "NO_ACTIVE_RUN": Meaning(
            ConflictError,
            "{platform} is not answering in {conversation_id} any more.",
            "stream_conversation shows how the answer ended.",
        ),
        "NO_PENDING_CONFIRMATION": Meaning(
            MovedOnError,
            "{platform} waits for no confirmation in {conversation_id} any more: it was settled elsewhere.",
            "stream_conversation shows how the answer goes on.",
        ),
        "INSUFFICIENT_CREDITS": _NO_CREDITS,
        "PAYMENT_REQUIRED": _NO_CREDITS,
        402: _NO_CREDITS,
        "ACCESS_DENIED": _DENIED,
        "FORBIDDEN": _DENIED,
        403: _DENIED,
        **dict.fromkeys(("UNAUTHORIZED", "INVALID_CREDENTIALS", "TOKEN_EXPIRED", 401), _BAD_KEY),
    },
    _refusal,
)


class OutOfReachError(UnavailableError):
    """Raised when RevEng.AI could not be reached for so long that an answer is given up."""


@dataclass(frozen=True, slots=True)
class Server:
    """RevEng.AI as one instance reaches it. Every method raises as `Http` does."""

    http: Http
    instance: str

    async def create(self, title: str | None, context: Mapping[str, int] | None) -> Mapping[str, Any]:
        """Create a conversation; return its record."""
        body = {"title": title, "context": context}
        given = {name: value for name, value in body.items() if value is not None}
        return _record(await self.http.send("POST", "v2", "conversations", json=given), safe=False)

    async def list(self) -> Sequence[Mapping[str, Any]]:
        """Return the records of all conversations, the last updated first."""
        found: Any = await self.http.get("v2", "conversations")
        if found is None:
            return []
        if not isinstance(found, list):
            raise _unreadable(safe=True)
        return [_record(record, safe=True) for record in cast("list[Any]", found)]

    async def get(self, native_id: str) -> Mapping[str, Any]:
        """Return the record of a conversation, with its events."""
        return _record(
            await self.http.get("v2", "conversations", native_id, about=self._about(native_id)), safe=True
        )

    async def send(self, native_id: str, text: str, context: Mapping[str, int] | None) -> None:
        """Send a message, which begins a run."""
        body = {"content": text} if context is None else {"content": text, "context": context}
        await self._post(native_id, "messages", body)

    async def confirm(self, native_id: str, *, approved: bool) -> None:
        """Settle whatever confirmation is pending: the wire has no id for it."""
        await self._post(native_id, "confirm", {"approved": approved})

    async def cancel(self, native_id: str) -> None:
        """Stop the run."""
        await self._post(native_id, "cancel", None)

    async def events(self, native_id: str, *, after: int) -> AsyncGenerator[UpstreamEvent | None]:
        """Yield the events behind number `after`, each once, without an end; None when nothing came for a while.

        Raises:
            OutOfReachError: RevEng.AI could not be reached for `PATIENCE_SECONDS`.
        """
        connect = partial(self._stream, native_id)
        try:
            async with aclosing(resumed(connect, read, after=after, patience=PATIENCE_SECONDS)) as events:
                async for happened in events:
                    yield happened
        except UnavailableError as error:
            raise OutOfReachError(error.message, retryable=error.retryable, **error.ids) from error

    async def pending(self, native_id: str, *, shown: int) -> UpstreamEvent | None:
        """Return the confirmation that is awaited now: event `shown`, a later one, or none any more.

        Raises:
            UnavailableError: that could not be read.
        """
        goal = max(shown, history.newest(await self.get(native_id)))
        awaited: UpstreamEvent | None = None
        reached = 0
        with anyio.move_on_after(LOOK_SECONDS) as look, suppress(BrokenStreamError):
            async with self._stream(native_id, shown - 1) as frames:
                async for frame in frames:
                    happened = read(frame)
                    if happened.name == CONFIRMATION_REQUIRED:
                        awaited = happened
                    elif awaited is not None and happened.moves_on(awaited.tool_call_id):
                        awaited = None
                    reached = max(reached, happened.number or 0)
                    if reached >= goal:
                        look.deadline = anyio.current_time() + QUIET_SECONDS
        if reached < goal:
            raise UnavailableError(
                f"What {PLATFORM} ({self.instance}) waits for now could not be read.",
                hint="Nothing was decided: call again.",
                **self._about(native_id),
            )
        return awaited

    def _stream(self, native_id: str, after: int) -> AbstractAsyncContextManager[Frames]:
        return self.http.stream(
            *("GET", "v2", "conversations", native_id, "events"),
            params={"last_event_id": after},
            idle=IDLE_SECONDS,
            about=self._about(native_id),
        )

    async def _post(self, native_id: str, action: str, body: Any) -> None:
        await self.http.send(
            "POST", "v2", "conversations", native_id, action, json=body, about=self._about(native_id)
        )

    def _about(self, native_id: str) -> dict[str, Any]:
        return {"conversation_id": conversation_id(self.instance, native_id)}


def _record(found: Any, *, safe: bool) -> Mapping[str, Any]:
    if isinstance(found, Mapping):
        record = cast(Mapping[str, Any], found)
        if isinstance(record.get("conversation_uuid"), str) and record["conversation_uuid"]:
            return record
    raise _unreadable(safe=safe)


def _unreadable(*, safe: bool) -> UnavailableError | UncertainError:
    if safe:
        return UnavailableError(f"{PLATFORM} answered something else than conversations.", retryable=False)
    return UncertainError(
        f"{PLATFORM} answered something else than the new conversation.",
        hint="list_conversations shows whether it is there.",
    )
