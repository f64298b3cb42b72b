"""How Threads is reached: the options of an instance, and the connection that they make."""

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.options import Options
from tertulia.settings import InstanceSettings
from tertulia.vocabulary.clock import Clock
from tests.examples.threads.wire import ERRORS

KEY_VARIABLE = "THREADS_API_KEY"
URL_VARIABLE = "THREADS_URL"
BASE_URL = "http://localhost:2024"


def connect(instance: str, settings: InstanceSettings, clock: Clock) -> Http:
    """Return the connection of an instance; nothing is sent yet.

    Raises:
        InvalidInputError: an option has a value that it cannot have, or is unknown.
    """
    options = Options(instance, settings)
    key = options.secret("api_key", variable=KEY_VARIABLE)
    base_url = options.url("base_url", variable=URL_VARIABLE, default=BASE_URL)
    options.finish()
    return Http(
        instance,
        ERRORS,
        base_url=base_url,
        headers={"x-api-key": key or ""},
        missing=options.how_to_set("api_key", variable=KEY_VARIABLE) if key is None else None,
        clock=clock,
    )
