"""What one caller may take of the HTTP server: connections, memory and time, before others would be kept waiting."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from tertulia_server.http_access import UNAVAILABLE, Refusal

BAD_REQUEST, TIMEOUT, TOO_LARGE = 400, 408, 413


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server."""

    connections: int = 512
    """Connections at a time. Requests beyond are answered with 503."""
    idle_connections: int = 128
    """Those among them that have no request. The one that waits longest is closed in favour of a new one."""
    head_seconds: float = 10
    """How long a connection may take to send a request, up to its body."""
    body_bytes: int = 8 * 1024 * 1024
    """The most bytes of a request's body: the longest possible text, with every character escaped."""
    body_seconds: float = 30
    """How long a request's body may take to arrive."""
    unread_seconds: float = 60
    """How long a caller may read nothing of an answer that the system does not buffer any more."""
    unfinished_bytes: int = 64 * 1024 * 1024
    """The most bytes of all bodies that have not arrived as a whole. Past it, the largest one is given up."""
    sessions: int = 256
    """Sessions at a time, of hosts that speak versions before 2026-07-28."""
    session_seconds: float = 600
    """How long a session is kept without a request or an open stream."""


def limits_of_process() -> Limits:
    """Return the limits for as many files as this process may open: half of them are for connections."""
    limits = Limits()
    if sys.platform == "win32":
        return limits
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files // 2 >= limits.connections:
        return limits
    return replace(limits, connections=files // 2, idle_connections=files // 8)


class IdleConnections:
    """The connections that have no request, in the order in which they began to wait for one."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._closing: dict[asyncio.Transport, asyncio.TimerHandle] = {}

    def add(self, transport: asyncio.Transport) -> None:
        """Close a connection unless a request comes in time, and the first of too many at once."""
        if transport in self._closing or transport.is_closing():
            return
        loop = asyncio.get_running_loop()
        self._closing[transport] = loop.call_later(self._limits.head_seconds, transport.abort)
        if len(self._closing) > self._limits.idle_connections:
            first = next(iter(self._closing))
            self.discard(first)
            first.abort()

    def discard(self, transport: asyncio.Transport) -> None:
        """Let a connection be, since it has a request or is closed."""
        if closing := self._closing.pop(transport, None):
            closing.cancel()


class Connection(H11Protocol):
    """A connection that is among `idle` until a request has come, up to its body, and again after the response.

    It is closed when nobody reads what is sent.
    """

    def __init__(self, limits: Limits, idle: IdleConnections, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits
        self._idle = idle
        self._unread: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._update()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self._limits.unread_seconds, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.discard(self.transport)
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def _update(self) -> None:
        if self.cycle and not self.cycle.response_complete:
            self._idle.discard(self.transport)
        else:
            self._idle.add(self.transport)


class FramingCheck:
    """Refuses a request that says in two ways where it ends, and closes its connection.

    A proxy in front may take the other one, and what follows on the connection for a part of this request's body: a
    request that nobody has checked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if "content-length" in headers and "transfer-encoding" in headers:
            sentence = "The request has both Content-Length and Transfer-Encoding. Send it with one of them."
            await Refusal(BAD_REQUEST, sentence, {"Connection": "close"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class ClosingConnections:
    """Closes each connection with its next response once the server stops.

    Whoever keeps connections, as a proxy does, then asks a server that stays. Closed without a response, one that has
    just been given a request would lose it.
    """

    def __init__(self, app: ASGIApp, stopping: Callable[[], bool]) -> None:
        self._app = app
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its response, which closes the connection if the server stops by then."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._stopping():
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive, closing if scope["type"] == "http" else send)


@dataclass(eq=False, slots=True)
class _Body:
    reading: anyio.CancelScope
    content: bytearray = field(default_factory=bytearray)


class BodyReader:
    """Reads a request's body as a whole before the application sees the request, within limits.

    It reads none of a request that was let through without a caller: those have no use for one.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._unfinished: set[_Body] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body, or refuse it."""
        if scope["type"] != "http" or "user" not in scope:
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limits.body_bytes:
            await self._too_large()(scope, receive, send)
            return
        body = await self._read(receive)
        if isinstance(body, Refusal):
            await body(scope, receive, send)
        elif body is not None:
            await self._app(scope, replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | Refusal | None:
        """Return the body, the response to one that breaks a limit, or None if the caller goes away."""
        with anyio.move_on_after(self._limits.body_seconds) as reading:
            body = _Body(reading)
            self._unfinished.add(body)
            try:
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    body.content += message.get("body", b"")
                    if len(body.content) > self._limits.body_bytes:
                        return self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body.content)
                    self._make_room()
            finally:
                self._unfinished.discard(body)
        if anyio.current_time() < reading.deadline:
            sentence = (
                "Too many requests are being sent at once, and this is the largest. Send it again later."
            )
            return Refusal(UNAVAILABLE, sentence, {"Connection": "close", "Retry-After": "1"})
        sentence = f"The request did not arrive within {self._limits.body_seconds:g} seconds. Send it again."
        return Refusal(TIMEOUT, sentence, {"Connection": "close"})

    def _make_room(self) -> None:
        if sum(len(body.content) for body in self._unfinished) > self._limits.unfinished_bytes:
            max(self._unfinished, key=lambda body: len(body.content)).reading.cancel()

    def _too_large(self) -> Refusal:
        limit = f"{self._limits.body_bytes:,} bytes"
        return Refusal(TOO_LARGE, f"The request has more than {limit}. Send the text in several messages.")


def replay(body: bytes, receive: Receive) -> Receive:
    """Return what receives the body in one piece, and then what `receive` does."""
    read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return read.pop() if read else await receive()

    return replay
