"""The server on Streamable HTTP, in both eras of the protocol: with sessions for older clients, without for newer ones.

The server always checks Host and Origin, and asks for the store's token. Tokens travel unencrypted, so it binds to
loopback only.
"""

import asyncio
import socket
import sys
from functools import partial
from typing import cast

import anyio
import anyio.lowlevel
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp
from typing_extensions import override

from tertulia.runs.runner import Worker
from tertulia.settings import Approvals
from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.app import Server, WorkerTask, build
from tertulia_server.callers import Authenticate, anybody, by_store_token
from tertulia_server.http_access import (
    HEALTH,
    AddressCheck,
    Authentication,
    answer_browsers,
    is_loopback,
)
from tertulia_server.http_limits import BodyReader, Connection, IdleConnections, Limits, limits_of_process
from tertulia_server.http_scopes import ScopeCheck
from tertulia_server.logs import log_to_stderr
from tertulia_server.settings import Settings
from tertulia_server.stdio import freeze_heap
from tertulia_server.store_token import store_token

PATH = "/mcp"
GRACE_SECONDS = 5
"""Seconds that calls which do not wait have to end when the server stops."""
FOR_HOLDERS = (
    "Callers show the token that `tertulia token` prints; `tertulia manifest HOST --http` tells a host."
)
FOR_EVERYBODY = (
    "Warning: --no-token lets every user and program of this machine read and write your conversations, and approve "
    "what agents ask."
)


def serve(settings: Settings, works: WorkerTask) -> None:
    """Serve until a signal ends the process.

    Raises:
        InvalidInputError: the server cannot bind to the address, its callers could not be told apart from others, or
            see `web_server` and `tertulia_server.app.build`.
    """
    check_exposure(settings)
    server = build(settings, worker=Worker(launch=anyio.lowlevel.checkpoint), works=works)
    freeze_heap()
    log_to_stderr(settings.log_level)
    with listen(settings.host, settings.port) as listener:
        web = web_server(server, settings)
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"
        callers = FOR_HOLDERS if settings.token else FOR_EVERYBODY
        print(f"Serving MCP on {url}\n{callers}", file=sys.stderr, flush=True)
        anyio.run(web.serve, [listener])


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


def web_server(
    server: Server,
    settings: Settings,
    *,
    authenticate: Authenticate | None = None,
    limits: Limits | None = None,
) -> uvicorn.Server:
    """Return the web server of `server`; when it stops, it first ends the calls that would keep connections open.

    Without `authenticate` and `limits` they are what the settings and this process ask for.

    Raises:
        InvalidInputError: see `authentication` and `application`.
    """
    authenticate = authenticate or authentication(settings)
    limits = limits or limits_of_process()
    config = uvicorn.Config(
        application(server, settings, authenticate, limits),
        http=cast(type[asyncio.Protocol], partial(Connection, limits, IdleConnections(limits))),
        ws="none",  # what is not HTTP would not be checked
        limit_concurrency=limits.connections,
        backlog=limits.idle_connections,  # also how many connections are taken at once, before any can be closed
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return _WebServer(config, server)


def check_exposure(settings: Settings) -> None:
    """Check that only those can call whom the settings mean.

    Raises:
        InvalidInputError: other machines could reach the address, or a program could decide for a person.
    """
    if not is_loopback(settings.host):
        raise InvalidInputError(
            f"--host {settings.host} would let other machines reach this server, and read the token of whoever calls "
            "it: authorization is missing that is safe on a network.",
            valid=["127.0.0.1", "::1", "localhost"],
            hint="Serve on loopback, behind a proxy or a tunnel that authenticates.",
        )
    if settings.approvals is Approvals.PERSON and not settings.token:
        raise InvalidInputError(
            "With --no-token every program of this machine can answer forms, so that --approvals person would mean "
            "nothing.",
            hint="Leave out one of the two.",
        )


def authentication(settings: Settings) -> Authenticate:
    """Return how callers are told apart.

    Raises:
        InvalidInputError: see `tertulia_server.store_token.store_token`.
    """
    return by_store_token(store_token(settings.store)) if settings.token else anybody


def application(server: Server, settings: Settings, authenticate: Authenticate, limits: Limits) -> ASGIApp:
    """Return the ASGI application: MCP at `PATH`, and `/healthz`.

    Raises:
        InvalidInputError: the settings allow something that is no host or no origin.
    """

    @server.custom_route(HEALTH, methods=["GET"])
    async def healthz(_: Request) -> JSONResponse:  # pyright: ignore[reportUnusedFunction] - the decorator keeps it
        return JSONResponse({"status": "ok"})

    server.default_principal = None
    app: ASGIApp = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=limits.body_bytes,
        max_sessions=limits.sessions,
        session_idle_timeout=limits.session_seconds,
        transport_security=TransportSecuritySettings(
            enable_dns_rebinding_protection=False
        ),  # `AddressCheck` is stricter
    )
    app = ScopeCheck(app)
    app = BodyReader(app, limits)
    app = Authentication(app, authenticate)
    app = answer_browsers(app)
    # Without a token, an allowed page needs nothing more to read everything.
    return AddressCheck(app, settings.allowed_hosts, settings.allowed_origins, loopback_pages=settings.token)


class _WebServer(uvicorn.Server):
    """Ends waiting calls and subscription streams before it waits for connections to close."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self._server = server

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._server.end_waiting()
        await super().shutdown(sockets)
