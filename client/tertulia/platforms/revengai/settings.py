"""How RevEng.AI is reached: the options of an instance, and the connection that they make."""

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.options import Options
from tertulia.platforms.revengai.wire import ERRORS
from tertulia.settings import InstanceSettings
from tertulia.vocabulary.clock import Clock

KEY_VARIABLE = "REVENGAI_API_KEY"
URL_VARIABLE = "REVENGAI_API_BASE"
BASE_URL = "https://api.reveng.ai"
"""`configuration.py` of the SDK."""


def connect(instance: str, settings: InstanceSettings, clock: Clock) -> Http:
    """Return the connection of an instance; nothing is sent yet.

    Raises:
        InvalidInputError: an option cannot be what it is.
    """
    options = Options(instance, settings)
    key = options.secret("api_key", variable=KEY_VARIABLE)
    base_url = options.url("base_url", variable=URL_VARIABLE, default=BASE_URL)
    options.finish()
    return Http(
        instance,
        ERRORS,
        base_url=base_url,
        headers={"authorization": key},  # alone, without `Bearer`: `configuration.py` of the SDK
        missing=options.how_to_set("api_key", variable=KEY_VARIABLE) if key is None else None,
        clock=clock,
        limits=settings.limits,
        connections=settings.connections,
    )
