"""How a deployment of AgentFlow is reached: the options of an instance, and the connection that they make.

Credentials are a bearer token, or those of a machine that fetches one (OAuth's client credentials). A local server that
bypasses authentication (`DEV_AUTH_BYPASS`) needs none.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx

from tertulia.platforms.agentflow.mapping import PLATFORM, checked_context
from tertulia.platforms.agentflow.paths import CallName, InferredCall, configured
from tertulia.platforms.agentflow.wire import ERRORS, TOKEN_VARIABLE
from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.tokens import Token, TokenAuth
from tertulia.platforms.kit.options import Options
from tertulia.settings import InstanceSettings
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import InvalidInputError, NotConfiguredError, UnavailableError

URL_VARIABLE = "AGENTFLOW_API_BASE"
SECRET_VARIABLE = "AGENTFLOW_CLIENT_SECRET"  # noqa: S105 - where the secret is, not the secret
TOKEN_URL_VARIABLE = "AGENTFLOW_TOKEN_URL"  # noqa: S105
_API = "/api/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """What the configuration says of an instance."""

    http: Http
    paths: Mapping[CallName, InferredCall]
    """The calls that are elsewhere than is documented or guessed."""
    defaults: Mapping[str, Any]
    """What is set for every answer."""
    all_users: Collection[str]
    """The principals that may list the conversations of all users."""


def connect(instance: str, settings: InstanceSettings, clock: Clock) -> Connection:
    """Read the options of an instance, and return its connection; nothing is sent yet.

    Raises:
        InvalidInputError: an option cannot be what it is, or there are both a token and what fetches one.
    """
    options = Options(instance, settings)
    missing = None
    base_url = options.text("base_url", variable=URL_VARIABLE)
    if base_url is None:
        missing = options.how_to_set("base_url", variable=URL_VARIABLE)
    else:
        base_url = options.url("base_url", variable=URL_VARIABLE, default="").removesuffix(_API)
    token = options.secret("token", variable=TOKEN_VARIABLE)
    login, login_missing = _login(instance, settings, options)
    named = {
        "authorization": f"Bearer {token}" if token and login is None else None,
        "snc-tenant": options.secret("tenant", variable="AGENTFLOW_TENANT"),
        "snc-userid": options.secret("user", variable="AGENTFLOW_USER"),
    }
    paths = configured(options.table("paths"), instance)
    defaults = checked_context(options.table("chat"), f"`chat` of the instance {instance}")
    all_users = options.names("all_users")
    options.finish()
    http = Http(
        instance,
        ERRORS,
        base_url=base_url or "",
        headers={name: value for name, value in named.items() if value},
        auth=login,
        missing=missing or login_missing,
        clock=clock,
    )
    return Connection(http=http, paths=paths, defaults=defaults, all_users=all_users)


def _login(instance: str, settings: InstanceSettings, options: Options) -> tuple["Login | None", str | None]:
    """Return what fetches tokens, if `client_id` is set; or the one thing to set before it can."""
    secret = options.text("client_secret", variable=SECRET_VARIABLE)
    client_id = options.text("client_id")
    audience = options.text("audience")
    token_url = options.text("token_url", variable=TOKEN_URL_VARIABLE)
    if token_url is not None:
        token_url = options.url("token_url", variable=TOKEN_URL_VARIABLE, default="")
    if client_id is None:
        return None, None
    if not {"token", "token_env"}.isdisjoint(settings.options):
        raise InvalidInputError(
            f"The instance {instance} has a token and a `client_id` to fetch one with.",
            hint="Keep either `token`, or `client_id` with `client_secret` and `token_url`.",
            instance=instance,
        )
    if secret is None:
        return None, options.how_to_set("client_secret", variable=SECRET_VARIABLE)
    if token_url is None:
        return None, options.how_to_set("token_url", variable=TOKEN_URL_VARIABLE)
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return Login(instance, token_url, form if audience is None else {**form, "audience": audience}), None


class Login(TokenAuth):
    """Exchanges a machine's credentials for a token (RFC 6749, 4.4; `audience` is Auth0's)."""

    def __init__(self, instance: str, token_url: str, form: Mapping[str, str]) -> None:
        super().__init__()
        self._instance = instance
        self._token_url = token_url
        self._form = form

    def ask(self) -> httpx.Request:
        """Return the request for a token."""
        return httpx.Request(
            "POST", self._token_url, data=dict(self._form), headers={"accept": "application/json"}
        )

    def read(self, answer: httpx.Response) -> Token:
        """Return the token in an answer (RFC 6749, 5.1)."""
        if answer.status_code in {400, 401, 403}:
            raise NotConfiguredError(
                f"The instance {self._instance} gets no token for {PLATFORM}: its credentials are not accepted.",
                hint="Check `client_id`, `client_secret`, `audience` and `token_url` in the configuration.",
                instance=self._instance,
            )
        try:
            fields = cast(Mapping[str, Any], answer.raise_for_status().json())
            token, seconds = fields["access_token"], fields.get("expires_in")
            if not (isinstance(token, str) and token.isascii() and token.isprintable()):
                raise TypeError
            return Token(token, float(seconds) if isinstance(seconds, int | float) else None)
        except (httpx.HTTPStatusError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UnavailableError(
                f"A token for {PLATFORM} ({self._instance}) cannot be had now ({answer.status_code}).",
                hint="Call again in a moment; if that does not help, check `token_url` of the instance "
                f"{self._instance}.",
                instance=self._instance,
            ) from error
