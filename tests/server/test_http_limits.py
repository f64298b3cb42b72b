"""What a caller may take of the HTTP server, over real sockets: slow heads and bodies, connections, sessions."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from anyio.abc import SocketStream

from tertulia_server.app import build
from tertulia_server.http_limits import Limits, limits_of_process
from tertulia_server.settings import load
from tests.doubles.hosts import SECONDS, authorization, served
from tests.doubles.http_server import INITIALIZE, JSON

pytestmark = [pytest.mark.anyio, pytest.mark.io]

LONG = 3600.0
"""Seconds that no test waits: what has this limit must end for another reason."""
SHORT = 0.2
MODERN = {**JSON, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
LIST_TOOLS = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/list",
        "params": {
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        },
    }
).encode()
"""A call with an answer of some 30 kB."""
HALF_A_HEAD = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"


@dataclass(frozen=True)
class Neighbour:
    """A program on this machine that speaks to the server in its own way."""

    url: str
    headers: Mapping[str, str]
    """What a caller with the token sends."""
    _connections: AsyncExitStack = field(repr=False)

    async def connect(self, *sent: bytes) -> SocketStream:
        """Open a connection, and send something."""
        address = urlsplit(self.url)
        assert address.hostname
        assert address.port
        stream = await self._connections.enter_async_context(
            await anyio.connect_tcp(address.hostname, address.port)
        )
        for data in sent:
            await stream.send(data)
        return stream

    def request(self, body: bytes, *, declared: int | None = None) -> bytes:
        """Return a call with the token; a body that is declared longer than it is has only begun."""
        length = len(body) if declared is None else declared
        lines = ["POST /mcp HTTP/1.1", "Host: localhost", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in {**MODERN, **self.headers}.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def begin_body(self, declared: int, sent: int) -> SocketStream:
        """Begin a request, and send a part of its body."""
        return await self.connect(self.request(b" " * sent, declared=declared))

    async def is_served(self) -> bool:
        """Return whether somebody who does nothing wrong gets an answer."""
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            answer = await client.get(self.url.replace("/mcp", "/healthz"))
        return answer.status_code == 200

    async def initialize(self) -> httpx.Response:
        """Open a session."""
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            return await client.post(self.url, json=INITIALIZE, headers={**JSON, **self.headers})


@asynccontextmanager
async def neighbour(folder: Path, limits: Limits) -> AsyncGenerator[Neighbour]:
    """Serve with these limits, beside a neighbour."""
    store = folder / "tertulia.db"
    settings = load({"store": str(store), "discover_agents": False}, {}).settings
    async with served(build(settings), settings, limits=limits) as url, AsyncExitStack() as connections:
        yield Neighbour(url, authorization(store), connections)


async def answer_on(stream: SocketStream) -> str:
    """Return all that comes on a connection, until the server closes it."""
    received = b""
    with anyio.fail_after(SECONDS):
        while True:
            try:
                received += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return received.decode()


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD], ids=["nothing", "half a head"])
async def test_a_connection_without_a_request_is_closed(tmp_path: Path, sent: bytes) -> None:
    """It would hold one of few places for as long as it likes."""
    async with neighbour(tmp_path, Limits(head_seconds=SHORT)) as program:
        stream = await program.connect(sent)
        assert not await answer_on(stream)


async def test_a_head_that_drips_gets_no_more_time(tmp_path: Path) -> None:
    """Each byte would otherwise begin the time anew."""
    async with neighbour(tmp_path, Limits(head_seconds=SHORT)) as program:
        stream = await program.connect(HALF_A_HEAD)
        closed = False
        with anyio.fail_after(SECONDS):
            while not closed:
                try:
                    await stream.send(b"X")
                    with anyio.move_on_after(SHORT / 4):
                        await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    closed = True
    assert closed


async def test_a_connection_that_has_had_an_answer_must_send_the_next_request_in_time(tmp_path: Path) -> None:
    """A good beginning buys nothing."""
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with neighbour(tmp_path, Limits(head_seconds=SHORT)) as program:
        stream = await program.connect(request, request, HALF_A_HEAD)
        received = await answer_on(stream)
    assert received.count("HTTP/1.1 200") == 2


async def test_a_request_may_last_longer_than_a_head(tmp_path: Path) -> None:
    """Calls wait for answers, and streams stay open."""
    async with neighbour(tmp_path, Limits(head_seconds=SHORT, body_seconds=3 * SHORT)) as program:
        received = await answer_on(await program.begin_body(100, 1))
    assert received.startswith("HTTP/1.1 408")


async def test_many_half_open_connections_keep_nobody_out(tmp_path: Path) -> None:
    """The one that waits longest makes room for the next, and whoever sends a whole request is served."""
    async with neighbour(tmp_path, Limits(connections=16, idle_connections=4, head_seconds=LONG)) as program:
        streams = [await program.connect(HALF_A_HEAD) for _ in range(60)]
        assert await program.is_served()
        assert not await answer_on(streams[0])


async def test_requests_beyond_the_limit_are_told_so(tmp_path: Path) -> None:
    """Those before them go on, and there is room again when one has ended."""
    limits = Limits(connections=5, idle_connections=2, body_seconds=LONG, head_seconds=LONG)
    async with neighbour(tmp_path, limits) as program:
        held = [await program.begin_body(100, 1) for _ in range(6)]
        refused = await answer_on(held[-1])
        assert refused.startswith("HTTP/1.1 503")
        for stream in held[:3]:
            await stream.aclose()
        with anyio.fail_after(SECONDS):
            while not await program.is_served():
                pass


async def test_a_body_that_does_not_arrive_is_given_up(tmp_path: Path) -> None:
    """With a sentence for whoever sends it."""
    async with neighbour(tmp_path, Limits(body_seconds=SHORT)) as program:
        received = await answer_on(await program.begin_body(100, 99))
    assert received.startswith("HTTP/1.1 408")
    assert "did not arrive within 0.2 seconds" in received


async def test_unfinished_bodies_share_a_limit(tmp_path: Path) -> None:
    """The largest is given up, so that others' requests are served whatever one caller sends."""
    limits = Limits(unfinished_bytes=100_000, body_seconds=LONG)
    async with neighbour(tmp_path, limits) as program:
        first = await program.begin_body(1_000_000, 60_000)
        second = await program.begin_body(1_000_000, 70_000)
        received = await answer_on(second)
        assert received.startswith("HTTP/1.1 503")
        assert "Send it again later" in received
        assert (await program.initialize()).status_code == 200
        with anyio.move_on_after(SHORT) as still_open:
            await first.receive()
        assert still_open.cancelled_caught


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_a_body_that_is_too_large_is_refused(tmp_path: Path, chunked: bool) -> None:
    """Before it is read where its size is known, and as soon as it is too large where not."""
    limits = Limits(body_bytes=1_000)

    async def chunks() -> AsyncGenerator[bytes]:
        for _ in range(11):
            yield b" " * 100

    async with neighbour(tmp_path, limits) as program, httpx.AsyncClient(timeout=SECONDS) as client:
        answer = await client.post(
            program.url,
            content=chunks() if chunked else b" " * 1_001,
            headers={**JSON, **program.headers},
        )
    assert answer.status_code == 413
    assert "1,000 bytes" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("path", "status"), [("/mcp", 401), ("/healthz", 405), ("/.well-known/x", 404)])
