"""RevEng.AI's API v2: its calls, and what its refusals mean."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning
from tertulia.platforms.kit.http.streams import BrokenStreamError, Frames
from tertulia.platforms.kit.http.values import table, text
from tertulia.platforms.revengai import mapping
from tertulia.platforms.revengai.mapping import CONFIRMATION_REQUIRED, PLATFORM, UpstreamEvent
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    MovedOnError,
    NotAllowedError,
    NotConfiguredError,
    NotFoundError,
    UnavailableError,
)
from tertulia.vocabulary.identifiers import conversation_id

Record = Mapping[str, Any]
"""A conversation as RevEng.AI returns it."""

_CONVERSATIONS = ("v2", "conversations")
_ID = "conversation_uuid"
IDLE_SECONDS = 75.0
"""How long a stream may be silent until it is opened anew. Whether RevEng.AI keeps one alive is not documented."""
LOOK_SECONDS = 10.0
"""How long the replay of a conversation's newest events may take."""
QUIET_SECONDS = 0.3
"""A replay is over when nothing came for this long; it comes at once."""


def _refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    """Read `{"error": {"code", "message", "trace_id", …}}` (`models/error_body.py` of the SDK)."""
    error = table(table(body).get("error"))
    return text(error.get("code")), text(error.get("message")), text(error.get("trace_id"))


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


@dataclass(frozen=True, slots=True)
class Wire:
    """The calls of one instance. Every method raises as `Http` does."""

    http: Http
    clock: Clock

    async def create(self, title: str | None, context: Mapping[str, Any] | None) -> Record:
        """Create a conversation; return its record."""
        given = {name: value for name, value in (("title", title), ("context", context)) if value}
        made = await self.http.send("POST", *_CONVERSATIONS, json=given)
        return self.http.one(made, key=_ID, what="the new conversation", safe=False)

    async def list(self) -> Sequence[Record]:
        """Return the records of all conversations, the last updated first."""
        found: Any = await self.http.get(*_CONVERSATIONS)
        return [] if found is None else self.http.many(found, key=_ID, what="conversations")

    async def get(self, native_id: str) -> Record:
        """Return the record of a conversation, with its events."""
        found = await self.http.get(*_CONVERSATIONS, native_id, about=self.http.about(native_id))
        return self.http.one(found, key=_ID, what="a conversation")

    async def send(self, native_id: str, content: str, context: Mapping[str, Any] | None) -> None:
        """Send a message, which begins a run."""
        body = {"content": content, **({"context": context} if context else {})}
        await self._post(native_id, "messages", body)

    async def confirm(self, native_id: str, *, approved: bool) -> None:
        """Settle whatever confirmation is pending: the wire has no id for it."""
        await self._post(native_id, "confirm", {"approved": approved})

    async def cancel(self, native_id: str) -> None:
        """Stop the run."""
        await self._post(native_id, "cancel", None)

    def events(self, native_id: str, after: int) -> AbstractAsyncContextManager[Frames]:
        """Open the stream of a conversation's events after number `after`; it has no end."""
        return self.http.stream(
            *("GET", *_CONVERSATIONS, native_id, "events"),
            safe=True,
            params={"last_event_id": after},
            idle=IDLE_SECONDS,
            about=self.http.about(native_id),
        )

    async def pending(self, native_id: str, *, shown: int) -> UpstreamEvent | None:
        """Return the confirmation that is awaited now: event `shown`, a later one, or none any more.

        Raises:
            UnavailableError: that could not be read.
        """
        goal = max(shown, mapping.newest(await self.get(native_id)))
        awaited: UpstreamEvent | None = None
        reached = 0
        give_up = self.clock.now() + LOOK_SECONDS
        with suppress(BrokenStreamError):
            async with self.events(native_id, shown - 1) as frames:
                events = aiter(frames)
                while (left := give_up - self.clock.now()) > 0:
                    with self.clock.move_on_after(QUIET_SECONDS if reached >= goal else left) as waiting:
                        frame = await anext(events, None)
                    if waiting.cancelled_caught or frame is None:
                        break
                    event = mapping.read(frame)
                    if event.name == CONFIRMATION_REQUIRED:
                        awaited = event
                    elif awaited is not None and event.moves_on(awaited.tool_call_id):
                        awaited = None
                    reached = max(reached, event.number or 0)
        if reached < goal:
            raise UnavailableError(
                f"What {PLATFORM} waits for now could not be read.",
                hint="Nothing was decided: call again.",
                conversation_id=conversation_id(self.http.instance, native_id),
            )
        return awaited

    async def _post(self, native_id: str, action: str, body: Any) -> None:
        await self.http.send(
            "POST", *_CONVERSATIONS, native_id, action, json=body, about=self.http.about(native_id)
        )
