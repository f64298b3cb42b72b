"""How an R2R server is reached: its address, who we are there, and what its refusals mean.

Credentials are an API key in `x-api-key`, or a login whose token is a bearer; a server refuses both at once
(`core/base/providers/auth.py:126-200` of R2R 3.6.6). One that asks for none takes everybody for its administrator.
"""

from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning
from tertulia.platforms.kit.http.tokens import Token, TokenAuth
from tertulia.platforms.kit.options import Options
from tertulia.settings import InstanceSettings
from tertulia.vocabulary.errors import InvalidInputError, NotConfiguredError, NotOffered, UnavailableError

BASE_URL = "http://localhost:7272"
"""Where a server listens unless told otherwise, and where the vendor's SDK looks for it (`sdk/base/base_client.py`)."""
NO_ROUTE = "no_route"
"""Our code for a path that the server has not: `{"detail": "Not Found"}`, where a missing conversation is named."""
NO_CREDENTIALS = "no_credentials"
"""Our code for a request without credentials to a server that asks for them."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where the server of an instance is, and as whom it is used."""

    instance: str
    base_url: str
    project: str | None
    key: str | None = field(repr=False)
    email: str | None = field(repr=False)
    password: str | None = field(repr=False)

    @classmethod
    def read(cls, instance: str, settings: InstanceSettings, options: Options) -> "Access":
        """Read the options for it.

        Raises:
            InvalidInputError: an option cannot be what it is, or there are both a key and a login.
        """
        key = options.secret("api_key", variable="R2R_API_KEY")
        email = options.text("email", variable="R2R_EMAIL")
        if key and email:
            # What the environment has for everybody gives way to what the configuration has for this instance.
            given = {name.removesuffix("_env") for name in settings.options} & {"api_key", "email"}
            if len(given) != 1:
                raise InvalidInputError(
                    f"The instance {instance} has an API key and a login; R2R refuses both at once.",
                    hint="Keep either `api_key`, or `email` and `password`.",
                    instance=instance,
                )
            key, email = (key, None) if "api_key" in given else (None, email)
        return cls(
            instance=instance,
            base_url=options.url("base_url", variable="R2R_API_BASE", default=BASE_URL) + "/v3",
            project=options.secret("project_name", variable="R2R_PROJECT_NAME"),
            key=key,
            email=email,
            password=options.text("password", variable="R2R_PASSWORD"),
        )

    @property
    def missing(self) -> str | None:
        """The one thing to set before the instance can be used. Credentials are none: a server may do without."""
        return (
            "Set `password` (or R2R_PASSWORD), or remove `email`."
            if self.email and not self.password
            else None
        )

    def connect(self) -> Http:
        """Return the connection; nothing is sent yet."""
        named = {"x-api-key": self.key, "x-project-name": self.project}
        return Http(
            self.instance,
            _ERRORS,
            base_url=self.base_url,
            headers={name: value for name, value in named.items() if value},
            auth=Login(self) if self.email else None,
            missing=self.missing,
        )


class Login(TokenAuth):
    """Logs in when it is needed: at first, and again once when a token is refused. The token is only in memory."""

    def __init__(self, access: Access) -> None:
        super().__init__()
        self._access = access

    def ask(self) -> httpx.Request:
        """Return the login."""
        form = {"username": self._access.email, "password": self._access.password}
        return httpx.Request("POST", f"{self._access.base_url}/users/login", data=form)

    def read(self, answer: httpx.Response) -> Token:
        """Return the token that R2R answers a login with."""
        instance = self._access.instance
        if answer.status_code in {401, 404, 422}:  # wrong, unknown, or no address at all
            raise NotConfiguredError(
                f"R2R does not let the instance {instance} log in.",
                hint="Check `email` and `password` in the configuration.",
                instance=instance,
            )
        try:
            return Token(str(answer.raise_for_status().json()["results"]["access_token"]["token"]))
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
            raise UnavailableError(
                f"Logging in to R2R ({instance}) does not work now ({answer.status_code}).",
                hint=f"Call again in a moment; if that does not help, check `base_url` of the instance {instance}.",
                instance=instance,
            ) from error


def read_refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    """Return code, words and trace id of a refusal, from any of R2R's three shapes.

    `{"message", "error_type"}` (an R2RException), `{"detail": text or {"message", …}}`, `{"detail": [{loc, msg}, …]}`.
    """
    if not isinstance(body, dict):
        return None, None, None
    detail = cast(dict[str, Any], body).get("detail", cast(dict[str, Any], body))
    if detail == "Not Found":
        return NO_ROUTE, None, None
    if isinstance(detail, list):
        problems = [cast(dict[str, Any], one) for one in cast(list[Any], detail) if isinstance(one, dict)]
        told = [f"{'.'.join(str(part) for part in one.get('loc', ()))}: {one.get('msg')}" for one in problems]
        return None, "; ".join(told), None
    words = cast(dict[str, Any], detail).get("message") if isinstance(detail, dict) else detail
    if not isinstance(words, str):
        return None, None, None
    if words.startswith("No credentials provided"):  # and on to a service of the vendor's that is no more
        return NO_CREDENTIALS, None, None
    return None, words, None


_ERRORS = ErrorTable(
    "R2R",
    {
        NO_ROUTE: Meaning(
            NotOffered,
            "The R2R server of the instance {instance} does not know this call.",
            "Its version may be another; otherwise check `base_url` in the configuration.",
        ),
        NO_CREDENTIALS: Meaning(
            NotConfiguredError,
            "R2R asks for credentials, and the instance {instance} has none.",
            "Set `api_key` (or R2R_API_KEY), or `email` and `password` (or R2R_EMAIL and R2R_PASSWORD).",
        ),
    },
    read_refusal,
)
