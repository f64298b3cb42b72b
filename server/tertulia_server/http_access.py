"""Who may reach the server over HTTP: under which names, from which web pages, and as which principal.

A request passes `AddressCheck`, then the answers to browsers (CORS), then `Authentication`. Nothing behind these, a
redirect included, sees a request that one of them refuses, and none of them reads a body.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.untrusted import shown
from tertulia_server.addresses import is_loopback
from tertulia_server.callers import Authenticate, Caller, CallerUnknownError, NoCallerError
from tertulia_server.logs import FIELDS
from tertulia_server.page import PAGE
from tertulia_tools.access import AccessScope

logger = logging.getLogger(__name__)

INVALID_REQUEST = -32600
UNAUTHORIZED, FORBIDDEN, MISDIRECTED, UNAVAILABLE = 401, 403, 421, 503
OUTLIVING_SECONDS = 300
"""How long a request may be served after its caller's token has ended: as long as a call may wait."""
HEALTH = "/healthz"
READY = "/readyz"
OPEN_PATHS = (HEALTH, READY, "/.well-known/")
"""The paths that ask for no caller, or begin so: hosts look below the last one for ways to authenticate."""
ANY_PORT = "*"
LARGEST_PORT = 65_535
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_AUTHORITY = re.compile(r"(\[[0-9a-f.]*:[0-9a-f:.]*\]|[a-z0-9_][a-z0-9._-]*)(?::([0-9]{1,5}))?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_USUAL_SCOPES = (AccessScope.READ, AccessScope.WRITE)
"""What a host should ask for that has no token yet."""


class Refusal(JSONResponse):
    """The response to a request that is not served, with a sentence that says why and what to do. It is logged."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        error = {"code": INVALID_REQUEST, "message": sentence}
        super().__init__({"jsonrpc": "2.0", "id": None, "error": error}, status, headers)
        self._sentence = sentence

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        client, user = scope.get("client"), scope.get("user")
        fields = {
            "status": self.status_code,
            "principal": None if user is None else user.username,
            "address": None if client is None else client[0],
        }
        logger.info(
            "refused with %d: %s",
            self.status_code,
            self._sentence,
            extra={FIELDS: {name: value for name, value in fields.items() if value is not None}},
        )
        await super().__call__(scope, receive, send)


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

    def _refusal(self, headers: Headers) -> Refusal | None:
        host_text, origin_text = (", ".join(headers.getlist(name)) for name in ("host", "origin"))
        host = Authority.read(host_text, default_port="")
        if host is None or not (host.loopback or any(known.covers(host) for known in self._hosts)):
            return Refusal(
                MISDIRECTED,
                f"{shown(host_text) or 'A request without Host'} is not a name of this server. Use a loopback address, "
                "or start the server with --allowed-hosts and the name.",
            )
        if origin_text and not self._may_call(Origin.read(origin_text), host):
            return Refusal(
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
    """Finds out who makes a request, and refuses it if that is nobody. `scope["user"]` says it to those behind.

    Whoever may not even read is refused, too. `metadata` is the URL of what hosts read to find the authorization server
    (RFC 9728), if there is one. Nothing behind sees the caller's token.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticate: Authenticate,
        *,
        metadata: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._app = app
        self._authenticate = authenticate
        self._metadata = metadata
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its principal, or refuse it."""
        if scope["type"] != "http" or scope["path"] == PAGE or scope["path"].startswith(OPEN_PATHS):
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._authenticate(Headers(scope=scope))
        except NoCallerError as error:
            header = challenge("invalid_token" if error.shown else None, _USUAL_SCOPES, self._metadata)
            await Refusal(UNAUTHORIZED, str(error), header)(scope, receive, send)
            return
        except CallerUnknownError as error:
            await Refusal(UNAVAILABLE, str(error), {"Retry-After": "5"})(scope, receive, send)
            return
        if not AccessScope.READ.among(caller.scopes):
            await insufficient_scope(AccessScope.READ, self._metadata)(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
        known = {**scope, "headers": headers, "user": _user(caller)}
        with self._while_valid(caller):
            await self._app(known, receive, send)

    def _while_valid(self, caller: Caller) -> AbstractContextManager[object]:
        """Return a scope to serve a request in: no stream outlives its caller's token for long."""
        if caller.expires_at is None:
            return nullcontext()
        rest = max(0.0, caller.expires_at - self._clock.time() / 1_000_000)
        return self._clock.move_on_after(rest + OUTLIVING_SECONDS)


def _user(caller: Caller) -> AuthenticatedUser:
    # The SDK takes the user for the owner of a session, which no other principal can use then.
    return AuthenticatedUser(AccessToken(token="", client_id=caller.principal, scopes=[*caller.scopes]))


def challenge(error: str | None, scopes: Sequence[AccessScope], metadata: str | None) -> Mapping[str, str]:
    """Return the header that says how to authenticate (RFC 6750, 3): for which scopes, and where to learn more."""
    fields = {"error": error, "scope": " ".join(scopes), "resource_metadata": metadata}
    said = ", ".join(f'{name}="{value}"' for name, value in fields.items() if value)
    return {"WWW-Authenticate": f"Bearer {said}"}


def insufficient_scope(needed: AccessScope, metadata: str | None) -> Refusal:
    """Return the response to a request whose caller may not do what it asks for."""
    sentence = f"This needs the scope {needed}, which the token does not have. Ask for one that has it."
    return Refusal(FORBIDDEN, sentence, challenge("insufficient_scope", [needed], metadata))
