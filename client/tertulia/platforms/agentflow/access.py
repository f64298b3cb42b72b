"""How a deployment of AgentFlow is reached: its address, who we are there, and what its refusals mean.

Credentials are a bearer token, or those of a machine that fetches one (OAuth's client credentials). A local server that
bypasses authentication (`DEV_AUTH_BYPASS`) needs none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning
from tertulia.platforms.kit.http.tokens import Token, TokenAuth
from tertulia.platforms.kit.options import Options
from tertulia.settings import InstanceSettings
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotConfiguredError,
    NotFoundError,
    UnavailableError,
)

PLATFORM = "AgentFlow"
URL_VARIABLE = "AGENTFLOW_API_BASE"
TOKEN_VARIABLE = "AGENTFLOW_TOKEN"  # noqa: S105 - where the token is, not the token
SECRET_VARIABLE = "AGENTFLOW_CLIENT_SECRET"  # noqa: S105
TOKEN_URL_VARIABLE = "AGENTFLOW_TOKEN_URL"  # noqa: S105
_API = "/api/v1"
"""What the addresses of all calls begin with, but for `/openapi.json`."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where the deployment of an instance is, and as whom it is used."""

    instance: str
    base_url: str | None
    tenant: str | None
    user: str | None
    token: str | None = field(repr=False)
    machine: "Machine | None"
    missing: str | None
    """The one thing to set before the instance can be used. A token is none: a server may do without."""

    @classmethod
    def read(cls, instance: str, settings: InstanceSettings, options: Options) -> "Access":
        """Read the options for it.

        Raises:
            InvalidInputError: an option cannot be what it is, or there are two ways to be somebody.
        """
        missing = None
        base_url = options.text("base_url", variable=URL_VARIABLE)
        if base_url is None:
            missing = options.how_to_set("base_url", variable=URL_VARIABLE)
        else:
            base_url = options.url("base_url", variable=URL_VARIABLE, default="").removesuffix(_API)
        token = options.secret("token", variable=TOKEN_VARIABLE)
        secret = options.text("client_secret", variable=SECRET_VARIABLE)
        client_id = options.text("client_id")
        audience = options.text("audience")
        token_url = options.text("token_url", variable=TOKEN_URL_VARIABLE)
        if token_url is not None:
            token_url = options.url("token_url", variable=TOKEN_URL_VARIABLE, default="")
        if client_id is not None:
            if not {"token", "token_env"}.isdisjoint(settings.options):
                raise InvalidInputError(
                    f"The instance {instance} has a token and a `client_id` to fetch one with.",
                    hint="Keep either `token`, or `client_id` with `client_secret` and `token_url`.",
                    instance=instance,
                )
            if secret is None:
                missing = missing or options.how_to_set("client_secret", variable=SECRET_VARIABLE)
            elif token_url is None:
                missing = missing or options.how_to_set("token_url", variable=TOKEN_URL_VARIABLE)
        machine = None
        if client_id is not None and secret is not None and token_url is not None:
            token = None
            machine = Machine(instance, token_url, client_id, secret, audience)
        return cls(
            instance=instance,
            base_url=base_url,
            tenant=options.secret("tenant", variable="AGENTFLOW_TENANT"),
            user=options.secret("user", variable="AGENTFLOW_USER"),
            token=token,
            machine=machine,
            missing=missing,
        )

    def connect(self) -> Http:
        """Return the connection; nothing is sent yet."""
        named = {
            "authorization": f"Bearer {self.token}" if self.token else None,
            "snc-tenant": self.tenant,
            "snc-userid": self.user,
        }
        return Http(
            self.instance,
            ERRORS,
            base_url=self.base_url or "",
            headers={name: value for name, value in named.items() if value},
            auth=self.machine and Login(self.machine),
            missing=self.missing,
        )


@dataclass(frozen=True, slots=True)
class Machine:
    """Credentials of a machine, and where they are exchanged for a token."""

    instance: str
    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    audience: str | None


class Login(TokenAuth):
    """Exchanges a machine's credentials for a token (RFC 6749, 4.4; `audience` is Auth0's)."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def ask(self) -> httpx.Request:
        """Return the request for a token."""
        machine = self._machine
        form = {
            "grant_type": "client_credentials",
            "client_id": machine.client_id,
            "client_secret": machine.client_secret,
        }
        if machine.audience is not None:
            form["audience"] = machine.audience
        return httpx.Request("POST", machine.token_url, data=form, headers={"accept": "application/json"})

    def read(self, answer: httpx.Response) -> Token:
        """Return the token in an answer (RFC 6749, 5.1)."""
        instance = self._machine.instance
        if answer.status_code in {400, 401, 403}:
            raise NotConfiguredError(
                f"The instance {instance} gets no token for {PLATFORM}: its credentials are not accepted.",
                hint="Check `client_id`, `client_secret`, `audience` and `token_url` in the configuration.",
                instance=instance,
            )
        try:
            fields = cast(Mapping[str, Any], answer.raise_for_status().json())
            token, seconds = fields["access_token"], fields.get("expires_in")
            if not (isinstance(token, str) and token.isascii() and token.isprintable()):
                raise TypeError
            return Token(token, float(seconds) if isinstance(seconds, int | float) else None)
        except (httpx.HTTPStatusError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UnavailableError(
                f"A token for {PLATFORM} ({instance}) cannot be had now ({answer.status_code}).",
                hint=f"Call again in a moment; if that does not help, check `token_url` of the instance {instance}.",
                instance=instance,
            ) from error


def read_refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    """Return code, words and trace id of a refusal. None of it is documented: `detail`, `message` or `error` is read.

    `detail` may be FastAPI's list of problems, and each of the three an object of its own.
    """
    if not isinstance(body, Mapping):
        return None, None, None
    fields = cast(Mapping[str, Any], body)
    code = next((fields[name] for name in ("code", "error_code") if isinstance(fields.get(name), str)), None)
    for name in ("detail", "message", "error"):
        words = _words(fields.get(name))
        if words is not None:
            return code, words, None
    return code, None, None


def _words(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, Mapping):
        fields = cast(Mapping[str, Any], value)
        return next(
            (said for name in ("message", "msg", "detail") if isinstance(said := fields.get(name), str)), None
        )
    if isinstance(value, list):
        problems = [
            cast(Mapping[str, Any], one) for one in cast("list[Any]", value) if isinstance(one, Mapping)
        ]
        told = [f"{_place(problem.get('loc'))}: {problem.get('msg')}" for problem in problems]
        return "; ".join(told) or None
    return None


def _place(value: Any) -> str:
    return ".".join(map(str, cast(Sequence[Any], value))) if isinstance(value, list | tuple) else str(value)


ERRORS = ErrorTable(
    PLATFORM,
    {
        401: Meaning(
            NotConfiguredError,
            "{platform} does not accept the credentials of the instance {instance}, or it has none.",
            f"Set `token` (or {TOKEN_VARIABLE}) to a token that has not expired, or let Tertulia fetch one: "
            "`client_id`, `client_secret` and `token_url`.",
        ),
        404: Meaning(
            NotFoundError,
            "{platform} has no conversation {conversation_id}.",
            "list_conversations with the instance {instance} shows the conversations there are.",
        ),
        409: Meaning(
            ConflictError,
            "{platform} finds that this does not fit the present state of {conversation_id}.",
            "Wait for the end of what is being answered there, then call again.",
        ),
    },
    read_refusal,
)
