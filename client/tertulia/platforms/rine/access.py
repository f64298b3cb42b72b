"""How Rine is reached: its address, our account and keys there, and what its refusals mean.

The account is a client id with a secret (`_config.py:126-146` of the SDK 0.13.0), which is exchanged for a token of
fifteen minutes (`_http.py:136-151`). The private keys of our agents are files in the SDK's folder, where `rine onboard`
puts them; they never leave this machine.
"""

import json
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import httpx

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning
from tertulia.platforms.kit.http.retries import retry_after
from tertulia.platforms.kit.options import Options
from tertulia.vocabulary.errors import ConflictError, NotAllowedError, NotConfiguredError, UnavailableError

PLATFORM = "Rine"
BASE_URL = "https://rine.network"
"""`_constants.py:7` of the SDK."""
PACKAGE = "rine"
"""The vendor's SDK, which encrypts and decrypts."""
MARGIN_SECONDS = 60.0
"""A token is not used in the last minute before it expires."""
_DEFAULT_LIFETIME = 900.0


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where Rine is, and as whom one instance uses it."""

    instance: str
    base_url: str
    config_dir: Path
    agent: str | None
    """Name, handle or id of the agent that we act as; None where the account has only one."""
    client_id: str | None = field(repr=False)
    client_secret: str | None = field(repr=False)

    @classmethod
    def read(cls, instance: str, options: Options) -> "Access":
        """Read the options for it.

        Raises:
            InvalidInputError: an option cannot be what it is.
        """
        folder = options.text("config_dir", variable="RINE_CONFIG_DIR")
        config_dir = _default_folder() if folder is None else Path(folder).expanduser()
        client_id = options.secret("client_id", variable="RINE_CLIENT_ID")
        client_secret = options.secret("client_secret", variable="RINE_CLIENT_SECRET")
        if client_id is None or client_secret is None:
            client_id, client_secret = _credentials(config_dir)
        return cls(
            instance=instance,
            base_url=options.url("base_url", variable="RINE_API_URL", default=BASE_URL),
            config_dir=config_dir,
            agent=options.text("agent", variable="RINE_AGENT"),
            client_id=client_id,
            client_secret=client_secret,
        )

    @property
    def missing(self) -> str | None:
        """The one thing to do before the instance can be used."""
        if sys.platform == "win32":
            return (
                f"{PLATFORM}'s package has no release for Windows: run Tertulia on Linux, macOS or in WSL, with "
                "`pip install 'tertulia[rine]'`."
            )
        if find_spec(PACKAGE) is None:
            return f"Install {PLATFORM}'s own package, which encrypts: `pip install 'tertulia[rine]'`."
        if self.client_id is None or self.client_secret is None:
            return (
                f"Run `rine onboard`, or set RINE_CLIENT_ID and RINE_CLIENT_SECRET in the environment (`client_id` and "
                f"`client_secret` in [instances.{self.instance}])."
            )
        return None

    def keys_of(self, agent_id: str) -> Path:
        """Return where the private keys of an agent of ours are (`_config.py`, `keys_dir`, of the SDK)."""
        return self.config_dir / "keys" / agent_id

    def connect(self) -> Http:
        """Return the connection; nothing is sent yet."""
        return Http(
            self.instance,
            ERRORS,
            base_url=self.base_url,
            headers={},
            auth=Login(self),
            missing=self.missing,
        )


class Login(httpx.Auth):
    """Gets a token when it is needed: at first, before it expires, and once when it is refused. It stays in memory."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._token: str | None = None
        self._until = 0.0

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See `httpx.Auth`. A request that is refused with 401 has not been carried out, and is made once more."""
        for _ in range(2):
            if self._token is None or time.monotonic() >= self._until:
                # In the body: what the SDK does, where the vendor's page speaks of Basic authentication.
                form = {
                    "grant_type": "client_credentials",
                    "client_id": self._access.client_id,
                    "client_secret": self._access.client_secret,
                }
                url = f"{self._access.base_url}/oauth/token"
                answer = yield httpx.Request("POST", url, data=form, extensions=request.extensions)
                await answer.aread()
                self._keep(answer)
            used = self._token
            request.headers["authorization"] = f"Bearer {used}"
            response = yield request
            if response.status_code != 401:
                return
            if self._token == used:
                self._token = None

    def _keep(self, answer: httpx.Response) -> None:
        instance = self._access.instance
        if answer.status_code in {400, 401, 403, 422}:
            raise NotConfiguredError(
                f"{PLATFORM} does not accept the client id and secret of the instance {instance}.",
                hint="Replace them: `rine onboard` makes new ones.",
                instance=instance,
            )
        try:
            body: dict[str, Any] = answer.raise_for_status().json()
            self._token, lifetime = (
                str(body["access_token"]),
                float(body.get("expires_in", _DEFAULT_LIFETIME)),
            )
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnavailableError(
                f"{PLATFORM} ({instance}) gives out no token now ({answer.status_code}).",
                hint=f"Call again in a moment; if that does not help, check `base_url` of the instance {instance}.",
                instance=instance,
                retry_after=retry_after(answer.headers.get("retry-after")),
            ) from error
        self._until = time.monotonic() + max(lifetime - MARGIN_SECONDS, lifetime / 2)


def _default_folder() -> Path:
    """Return the folder that the SDK takes when none is named (`_config.py:19-51`)."""
    candidates = (Path.home() / ".config" / "rine", Path.cwd() / ".rine")
    return next((each for each in candidates if (each / "credentials.json").is_file()), candidates[0])


def _credentials(config_dir: Path) -> tuple[str | None, str | None]:
    """Return client id and secret as `rine onboard` keeps them, or None where it does not."""
    try:
        found: Any = json.loads((config_dir / "credentials.json").read_text())
        entry = cast(Mapping[str, Any], found["default"])
        values = entry["client_id"], entry["client_secret"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
    named = [value for value in values if isinstance(value, str) and value.isascii() and value.isprintable()]
    return (named[0], named[1]) if len(named) == 2 else (None, None)


def _refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    """Read `{"detail": text}` or `{"detail": [{loc, msg, …}]}` (`_http.py:55-67` of the SDK).

    What FastAPI repeats of the call in the second (`input`) is left out: it may be a whole message.
    """
    detail: Any = cast(Mapping[str, Any], body).get("detail") if isinstance(body, Mapping) else None
    if isinstance(detail, list):
        problems = [cast(dict[str, Any], one) for one in cast(list[Any], detail) if isinstance(one, dict)]
        told = [f"{'.'.join(str(part) for part in one.get('loc', ()))}: {one.get('msg')}" for one in problems]
        return None, "; ".join(told), None
    return None, detail if isinstance(detail, str) else None, None


ERRORS = ErrorTable(
    PLATFORM,
    {
        401: Meaning(
            NotConfiguredError,
            "{platform} does not accept the token of the instance {instance}.",
            "Check `client_id` and `client_secret`: `rine onboard` makes new ones.",
        ),
        403: Meaning(
            NotAllowedError,
            "{platform} does not allow this to the account of {instance}.",
            "Sending needs a verified account, and only who takes part in a conversation may read it.",
        ),
        409: Meaning(
            ConflictError,
            "{platform} finds that this does not fit the present state of {conversation_id}.",
            "get_conversation shows how it stands.",
        ),
    },
    _refusal,
)
"""What Rine's refusals mean (`errors.py:648-657` of the SDK); what a status means everywhere is not repeated."""
