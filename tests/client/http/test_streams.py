"""Server-Sent Events as they come over a network."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from itertools import pairwise
from typing import TypeVar

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.platforms.kit.http.streams import BrokenStreamError, Frame, Frames
from tests.doubles.clocks import JumpingClock

pytestmark = pytest.mark.anyio

T = TypeVar("T")
RECORDED = (
    "\ufeff: welcome\r\n\r\n"
    "retry: 1500\n"
    "id: 1\nevent: START\ndata: {}\n\n"
    'id: 2\r\nevent: TEXT\r\ndata: {"delta":\r\ndata: "Zürich 🎈"}\r\n\r\n'
    ":\n:\n\n"
    "event: nothing\n\n"
    "id\nid: 3\0\nid:4\rdata:no space\rdata\r\r"
    "unknown: field\ndata:  two spaces\n\n"
    "data: never ends"
).encode()
READ = [
    ("START", "{}", "1"),
    ("TEXT", '{"delta":\n"Zürich 🎈"}', "2"),
    ("message", "no space\n", "4"),
    ("message", " two spaces", "4"),
]


class Chunks(httpx.AsyncByteStream):
    """A body that comes in these chunks, and then ends, or breaks."""

    def __init__(self, chunks: Sequence[bytes], error: Exception | None = None) -> None:
        self._chunks = chunks
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._error is not None:
            raise self._error


def response(
    *chunks: bytes, error: Exception | None = None, content_type: str = "text/event-stream"
) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": content_type}, stream=Chunks(chunks, error))


async def collect(events: AsyncIterable[T], told: list[T]) -> None:
    """Keep what came before an error, too."""
    async for event in events:
        told += [event]


async def read(frames: Frames) -> list[tuple[str, str, str]]:
    return [(frame.event, frame.data, frame.id) async for frame in frames]


async def test_every_rule_of_the_format_is_followed() -> None:
    """Several lines of data, comments, every line ending, ids, an unfinished event; no event without data."""
    frames = Frames(response(RECORDED), "X")

    assert await read(frames) == READ
    assert frames.retry == 1.5


@given(st.lists(st.integers(0, len(RECORDED)), max_size=12))
async def test_a_stream_reads_the_same_wherever_it_is_cut_into_chunks(cuts: list[int]) -> None:
    """Cuts within a line ending, a character or a field's name included."""
    bounds = [0, *sorted(cuts), len(RECORDED)]
    chunks = [RECORDED[start:end] for start, end in pairwise(bounds)]

    assert await read(Frames(response(*chunks), "X")) == READ


async def test_bytes_that_are_no_utf_8_are_replaced_and_the_header_decides_nothing() -> None:
    """The format is UTF-8 whatever a server says."""
    frames = Frames(
        response(b"data: \xff\xc3", b"\xa9\n\n", content_type="text/event-stream; charset=latin-1"), "X"
    )

    assert await read(frames) == [("message", "\ufffdé", "")]


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_frame_that_does_not_end_is_refused(size: int) -> None:
    """However it comes, and however many proper frames stand before it."""
    body = b"data: fine\n\n" * 500 + b"data: " + b"x" * 5_000
    frames = Frames(response(*(body[at : at + size] for at in range(0, len(body), size))), "X", limit=1_000)

    with pytest.raises(BrokenStreamError, match="more than 1,000 bytes") as caught:
        await read(frames)
    assert not caught.value.retryable


async def test_lines_that_end_no_frame_do_not_get_around_the_limit() -> None:
    """Many short lines are as long as one long line."""
    with pytest.raises(BrokenStreamError):
        await read(Frames(response(b"data: x\n" * 1_000), "X", limit=1_000))


async def test_a_long_stream_of_short_frames_is_not_oversized() -> None:
    """The limit is one of frames."""
    assert len(await read(Frames(response(*[b"data: x\n\n" * 50] * 50), "X", limit=1_000))) == 2_500


async def test_a_stream_that_breaks_off_tells_the_events_before_that() -> None:
    """What was unfinished is dropped."""
    frames = Frames(response(b"data: one\n\ndata: tw", error=httpx.RemoteProtocolError("cut")), "X")
    told: list[Frame] = []

    with pytest.raises(BrokenStreamError) as caught:
        await collect(frames, told)

    assert [frame.data for frame in told] == ["one"]
    assert (caught.value.retryable, caught.value.stalled) == (True, False)


async def test_a_stall_is_told_from_a_break() -> None:
    """A read that ran out of time means that the connection was there and silent."""
    with pytest.raises(BrokenStreamError) as caught:
        await read(Frames(response(error=httpx.ReadTimeout("idle")), "X"))
    assert caught.value.stalled


async def test_a_stream_without_a_byte_for_its_idle_limit_has_stalled() -> None:
    """By the clock that it was given: a comment is heard, too."""

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in (b"data: one\n\n", b": still there\n\n", b"data: two\n\n"):
                await clock.sleep(60)
                yield chunk
            await anyio.sleep_forever()

    clock = JumpingClock()
    frames = Frames(httpx.Response(200, stream=Slow()), "X", idle=75, clock=clock)
    told: list[Frame] = []
    with pytest.raises(BrokenStreamError) as caught:
        await collect(frames, told)

    assert [frame.data for frame in told] == ["one", "two"]
    assert caught.value.stalled
    assert clock.now() == 255


async def test_the_headers_of_a_stream_are_there_with_its_events() -> None:
    """Some platforms name the run there."""
    opened = httpx.Response(200, headers={"Content-Location": "/runs/1"}, stream=Chunks([]))

    assert Frames(opened, "X").headers["content-location"] == "/runs/1"
