"""The configuration of an R2R server: its address, the credentials, and what is set for every answer.

Credentials are an API key in `x-api-key`, or a login whose token is a bearer; a server refuses both at once
(`core/base/providers/auth.py:126-200` of R2R 3.6.6). One that asks for none takes everybody for its administrator.
"""

from collections.abc import Mapping
from typing import Any

from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.options import Options
from tertulia.platforms.r2r.mapping import CONTEXT
from tertulia.platforms.r2r.wire import ERRORS, login
from tertulia.settings import InstanceSettings
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import InvalidInputError

BASE_URL = "http://localhost:7272"
"""Where a server listens unless told otherwise, and where the vendor's SDK looks for it (`sdk/base/base_client.py`)."""


def connect(instance: str, settings: InstanceSettings, clock: Clock) -> tuple[Http, Mapping[str, Any]]:
    """Return the connection of an instance, and what is set for every answer. Nothing is sent yet.

    Without credentials, it is complete.

    Raises:
        InvalidInputError: an option cannot be what it is, or there are both a key and a login.
    """
    options = Options(instance, settings)
    key = options.secret("api_key", variable="R2R_API_KEY")
    email = options.text("email", variable="R2R_EMAIL")
    if key and email:
        # What the environment has for everybody gives way to what the configuration has for this instance.
        has_key, has_email = options.configures("api_key"), options.configures("email")
        if has_key == has_email:
            raise InvalidInputError(
                f"The instance {instance} has an API key and a login; R2R refuses both at once.",
                hint="Keep either `api_key`, or `email` and `password`.",
                instance=instance,
            )
        key, email = (key, None) if has_key else (None, email)
    password = options.secret("password", variable="R2R_PASSWORD", in_header=False)
    base_url = options.url("base_url", variable="R2R_API_BASE", default=BASE_URL) + "/v3"
    project = options.header("project_name", variable="R2R_PROJECT_NAME")
    defaults = CONTEXT.check(options.table("agent"), f"`agent` of the instance {instance}")
    options.finish()
    http = Http(
        instance,
        ERRORS,
        base_url=base_url,
        headers={"x-api-key": key, "x-project-name": project},
        auth=login(instance, base_url, email, password) if email and password else None,
        missing="Set `password` (or R2R_PASSWORD), or remove `email`." if email and not password else None,
        clock=clock,
        limits=settings.limits,
        connections=settings.connections,
    )
    return http, defaults
