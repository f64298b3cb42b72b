"""The settings: flags override the environment, which overrides one TOML file. They are read once and then frozen.

A flag `--wait-seconds` is `TERTULIA_WAIT_SECONDS` in the environment and `wait_seconds` in the file. Lists are
separated by commas in flags and environment. Instances of platforms are tables in the file, `[instances.NAME]`.
"""

import hashlib
import os
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
)

from tertulia.platforms.registry import LOCAL
from tertulia.settings import EVERYBODY, Approvals, ClientSettings, InstanceSettings, PrincipalLimits
from tertulia.store.private_files import close_to_others
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import checked_mailbox
from tertulia.vocabulary.location import PostgresUrl, StoreLocation, store_location
from tertulia.vocabulary.models import LOCAL_PRINCIPAL
from tertulia.vocabulary.untrusted import shown
from tertulia_server.addresses import is_safe_url
from tertulia_server.logs import LogFormat
from tertulia_server.secret_values import holds_secrets

ENVIRONMENT_PREFIX = "TERTULIA_"
CONFIG_VARIABLE = "TERTULIA_CONFIG"
CONFIG_NAME = "config.toml"
TOKEN_VARIABLE = "TERTULIA_HTTP_TOKEN"  # noqa: S105 - a name
"""Where hosts look for the token of a server on HTTP, if their configuration does not hold it."""
_WITHIN_VARIABLE = "TERTULIA_WITHIN"
"""Is set where an agent has started this server that was itself reached through Tertulia.

See `tertulia.platforms.acp.nesting`.
"""
_OWN_VARIABLES = {_WITHIN_VARIABLE, TOKEN_VARIABLE}
"""What is no setting."""
TABLES = {"instances", "agents", "limits"}
"""The settings that only the file has."""
DATABASES = ("store", "store_listen_url")
"""The settings that can be the URL of a database, with a password in it."""
_KEYS = {"identity": "as"}
"""The settings whose key in the file is not the name of their field: `as` cannot be a name in Python."""


def key(setting: str) -> str:
    """Return the key of a setting in the configuration file."""
    return _KEYS.get(setting, setting)


def flag(setting: str) -> str:
    """Return the flag that sets a setting."""
    return f"--{key(setting).replace('_', '-')}"


def variable(setting: str) -> str:
    """Return the environment variable that sets a setting."""
    return ENVIRONMENT_PREFIX + key(setting).upper()


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _named(value: object) -> object:
    if isinstance(value, str) and not value.strip():  # it would mean the current folder
        raise ValueError("it must be the path of a file")
    return value


def _location(value: object) -> object:
    try:
        return store_location(value) if isinstance(value, str) else value
    except InvalidInputError as error:
        sentences = " ".join(filter(None, (error.message, error.hint)))
        raise ValueError(sentences.removesuffix(".")) from None


def _database(value: object) -> object:
    located = _location(value)
    if isinstance(located, Path):
        raise ValueError("it must be a URL like postgresql://HOST/DATABASE")  # noqa: TRY004 - pydantic takes no other
    return located


def _without_brackets(value: object) -> object:
    # A URL has an IPv6 address in brackets, and people copy it from there.
    return value[1:-1] if isinstance(value, str) and value.startswith("[") and value.endswith("]") else value


def _safe_url(value: str | None) -> str | None:
    if value is not None and (not is_safe_url(value) or "@" in value):
        raise ValueError("it must be a URL with https://, or with http:// on this machine")
    return value


def _issuer(value: str | None) -> str | None:
    checked = _safe_url(value)
    if checked is not None and ("#" in checked or "?" in checked):
        raise ValueError("it must have neither a query nor a fragment")
    return checked


def _addresses(value: tuple[str, ...]) -> tuple[str, ...]:
    for each in value:
        try:
            ip_network(each)
        except ValueError:
            raise ValueError(
                f"{shown(each)} is neither an IP address nor a network like 10.0.0.0/8"
            ) from None
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


