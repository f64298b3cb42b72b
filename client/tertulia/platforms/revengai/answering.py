"""An answer: the message on its way, then what RevEng.AI tells of its run, until that ends.

The run goes on at RevEng.AI whether or not anybody follows it. The checkpoint says how far we are:

    after   the number of the newest event that is in the journal; at first, of the newest before the message
    sent    whether RevEng.AI has the message
    run     RevEng.AI's id of the run, once it has begun ("" where it names none)

A message is sent once. If no answer comes back, or this process died over it, the conversation's history tells whether
it arrived.
"""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import anyio

from tertulia.platforms.base import RunContext
from tertulia.platforms.kit.http.lookups import shows_up
from tertulia.platforms.revengai import history
from tertulia.platforms.revengai.events import (
    CONFIRMATION_REQUIRED,
    ENDS,
    RUN_CANCELLED,
    RUN_ERROR,
    RUN_STARTED,
    EventMapper,
    UpstreamEvent,
)
from tertulia.platforms.revengai.server import PATIENCE_SECONDS, PLATFORM, OutOfReachError, Server
from tertulia.vocabulary.errors import InvalidInputError, UncertainError
from tertulia.vocabulary.identifiers import shown, split_conversation_id
from tertulia.vocabulary.models import Request

CONTEXT = ("analysis_id", "function_id")
"""What the context of a conversation or message may name (`models/conversation_context.py` of the SDK)."""
LOOKS: Sequence[float] = (0.5, 1.5, 4.0)
"""Seconds before each look into the history for a message that may have arrived."""
SILENCE_SECONDS = 3600.0
"""How long a run may say nothing, keep-alives aside, until it is given up."""
PENDING_SECONDS = 600.0
"""How long a stream is kept open beside a pending confirmation. Then the run is found again when that is settled."""
SETTLING_SECONDS = 5.0
"""What a decision needs at most from RevEng.AI, which tells it at once, into our store."""
_CONVERSATION_S_OWN = frozenset({"TITLE_UPDATED", "CONTEXT_COMPACTED"})
_LONGEST_QUOTE = 300


