"""Server-Sent Events, read by httpx-sse.

httpx-sse knows the format (several lines of data, comments, every line ending, `id`, `retry`); added here is what a
network needs: bytes that are no UTF-8 are replaced, a frame that does not end is refused, a frame without data is no
event (as the specification has it), a stream that stalls or breaks is an error of ours.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import cast

import httpx
from httpx_sse import EventSource, ServerSentEvent

from tertulia.platforms.kit.http.bodies import OversizedBodyError
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import UnavailableError

MAX_FRAME = 8 * 1024 * 1024
"""The longest frame, in bytes."""
_PIECE = 65_536
_BLANK_LINES = (b"\n\n", b"\r\r", b"\n\r\n")

Frame = ServerSentEvent
"""One event: `event`, `data` (never empty) and `id`, the last id that the stream had named so far."""


class BrokenStreamError(UnavailableError):
    """Raised when a stream broke off, stalled or broke the format: what was still to come is missing."""

    stalled = False
    """Whether it was open and silent for longer than its idle limit."""


class _OversizedFrameError(Exception):
    pass


class _StalledError(Exception):
    pass


class Frames:
    """The events of one response, as they come, until it ends; for one `async for`.

    Iterating raises `BrokenStreamError` where it breaks off, stalls, or holds an oversized frame.
    """

    def __init__(
        self,
        response: httpx.Response,
        platform: str,
        *,
        limit: int = MAX_FRAME,
        idle: float = math.inf,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.headers: Mapping[str, str] = response.headers
        self.retry: float | None = None
        """Seconds after which the server wants to be asked again, once it has said so."""
        self._platform = platform
        self._limit = limit
        self._idle = idle
        self._clock = clock
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
            content=_limited(self._chunks(response), self._limit),
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
        except OversizedBodyError as error:
            raise BrokenStreamError(
                f"{self._platform} sent a stream of {error}, which is not read on.", retryable=False
            ) from error
        except (httpx.RequestError, _StalledError) as error:
            broken = BrokenStreamError(f"The stream from {self._platform} broke off.")
            broken.stalled = isinstance(error, httpx.ReadTimeout | _StalledError)
            raise broken from error

    async def _chunks(self, response: httpx.Response) -> AsyncGenerator[bytes]:
        async with aclosing(cast(AsyncGenerator[bytes], response.aiter_bytes())) as chunks:
            while True:
                with self._clock.move_on_after(self._idle) as waiting:
                    chunk = await anext(chunks, None)
                if waiting.cancelled_caught:
                    raise _StalledError
                if chunk is None:
                    return
                yield chunk


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
