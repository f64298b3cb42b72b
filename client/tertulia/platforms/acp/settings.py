"""How an agent program is started: the agents that are known by name, and the options of an instance.

Commands come from the user's configuration file alone. An agent's environment is made from a short list of names and
the options `env` and `env_file`; it is never that of the host that happened to come first.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tertulia.platforms.kit.options import Options
from tertulia.settings import DEFAULT_LIMITS, InstanceSettings, Limits
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.models import Agent
from tertulia.vocabulary.untrusted import shown

PLATFORM = "ACP"
AGENT = "agent"
"""What the one agent of an instance is called: `codex:agent`."""
NO_MODE = "none"
"""The `mode` that accepts an agent which may ask nobody."""

INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TERM"),
    *("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "WINDIR", "TEMP", "TMP", "USERPROFILE", "USERNAME"),
    *("APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES", "HOMEDRIVE", "HOMEPATH"),
)
"""What an agent program gets of our own environment, where it is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAgent:
    """An agent that is known by name, as it was measured (see docs/platforms/acp.md)."""

    title: str
    command: tuple[str, ...]
    package: str
    """What npm installs it from."""
    mode: str
    """The mode in which it asks before it acts."""
    transcripts: str
    """The format of the transcripts that it writes, as `tertulia import` names it."""
    careful_modes: tuple[str, ...] = ()
    """Modes in which it does no more unasked than in `mode`."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """What makes it ask where no mode does."""
    files_by_minute: bool = False
    """Whether it names a session's file by the minute: one that is loaded in the minute of its start is overwritten."""
    names_messages: bool = False
    """Whether each piece of an answer names its message: a piece that names none is then a notice."""

    @property
    def installed(self) -> bool:
        """Whether its program is found on this machine."""
        return shutil.which(self.command[0]) is not None


KNOWN_AGENTS: Mapping[str, KnownAgent] = {
    "claude": KnownAgent(
        title="Claude Code",
        command=("claude-agent-acp",),
        package="@agentclientprotocol/claude-agent-acp",
        mode="default",
        transcripts="claude-code",
        careful_modes=("plan",),
        names_messages=True,
    ),
    "codex": KnownAgent(
        title="Codex",
        command=("codex-acp",),
        package="@agentclientprotocol/codex-acp",
        mode="read-only",
        transcripts="codex",
        environment={"INITIAL_AGENT_MODE": "read-only"},
        names_messages=True,
    ),
    "gemini": KnownAgent(
        title="Gemini CLI",
        command=("gemini", "--acp"),
        package="@google/gemini-cli",
        mode="default",
        transcripts="gemini-cli",
        files_by_minute=True,
        careful_modes=("plan",),
    ),
    "qwen": KnownAgent(
        title="Qwen Code",
        command=("qwen", "--acp"),
        package="@qwen-code/qwen-code",
        mode="default",
        transcripts="qwen-code",
        careful_modes=("plan",),
    ),
    "opencode": KnownAgent(
        title="OpenCode",
        command=("opencode", "acp"),
        package="opencode-ai",
        mode="build",
        transcripts="opencode",
        careful_modes=("plan",),
        environment={"OPENCODE_PERMISSION": '{"bash": "ask", "edit": "ask", "webfetch": "ask"}'},
        names_messages=True,
    ),
}


