"""How Knowrithm is reached: the options of an instance, and the calls that they make possible."""

from collections.abc import Mapping

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.options import Options
from tertulia.platforms.knowrithm.wire import ERRORS, Wire
from tertulia.settings import InstanceSettings
from tertulia.vocabulary.clock import Clock

KEY_VARIABLE = "KNOWRITHM_API_KEY"
SECRET_VARIABLE = "KNOWRITHM_API_SECRET"  # noqa: S105 - the name of a variable
URL_VARIABLE = "KNOWRITHM_API_BASE"
BASE_URL = "https://app.knowrithm.org/api"
"""`config/config.py` of the SDK."""


def connect(instance: str, settings: InstanceSettings, clock: Clock) -> tuple[Wire, Mapping[str, str]]:
    """Return the calls of an instance, and the ids of its agents by their names. Nothing is sent yet.

    Raises:
        InvalidInputError: an option cannot be what it is.
    """
    options = Options(instance, settings)
    key = options.secret("api_key", variable=KEY_VARIABLE)
    secret = options.secret("api_secret", variable=SECRET_VARIABLE)
    base_url = options.url("base_url", variable=URL_VARIABLE, default=BASE_URL)
    agents = options.agents(called="the id of an agent")
    options.finish()
    missing = None
    if key is None:
        missing = options.how_to_set("api_key", variable=KEY_VARIABLE)
    elif secret is None:
        missing = options.how_to_set("api_secret", variable=SECRET_VARIABLE)
    headers = {"x-api-key": key, "x-api-secret": secret}
    http = Http(
        instance,
        ERRORS,
        base_url=base_url,
        headers=headers,
        missing=missing,
        clock=clock,
        limits=settings.limits,
        connections=settings.connections,
    )
    return Wire(http, base_url, clock), agents
