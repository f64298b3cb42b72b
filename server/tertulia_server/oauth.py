"""Access tokens of an OAuth 2.1 authorization server: JSON Web Tokens (RFC 9068) that are signed for this server.

A token counts if the configured issuer signed it with a key that it publishes (JWKS), for this server as its audience
(RFC 8707), and if it has not ended. Only algorithms with a public key count, so that nobody can sign with what is
public (`alg: none`, key confusion).
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import anyio
import httpx
import jwt
from jwt import PyJWK
from mcp.client.auth.utils import build_oauth_authorization_server_metadata_discovery_urls

from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.untrusted import shown
from tertulia_server.addresses import is_public, is_safe_url
from tertulia_server.callers import Caller, CallerUnknownError, NoCallerError

logger = logging.getLogger(__name__)

ALGORITHMS: Sequence[str] = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
TYPES = {"at+jwt", "application/at+jwt", "jwt"}
"""What a token's header may say of its type, where it says something: not what is issued for other ends."""
LEEWAY_SECONDS = 30
"""How far the clocks of the issuer and of this machine may be apart."""
FRESH_SECONDS = 600
"""How long keys are used before they are fetched again: a withdrawn key counts for no longer."""
STALE_SECONDS = 3_600
"""How long keys are used that cannot be fetched again."""
PAUSE_SECONDS = 15
"""The least time between two fetches, whatever unknown keys callers name."""
FETCH_SECONDS = 5
MAX_BYTES = 1024 * 1024
_MAX_SUBJECT = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationServer:
    """Who issues tokens."""

    issuer: str
    audience: str
    """What tokens name that are for this server."""
    jwks_url: str | None = None
    """Where the keys are; None if the issuer's metadata (RFC 8414, OpenID Connect Discovery) says it."""
    environment_proxy: bool = False
    """Whether they are fetched through the proxy that the environment names."""


class AccessTokens:
    """Finds out whose a token is."""

    def __init__(self, server: AuthorizationServer, clock: Clock = SYSTEM_CLOCK) -> None:
        self._server = server
        self._keys = SigningKeys(server, clock)

    @property
    def issuer(self) -> str:
        """Who issues the tokens."""
        return self._server.issuer

    async def caller(self, token: str) -> Caller:
        """Return the subject of a token.

        Raises:
            NoCallerError: the token does not count.
            CallerUnknownError: the issuer's keys cannot be had now.
        """
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise self._refused("is not one of an authorization server") from error
        algorithm, kind = str(header.get("alg")), header.get("typ", "jwt")
        if algorithm not in ALGORITHMS:
            raise self._refused("is not signed with a public key")
        if not isinstance(kind, str) or kind.lower() not in TYPES:
            raise self._refused("is no access token")
        key = await self._keys.find(header.get("kid"), algorithm)
        if key is None:
            raise self._refused("is signed with a key that the issuer does not publish")
        return self._subject(self._claims(token, key))

    def _claims(self, token: str, key: PyJWK) -> Mapping[str, Any]:
        server = self._server
        try:
            return jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=server.audience,
                issuer=server.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError as error:
            raise self._refused("has ended") from error
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError) as error:
            raise self._refused(f"was not issued by {server.issuer} for {server.audience}") from error
        except jwt.InvalidTokenError as error:
            raise self._refused("does not count: its signature or its claims are wrong") from error

    def _subject(self, claims: Mapping[str, Any]) -> Caller:
        subject = claims["sub"]
        if not (isinstance(subject, str) and 0 < len(subject) <= _MAX_SUBJECT and subject.isprintable()):
            raise self._refused("names nobody: its `sub` is not a text of 255 characters at most")
        # A subject means something together with its issuer only. An issuer has no fragment, so that this is unique.
        return Caller(f"{self._server.issuer}#{subject}", _scopes(claims), float(claims["exp"]))

    def _refused(self, problem: str) -> NoCallerError:
        return NoCallerError(f"The token {problem}. Get one from {self._server.issuer}.", shown=True)


def _scopes(claims: Mapping[str, Any]) -> Sequence[str]:
    """Return the scopes of a token: `scope` (RFC 9068), or `scp` of some issuers."""
    said: object = claims.get("scope", claims.get("scp", ()))
    if isinstance(said, str):
        return said.split()
    return [str(each) for each in cast("list[object]", said)] if isinstance(said, list) else []