def unconfigured(instances: Mapping[str, InstanceSettings]) -> Sequence[Agent]:
    """Return the known agents that are installed here and that no instance is about, with how to configure them."""
    configured = {settings.options.get("agent") for settings in instances.values()}
    return [
        Agent(
            address=f"{name}:{AGENT}",
            description=f"{known.title}, which is installed on this machine.",
            features=frozenset(),
            available=False,
            hint=f"Not configured: `tertulia agents --add {name}` in a terminal does it.",
        )
        for name, known in KNOWN_AGENTS.items()
        if name not in configured and name not in instances and known.installed
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """How the agent of one instance is started, and what its conversations may be given."""

    instance: str
    title: str
    command: Sequence[str]
    mode: str | None
    """The mode in which each session starts; None accepts whatever the agent's own is."""
    modes: frozenset[str]
    """The modes that a caller may choose."""
    options: frozenset[str]
    """The options of a session that a caller may set, beside those of the model."""
    folders: Sequence[Path]
    environment: Mapping[str, str] = field(repr=False)
    mcp_servers: Sequence[Mapping[str, Any]] = field(repr=False)
    names_messages: bool
    files_by_minute: bool
    how_to_install: str
    transcripts: str | None
    """The format of the transcripts that its program writes, where that is known."""
    limits: Limits = DEFAULT_LIMITS

    def allowed(self, folder: Path | None) -> Path | None:
        """Return a folder as it is meant, links followed, if the agent may work in it; else None."""
        resolved = None if folder is None else folder.resolve()
        within = resolved is not None and any(resolved.is_relative_to(each) for each in self.folders)
        return resolved if within else None

    @property
    def where_to_begin(self) -> str:
        """How a caller says in which folder the agent is to work."""
        if len(self.folders) == 1:
            return "`cwd` in the `context` of create_conversation names a folder inside it, instead of the whole."
        return "Begin with create_conversation: `cwd` in its `context` is the absolute path of the folder to work in."

    def folder(self, context: Mapping[str, Any] | None) -> Path:
        """Return the folder in which a conversation's agent works: the only one that is allowed, if none is given.

        Raises:
            InvalidInputError: none is given of several, or it is none of those that the configuration allows.
        """
        allowed = [str(folder) for folder in self.folders]
        given = (context or {}).get("cwd")
        if given is None and len(allowed) == 1:
            given = allowed[0]
        if given is None:
            raise InvalidInputError(
                f"In which folder is {self.title} to work? `cwd` in the `context` of a conversation says it.",
                valid=allowed,
                hint='Call create_conversation with `context` {"cwd": FOLDER}, one of these or one inside them, and '
                "with the first `message`.",
            )
        folder = Path(given).expanduser() if isinstance(given, str) else None
        if folder is None or not folder.is_absolute():
            raise InvalidInputError(
                "`cwd` in `context` must be the absolute path of a folder.", valid=allowed
            )
        resolved = self.allowed(folder)
        if resolved is None:
            raise InvalidInputError(
                f"The folder {shown(str(folder))} is outside of what the instance {self.instance} may work in.",
                valid=allowed,
                hint=f"`folders` in [instances.{self.instance}] says where it may.",
                instance=self.instance,
            )
        if not resolved.is_dir():
            raise InvalidInputError(f"There is no folder {shown(str(folder))}.", valid=allowed)
        return resolved

    def check_options(self, context: Mapping[str, Any], *, names: Sequence[str]) -> None:
        """Check what the context of a conversation or message asks for, as far as it is known here.

        Raises:
            InvalidInputError: it names something else, or a mode that nobody has allowed.
        """
        for name, value in context.items():
            if name not in names:
                raise InvalidInputError(
                    f"{self.title} takes no {shown(name)} in `context`.", valid=names, instance=self.instance
                )
            if name == "options":
                _check_options(value)
            elif not isinstance(value, str):
                raise InvalidInputError(f"`{name}` in `context` must be a text.", valid=names)
        mode = context.get("mode")
        if mode is not None and mode not in self.modes:
            raise InvalidInputError(
                f"The mode {shown(mode)} is not allowed for {self.instance}.",
                valid=sorted(self.modes),
                hint=f"A person can allow it with `modes` in [instances.{self.instance}].",
                instance=self.instance,
            )


def read_settings(instance: str, settings: InstanceSettings) -> tuple[AgentSettings, str | None]:
    """Return how an instance's agent is started, and the one thing that must be set first, if so.

    Raises:
        InvalidInputError: an option cannot be what it is.
    """
    options = Options(instance, settings)
    name = options.text("agent")
    command = list(options.names("command"))
    mode = options.text("mode")
    modes = options.names("modes")
    settable = options.names("options")
    folders = options.names("folders")
    given = options.table("env")
    env_file = options.path("env_file")
    servers = options.table("mcp_servers")
    options.finish()
    if name is not None and name not in KNOWN_AGENTS:
        raise InvalidInputError(
            f"The instance {instance} names an agent that is not known, {shown(name)}.",
            valid=sorted(KNOWN_AGENTS),
            hint="Give `command` instead.",
            instance=instance,
        )
    known = KNOWN_AGENTS.get(name or "")
    missing: str | None = None
    table = f"[instances.{instance}]"
    if known is None and not command:
        missing = f"Set `agent` (one of {', '.join(sorted(KNOWN_AGENTS))}) or `command` in {table}."
    elif known is None and mode is None:
        missing = (
            f'Set `mode` in {table} to the mode in which the agent asks before it acts, or to "{NO_MODE}" to accept '
            "that it may not ask."
        )
    elif not folders:
        missing = f"Set `folders` in {table} to the folders in which the agent may work."
    start_mode = mode or (known.mode if known else None)
    start_mode = None if start_mode == NO_MODE else start_mode
    careful = known.careful_modes if known and mode in {None, known.mode} else ()
    program = (command or list(known.command if known else [""]))[0]
    package = f"npm install -g {known.package}" if known else "install it, or correct `command`"
    environment = {name: value for name in INHERITED if (value := settings.environment.get(name))}
    if known:
        environment |= known.environment
    if env_file is not None:
        environment |= _read_env_file(instance, env_file)
    environment |= {key: _text(instance, "env", value) for key, value in given.items()}
    return AgentSettings(
        instance=instance,
        title=known.title if known else Path(program).name or instance,
        command=command or list(known.command if known else []),
        mode=start_mode,
        modes=frozenset([*modes, *careful, *([] if start_mode is None else [start_mode])]),
        options=frozenset(settable),
        folders=[_folder(instance, each) for each in folders],
        environment=environment,
        mcp_servers=[_mcp_server(instance, key, value) for key, value in servers.items()],
        names_messages=known.names_messages if known else False,
        files_by_minute=known.files_by_minute if known else False,
        how_to_install=f"Its program {program} is not found: {package}.",
        transcripts=known.transcripts if known else None,
        limits=settings.limits,
    ), missing


def _check_options(given: object) -> None:
    fields = cast("Mapping[str, object]", given) if isinstance(given, Mapping) else {"": None}
    if not all(isinstance(value, str | bool | None) and name for name, value in fields.items()):
        raise InvalidInputError(
            "`options` in `context` must be an object of texts and truth values, by the ids of the agent's options."
        )


def _folder(instance: str, given: str) -> Path:
    folder = Path(given).expanduser()
    if not folder.is_absolute():
        raise InvalidInputError(
            f"`folders` of the instance {instance} must be absolute paths.", instance=instance
        )
    return folder.resolve()


def _text(instance: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(
            f"`{name}` of the instance {instance} must be a table of texts.", instance=instance
        )
    return value


def _read_env_file(instance: str, file: Path) -> Mapping[str, str]:
    """Return the lines `NAME=value` of a file; empty lines and those that begin with # are left out."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"`env_file` of the instance {instance} cannot be read: {getattr(error, 'strerror', None) or 'not text'}.",
            instance=instance,
        ) from error
    pairs: dict[str, str] = {}
    for line in lines:
        stripped = line.strip().removeprefix("export ")
        if stripped and not stripped.startswith("#"):
            name, equals, value = stripped.partition("=")
            if not equals or not name.strip():
                raise InvalidInputError(
                    f"`env_file` of the instance {instance} has a line that is not NAME=value.",
                    instance=instance,
                )
            quoted = value.strip()
            paired = len(quoted) > 1 and quoted[0] == quoted[-1] and quoted[0] in "\"'"
            pairs[name.strip()] = quoted[1:-1] if paired else quoted
    return pairs


def _mcp_server(instance: str, name: str, value: object) -> Mapping[str, Any]:
    """Return an MCP server as the protocol has it; the configuration has it as hosts write it."""
    expected = (
        f"`mcp_servers.{name}` of the instance {instance} must have `command` (and `args`, `env`) or `url`."
    )
    if not isinstance(value, Mapping):
        raise InvalidInputError(expected, instance=instance)
    table = cast(Mapping[str, Any], value)
    if isinstance(table.get("command"), str):
        pairs = cast(Mapping[str, Any], table.get("env", {}))
        return {
            "name": name,
            "command": table["command"],
            "args": [str(each) for each in cast(Sequence[Any], table.get("args", []))],
            "env": [{"name": key, "value": str(one)} for key, one in pairs.items()],
        }
    if isinstance(table.get("url"), str):
        pairs = cast(Mapping[str, Any], table.get("headers", {}))
        headers = [{"name": key, "value": str(one)} for key, one in pairs.items()]
        return {"type": table.get("type", "http"), "name": name, "url": table["url"], "headers": headers}
    raise InvalidInputError(expected, instance=instance)


def find_program(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Return the path of a command's program, looked for as the agent's own environment has it."""
    return shutil.which(command[0], path=environment.get("PATH", os.defpath))
