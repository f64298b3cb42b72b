"""OAuth's client credentials (RFC 6749, 4.4): a machine exchanges them for an access token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from tertulia.platforms.kit.http.tokens import Token, TokenAuth
from tertulia.vocabulary.errors import NotConfiguredError, UnavailableError


@dataclass(kw_only=True, eq=False)
class ClientCredentials(TokenAuth):
    """Sends a token that is fetched with a machine's credentials. Its sentences name the options by these names."""

    platform: str
    """The platform as a sentence names it."""
    instance: str
    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    audience: str | None = None
    """For which API the token is; Auth0's addition."""

    def __post_init__(self) -> None:
        super().__init__()

    def ask(self) -> httpx.Request:
        """Return the request for a token."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }
        if self.audience is not None:
            form["audience"] = self.audience
        return httpx.Request("POST", self.token_url, data=form, headers={"accept": "application/json"})

    def read(self, answer: httpx.Response) -> Token:
        """Return the token in an answer (RFC 6749, 5.1)."""
        if answer.status_code in {400, 401, 403}:
            raise NotConfiguredError(
                f"The instance {self.instance} gets no token for {self.platform}: its credentials are not accepted.",
                hint="Check `client_id`, `client_secret`, `audience` and `token_url` in the configuration.",
                instance=self.instance,
            )
        try:
            fields = cast(Mapping[str, Any], answer.raise_for_status().json())
            token, seconds = fields["access_token"], fields.get("expires_in")
            if not (isinstance(token, str) and token.isascii() and token.isprintable()):
                raise TypeError
            return Token(token, float(seconds) if isinstance(seconds, int | float) else None)
        except (httpx.HTTPStatusError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UnavailableError(
                f"A token for {self.platform} ({self.instance}) cannot be had now ({answer.status_code}).",
                hint="Call again in a moment; if that does not help, check `token_url` of the instance "
                f"{self.instance}.",
                instance=self.instance,
            ) from error
