"""Server-Sent Events as they come over a network."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.platforms.kit.http import streams
from tertulia.platforms.kit.http.streams import BrokenStreamError, Frame, Frames, resumed
from tertulia.vocabulary.errors import NotFoundError, UnavailableError

pytestmark = pytest.mark.anyio

SECONDS = 10
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


@dataclass(frozen=True)
class Numbered:
    """An event with a number, of a frame with an id."""

    number: int | None
    text: str


def numbered(frame: Frame) -> Numbered:
    return Numbered(int(frame.id) if frame.id else None, frame.data)


class Server:
    """Streams that are opened one after the other: bytes, or what keeps them from opening."""

    def __init__(self, *opened: httpx.Response | Exception) -> None:
        self._opened = list(opened)
        self.asked: list[int] = []
        self.open = 0

    @asynccontextmanager
    async def connect(self, after: int) -> AsyncGenerator[Frames]:
        self.asked.append(after)
        found = self._opened.pop(0)
        if isinstance(found, Exception):
            raise found
        self.open += 1
        try:
            yield Frames(found, "X")
        finally:
            self.open -= 1


def events(*numbers: int) -> bytes:
    return b"".join(b"id: %d\ndata: %d\n\n" % (number, number) for number in numbers)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that were waited, which take no time."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await anyio.lowlevel.checkpoint()

    def doubling(*, longest: float) -> Iterator[float]:
        yield from (min(2.0**n, longest) for n in range(100))

    monkeypatch.setattr(streams.anyio, "sleep", sleep)
    monkeypatch.setattr(streams, "pauses", doubling)
    return waited


async def test_a_stream_is_opened_again_behind_the_last_event_and_no_event_comes_twice(
    waits: list[float],
) -> None:
    """Whether it ended, broke in the middle of an event, or repeats what was told."""
    server = Server(
        response(events(4, 5)),
        response(events(5, 6) + b"id: 7\nda", error=httpx.ReadError("cut")),
        response(events(4, 5, 6, 7), error=httpx.ReadTimeout("idle")),
        response(events(8)),
        NotFoundError("gone"),
    )
    told: list[Numbered | None] = []

    with anyio.fail_after(SECONDS), pytest.raises(NotFoundError):
        await collect(resumed(server.connect, numbered, after=3, patience=60), told)

    assert [event and event.text for event in told] == ["4", "5", "6", "7", None, "8"]
    assert server.asked == [3, 5, 6, 7, 8]


async def test_events_without_a_number_all_come(waits: list[float]) -> None:
    """Nothing tells them from each other."""
    server = Server(response(b"data: a\n\ndata: a\n\n"), NotFoundError("gone"))
    told: list[Numbered | None] = []

    with anyio.fail_after(SECONDS), pytest.raises(NotFoundError):
        await collect(resumed(server.connect, numbered, after=0, patience=60), told)

    assert told == [Numbered(None, "a")] * 2


async def test_a_server_that_only_ends_its_streams_is_asked_ever_more_seldom(waits: list[float]) -> None:
    """Until it has something to tell."""
    server = Server(
        response(), response(), response(), response(events(1)), response(), NotFoundError("gone")
    )

    with anyio.fail_after(SECONDS), pytest.raises(NotFoundError):
        await collect(resumed(server.connect, numbered, after=0, patience=60), [])

    assert waits == [1, 2, 4, 1, 2]


async def test_the_time_that_a_server_asks_for_is_heeded_where_it_tells_something(waits: list[float]) -> None:
    """`retry` is for reconnecting to a server that works."""
    server = Server(response(b"retry: 20\n\n" + events(1)), response(), NotFoundError("gone"))

    with anyio.fail_after(SECONDS), pytest.raises(NotFoundError):
        await collect(resumed(server.connect, numbered, after=0, patience=60), [])

    assert waits == [0.02, 1]


async def test_a_server_that_asks_for_patience_gets_it(waits: list[float]) -> None:
    """What `Retry-After` asks counts where it is longer than our own pause."""
    busy = UnavailableError("busy", retry_after=9.0)
    server = Server(busy, response(events(1)), NotFoundError("gone"))

    with anyio.fail_after(SECONDS), pytest.raises(NotFoundError):
        await collect(resumed(server.connect, numbered, after=0, patience=60), [])

    assert waits == [9, 1]


async def test_a_server_that_stays_away_is_given_up(waits: list[float]) -> None:
    """Patience is in seconds; what `Retry-After` would take counts already."""
    away = [UnavailableError("away"), UnavailableError("away", retry_after=61.0)]

    with anyio.fail_after(SECONDS), pytest.raises(UnavailableError, match="away"):
        await collect(resumed(Server(*away).connect, numbered, after=0, patience=60), [])
    assert len(waits) == 1


async def test_an_event_too_large_ends_it_since_it_would_come_again(waits: list[float]) -> None:
    """Opening the stream again would not help."""
    server = Server(response(b"data: " + b"x" * (streams.MAX_FRAME + 1)))

    with anyio.fail_after(SECONDS), pytest.raises(BrokenStreamError, match="more than"):
        await collect(resumed(server.connect, numbered, after=0, patience=60), [])


async def test_closing_it_closes_the_connection_at_once(waits: list[float]) -> None:
    """Nobody waits for a garbage collector."""
    server = Server(response(events(1, 2, 3)))

    async with aclosing(resumed(server.connect, numbered, after=0, patience=60)) as found:
        await anext(found)
        assert server.open == 1
    assert server.open == 0
