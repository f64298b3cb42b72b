"""The server on Streamable HTTP, in both eras of the protocol: with sessions for older clients, without for newer ones.

The server always checks Host and Origin. It authenticates nobody, so it binds to loopback only.
"""

import ipaddress
import socket
import sys

import anyio
import anyio.lowlevel
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from tertulia.runs.runner import Worker
from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.app import Server, WorkerTask, build
from tertulia_server.settings import Settings
from tertulia_server.stdio import freeze_heap, log_to_stderr

PATH = "/mcp"
MAX_BODY = 8 * 1024 * 1024
"""The most bytes of a request: the longest possible text, with every character escaped."""
GRACE_SECONDS = 5
"""Seconds that calls which do not wait have to end when the server stops."""
TOO_LARGE = 413
INVALID_REQUEST = -32600


def serve(settings: Settings, works: WorkerTask) -> None:
    """Serve until a signal ends the process.

    Raises:
        InvalidInputError: the server cannot bind to the address, or see `tertulia_server.app.build`.
    """
    check_host(settings.host)
    server = build(settings, worker=Worker(launch=anyio.lowlevel.checkpoint), works=works)
    freeze_heap()
    log_to_stderr(settings.log_level)
    with listen(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        print(
            f"Serving MCP on http://{f'[{host}]' if ':' in host else host}:{port}{PATH}",
            file=sys.stderr,
            flush=True,
        )
        anyio.run(web_server(server, settings).serve, [listener])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that takes connections at an address of this machine.

    asyncio sends small packets at once (TCP_NODELAY) only on connections whose socket names its protocol, which
    `socket.create_server` leaves unsaid; each answer on a connection that is kept would otherwise wait some 40 ms for
    the acknowledgement of its first packet.

    Raises:
        InvalidInputError: the address cannot be served on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family)
    except OSError as error:
        raise InvalidInputError(
            f"The address {host}:{port} cannot be served on: {error.strerror}.",
            hint="Give another --port; 0 takes a free one.",
        ) from error
    return socket.socket(bound.family, bound.type, socket.IPPROTO_TCP, fileno=bound.detach())


def web_server(server: Server, settings: Settings) -> uvicorn.Server:
    """Return the web server of `server`; when it stops, it first ends the calls that would keep connections open."""
    config = uvicorn.Config(
        application(server, settings),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return _WebServer(config, server)


def check_host(host: str) -> None:
    """Check that an address is a loopback address.

    Raises:
        InvalidInputError: other machines could reach the address.
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InvalidInputError(
            f"--host {host} would let anybody who reaches this machine read and write your conversations, since this "
            "version cannot tell who is calling: authorization is missing.",
            valid=["127.0.0.1", "::1", "localhost"],
            hint="Serve on loopback, behind a proxy or a tunnel that authenticates.",
        )


def application(server: Server, settings: Settings) -> ASGIApp:
    """Return the ASGI application: MCP at `PATH`, and `/healthz`."""

    @server.custom_route("/healthz", methods=["GET"])
    async def healthz(_: Request) -> JSONResponse:  # pyright: ignore[reportUnusedFunction] - the decorator keeps it
        return JSONResponse({"status": "ok"})

    own = ["127.0.0.1", "localhost", "[::1]"]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*own, *(f"{name}:*" for name in own), *settings.allowed_hosts],
        allowed_origins=[
            *(f"http://{name}" for name in own),
            *(f"http://{name}:*" for name in own),
            *settings.allowed_origins,
        ],
    )
    app = server.streamable_http_app(
        streamable_http_path=PATH, max_request_body_size=MAX_BODY, transport_security=security
    )
    return _ExplainTooLarge(app)


class _WebServer(uvicorn.Server):
    """Ends waiting calls and subscription streams before it waits for connections to close."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self._server = server

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._server.end_waiting()
        await super().shutdown(sockets)


class _ExplainTooLarge:
    """Says how large a request may be if one is too large; the SDK says only that it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        explained = False

        async def explain(message: Message) -> None:
            nonlocal explained
            if message["type"] == "http.response.start" and message["status"] == TOO_LARGE:
                explained = True
                sentence = f"The request has more than {MAX_BODY:,} bytes. Send the text in several messages."
                error = {"code": INVALID_REQUEST, "message": sentence}
                response = JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=TOO_LARGE)
                await response(scope, receive, send)
            elif not explained:
                await send(message)

        await self._app(scope, receive, explain)