async def test_nothing_is_read_of_a_caller_without_the_token(tmp_path: Path, path: str, status: int) -> None:
    """The answer does not wait for the body, and the connection is closed when no other request comes."""
    async with neighbour(tmp_path, Limits(body_seconds=LONG, head_seconds=SHORT)) as program:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n"
        received = await answer_on(await program.connect(head.encode()))
    assert received.startswith(f"HTTP/1.1 {status}")


async def test_an_answer_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    """It would hold its connection and its memory."""
    async with neighbour(tmp_path, Limits(unread_seconds=SHORT, head_seconds=LONG)) as program:
        stream = await program.connect()
        with anyio.fail_after(SECONDS), pytest.raises(anyio.BrokenResourceError):
            while True:
                await stream.send(program.request(LIST_TOOLS))


async def test_sessions_are_limited(tmp_path: Path) -> None:
    """A host that opens them and never comes back does not fill the memory."""
    async with neighbour(tmp_path, Limits(sessions=2)) as program:
        statuses = [(await program.initialize()).status_code for _ in range(3)]
    assert statuses == [200, 200, 503]


def test_the_limits_fit_the_files_that_a_process_may_open() -> None:
    """There is room left for the store, its journal and what else is open."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert limits_of_process() == Limits(connections=128, idle_connections=32)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
