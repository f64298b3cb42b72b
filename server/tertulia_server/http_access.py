"""Who may reach the server over HTTP: under which names, from which web pages, and as which principal.

A request passes `AddressCheck`, then the answers to browsers (CORS), then `Authentication`. Nothing behind these, a
redirect included, sees a request that one of them refuses, and none of them reads a body.
"""

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.models import LOCAL_PRINCIPAL
from tertulia.vocabulary.untrusted import shown

INVALID_REQUEST = -32600
UNAUTHORIZED, FORBIDDEN, MISDIRECTED = 401, 403, 421
HEALTH = "/healthz"
OPEN_PATHS = (HEALTH, "/.well-known/")
"""The paths that ask for no caller, or begin so: hosts look below the second one for ways to authenticate."""
ANY_PORT = "*"
LARGEST_PORT = 65_535
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_AUTHORITY = re.compile(r"(\[[0-9a-f.]*:[0-9a-f:.]*\]|[a-z0-9_][a-z0-9._-]*)(?::([0-9]{1,5}))?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")

Authenticate = Callable[[Headers], Awaitable[str | None]]
"""Returns the principal who makes a request, by its headers; None if they show no credential that is known."""


def refusal(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response to a request that is not served, with a sentence that says why and what to do."""
    error = {"code": INVALID_REQUEST, "message": sentence}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status, headers)


def is_loopback(host: str) -> bool:
    """Return whether a name or an address, an IPv6 address without brackets, can only mean this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Authority:
    """A name or address with a port: what a URL has between its scheme and its path."""

    name: str
    port: str

    @classmethod
    def read(cls, text: str, *, default_port: str) -> "Authority | None":
        """Return what `text` says; None if it is not exactly a name with a port of at most 65535, or without one."""
        found = _AUTHORITY.fullmatch(text.lower())
        if found is None:
            return None
        name, port = found[1], found[2] or default_port
        if port.isdecimal():
            port = str(int(port))
            if int(port) > LARGEST_PORT:
                return None
        return cls(name, port)

    @property
    def loopback(self) -> bool:
        """Whether it can only mean this machine."""
        return is_loopback(self.name.strip("[]"))

    def covers(self, other: "Authority") -> bool:
        """Return whether `other` is this name, with this port if one was said."""
        return self.name == other.name and self.port in {ANY_PORT, other.port}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a web page comes from."""

    scheme: str
    authority: Authority

    @classmethod
    def read(cls, text: str) -> "Origin | None":
        """Return what `text` says; None if it is not exactly a scheme and an authority."""
        scheme, found, authority = text.lower().partition("://")
        if not found or not _SCHEME.fullmatch(scheme):
            return None
        read = Authority.read(authority, default_port=_DEFAULT_PORTS.get(scheme, ""))
        return None if read is None else cls(scheme, read)


class AddressCheck:
    """Refuses requests that name another host, or come from a web page that may not call.

    The check of Host is what a page cannot get around that makes its own name mean this machine (DNS rebinding). Every
    loopback address is accepted, and the names in `hosts`. Pages of this server's own origin and of `origins` may call;
    with `loopback_pages`, those of every server on this machine, too.

    Raises:
        InvalidInputError: what `hosts` or `origins` have is no name or no origin.
    """

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str], *, loopback_pages: bool
    ) -> None:
        self._app = app
        self._hosts = [_named_host(host) for host in hosts]
        self._origins = [_named_origin(origin) for origin in origins]
        self._loopback_pages = loopback_pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        refused = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (self._app if refused is None else refused)(scope, receive, send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        host_text, origin_text = (", ".join(headers.getlist(name)) for name in ("host", "origin"))
        host = Authority.read(host_text, default_port="")
        if host is None or not (host.loopback or any(known.covers(host) for known in self._hosts)):
            return refusal(
                MISDIRECTED,
                f"{shown(host_text) or 'A request without Host'} is not a name of this server. Use a loopback address, "
                "or start the server with --allowed-hosts and the name.",
            )
        if origin_text and not self._may_call(Origin.read(origin_text), host):
            return refusal(
                FORBIDDEN,
                f"Pages of {shown(origin_text)} may not call this server. To let them, start it with "
                "--allowed-origins and their origin.",
            )
        return None

    def _may_call(self, origin: Origin | None, host: Authority) -> bool:
        if origin is None:
            return False
        if origin in self._origins:
            return True
        if origin.scheme not in _DEFAULT_PORTS:
            return False
        own = Authority(host.name, host.port or _DEFAULT_PORTS[origin.scheme])
        page = origin.authority
        return page == own or (self._loopback_pages and page.loopback)


def _named_host(text: str) -> Authority:
    authority = Authority.read(text.removesuffix(f":{ANY_PORT}"), default_port=ANY_PORT)
    if authority is None:
        raise InvalidInputError(
            f"--allowed-hosts {shown(text)} is not a name with or without a port.",
            hint="Give names as the Host header has them: tertulia.example, or tertulia.example:8443.",
        )
    return authority


def _named_origin(text: str) -> Origin:
    origin = Origin.read(text)
    if origin is None:
        raise InvalidInputError(
            f"--allowed-origins {shown(text)} is not an origin.",
            hint="Give a scheme, a name and perhaps a port, without a path: https://app.example.",
        )
    return origin


def answer_browsers(app: ASGIApp) -> ASGIApp:
    """Return `app` with what a page of another origin needs to call it: answers to preflights, and headers to read.

    It is for requests that `AddressCheck` has let pass: their origin is one that may call.
    """
    return CORSMiddleware(
        app,
        allow_origin_regex=".*",
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        allow_private_network=True,
        expose_headers=["Mcp-Session-Id", "WWW-Authenticate"],
    )


class Authentication:
    """Finds out who makes a request, and refuses it if that is nobody. `principal_of` says it to those behind."""

    def __init__(self, app: ASGIApp, authenticate: Authenticate) -> None:
        self._app = app
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its principal, or refuse it."""
        if scope["type"] != "http" or scope["path"].startswith(OPEN_PATHS):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        principal = await self._authenticate(headers)
        if principal is None:
            await _unauthorized(headers)(scope, receive, send)
            return
        # The SDK takes the user for the owner of a session, which no other principal can use then.
        user = AuthenticatedUser(AccessToken(token="", client_id=principal, scopes=[]))
        await self._app({**scope, "user": user}, receive, send)


def _unauthorized(headers: Headers) -> JSONResponse:
    known = "authorization" in headers
    sentence = "The token is not this server's" if known else "This server asks its callers for a token"
    return refusal(
        UNAUTHORIZED,
        f"{sentence}. Send `Authorization: Bearer TOKEN` with what `tertulia token` prints; `tertulia manifest HOST "
        "--http` writes it into the configuration of a host.",
        {"WWW-Authenticate": 'Bearer error="invalid_token"' if known else "Bearer"},
    )


def by_token(token: str) -> Authenticate:
    """Return how whoever shows the store's token is the person who runs the server."""
    expected = token.encode()

    async def authenticate(headers: Headers) -> str | None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(
            given.strip().encode(), expected
        )  # in a time that tells nothing of the token
        return LOCAL_PRINCIPAL if same and scheme.lower() == "bearer" else None

    return authenticate


async def anybody(_: Headers) -> str | None:
    """Take everybody for the person who runs the server."""
    return LOCAL_PRINCIPAL