class SigningKeys:
    """The keys that an issuer publishes: kept, and fetched anew when they are old or one is unknown (rotation)."""

    def __init__(self, server: AuthorizationServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._published: Sequence[Mapping[str, Any]] = ()
        self._built: dict[str, Sequence[PyJWK]] = {}
        """The published keys by the algorithm that they are for."""
        self._fetched = self._tried = float("-inf")
        self._fetching = anyio.Lock()

    async def find(self, key_id: object, algorithm: str) -> PyJWK | None:
        """Return the key with an id for an algorithm; None if the issuer has no such key.

        Raises:
            CallerUnknownError: the keys cannot be had now.
        """
        found = self._find(key_id, algorithm)
        age = self._clock.now() - self._fetched
        # While one caller fetches, others go on with the key that is known.
        if (found is None or age > FRESH_SECONDS) and not (
            found is not None and age < STALE_SECONDS and self._fetching.locked()
        ):
            async with self._fetching:
                await self._refresh()
            found = self._find(key_id, algorithm)
        if self._clock.now() - self._fetched > STALE_SECONDS:
            raise CallerUnknownError(
                f"The keys of {self._server.issuer} cannot be had, so that no token can be checked. Call again later."
            )
        return found

    def _find(self, key_id: object, algorithm: str) -> PyJWK | None:
        if algorithm not in self._built:
            made = (_key(published, algorithm) for published in self._published)
            self._built[algorithm] = [key for key in made if key is not None]
        fitting = self._built[algorithm]
        if key_id is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.key_id == key_id), None)

    async def _refresh(self) -> None:
        now = self._clock.now()
        if now - self._tried < PAUSE_SECONDS:
            return
        self._tried = now
        try:
            self._published = await self._fetch()
            self._built = {}
            self._fetched = now
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            logger.warning("the keys of %s cannot be fetched: %s", self._server.issuer, shown(str(error)))

    async def _fetch(self) -> Sequence[Mapping[str, Any]]:
        # Redirects are not followed: what is fetched decides who is let in.
        with anyio.fail_after(FETCH_SECONDS):
            async with httpx.AsyncClient(
                timeout=FETCH_SECONDS, trust_env=self._server.environment_proxy
            ) as client:
                url = self._server.jwks_url or await self._find_keys(client)
                keys = (await _object(client, url)).get("keys")
        listed = cast("list[object]", keys) if isinstance(keys, list) else []
        return [cast("Mapping[str, Any]", key) for key in listed if isinstance(key, dict)]

    async def _find_keys(self, client: httpx.AsyncClient) -> str:
        """Return where the issuer's keys are, as its metadata says.

        Raises:
            ValueError: it has no metadata, or that of another issuer, or keys where only a configuration may send us.
        """
        issuer = self._server.issuer
        for url in build_oauth_authorization_server_metadata_discovery_urls(issuer, issuer):
            try:
                metadata = await _object(client, url)
            except httpx.HTTPStatusError:
                continue
            jwks_url = metadata.get("jwks_uri")
            if metadata.get("issuer") != issuer or not isinstance(jwks_url, str) or not is_safe_url(jwks_url):
                raise ValueError(f"{url} is not the metadata of this issuer")
            if not await self._is_public(jwks_url):
                logger.warning(
                    "%s names an address for its keys that is not public: %s. Only --oauth-jwks-url can allow that",
                    issuer,
                    shown(jwks_url),
                )
                raise ValueError("its keys are said to be at an address that is not public")
            return jwks_url
        raise ValueError("there is no metadata of this issuer")

    async def _is_public(self, url: str) -> bool:
        """Whether a URL that the issuer names is on its own host, which is configured, or on the public internet."""
        host = urlsplit(url).hostname or ""
        if host == urlsplit(self._server.issuer).hostname:
            return True
        try:
            return await is_public(host)
        except OSError:
            return self._server.environment_proxy  # the proxy may know the name, and reaches what it may


async def _object(client: httpx.AsyncClient, url: str) -> Mapping[str, Any]:
    """Return the JSON object at a URL, an empty one for other JSON.

    Raises:
        ValueError: there is something else than JSON, or too much.
        httpx.HTTPError: it cannot be had.
    """
    async with client.stream("GET", url, headers={"accept": "application/json"}) as response:
        response.raise_for_status()
        content = bytearray()
        async for part in response.aiter_bytes():
            content += part
            if len(content) > MAX_BYTES:
                raise ValueError(f"{url} has more than {MAX_BYTES:,} bytes")
    read = json.loads(content)
    return cast("Mapping[str, Any]", read) if isinstance(read, dict) else {}


def _key(published: Mapping[str, Any], algorithm: str) -> PyJWK | None:
    """Return a published key, if it is for an algorithm."""
    family = algorithm[:2]
    if published.get("use", "sig") != "sig" or published.get("kty") == "oct":
        return None
    # Of an RSA key that does not name its algorithm, the token names it.
    named = algorithm if published.get("kty") == "RSA" and family in {"RS", "PS"} else None
    try:
        key = PyJWK(dict(published), published.get("alg") or named)
    except jwt.PyJWTError:
        return None
    return key if key.algorithm_name == algorithm else None
