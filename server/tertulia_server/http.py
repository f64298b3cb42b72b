"""The server on Streamable HTTP, in both eras of the protocol: with sessions for older clients, without for newer ones.

The server always checks Host and Origin, and asks for a token: for the store's on this machine, for one of a file or of
an authorization server where several people call. Tokens travel unencrypted; a proxy encrypts them.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import uvicorn
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl, ConfigDict, TypeAdapter
from starlette.applications import Starlette
from starlette.types import ASGIApp
from typing_extensions import override

from tertulia.runs.runner import Worker
from tertulia.settings import Approvals
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.tasks import task_group
from tertulia_server.addresses import is_loopback
from tertulia_server.app import Server, build
from tertulia_server.callers import Authenticate, anybody, by_store_token, by_tokens
from tertulia_server.http_access import (
    AddressCheck,
    Authentication,
    answer_browsers,
)
from tertulia_server.http_first_byte import FirstByte
from tertulia_server.http_health import serve_health
from tertulia_server.http_limits import (
    BodyReader,
    ClosingConnections,
    Connection,
    FramingCheck,
    IdleConnections,
    Limits,
    limits_of_process,
)
from tertulia_server.http_scopes import ScopeCheck
from tertulia_server.logs import LogFormat, log_to_stderr
from tertulia_server.page import PAGE, serve_page
from tertulia_server.settings import Settings
from tertulia_server.stdio import freeze_heap
from tertulia_server.store_token import store_token
from tertulia_server.token_file import TokenFile
from tertulia_tools.access import AccessScope

if TYPE_CHECKING:
    from tertulia_server.oauth import AccessTokens

logger = logging.getLogger(__name__)

PATH = "/mcp"
GRACE_SECONDS = 5
"""Seconds that calls which do not wait have to end when the server stops."""
DRAIN_INTERVAL = 0.1
"""Seconds between two looks whether a stopping server still executes runs."""
_EXACT_URL = TypeAdapter(AnyHttpUrl, config=ConfigDict(url_preserve_empty_path=True))
"""Hosts compare an issuer character by character: it gets no slash that it does not have."""
FOR_EVERYBODY = (
    "Warning: --no-token lets every user and program of this machine read and write your conversations, and approve "
    "what agents ask."
)


Beside = Callable[[str], Coroutine[Any, Any, None]]
"""Runs while a server serves; it is given the address of the page."""


def serve(settings: Settings, beside: Beside | None = None) -> None:
    """Serve until a signal ends the process.

    Raises:
        InvalidInputError: the server cannot bind to the address, its callers could not be told apart from others, or
            see `web_server` and `tertulia_server.app.build`.
    """
    check_exposure(settings)
    server = build(settings, worker=Worker(launch=anyio.lowlevel.checkpoint), works=True)
    freeze_heap()
    log_to_stderr(settings.log_level, settings.log_format)
    with listen(settings.host, settings.port) as listener:
        web = web_server(server, settings)
        host, port = listener.getsockname()[:2]
        origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        page = f" and a page on {origin}{PAGE}" if server.offers_page else ""
        _announce(f"Serving MCP on {origin}{PATH}{page}", _callers(settings), settings.log_format)
        anyio.run(_serve, web, listener, None if beside is None else partial(beside, f"{origin}{PAGE}"))


async def _serve(
    web: uvicorn.Server, listener: socket.socket, beside: Callable[[], Coroutine[Any, Any, None]] | None
) -> None:
    async with task_group() as tasks:
        if beside is not None:
            tasks.start_soon(beside)
        await web.serve([listener])
        tasks.cancel_scope.cancel()


def _announce(where: str, callers: str, form: LogFormat) -> None:
    """Say where the server is, and who may call: in the log, where a program reads that."""
    if form is LogFormat.TEXT:
        print(f"{where}\n{callers}", file=sys.stderr, flush=True)
    else:
        logger.warning("%s. %s", where, callers)


def _callers(settings: Settings) -> str:
    """Return who may call, in a sentence or two."""
    if not settings.token:
        return FOR_EVERYBODY
    known = [f"tokens of {settings.oauth_issuer}"] if settings.oauth_issuer else []
    known += [f"the tokens in {settings.token_file}"] if settings.token_file else []
    if not known:
        token, host = settings.command("token"), settings.command("manifest", "HOST", "--http")
        return f"Callers show the token that `{token}` prints; `{host}` tells a host."
    sentences = [f"Callers show {' or '.join(known)}."]
    if not is_loopback(settings.host):
        sentences.append(
            "HTTP is not encrypted: let a proxy encrypt it, and nothing else reach this address."
        )
    return " ".join(sentences)


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
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[*settings.trusted_proxies],
    )
    return _WebServer(config, server, settings.drain_seconds)


def check_exposure(settings: Settings) -> None:
    """Check that only those can call whom the settings mean.

    Raises:
        InvalidInputError: other machines could reach the address, or a program could decide for a person.
    """
    named = settings.token_file is not None or settings.oauth_issuer is not None
    if named and not settings.token:
        raise InvalidInputError(
            "--no-token lets everybody in, so that --token-file and --oauth-issuer would mean nothing.",
            hint="Leave out --no-token.",
        )
    if not is_loopback(settings.host) and not named:
        raise InvalidInputError(
            f"--host {settings.host} lets other machines reach this server, where the store's token is no protection: "
            "it is one for everybody, and makes them the person who runs the server.",
            valid=["127.0.0.1", "::1", "localhost"],
            hint="Say who may call: with --oauth-issuer, or with --token-file and "
            f"`{settings.command('token', '--add', 'NAME')}`.",
        )
    if settings.oauth_issuer is not None and settings.public_url is None:
        raise InvalidInputError(
            "--oauth-issuer needs --public-url: tokens are issued for this server by its URL.",
            hint="Give the URL under which hosts reach it: --public-url https://tertulia.example/mcp.",
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
        InvalidInputError: see `tertulia_server.store_token.store_token` and `tertulia_server.token_file.TokenFile`.
    """
    if not settings.token:
        return anybody
    if settings.token_file is None and settings.oauth_issuer is None:
        return by_store_token(store_token(settings.store))
    tokens = None if settings.token_file is None else TokenFile(settings.token_file)
    return by_tokens(tokens, _issued(settings))


