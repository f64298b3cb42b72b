"""The options of an instance: Rine's address, the account and its keys, and short names for agents.

The account is a client id with a secret (`_config.py:126-146` of the SDK 0.13.0). The private keys of its agents are
files in the SDK's folder, where `rine onboard` puts them; they never leave this machine. The SDK also looks into
`.rine` of the working folder (`_config.py:19-51`), which nothing here does: whoever made that folder, within a
repository say, would choose as whom its user speaks.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tertulia.platforms.kit.http.values import parsed, table
from tertulia.platforms.kit.options import Options
from tertulia.platforms.kit.secrets import Secret
from tertulia.platforms.rine.mapping import PLATFORM, handle
from tertulia.settings import DEFAULT_LIMITS, DIRECT, Connections, InstanceSettings, Limits
from tertulia.vocabulary.errors import InvalidInputError

BASE_URL = "https://rine.network"
"""`_constants.py:7` of the SDK."""
PACKAGE = "rine"
"""The vendor's SDK, which encrypts and decrypts."""


@dataclass(frozen=True, kw_only=True)
class RineSettings:
    """Where Rine is, and as whom one instance uses it."""

    instance: str
    base_url: str
    config_dir: Path
    agent: str | None
    """Name, handle or id of the agent that the instance acts as; None where the account has only one."""
    client_id: str | None = field(repr=False)
    client_secret: Secret | None = field(repr=False)
    aliases: Mapping[str, str]
    """Handles by the short names that the configuration gives them."""
    limits: Limits = DEFAULT_LIMITS
    connections: Connections = DIRECT

    @classmethod
    def read(cls, instance: str, settings: InstanceSettings) -> "RineSettings":
        """Read the options of an instance.

        Raises:
            InvalidInputError: an option cannot be what it is.
        """
        options = Options(instance, settings)
        folder = options.path("config_dir", variable="RINE_CONFIG_DIR")
        if folder is None and settings.account is not None:
            raise InvalidInputError("`config_dir` is missing: the keys of an account are nobody else's.")
        config_dir = Path.home() / ".config" / "rine" if folder is None else folder
        client_id = options.header("client_id", variable="RINE_CLIENT_ID")
        client_secret = options.secret("client_secret", variable="RINE_CLIENT_SECRET")
        if client_id is None or client_secret is None:
            client_id, client_secret = _credentials(config_dir)
        agents = options.agents(called="a handle", without="@")
        read = cls(
            instance=instance,
            base_url=options.url("base_url", variable="RINE_API_URL", default=BASE_URL),
            config_dir=config_dir,
            agent=options.text("agent", variable="RINE_AGENT"),
            client_id=client_id,
            client_secret=client_secret,
            connections=settings.connections,
            aliases={alias: handle(name) for alias, name in agents.items()},
            limits=settings.limits,
        )
        options.finish()
        return read

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

    def has_keys(self, agent_id: str) -> bool:
        """Whether the private keys of an agent are on this machine (`_config.py`, `keys_dir`, of the SDK)."""
        return (self.config_dir / "keys" / agent_id / "signing.key").is_file()


def _credentials(config_dir: Path) -> tuple[str | None, str | None]:
    """Return the client id and secret that `rine onboard` has written, or None for both."""
    try:
        content = (config_dir / "credentials.json").read_text()
    except (OSError, ValueError):
        return None, None
    entry = table(table(parsed(content)).get("default"))
    client_id, secret = (_header_text(entry.get(name)) for name in ("client_id", "client_secret"))
    return (None, None) if client_id is None or secret is None else (client_id, secret)


def _header_text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.isascii() and value.isprintable() else None
