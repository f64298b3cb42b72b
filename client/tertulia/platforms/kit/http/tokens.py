"""Access tokens that must be fetched first: kept in memory, renewed before they end, and again once when refused."""

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import httpx

EARLY_SECONDS = 30.0
"""How long before its end a token is not used any more."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. `seconds` is how long it lasts from now on, where that is known."""

    value: str = field(repr=False)
    seconds: float | None = None


class TokenAuth(httpx.Auth):
    """Sends a bearer token with every request. A platform says how to ask for one, and how to read the answer."""

    def __init__(self) -> None:
        self._token: str | None = None
        self._ends = float("inf")

    def ask(self) -> httpx.Request:
        """Return the request that is answered with a token."""
        raise NotImplementedError

    def read(self, answer: httpx.Response) -> Token:
        """Return the token in an answer, which has been read.

        Raises:
            NotConfiguredError: these credentials are not accepted.
            UnavailableError: there is no token to be had now.
        """
        raise NotImplementedError

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See `httpx.Auth`."""
        for _ in range(2):
            if self._token is None or time.monotonic() > self._ends:
                asking = self.ask()
                asking.extensions = {**request.extensions, **asking.extensions}  # its timeouts among them
                answer = yield asking
                await answer.aread()
                token = self.read(answer)
                lasting = float("inf") if token.seconds is None else token.seconds - EARLY_SECONDS
                self._token, self._ends = token.value, time.monotonic() + lasting
            used = self._token
            request.headers["authorization"] = f"Bearer {used}"
            response = yield request
            if response.status_code != 401:
                return
            if self._token == used:
                self._token = None
