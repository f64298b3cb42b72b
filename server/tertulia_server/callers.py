"""Who makes a request over HTTP, and how that is found out from its headers."""

import hmac
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from tertulia.vocabulary.models import LOCAL_PRINCIPAL
from tertulia_tools.access import AccessScope

if TYPE_CHECKING:
    from tertulia_server.oauth import AccessTokens
    from tertulia_server.token_file import TokenFile

HOW_TO_SHOW_IT = (
    "Send `Authorization: Bearer TOKEN` with what `tertulia token` prints; `tertulia manifest HOST --http` writes it "
    "into the configuration of a host."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request."""

    principal: str
    """On whose behalf everything is done that the request asks for."""
    scopes: Collection[str] = tuple(AccessScope)
    """What the caller may do; names that mean nothing here are ignored."""
    expires_at: float | None = None
    """When the credential ends, in seconds since 1970, UTC; None if it does not end by itself."""


class NoCallerError(Exception):
    """Raised when a request shows no credential that is known. `str(error)` says what to do."""

    def __init__(self, sentence: str, *, shown: bool) -> None:
        super().__init__(sentence)
        self.shown = shown
        """Whether the request shows a credential at all."""


class CallerUnknownError(Exception):
    """Raised when it cannot be found out now who makes a request. `str(error)` says why."""


Authenticate = Callable[[Headers], Awaitable[Caller]]
"""Returns who makes a request, by its headers. Raises `NoCallerError` and `CallerUnknownError`."""


def bearer_token(headers: Headers, how: str) -> str:
    """Return the token that a request shows; `how` says in a sentence how a caller shows one.

    Raises:
        NoCallerError: it shows none, or something else.
    """
    given = headers.getlist("authorization")
    if not given:
        raise NoCallerError(f"This server asks its callers for a token. {how}", shown=False)
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise NoCallerError(f"The request shows something else than one bearer token. {how}", shown=True)
    return token.strip()


def by_store_token(token: str) -> Authenticate:
    """Return how whoever shows the store's token is the person who runs the server."""
    expected = token.encode()

    async def authenticate(headers: Headers) -> Caller:
        given = bearer_token(headers, HOW_TO_SHOW_IT).encode()
        if not hmac.compare_digest(given, expected):  # in a time that tells nothing of the token
            raise NoCallerError(f"The token is not this server's. {HOW_TO_SHOW_IT}", shown=True)
        return Caller(LOCAL_PRINCIPAL)

    return authenticate


async def anybody(_: Headers) -> Caller:
    """Take everybody for the person who runs the server."""
    return Caller(LOCAL_PRINCIPAL)


def by_tokens(tokens: "TokenFile | None", issued: "AccessTokens | None") -> Authenticate:
    """Return how the holders of tokens are told apart: of those in a file, and of those that a server has issued."""
    how = "Ask whoever runs it for one." if issued is None else f"Get one from {issued.issuer}."

    async def authenticate(headers: Headers) -> Caller:
        token = bearer_token(headers, f"Send `Authorization: Bearer TOKEN`. {how}")
        caller = None if tokens is None else tokens.caller(token)
        if caller is None and issued is not None:
            caller = await issued.caller(token)
        if caller is None:
            raise NoCallerError(f"The token is not known here. {how}", shown=True)
        return caller

    return authenticate
