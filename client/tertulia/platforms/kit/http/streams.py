"""Server-Sent Events, read by httpx-sse, and streams that are opened again where they broke.

httpx-sse knows the format (several lines of data, comments, every line ending, `id`, `retry`); added here is what a
network needs: bytes that are no UTF-8 are replaced, a frame that does not end is refused, a frame without data is no
event (as the specification has it), a stream that stalls or breaks is an error of ours.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol, TypeVar

import anyio
import httpx
from httpx_sse import EventSource, ServerSentEvent

from tertulia.platforms.kit.http.retries import pauses
from tertulia.vocabulary.errors import UnavailableError

MAX_FRAME = 8 * 1024 * 1024
"""The longest frame, in bytes."""
_PIECE = 65_536
_LONGEST_PAUSE = 30.0
_BLANK_LINES = (b"\n\n", b"\r\r", b"\n\r\n")

Frame = ServerSentEvent
"""One event: `event`, `data` (never empty) and `id`, the last id that the stream had named so far."""


class BrokenStreamError(UnavailableError):
    """Raised when a stream broke off, stalled or broke the format: what was still to come is missing."""

    stalled = False
    """Whether it was open and silent for longer than its idle limit."""


class _OversizedFrameError(Exception):
    pass


class Frames:
    """The events of one response, as they come, until it ends; for one `async for`.

    Iterating raises `BrokenStreamError` where it breaks off, stalls, or holds an oversized frame.
    """

    def __init__(self, response: httpx.Response, platform: str, *, limit: int = MAX_FRAME) -> None:
        self.retry: float | None = None
        """Seconds after which the server wants to be asked again, once it has said so."""
        self._platform = platform
        self._limit = limit
        self._events = self._read(response)

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self._events

    async def aclose(self) -> None:
        """Stop reading."""
        await self._events.aclose()

    async def _read(self, response: httpx.Response) -> AsyncGenerator[Frame]:
        # The format is always UTF-8, whatever the platform's header says; `-sig` drops the mark that may stand first.
        clean = httpx.Response(
            200,
            headers={"content-type": "text/event-stream; charset=utf-8-sig"},
            content=_limited(response.aiter_bytes(), self._limit),
        )
        try:
            async with aclosing(EventSource(clean).aiter_sse()) as events:
                async for event in events:
                    if event.retry is not None:
                        self.retry = max(0, event.retry) / 1000
                    if event.data:
                        yield event
        except _OversizedFrameError as error:
            raise BrokenStreamError(
                f"{self._platform} sent an event of more than {self._limit:,} bytes.", retryable=False
            ) from error
        except httpx.RequestError as error:
            broken = BrokenStreamError(f"The stream from {self._platform} broke off.")
            broken.stalled = isinstance(error, httpx.ReadTimeout)
            raise broken from error


class Numbered(Protocol):
    """An event as a platform's reader returns it. Numbers rise; an event without one is never taken for a duplicate."""

    @property
    def number(self) -> int | None:
        """The platform's number for it."""
        ...


E = TypeVar("E", bound=Numbered)


async def resumed(
    connect: Callable[[int], AbstractAsyncContextManager[Frames]],
    read: Callable[[Frame], E],
    *,
    after: int,
    patience: float,
) -> AsyncGenerator[E | None]:
    """Yield each event behind number `after` once, opening the stream again wherever it ends or breaks; without an end.

    `connect(after)` opens it behind that number (with `Http.stream`), `read` makes an event of a frame. None is yielded
    whenever a stream was silent for its idle limit. Close the generator (`aclosing`) to close the connection at once.

    Raises:
        UnavailableError: the stream could not be opened for `patience` seconds, or holds an oversized frame.
        TertuliaError: the platform refuses to open it.
    """
    retry: float | None = None
    waits = pauses(longest=_LONGEST_PAUSE)
    failing_since: float | None = None
    while True:
        asked, fruitful, silent = 0.0, False, False
        try:
            async with connect(after) as frames:
                failing_since = None
                try:
                    async for frame in frames:
                        event = read(frame)
                        if event.number is not None:
                            if event.number <= after:
                                continue
                            after = event.number
                        fruitful = True
                        yield event
                finally:
                    retry = retry if frames.retry is None else frames.retry
        except BrokenStreamError as error:
            if not error.retryable:
                raise
            silent = error.stalled
        except UnavailableError as error:
            failing_since = failing_since or anyio.current_time()
            asked = float(error.ids.get("retry_after", 0))
            if not error.retryable or anyio.current_time() + asked - failing_since > patience:
                raise
        if silent:
            yield None
        if fruitful:
            waits = pauses(longest=_LONGEST_PAUSE)
        # A server's wish counts where it had something to send; whoever only ends streams is asked ever more seldom.
        await anyio.sleep(retry if fruitful and retry is not None else max(asked, next(waits)))


async def _limited(chunks: AsyncIterator[bytes], limit: int) -> AsyncGenerator[bytes]:
    """Yield `chunks` while there are at most `limit` bytes from one blank line, which ends a frame, to the next."""
    size, tail = 0, b""
    async for chunk in chunks:
        for start in range(0, len(chunk), _PIECE):
            piece = tail + chunk[start : start + _PIECE]
            size -= len(tail)
            ends = [piece.find(blank) for blank in _BLANK_LINES if blank in piece]
            if size + min(ends, default=len(piece)) > limit:
                raise _OversizedFrameError
            size = len(piece) - max(map(piece.rfind, _BLANK_LINES)) if ends else size + len(piece)
            tail = piece[-2:]
        yield chunk
