"""Answers that are larger than they look, that come in drips, and that do not end."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from tertulia.platforms.kit.http.client import BODY_SECONDS, Http
from tertulia.platforms.kit.http.errors import ErrorTable
from tertulia.platforms.kit.http.streams import BrokenStreamError
from tertulia.platforms.kit.http.tokens import TokenAuth, TokenSource
from tertulia.settings import Limits
from tertulia.vocabulary.errors import InvalidInputError, UnavailableError, UncertainError
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import App, Receive, Scope, Send, served

pytestmark = [pytest.mark.anyio, pytest.mark.io]

MIB = 1024 * 1024
SECONDS = 30
ERRORS = ErrorTable("Elsewhere", {}, lambda _: (None, None, None))


def answering(body: bytes, status: int = 200, **headers: str) -> App:
    """Return an app that answers everything with this body."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": named})
        await send({"type": "http.response.body", "body": body})

    return app


@asynccontextmanager
async def reached(
    app: App, *, limits: Limits | None = None, body_seconds: float = BODY_SECONDS, login: bool = False
) -> AsyncGenerator[Http]:
    """Serve an app, and reach it."""
    with anyio.fail_after(SECONDS):
        async with served(app) as url:
            source = TokenSource(platform="Elsewhere", instance="here", url=url, form={}, options="`token`")
            http = Http(
                "here",
                ERRORS,
                base_url=url,
                headers={},
                auth=TokenAuth(source) if login else None,
                clock=SkippingClock(),
                limits=limits or Limits(),
                body_seconds=body_seconds,
            )
            try:
                yield http
            finally:
                await http.close()


def doubly_compressed(body: bytes) -> bytes:
    """Compress twice."""
    return gzip.compress(gzip.compress(body))


def raw_deflate(body: bytes) -> bytes:
    """Compress without a header, as some servers do."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("gzip, gzip", doubly_compressed),
        ("identity", bytes),
    ],
)
async def test_a_compressed_answer_is_read(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """However it is compressed: we say that we take gzip and deflate."""
    whole = {"text": "Zürich " * 100_000}
    app = answering(compress(json.dumps(whole).encode()), content_encoding=encoding)
    async with reached(app) as http:
        assert await http.get("things") == whole


async def test_an_answer_that_is_a_bomb_takes_neither_memory_nor_the_loop() -> None:
    """256 MiB in a quarter of one: it is left at the limit, and others have their turns meanwhile."""
    bomb = gzip.compress(bytes(256 * MIB), compresslevel=1)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    app = answering(bomb, content_encoding="gzip")
    async with reached(app, limits=Limits(4)) as http, anyio.create_task_group() as tasks:
        tracemalloc.start()
        tasks.start_soon(take_turns)
        with pytest.raises(UnavailableError, match="answered with more than 4 MiB") as caught:
            await http.get("things")
        assert tracemalloc.get_traced_memory()[1] < 24 * MIB
        tracemalloc.stop()
        tasks.cancel_scope.cancel()
        assert "`max_response_mib` in [instances.here]" in (caught.value.hint or "")
        assert not caught.value.retryable

    assert turns > 64  # at each of the pieces


async def test_the_limit_is_the_largest_answer_that_is_read() -> None:
    """To the byte, compressed or not."""
    fits = json.dumps("x" * (MIB - 2)).encode()
    for body in (fits, fits + b" "):
        for encoded, encoding in ((body, "identity"), (gzip.compress(body), "gzip")):
            async with reached(answering(encoded, content_encoding=encoding), limits=Limits(1)) as http:
                if body is fits:
                    assert len(await http.get("things")) == MIB - 2
                else:
                    with pytest.raises(UnavailableError, match="more than 1 MiB"):
                        await http.get("things")


async def test_whether_a_call_with_an_oversized_answer_was_carried_out_is_not_known() -> None:
    """Unless it is a refusal: that holds, whatever else is in it."""
    large = b"x" * (2 * MIB)
    async with reached(answering(large), limits=Limits(1)) as http:
        with pytest.raises(UncertainError, match="more than 1 MiB"):
            await http.send("POST", "things")
    async with reached(answering(large, status=422), limits=Limits(1)) as http:
        with pytest.raises(InvalidInputError):
            await http.send("POST", "things")


async def test_the_answer_to_a_login_has_the_same_limit() -> None:
    """Also that of a server which does not take the token: httpx reads it before it asks again."""
    async with reached(answering(b"x" * (2 * MIB)), limits=Limits(1), login=True) as http:
        with pytest.raises(UnavailableError, match="more than 1 MiB"):
            await http.get("things")


async def test_a_stream_may_be_longer_than_an_answer_but_not_endless() -> None:
    """Its events are read up to the end of its own budget."""
    frame = b"data: " + b"x" * 1_000 + b"\n\n"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(100):
            await send({"type": "http.response.body", "body": frame * 100, "more_body": True})
            await anyio.lowlevel.checkpoint()

    events = 0
    async with (
        reached(app, limits=Limits(1 / 16)) as http,
        http.stream("GET", "things", safe=True) as frames,
    ):
        with pytest.raises(BrokenStreamError, match="more than 4 MiB"):
            async for _ in frames:
                events += 1

    assert 4_000 < events < 4_200


@pytest.mark.parametrize("safe", [True, False])
async def test_an_answer_that_comes_in_drips_is_not_waited_for_without_end(*, safe: bool) -> None:
    """Each byte comes in time, and the end never."""
    dripped = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal dripped
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            dripped += 1
            await anyio.sleep(0.05)  # the drip itself

    async with reached(app, body_seconds=0.3) as http:
        with pytest.raises(
            UnavailableError if safe else UncertainError, match="in time" if safe else "no answer"
        ):
            await http.send("GET", "things", safe=safe, seconds=0.2)

    assert dripped > 2
