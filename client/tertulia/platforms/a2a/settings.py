"""How an agent is found: the options of an instance.

The card says where the agent is spoken to and where an API key stands. The credentials are configured for each instance
alone (no variable of the environment serves all of them), and are sent to no other host than the configuration allows.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from tertulia.platforms.a2a.card import SchemeKind
from tertulia.platforms.kit.options import Options
from tertulia.platforms.kit.secrets import Secret
from tertulia.settings import DEFAULT_LIMITS, DIRECT, Connections, InstanceSettings, Limits
from tertulia.vocabulary.errors import InvalidInputError

WELL_KNOWN = "/.well-known/agent-card.json"
_NO_VARIABLE = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientLogin:
    """What a machine gets its tokens with (OAuth's client credentials)."""

    client_id: str
    client_secret: Secret = field(repr=False)
    token_url: str | None
    """None: the card says where."""
    scope: str | None
    audience: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class A2ASettings:
    """What the configuration says of an instance."""

    instance: str
    card_url: str
    """Empty where `missing` says so."""
    hosts: Collection[str]
    """The hosts that the card may name beside its own."""
    api_key: Secret | None = field(repr=False)
    token: Secret | None = field(repr=False)
    login: ClientLogin | None
    missing: str | None
    """The one thing to set before the instance can be used."""
    limits: Limits = DEFAULT_LIMITS
    connections: Connections = DIRECT

    @property
    def credentials(self) -> Collection[SchemeKind]:
        """The kinds of credentials that are configured."""
        given = {
            SchemeKind.API_KEY: self.api_key is not None,
            SchemeKind.BEARER: self.token is not None or self.login is not None,
        }
        return {kind for kind, is_given in given.items() if is_given}


def read_settings(instance: str, settings: InstanceSettings) -> A2ASettings:
    """Read the options of an instance.

    Raises:
        InvalidInputError: an option cannot be what it is, or there are both a token and what fetches one.
    """
    options = Options(instance, settings)
    card_url = options.url("card", variable=_NO_VARIABLE)
    if card_url is not None and not card_url.endswith(".json"):
        card_url += WELL_KNOWN
    hosts = frozenset(options.names("hosts"))
    api_key = options.secret("api_key", variable=_NO_VARIABLE)
    token = options.secret("token", variable=_NO_VARIABLE)
    login, login_missing = _login(instance, options)
    options.finish()
    if token is not None and login is not None:
        raise InvalidInputError(
            f"The instance {instance} has a token and a `client_id` to fetch one with.",
            hint="Keep either `token`, or `client_id` with `client_secret`.",
            instance=instance,
        )
    missing = None
    if card_url is None:
        missing = f"Set `card` in [instances.{instance}] to the address of the agent or of its card."
    return A2ASettings(
        instance=instance,
        card_url=card_url or "",
        hosts=hosts,
        api_key=api_key,
        token=token,
        login=login,
        missing=missing or login_missing,
        limits=settings.limits,
        connections=settings.connections,
    )


def _login(instance: str, options: Options) -> tuple[ClientLogin | None, str | None]:
    """Return what fetches tokens, if `client_id` is set; or the one thing to set before it can."""
    client_id = options.text("client_id")
    secret = options.secret("client_secret", variable=_NO_VARIABLE, in_header=False)
    token_url = options.url("token_url", variable=_NO_VARIABLE)
    scope = options.text("scope")
    audience = options.text("audience")
    if client_id is None:
        return None, None
    if secret is None:
        return None, f"Set `client_secret` (or `client_secret_env`) in [instances.{instance}]."
    return ClientLogin(
        client_id=client_id, client_secret=secret, token_url=token_url, scope=scope, audience=audience
    ), None