def _issued(settings: Settings) -> "AccessTokens | None":
    if settings.oauth_issuer is None or settings.public_url is None:
        return None
    # Imported here: it loads a library of ciphers, and most servers need none of it.
    from tertulia_server.oauth import AccessTokens, AuthorizationServer

    return AccessTokens(
        AuthorizationServer(
            issuer=settings.oauth_issuer,
            audience=settings.oauth_audience or settings.public_url,
            jwks_url=settings.oauth_jwks_url,
            environment_proxy=settings.environment_proxy,
        )
    )


def application(server: Server, settings: Settings, authenticate: Authenticate, limits: Limits) -> ASGIApp:
    """Return the ASGI application: MCP at `PATH`, the page at `/`, `/healthz` and `/readyz`.

    Raises:
        InvalidInputError: the settings allow something that is no host or no origin.
    """
    serve_health(server)
    if server.offers_page:
        serve_page(server)
    server.default_principal = None
    web = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=limits.body_bytes,
        max_sessions=limits.sessions,
        session_idle_timeout=limits.session_seconds,
        transport_security=TransportSecuritySettings(
            enable_dns_rebinding_protection=False
        ),  # `AddressCheck` is stricter
    )
    metadata = None
    hosts = list(settings.allowed_hosts)
    if settings.public_url is not None:
        hosts.append(urlsplit(settings.public_url).netloc)
        if settings.oauth_issuer is not None:
            metadata = _publish_metadata(web, settings.public_url, settings.oauth_issuer)
    app: ASGIApp = ScopeCheck(FirstByte(web), metadata)
    app = BodyReader(app, limits)
    app = Authentication(app, authenticate, metadata=metadata)
    app = answer_browsers(app)
    if settings.telemetry:
        from tertulia_server.telemetry import TraceContext  # few servers send any

        app = TraceContext(app)
    # Without a token, an allowed page needs nothing more to read everything.
    app = AddressCheck(app, hosts, settings.allowed_origins, loopback_pages=settings.token)
    return ClosingConnections(FramingCheck(app), lambda: server.stopping)


def _publish_metadata(web: Starlette, url: str, issuer: str) -> str:
    """Serve what hosts read to find the authorization server (RFC 9728); return its URL."""
    resource, server = map(_EXACT_URL.validate_python, (url, issuer))
    scopes = [str(scope) for scope in AccessScope]
    web.routes.extend(create_protected_resource_routes(resource, [server], scopes, resource_name="Tertulia"))
    return str(build_resource_metadata_url(resource))


class _WebServer(uvicorn.Server):
    """Ends waiting calls and subscription streams before it waits for connections to close.

    Before that, it waits up to `drain_seconds` for the runs that it executes, takes no new connection, and closes those
    there are with their next response. Runs that are still there then are continued by other processes. A second signal
    ends the waiting.
    """

    def __init__(
        self, config: uvicorn.Config, server: Server, drain_seconds: float, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        super().__init__(config)
        self._server = server
        self._drain_seconds = drain_seconds
        self._clock = clock

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._server.end_waiting()
        for listening in self.servers:
            listening.close()
        with self._clock.move_on_after(self._drain_seconds):
            while self._server.busy and not self.force_exit:
                await self._clock.tick(DRAIN_INTERVAL)
        await super().shutdown(sockets)
