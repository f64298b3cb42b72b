"""How Knowrithm is reached: the options of an instance, and what they make."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.options import Options
from tertulia.platforms.knowrithm.wire import ERRORS, Wire
from tertulia.settings import InstanceSettings
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import split_agent_address

KEY_VARIABLE = "KNOWRITHM_API_KEY"
SECRET_VARIABLE = "KNOWRITHM_API_SECRET"  # noqa: S105 - the name of a variable
URL_VARIABLE = "KNOWRITHM_API_BASE"
BASE_URL = "https://app.knowrithm.org/api"
"""`config/config.py` of the SDK."""


@dataclass(frozen=True, slots=True)
class Account:
    """A Knowrithm account as its instance is configured."""

    wire: Wire
    agents: Mapping[str, str]
    """The ids of its agents, by the names that the configuration gives them."""


def connect(instance: str, settings: InstanceSettings, clock: Clock) -> Account:
    """Return the account of an instance; nothing is sent yet.

    Raises:
        InvalidInputError: an option cannot be what it is.
    """
    options = Options(instance, settings)
    key = options.secret("api_key", variable=KEY_VARIABLE)
    secret = options.secret("api_secret", variable=SECRET_VARIABLE)
    base_url = options.url("base_url", variable=URL_VARIABLE, default=BASE_URL)
    agents = _agents(instance, options.table("agents"))
    options.finish()
    missing = None
    if key is None:
        missing = options.how_to_set("api_key", variable=KEY_VARIABLE)
    elif secret is None:
        missing = options.how_to_set("api_secret", variable=SECRET_VARIABLE)
    headers = {"x-api-key": key or "", "x-api-secret": secret or ""}
    http = Http(instance, ERRORS, base_url=base_url, headers=headers, missing=missing, clock=clock)
    return Account(Wire(http, base_url, clock), agents)


def _agents(instance: str, table: Mapping[str, Any]) -> Mapping[str, str]:
    for name, agent_id in table.items():
        if not isinstance(agent_id, str) or not agent_id.strip():
            raise InvalidInputError(
                f"`agents` of the instance {instance} must give the id of an agent, as text, to each name.",
                instance=instance,
            )
        split_agent_address(f"{instance}:{name}")
    return {name: agent_id.strip() for name, agent_id in table.items()}
