"""A network on which a double is reached: real connections, and faults where a test wants them."""

import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import anyio
import anyio.lowlevel
import uvicorn
from starlette.responses import StreamingResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Fault = Callable[[App, Scope, Receive, Send], Awaitable[None]]
"""Serves one request in place of the app, which it may call."""


class Cut(Exception):
    """Makes the server close the connection."""


class Faults:
    """An app in front of another. Each planned fault meets one request: the first to the method and end of path."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._planned: list[tuple[str, str, Fault]] = []
        self.targets: list[str] = []
        """The method and the target of each request, as they came over the wire."""

    def plan(self, method: str, path: str, *faults: Fault) -> None:
        """Plan faults, one for each of the next such requests."""
        self._planned += [(method, path, fault) for fault in faults]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http":
            query = scope["query_string"].decode()
            self.targets.append(f"{scope['method']} {scope['raw_path'].decode()}{'?' * bool(query)}{query}")
        for number, (method, path, fault) in enumerate(self._planned):
            if scope["type"] == "http" and scope["method"] == method and scope["path"].endswith(path):
                del self._planned[number]
                return await fault(self._app, scope, receive, send)
        return await self._app(scope, receive, send)


def answer(status: int, body: object = None, **headers: str) -> Fault:
    """Return a fault that answers with a status, without asking the app. `_` in the name of a header is `-`."""

    async def fault(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        named.append((b"content-type", b"application/json"))
        await send({"type": "http.response.start", "status": status, "headers": named})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    return fault


async def drop(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Lose a request, and its connection: the app never sees it."""
    cast(
        Any, send
    ).__self__.transport.abort()  # uvicorn's: nothing of ASGI closes a connection without an answer


async def unheard(message: MutableMapping[str, Any]) -> None:
    """Take a part of a response that nobody gets."""


async def lose(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Lose a response: the app has done what it was asked."""
    await app(scope, receive, unheard)
    await drop(app, scope, receive, send)


class Hang:
    """A fault: a call reaches its server, or is lost on the way, and its answer never comes."""

    def __init__(self, *, arrives: bool) -> None:
        self.reached = anyio.Event()
        """Set once the call was made."""
        self._arrives = arrives

    async def __call__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Hang over a call."""
        if self._arrives:
            await app(scope, receive, unheard)
        self.reached.set()
        await anyio.sleep_forever()


class EventResponse(StreamingResponse):
    """A stream of events whose source is closed as soon as nobody reads it: Starlette leaves that to the collector."""

    def __init__(self, events: AsyncGenerator[str]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


def cut(behind: str) -> Fault:
    """Return a fault that closes the connection in a response, just behind a text in it."""

    async def close() -> None:
        raise Cut

    return _interrupted(behind, close)


def stall(behind: str) -> Fault:
    """Return a fault that falls silent in a response, just behind a text in it, and keeps the connection open."""
    return _interrupted(behind, anyio.sleep_forever)


def _interrupted(behind: str, then: Callable[[], Awaitable[object]]) -> Fault:
    async def fault(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        sent = b""

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal sent
            before, sent = len(sent), sent + message.get("body", b"")
            if behind.encode() in sent:
                end = sent.index(behind.encode()) + len(behind.encode())
                await send({**message, "body": sent[before:end], "more_body": True})
                await then()
            await send(message)

        await app(scope, receive, watched)

    return fault


def listener() -> socket.socket:
    """Return a socket that takes connections at a port of its own.

    It names its protocol: only then does asyncio send each packet of a connection at once, instead of after 40 ms.
    """
    bound = socket.create_server(("127.0.0.1", 0))
    return socket.socket(bound.family, bound.type, socket.IPPROTO_TCP, fileno=bound.detach())


@asynccontextmanager
async def served(app: App) -> AsyncGenerator[str]:
    """Serve an app on a port of its own; yield its address. Leaving ends it, and every connection."""
    config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    with listener() as listening:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listening])
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                server.should_exit = server.force_exit = True
        # Those of clients that were killed: the server has not noticed yet.
        for connection in list(server.server_state.connections):
            cast(Any, connection).transport.abort()
        await anyio.lowlevel.checkpoint()


class Held:
    """A fault that holds a request for ever, and counts those."""

    def __init__(self) -> None:
        self.requests = 0

    async def __call__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold it."""
        self.requests += 1
        await anyio.sleep_forever()