class Source(StrEnum):
    """Where a setting's value comes from."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


class CallerLimits(BaseModel):
    """What one principal may take of what all share. None is as much as there is."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    calls_per_minute: int | None = Field(None, ge=1)
    active_runs: int | None = Field(None, ge=1)
    stored_megabytes: int | None = Field(None, ge=0)
    upstream_runs_per_day: int | None = Field(None, ge=0)

    def of_client(self) -> PrincipalLimits:
        """Return those that the client holds."""
        return PrincipalLimits(
            active_runs=self.active_runs,
            stored_bytes=None if self.stored_megabytes is None else self.stored_megabytes * 1_000_000,
            upstream_runs_per_day=self.upstream_runs_per_day,
        )


class Settings(BaseModel):
    """All settings. `tertulia --help` shows the description of each field."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    store: Annotated[StoreLocation, BeforeValidator(_location)] = Field(
        description="The file that keeps conversations, runs and the index; or a database, postgresql://HOST/NAME."
    )
    store_listen_url: Annotated[PostgresUrl | None, BeforeValidator(_database)] = Field(
        None,
        description="The URL of the database's server itself, where `store` is a pooler's, which delivers no notices.",
    )
    wait_seconds: float = Field(
        45, ge=0, le=300, description="How long a call waits for an answer (0 to 300)."
    )
    form_seconds: float = Field(90, ge=1, le=3600, description="How long a form may stay open (1 to 3600).")
    approvals: Approvals = Field(
        Approvals.HOST,
        description="Whose approval of a tool counts: host, person (forms only), or elsewhere (none here).",
    )
    identity: str | None = Field(
        None, description="The name under which you write and can be written to, on the embedded platform."
    )
    toolsets: Names = Field((), description="Offer only these toolsets: talk, browse, manage, page.")
    tools: Names = Field((), description="Offer only these tools (added to the toolsets').")
    read_only: bool = Field(False, description="Offer only tools that change nothing.")
    http: bool = Field(False, description="Serve over Streamable HTTP instead of stdio.")
    host: Annotated[str, BeforeValidator(_without_brackets)] = Field(
        "127.0.0.1",
        description="The address to serve HTTP on; beyond loopback with --token-file or --oauth-issuer only.",
    )
    port: int = Field(8765, ge=0, le=65535, description="The port to serve HTTP on; 0 takes a free one.")
    token: bool = Field(
        True, description="Ask callers over HTTP for the store's token, which `tertulia token` prints."
    )
    token_file: Annotated[Path | None, BeforeValidator(_named)] = Field(
        None,
        description="Ask callers over HTTP for a token of this file instead, which `tertulia token --add` writes.",
    )
    oauth_issuer: Annotated[str | None, AfterValidator(_issuer)] = Field(
        None, description="Ask callers over HTTP for a token of this OAuth 2.1 authorization server instead."
    )
    oauth_audience: str | None = Field(
        None, description="What these tokens name as their audience, if it is not the public URL."
    )
    oauth_jwks_url: Annotated[str | None, AfterValidator(_safe_url)] = Field(
        None, description="Where the server's keys are, if its metadata does not say it."
    )
    public_url: Annotated[str | None, AfterValidator(_safe_url)] = Field(
        None,
        description="The URL under which hosts reach HTTP, behind a proxy: https://tertulia.example/mcp.",
    )
    allowed_hosts: Names = Field(
        (),
        description="Names under which HTTP is served besides loopback's, on any port: for a proxy in front.",
    )
    allowed_origins: Names = Field((), description="Origins of web pages that may call, besides loopback's.")
    trusted_proxies: Annotated[Names, AfterValidator(_addresses)] = Field(
        (),
        description="Addresses and networks of proxies whose X-Forwarded-For and -Proto say who calls over HTTP.",
    )
    drain_seconds: float = Field(
        0, ge=0, le=3600, description="How long a stopping HTTP server lets its runs go on (0 to 3600)."
    )
    max_runs: int | None = Field(
        None,
        ge=1,
        description="How many answers this process produces at a time; others wait, or another server produces them.",
    )
    environment_proxy: bool = Field(
        False, description="Reach platforms through the proxy that HTTPS_PROXY and the like name."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "WARNING", description="How much goes to stderr."
    )
    log_format: LogFormat = Field(
        LogFormat.TEXT, description="How it is written: text, or json without what others have said."
    )
    telemetry: bool = Field(
        False, description="Send traces and metrics by OpenTelemetry, as its variables (OTEL_…) say."
    )
    discover_agents: bool = Field(
        True, description="List agent programs of this machine that are not configured, with how to do that."
    )
    follow: Names = Field(
        (),
        description="Import the sessions in these folders as they are written, secrets masked; `known`: those of the"
        " programs that are known.",
    )
    instances: dict[str, dict[str, Any]] = Field(
        default_factory=dict[str, dict[str, Any]], repr=False, description="Platforms by instance name."
    )
    agents: dict[str, dict[str, Any]] = Field(
        default_factory=dict[str, dict[str, Any]], repr=False, description="Model agents by name."
    )

    limits: dict[str, CallerLimits] = Field(
        default_factory=dict[str, CallerLimits],
        description="What one principal may take, by name; `*` for all others but whoever runs the process.",
    )

    _typed: tuple[str, ...] = PrivateAttr(())
    """The flags of this command line that another command must have, too, to be about the same."""

    def typed_with(self, flags: Mapping[str, Any]) -> "Settings":
        """Return the settings of a command that was typed with these flags."""
        typed = ["--config", str(flags["config"])] if flags.get("config") else []
        for name in (*DATABASES, "identity"):
            if flags.get(name) is not None:
                value = getattr(self, name)  # a URL is shown without its password
                typed += [flag(name), str(value) if isinstance(value, PostgresUrl) else str(flags[name])]
        settings = self.model_copy()
        settings._typed = tuple(typed)
        return settings

    def command(self, *words: str) -> str:
        """Return what a person types for another command about the same store, configuration and mailbox."""
        return shlex.join(["tertulia", *self._typed, *words])

    def calls_per_minute(self, principal: str) -> int | None:
        """Return how many calls a principal may make in a minute; None if as many as they like."""
        others = None if principal == LOCAL_PRINCIPAL else self.limits.get(EVERYBODY)
        own = self.limits.get(principal) or others
        return None if own is None else own.calls_per_minute

    def client_settings(self, *, leave_out_misconfigured: bool = False) -> ClientSettings:
        """Return the settings of the client (see `ClientSettings`).

        Raises:
            InvalidInputError: the identity cannot be a mailbox name.
        """
        if self.identity is not None:
            checked_mailbox(self.identity)
        instances: dict[str, InstanceSettings] = {}
        for name, table in self.instances.items():
            platform = table.get("platform")
            options = {name: value for name, value in table.items() if name != "platform"}
            instances[name] = InstanceSettings(
                platform=platform if isinstance(platform, str) else "",
                options=options,
                environment_proxy=self.environment_proxy,
            )
        if self.agents:
            local = instances.get(LOCAL, InstanceSettings(platform=LOCAL))
            instances[LOCAL] = replace(local, options={**local.options, "agents": self.agents})
        return ClientSettings(
            store=self.store,
            store_listen_url=self.store_listen_url,
            approvals=self.approvals,
            identity=self.identity,
            discover_agents=self.discover_agents,
            instances=instances,
            limits={name: each.of_client() for name, each in self.limits.items()},
            max_runs=self.max_runs,
            leave_out_misconfigured=leave_out_misconfigured,
        )


@dataclass(frozen=True)
class Loaded:
    """The settings, with the source of each and the configuration file."""

    settings: Settings
    sources: Mapping[str, Source]
    file: Path
    file_read: bool
    warnings: Sequence[str] = ()
    """What a person should know about the settings, in a sentence each."""


def load(flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings. `flags` has the values from the command line by field, and the path of the file as `config`.

    Raises:
        InvalidInputError: a setting is unknown or its value is not possible, or the named file cannot be read.
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
    if environment.get(_WITHIN_VARIABLE):
        layers.append((Source.ENVIRONMENT, {"approvals": Approvals.ELSEWHERE}))
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.model_fields, Source.DEFAULT)
    for source, layer in layers:
        values |= layer
        sources |= dict.fromkeys(layer, source)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise _input_error(error, sources, file) from error
    if isinstance(settings.store, Path):
        settings = settings.model_copy(update={"store": settings.store.expanduser().absolute()})
    settings = settings.typed_with(flags)
    warnings = [*_unknown_variables(environment, settings), *_closed(file, settings, sources)]
    return Loaded(settings, sources, file, file.is_file(), warnings)


def default_config() -> Path:
    """Return the default path of the configuration file."""
    from platformdirs import user_config_path

    return user_config_path("tertulia", appauthor=False) / CONFIG_NAME


def default_store() -> Path:
    """Return the default path of the store."""
    from platformdirs import user_data_path

    return user_data_path("tertulia", appauthor=False) / "tertulia.db"


def local_name(store: StoreLocation) -> Path:
    """Return the path after which the files of a store on this machine are named: of a file, its own.

    Those of a database are in the folder of the default store.
    """
    if isinstance(store, Path):
        return store
    digest = hashlib.sha256(str(store).encode()).hexdigest()[:12]
    return default_store().with_name(f"postgresql-{digest}")


def _read_file(file: Path, *, must_exist: bool) -> Mapping[str, Any]:
    if not file.is_file() and not must_exist:
        return {}
    try:
        read = tomllib.loads(file.read_text("utf-8-sig"))  # some editors begin a file with a byte order mark
    except OSError as error:
        raise InvalidInputError(
            f"The configuration file {file} cannot be read: {error.strerror}.",
            hint="Name another with --config.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"The configuration file {file} is not TOML: {error}.") from error
    named = {key(name): name for name in Settings.model_fields}
    for name in read:
        if name not in named:
            raise InvalidInputError(
                f"{file} sets `{name}`, which is no setting.", valid=sorted(named), setting=name
            )
    return {named[name]: value for name, value in read.items()}


def _closed(file: Path, settings: Settings, sources: Mapping[str, Source]) -> Sequence[str]:
    """Close the files that hold credentials to other users; return a sentence for each that was open."""
    tables = [*settings.instances.values(), *settings.agents.values()]
    named_there = any(
        sources[name] is Source.FILE and isinstance(getattr(settings, name), PostgresUrl)
        for name in DATABASES
    )
    holding = [file] if named_there or any(map(holds_secrets, tables)) else []
    named = [table["env_file"] for table in tables if isinstance(table.get("env_file"), str)]
    holding += [Path(each).expanduser() for each in named]
    return [sentence for each in holding if (sentence := close_to_others(each)) is not None]


def _from_environment(environment: Mapping[str, str]) -> Mapping[str, Any]:
    return {name: environment[each] for each, name in _variables().items() if environment.get(each)}


def _variables() -> Mapping[str, str]:
    """Return the settings by the environment variable that sets each."""
    return {variable(name): name for name in Settings.model_fields if name not in TABLES}


def _unknown_variables(environment: Mapping[str, str], settings: Settings) -> Sequence[str]:
    """Return a sentence for each variable that looks like a setting and is none, nor named by an instance."""
    known = [*_variables(), CONFIG_VARIABLE, *_OWN_VARIABLES]
    named = {
        value for table in settings.instances.values() for value in table.values() if isinstance(value, str)
    }
    sentences: list[str] = []
    for name in sorted(environment):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known and name not in named:
            near = get_close_matches(name, known, n=1)
            meant = f" Is {near[0]} meant?" if near else ""
            sentences.append(f"{name} in the environment is no setting, and is ignored.{meant}")
    return sentences


def _input_error(error: ValidationError, sources: Mapping[str, Source], file: Path) -> InvalidInputError:
    detail = error.errors(include_url=False, include_input=False)[0]
    name = str(detail["loc"][0])
    where = {Source.FLAG: flag(name), Source.ENVIRONMENT: variable(name)}.get(
        cast(Source, sources.get(name)), f"`{'.'.join([key(name), *map(str, detail['loc'][1:])])}` in {file}"
    )
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return InvalidInputError(f"{where} is not possible: {message}.", setting=name)
