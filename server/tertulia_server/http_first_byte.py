"""The first byte of an answer: it comes soon, so that nothing between host and server takes the silence for an end."""

from collections.abc import Callable
from typing import Any

import anyio
from mcp.server.mcpserver import Context
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.tasks import task_group

FIRST_BYTE_SECONDS = 0.25
"""How long a tool may take before its answer begins. What is over sooner is answered as a whole, in JSON."""
_TOOL_CALLED = "tertulia.tool_called"
"""The key of an ASGI scope under which `FirstByte` is told that the call has reached its tool."""
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


def tool_called(context: Context[Any, Any]) -> None:
    """Note that a call has reached its tool: whatever comes of it, its answer has the status 200."""
    request: Request | None = context.request_context.request
    if request is not None:
        note: Callable[[], None] = request.scope.get(_TOOL_CALLED, lambda: None)
        note()


class FirstByte:
    """Begins the answer to a call whose tool takes longer than a moment, as a stream of events.

    The SDK begins it with the first notification, of which a call without a progress token has none, or after 15
    seconds: an error may have a status of its own until then. In sessions (versions before 2026-07-28) the SDK begins
    every answer at once.
    """

    def __init__(self, app: ASGIApp, clock: Clock = SYSTEM_CLOCK) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or Headers(scope=scope).get("mcp-method") != "tools/call":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        called = anyio.Event()

        async def begin_soon() -> None:
            await called.wait()
            await self._clock.sleep(FIRST_BYTE_SECONDS)
            await answer.begin()

        async with task_group() as tasks:
            tasks.start_soon(begin_soon)
            await self._app({**scope, _TOOL_CALLED: called.set}, receive, answer.send)
            tasks.cancel_scope.cancel()


class _Answer:
    """What is sent of an answer: what the SDK sends, or a stream in which that is the last event."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._sending = anyio.Lock()
        self._begun = False
        self._early = False
        """Whether it was begun here, instead of by the SDK."""
        self._is_event = True
        self._body = bytearray()

    async def begin(self) -> None:
        """Begin a stream, unless the SDK has begun the answer."""
        async with self._sending:
            if not self._begun:
                self._begun = self._early = True
                await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                await self._send(_part(b": the tool is at work\r\n\r\n"))

    async def send(self, message: Message) -> None:
        """Send a part of the SDK's answer, or, once a stream was begun, what it is in that."""
        async with self._sending:
            self._begun = True
            if not self._early:
                await self._send(message)
            elif message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                self._is_event = kind.startswith("text/event-stream")
            elif self._is_event:
                await self._send(message)
            else:
                self._body += message.get("body", b"")
                if not message.get("more_body", False):
                    event = b"event: message\r\ndata: %b\r\n\r\n" % self._body
                    await self._send(_part(event, more=False))


def _part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
