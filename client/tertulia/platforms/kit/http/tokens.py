"""Access tokens that must be fetched first: kept in memory, renewed before they end, and again once when refused."""

import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tertulia.platforms.kit.http.retries import retry_after
from tertulia.platforms.kit.secrets import Secret, forget, revealed
from tertulia.vocabulary.errors import NotConfiguredError, UnavailableError

EARLY_SECONDS = 30.0
"""How long before its end a token is not used any more."""


def client_credentials(client_id: str, client_secret: Secret, **more: str | None) -> dict[str, Secret]:
    """Return the form with which a machine asks for a token (RFC 6749, 4.4.2), with `more` fields that are not None."""
    given = {name: value for name, value in more.items() if value is not None}
    return {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": client_secret,
        **given,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSource:
    """Where an instance gets its access token, and which of its options are to be checked where it gets none."""

    platform: str
    """The platform as a sentence names it."""
    instance: str
    url: str
    form: Mapping[str, Secret] = field(repr=False)
    """What the token is asked for with."""
    options: str
    """The options that hold this, as a sentence lists them."""
    refusals: Collection[int] = (400, 401, 403)
    """The statuses that mean that the credentials are not accepted."""
    lifetime: float | None = None
    """Seconds that a token lasts whose answer does not say it; None if that is not known."""
    read: Callable[[Any], Any] = lambda body: body["access_token"]
    """Returns the token from an answer (RFC 6749, 5.1, unless the platform has a form of its own)."""


class TokenAuth(httpx.Auth):
    """Sends a bearer token with every request."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._token: str | None = None
        self._ends = float("inf")

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See `httpx.Auth`."""
        for _ in range(2):
            if self._token is None or time.monotonic() > self._ends:
                form = await revealed(self._source.form)
                asking = httpx.Request(
                    "POST", self._source.url, data=form, headers={"accept": "application/json"}
                )
                asking.extensions = {**request.extensions, **asking.extensions}  # its timeouts among them
                answer = yield asking
                await answer.aread()
                self._take(answer)
            used = self._token
            request.headers["authorization"] = f"Bearer {used}"
            response = yield request
            if response.status_code != 401:
                return
            if self._token == used:
                self._token = None

    def _take(self, answer: httpx.Response) -> None:
        """Take the token from an answer.

        Raises:
            NotConfiguredError: these credentials are not accepted.
            UnavailableError: there is no token to be had now.
        """
        source = self._source
        if answer.status_code in source.refusals:
            forget(source.form)
            raise NotConfiguredError(
                f"The instance {source.instance} gets no token for {source.platform}: its credentials are not "
                "accepted.",
                hint=f"Check {source.options} in the configuration.",
                instance=source.instance,
            )
        try:
            body = answer.raise_for_status().json()
            token, seconds = source.read(body), body.get("expires_in")
            if not (isinstance(token, str) and token.isascii() and token.isprintable()):
                raise TypeError
        except (httpx.HTTPStatusError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UnavailableError(
                f"A token for {source.platform} ({source.instance}) cannot be had now ({answer.status_code}).",
                hint="Call again in a moment; if that does not help, check the addresses that the instance "
                f"{source.instance} is configured with.",
                instance=source.instance,
                retry_after=retry_after(answer.headers.get("retry-after")),
            ) from error
        lasting = float(seconds) if isinstance(seconds, int | float) else source.lifetime
        self._token = token
        self._ends = float("inf") if lasting is None else time.monotonic() + lasting - EARLY_SECONDS
