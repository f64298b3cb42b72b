"""Settings: flags over environment over one TOML file, read once, then frozen.

A flag `--wait-seconds` is `TERTULIA_WAIT_SECONDS` in the environment and `wait_seconds` in the file. Lists are
separated by commas in flags and environment. Instances of platforms are tables in the file, `[instances.NAME]`.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tertulia.settings import Approvals, ClientSettings, InstanceSettings
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import checked_mailbox

ENVIRONMENT_PREFIX = "TERTULIA_"
CONFIG_VARIABLE = "TERTULIA_CONFIG"
CONFIG_NAME = "config.toml"
_SECRETS = (
    *(
        "key",
        "secret",
        "token",
        "password",
        "passwd",
        "passphrase",
        "authorization",
        "credential",
        "cookie",
        "bearer",
    ),
    *("private", "signature"),
)
_USER_INFO = re.compile("(?<=://)[^/@\\s]+@")


_SPELLED = {"identity": "as"}
"""Settings that are called otherwise where they are set: what is short to type is no name in Python."""


def spelled(setting: str) -> str:
    """Return what a setting is called in the configuration file."""
    return _SPELLED.get(setting, setting)


def flag(setting: str) -> str:
    """Return the flag that sets a setting."""
    return f"--{spelled(setting).replace('_', '-')}"


def variable(setting: str) -> str:
    """Return the environment variable that sets a setting."""
    return ENVIRONMENT_PREFIX + spelled(setting).upper()


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Source(StrEnum):
    """Where a setting's value comes from."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


class Settings(BaseModel):
    """Everything that can be set. The field's description is what `tertulia --help` says."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    store: Path = Field(description="The file that keeps conversations, runs and the index.")
    wait_seconds: float = Field(
        45, ge=0, le=300, description="How long a call waits for an answer (0 to 300)."
    )
    form_seconds: float = Field(90, ge=1, le=3600, description="How long a form may stay open (1 to 3600).")
    approvals: Approvals = Field(
        Approvals.HOST, description="Whose approval of a tool counts: host, or person (forms only)."
    )
    identity: str | None = Field(
        None, description="The name under which you write and can be written to, on the embedded platform."
    )
    toolsets: Names = Field((), description="Offer only these toolsets: talk, browse, manage.")
    tools: Names = Field((), description="Offer only these tools (added to the toolsets').")
    read_only: bool = Field(False, description="Offer only tools that change nothing.")
    http: bool = Field(False, description="Serve over Streamable HTTP instead of stdio.")
    host: str = Field("127.0.0.1", description="The loopback address to serve HTTP on.")
    port: int = Field(8765, ge=0, le=65535, description="The port to serve HTTP on; 0 takes a free one.")
    allowed_hosts: Names = Field(
        (), description="Host headers accepted besides loopback's, for a proxy in front."
    )
    allowed_origins: Names = Field((), description="Origins of web pages that may call, besides loopback's.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "WARNING", description="How much goes to stderr."
    )
    instances: dict[str, dict[str, Any]] = Field(
        default_factory=dict[str, dict[str, Any]], repr=False, description="Platforms by instance name."
    )

    def client(self) -> ClientSettings:
        """Return what the client needs of them.

        Raises:
            InvalidInputError: an instance does not say which platform it is of, or nobody can be called as we are.
        """
        if self.identity is not None:
            checked_mailbox(self.identity)
        instances: dict[str, InstanceSettings] = {}
        for name, table in self.instances.items():
            platform = table.get("platform")
            if not isinstance(platform, str):
                raise InvalidInputError(
                    f"The instance {name} does not say which platform it is of.",
                    hint=f'Add `platform = "…"` to [instances.{name}].',
                )
            options = {key: value for key, value in table.items() if key != "platform"}
            instances[name] = InstanceSettings(platform=platform, options=options)
        return ClientSettings(
            store=self.store, approvals=self.approvals, identity=self.identity, instances=instances
        )


@dataclass(frozen=True)
class Loaded:
    """Settings, with where each comes from and which file was read."""

    settings: Settings
    sources: Mapping[str, Source]
    file: Path
    file_read: bool


def load(flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings. `flags` holds what was given on the command line, by field; `config` names the file.

    Raises:
        InvalidInputError: a setting is unknown or its value impossible, or a file that was named cannot be read.
    """
    environment = os.environ if environment is None else environment
    named = flags.get("config") or environment.get(CONFIG_VARIABLE)
    file = Path(named).expanduser() if named else default_config()
    layers: list[tuple[Source, Mapping[str, Any]]] = [
        (Source.DEFAULT, {"store": default_store()}),
        (Source.FILE, _read_file(file, must_exist=bool(named))),
        (Source.ENVIRONMENT, _from_environment(environment)),
        (
            Source.FLAG,
            {
                name: value
                for name, value in flags.items()
                if name in Settings.model_fields and value is not None
            },
        ),
    ]
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.model_fields, Source.DEFAULT)
    for source, layer in layers:
        values |= layer
        sources |= dict.fromkeys(layer, source)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise _explained(error, sources, file) from error
    settings = settings.model_copy(update={"store": settings.store.expanduser().absolute()})
    return Loaded(settings, sources, file, file.is_file())


def default_config() -> Path:
    """Return where the configuration file is unless another is named."""
    from platformdirs import user_config_path

    return user_config_path("tertulia", appauthor=False) / CONFIG_NAME


def default_store() -> Path:
    """Return where the store is unless another is named."""
    from platformdirs import user_data_path

    return user_data_path("tertulia", appauthor=False) / "tertulia.db"


def without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with whatever may be a secret replaced by whether it is set, however deep it stands."""
    return {
        key: ("(set)" if value else "(empty)")
        if any(word in key.lower() for word in _SECRETS)
        else _without_secrets(value)
        for key, value in options.items()
    }


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return without_secrets(cast(dict[str, Any], value))
    if isinstance(value, list):
        return [_without_secrets(item) for item in cast(list[Any], value)]
    return _USER_INFO.sub("(set)@", value) if isinstance(value, str) else value


def _read_file(file: Path, *, must_exist: bool) -> Mapping[str, Any]:
    if not file.is_file() and not must_exist:
        return {}
    try:
        read = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"The configuration file {file} cannot be read: {error.strerror}.",
            hint="Name another with --config.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"The configuration file {file} is not TOML: {error}.") from error
    named = {spelled(name): name for name in Settings.model_fields}
    for name in read:
        if name not in named:
            raise InvalidInputError(
                f"{file} sets `{name}`, which is no setting.", valid=sorted(named), setting=name
            )
    return {named[name]: value for name, value in read.items()}


def _from_environment(environment: Mapping[str, str]) -> Mapping[str, Any]:
    names = [name for name in Settings.model_fields if name != "instances"]
    return {name: environment[variable(name)] for name in names if environment.get(variable(name))}


def _explained(error: ValidationError, sources: Mapping[str, Source], file: Path) -> InvalidInputError:
    detail = error.errors(include_url=False, include_input=False)[0]
    name = str(detail["loc"][0])
    where = {Source.FLAG: flag(name), Source.ENVIRONMENT: variable(name)}.get(
        cast(Source, sources.get(name)), f"`{spelled(name)}` in {file}"
    )
    message = detail["msg"][:1].lower() + detail["msg"][1:]
    return InvalidInputError(f"{where} is not possible: {message}.", setting=name)