class Answer:
    """One attempt at having a message answered."""

    def __init__(self, server: Server, work: RunContext) -> None:
        self._server = server
        self._work = work
        self._native_id = split_conversation_id(work.conversation.id)[1]
        self._telling = EventMapper(work.entries)
        self._checkpoint: dict[str, Any] = dict(work.checkpoint)
        self._early_end: UpstreamEvent | None = None
        asked = [request for request in work.requests if request.upstream_id is not None]
        self._asked = {request.upstream_id: request for request in asked}
        self._pending: Request | None = None

    async def produce(self) -> None:
        """Send the message unless that was done, and tell what happens."""
        if not self._checkpoint.get("sent"):
            if not await self._send():
                return
            self._checkpoint["sent"] = True
            await self._work.emit(checkpoint=dict(self._checkpoint))
        try:
            await self._follow()
        except OutOfReachError as error:
            await self._work.interrupt(
                f"{error.message} The answer may have gone on there: list_messages shows what {PLATFORM} has of it."
            )

    async def _send(self) -> bool:
        """Send the message; whether RevEng.AI has it then. If not, the run was ended."""
        work, text = self._work, self._work.message.text
        context = checked_context(work.message_context)
        if "after" in self._checkpoint:  # an earlier attempt died over it
            if text is None or not await self._arrived(text):
                raise self._uncertain()
            return True
        if text is None:
            await work.interrupt(
                "The message is not kept here, and the process that had it ended before it was sent."
            )
            return False
        self._checkpoint["after"] = history.newest(await self._server.get(self._native_id))
        await work.emit(checkpoint=dict(self._checkpoint))
        try:
            await self._server.send(self._native_id, text, context)
        except UncertainError as error:
            if not await self._arrived(text):
                raise self._uncertain() from error
        return True

    async def _arrived(self, text: str) -> bool:
        """Whether the history has the message."""

        async def look() -> bool:
            record = await self._server.get(self._native_id)
            return history.has_text(record, text, after=self._checkpoint["after"])

        try:
            return await shows_up(look, after=LOOKS, patience=PATIENCE_SECONDS)
        except TimeoutError:
            raise self._uncertain() from None

    def _uncertain(self) -> UncertainError:
        return UncertainError(
            f"{PLATFORM} gave no answer to the message, and its history does not show it (yet).",
            hint="Look with list_messages in a moment; send it again if it is still missing then.",
            conversation_id=self._work.conversation.id,
        )

    async def _follow(self) -> None:
        last = anyio.current_time()
        events = self._server.events(self._native_id, after=int(self._checkpoint["after"]))
        async with aclosing(events):
            async for happened in events:
                now = anyio.current_time()
                if happened is not None:
                    last = now
                    if await self._tell(happened):
                        return
                elif self._early_end is not None:
                    await self._end(self._early_end)
                    return
                elif self._pending is not None and now - last > PENDING_SECONDS:
                    return
                elif now - last > SILENCE_SECONDS:
                    await self._work.interrupt(f"{PLATFORM} has said nothing about this answer for an hour.")
                    return

    async def _tell(self, happened: UpstreamEvent) -> bool:
        """Journal an event; whether it was the last of the run."""
        run = self._checkpoint.get("run")
        if happened.name in ENDS and run is None:
            # The end of an earlier run, canceled just now, say, can come after the message. It is ours after all if
            # nothing follows.
            self._early_end = happened
            return False
        if self._pending is not None and happened.moves_on(self._pending.tool_call_id):
            await self._go_on(self._pending)
        if happened.name in ENDS and happened.run in {None, run or happened.run}:
            await self._end(happened)
            return True
        if run is None and happened.name not in _CONVERSATION_S_OWN:
            self._checkpoint["run"] = happened.run or ""
            self._early_end = None
        if happened.number is not None:
            self._checkpoint["after"] = happened.number
        saved = dict(self._checkpoint)
        if happened.name == RUN_STARTED and run is None:
            await self._work.emit(checkpoint=saved)
        elif happened.name == CONFIRMATION_REQUIRED:
            await self._ask(happened, saved)
        else:
            await self._work.emit(self._telling.event(happened), checkpoint=saved)
        return False

    async def _ask(self, happened: UpstreamEvent, saved: Mapping[str, Any]) -> None:
        draft = self._telling.request(happened)
        request = self._asked.get(draft.upstream_id)
        if request is None:
            request = await self._work.ask(draft)
        self._pending = request
        await self._work.emit(checkpoint=saved)

    async def _go_on(self, request: Request) -> None:
        """The run goes on after a confirmation: because of a decision here, or of one that was made at RevEng.AI."""
        with anyio.move_on_after(SETTLING_SECONDS):
            await self._work.wait_settled(request.id)
        await self._work.withdraw(request.id)
        self._pending = None

    async def _end(self, happened: UpstreamEvent) -> None:
        text = happened.text()
        if happened.name == RUN_ERROR:
            said = f": {shown(text, _LONGEST_QUOTE)}" if text else ""
            await self._work.fail(f"{PLATFORM} ended the answer with an error{said}.")
        elif happened.name == RUN_CANCELLED:
            await self._work.cancel(f"The answer was canceled at {PLATFORM}.")
        else:
            await self._work.finish(None if self._telling.said else text)


def checked_context(context: Mapping[str, Any] | None) -> Mapping[str, int] | None:
    """Return a context that RevEng.AI takes.

    Raises:
        InvalidInputError: it names something else, or not by a number.
    """
    for name, value in (context or {}).items():
        if name not in CONTEXT:
            raise InvalidInputError(f"{PLATFORM} takes no {shown(name)} in `context`.", valid=CONTEXT)
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidInputError(f"`{name}` in `context` must be a whole number.", valid=CONTEXT)
    return context or None
