"""How a deployment of AgentFlow is reached: the options of an instance, and the connection that they make.

Credentials are a bearer token, or those of a machine that fetches one (OAuth's client credentials). A local server that
bypasses authentication (`DEV_AUTH_BYPASS`) needs none.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tertulia.platforms.agentflow.mapping import CONTEXT, PLATFORM
from tertulia.platforms.agentflow.paths import SHAPES
from tertulia.platforms.agentflow.wire import ERRORS, TOKEN_VARIABLE
from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.inferred import InferredCall
from tertulia.platforms.kit.http.tokens import TokenAuth, TokenSource, client_credentials
from tertulia.platforms.kit.options import Options
from tertulia.platforms.kit.secrets import prefixed
from tertulia.settings import InstanceSettings
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import InvalidInputError

URL_VARIABLE = "AGENTFLOW_API_BASE"
SECRET_VARIABLE = "AGENTFLOW_CLIENT_SECRET"  # noqa: S105 - where the secret is, not the secret
TOKEN_URL_VARIABLE = "AGENTFLOW_TOKEN_URL"  # noqa: S105
_API = "/api/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """What the configuration says of an instance."""

    http: Http
    paths: Mapping[str, InferredCall]
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
    base_url = options.url("base_url", variable=URL_VARIABLE)
    missing = None if base_url else options.how_to_set("base_url", variable=URL_VARIABLE)
    token = options.secret("token", variable=TOKEN_VARIABLE)
    login, login_missing = _login(instance, options)
    tenant = options.header("tenant", variable="AGENTFLOW_TENANT")
    user = options.header("user", variable="AGENTFLOW_USER")
    paths = SHAPES.configured(options.table("paths"), instance)
    defaults = CONTEXT.check(options.table("chat"), f"`chat` of the instance {instance}")
    all_users = options.names("all_users")
    options.finish()
    http = Http(
        instance,
        ERRORS,
        base_url=(base_url or "").removesuffix(_API),
        headers={
            "authorization": prefixed("Bearer ", token) if token and login is None else None,
            "snc-tenant": tenant,
            "snc-userid": user,
        },
        auth=login,
        missing=missing or login_missing,
        clock=clock,
        limits=settings.limits,
        connections=settings.connections,
    )
    return Connection(http=http, paths=paths, defaults=defaults, all_users=all_users)


def _login(instance: str, options: Options) -> tuple[TokenAuth | None, str | None]:
    """Return what fetches tokens, if `client_id` is set; or the one thing to set before it can."""
    secret = options.secret("client_secret", variable=SECRET_VARIABLE, in_header=False)
    client_id = options.text("client_id")
    audience = options.text("audience")
    token_url = options.url("token_url", variable=TOKEN_URL_VARIABLE)
    if client_id is None:
        return None, None
    if options.configures("token"):
        raise InvalidInputError(
            f"The instance {instance} has a token and a `client_id` to fetch one with.",
            hint="Keep either `token`, or `client_id` with `client_secret` and `token_url`.",
            instance=instance,
        )
    if secret is None:
        return None, options.how_to_set("client_secret", variable=SECRET_VARIABLE)
    if token_url is None:
        return None, options.how_to_set("token_url", variable=TOKEN_URL_VARIABLE)
    source = TokenSource(
        platform=PLATFORM,
        instance=instance,
        url=token_url,
        form=client_credentials(client_id, secret, audience=audience),
        options="`client_id`, `client_secret`, `audience` and `token_url`",
    )
    return TokenAuth(source), None
