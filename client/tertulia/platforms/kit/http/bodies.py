"""The bodies of answers, decompressed piece by piece and within a budget: a small answer may hold a gigabyte.

A hook of the client takes the place of httpx's own decoding, which decompresses each chunk whole, in the event loop. It
holds for every answer that the client gets: refusals, streams, and those to a request for a token.
"""

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import anyio.lowlevel
import httpx

ENCODINGS = "gzip, deflate"
"""What an answer may be compressed with."""
STREAMED = 64
"""How many times as much as another answer a stream of events may hold: each piece of text comes in a frame."""
_PIECE = 65_536
_MIB = 1024 * 1024


class OversizedBodyError(httpx.DecodingError):
    """Raised when an answer has more bytes than its budget."""


def within(limit: int) -> Callable[[httpx.Response], Awaitable[None]]:
    """Return a hook that ends the body of each answer with `OversizedBodyError` once it has more than `limit` bytes."""

    async def hook(response: httpx.Response) -> None:
        encodings = response.headers.get_list("content-encoding", split_commas=True)
        if "content-encoding" in response.headers:
            del response.headers["content-encoding"]
        assert isinstance(response.stream, httpx.AsyncByteStream)
        most = limit * STREAMED if _is_stream(response) else limit
        response.stream = _Body(response.stream, [each.lower() for each in encodings], most)

    return hook


def _is_stream(response: httpx.Response) -> bool:
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    return response.is_success and kind == "text/event-stream"


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, encodings: list[str], limit: int) -> None:
        self._stream = stream
        self._inflaters = [_Inflater() for each in encodings if each.strip() in {"gzip", "x-gzip", "deflate"}]
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            for piece in _inflated(chunk, self._inflaters):
                size += len(piece)
                if size > self._limit:
                    raise OversizedBodyError(f"more than {self._limit // _MIB:,} MiB")
                yield piece
                if self._inflaters:
                    await anyio.lowlevel.checkpoint()  # others have their turn between two pieces

    async def aclose(self) -> None:
        await self._stream.aclose()


def _inflated(data: bytes, inflaters: list["_Inflater"]) -> Iterator[bytes]:
    """Yield what is left of `data` after all decodings, the last one first."""
    if not inflaters:
        yield data
        return
    for piece in inflaters[-1].inflate(data):
        yield from _inflated(piece, inflaters[:-1])


class _Inflater:
    """Decompresses gzip, or deflate in either of the forms in which servers send it."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._begun = False

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """Yield the contents of `data` in pieces of at most `_PIECE` bytes."""
        while data and not self._decompressor.eof:
            try:
                piece = self._decompressor.decompress(data, _PIECE)
            except zlib.error as error:
                if self._begun:
                    raise httpx.DecodingError(str(error)) from error
                self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
                self._begun = True
                continue
            self._begun = True
            data = self._decompressor.unconsumed_tail
            if piece:
                yield piece
