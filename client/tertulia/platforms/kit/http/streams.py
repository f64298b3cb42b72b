"""Server-Sent Events, read by httpx-sse.

httpx-sse knows the format (several lines of data, comments, every line ending, `id`, `retry`); added here is what a
network needs: bytes that are no UTF-8 are replaced, a frame that does not end is refused, a frame without data is no
event (as the specification has it), a stream that stalls or breaks is an error of ours.
"""

import codecs
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
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
        self.patience: Callable[[], float] = _endless
        """Returns, before each wait, after how many seconds in which nothing comes the events end."""
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
        try:
            async with (
                aclosing(self._texts(response)) as texts,
                aclosing(EventSource(_Texts(texts)).aiter_sse()) as events,
            ):
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

    async def _texts(self, response: httpx.Response) -> AsyncGenerator[str]:
        """Yield the body as it comes. The format is always UTF-8, whatever the platform's header says."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        size = _FrameSize(self._limit)
        # The client's hook has decompressed what httpx calls raw.
        async with aclosing(cast(AsyncGenerator[bytes], response.aiter_raw())) as chunks:
            while True:
                patience = self.patience()
                with self._clock.move_on_after(min(patience, self._idle)) as waiting:
                    chunk = await anext(chunks, None)
                if waiting.cancelled_caught and self._idle <= patience:
                    raise _StalledError
                if waiting.cancelled_caught or chunk is None:
                    break
                size.count(chunk)
                yield decoder.decode(chunk)
        yield decoder.decode(b"", final=True)


def _endless() -> float:
    return math.inf


class _Texts(httpx.Response):
    """The body of a stream as httpx-sse asks a response for it: another response would read it in five more steps."""

    def __init__(self, texts: AsyncIterator[str]) -> None:
        super().__init__(200, headers={"content-type": "text/event-stream"})
        self._texts = texts

    def aiter_text(self, chunk_size: int | None = None) -> AsyncIterator[str]:
        return self._texts


class _FrameSize:
    """Counts the bytes from one blank line, which ends a frame, to the next: at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._tail = b""

    def count(self, chunk: bytes) -> None:
        """Count a chunk.

        Raises:
            _OversizedFrameError: a frame has more bytes than it may.
        """
        for start in range(0, len(chunk), _PIECE):
            piece = self._tail + chunk[start : start + _PIECE]
            size = self._size - len(self._tail)
            if size + len(piece) > self._limit:
                ends = [end for end in map(piece.find, _BLANK_LINES) if end >= 0]
                if size + min(ends, default=len(piece)) > self._limit:
                    raise _OversizedFrameError
            last = max(map(piece.rfind, _BLANK_LINES))
            self._size = size + len(piece) if last < 0 else len(piece) - last
            self._tail = piece[-2:]
