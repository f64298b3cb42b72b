"""The configuration through which each host reaches Tertulia.

`tertulia manifest HOST` prints it for the running command, and `manifests/generate.py` writes it for the published one.
Everything that differs between hosts is in `HOSTS`: a new host is one more entry.
"""

import base64
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.location import PostgresUrl
from tertulia_server.app import NAME
from tertulia_server.http import PATH
from tertulia_server.settings import DATABASES, TOKEN_VARIABLE, Loaded, Settings, Source, default_config, flag
from tertulia_server.store_token import store_token


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server on HTTP, and the token that it asks for, if any: itself, or what stands for it in a host's file."""

    url: str
    token: str | None = None


Address = tuple[str, ...] | Endpoint
"""How a host reaches a server: the command that starts it, or where it is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfig:
    """The configuration file of one host, and the form of its entries."""

    title: str
    file: str
    place: str
    """Where the host looks for the file."""
    servers: str = "mcpServers"
    """The key in the file under which servers are named."""
    url: str = "url"
    """The key of a URL; empty if the host accepts only commands."""
    typed: bool = False
    """Whether an entry names its type of transport."""
    variable_syntax: str = "${%s}"
    """What stands for the value of an environment variable in the file."""
    bearer_key: str = ""
    """The key of the variable's name, for a host that takes a token from its environment only."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The other keys of an entry."""
    command_entry: Callable[[Sequence[str]], dict[str, Any]] | None = None
    """What writes the command of an entry, where that has a form of its own."""
    shortcut: tuple[str, str] | None = None
    """A command line or a link that adds the server without the file: one for a command, one for a URL."""

    def entry(self, address: Address) -> dict[str, Any]:
        """Return the entry of a server in the file.

        Raises:
            InvalidInputError: the server is on HTTP, and this host accepts none that it does not start itself.
        """
        if not isinstance(address, Endpoint):
            if self.command_entry is not None:
                return {**self.command_entry(address), **self.options}
            transport: dict[str, Any] = {"type": "stdio"} if self.typed else {}
            return {**transport, "command": address[0], "args": list(address[1:]), **self.options}
        if not self.url:
            raise InvalidInputError(
                f"{self.title} takes no URL in its configuration: it starts its servers itself.",
                hint="Leave out --http.",
            )
        transport = {**({"type": "http"} if self.typed else {}), self.url: address.url}
        if address.token is not None and self.bearer_key:
            transport[self.bearer_key] = TOKEN_VARIABLE
        elif address.token is not None:
            transport["headers"] = {"Authorization": f"Bearer {address.token}"}
        return {**transport, **self.options}

    def content(self, address: Address) -> str:
        """Return the contents of the file with only this server.

        Raises:
            InvalidInputError: see `entry`.
        """
        entry = self.entry(address)
        if self.file.endswith(".yaml"):
            # A value in JSON is one in YAML, too.
            lines = [f"    {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()]
            return "\n".join([f"{self.servers}:", f"  {NAME}:", *lines]) + "\n"
        if not self.file.endswith(".toml"):
            return json.dumps({self.servers: {NAME: entry}}, indent=2, ensure_ascii=False) + "\n"
        # Strings, numbers and lists of strings are written alike in TOML and in JSON.
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()]
        return "\n".join([f"[{self.servers}.{NAME}]", *lines]) + "\n"

    def published(self, url: str) -> Endpoint:
        """Return the server at a URL with a token that stands in the host's environment."""
        return Endpoint(url, self.variable_syntax % TOKEN_VARIABLE)

    def shortcut_to(self, address: Address, token_command: str = "") -> str | None:
        """Return the shortcut that adds a server, if the host has one.

        A command line has the shell call `token_command` for the token. A link has none: it leads over a web site.
        """
        if self.shortcut is None:
            return None
        template = self.shortcut[isinstance(address, Endpoint)]
        asked = isinstance(address, Endpoint) and address.token is not None
        if asked and template.startswith("https:"):
            return None
        header = f' --header "Authorization: Bearer $({token_command})"'
        if self.bearer_key:
            header = f" --{self.bearer_key.replace('_', '-')} {TOKEN_VARIABLE}"
        entry = json.dumps(self.entry(address), separators=(",", ":"), ensure_ascii=False)
        return template.format(
            name=NAME,
            address=address.url if isinstance(address, Endpoint) else shlex.join(address),
            authorization=header if asked else "",
            entry=quote(entry, safe=""),
            entry_base64=quote(base64.b64encode(entry.encode()).decode(), safe=""),
        )


_VSCODE_LINK = "https://vscode.dev/redirect/mcp/install?name={name}&config={entry}"
_CURSOR_LINK = "https://cursor.com/en/install-mcp?name={name}&config={entry_base64}"

HOSTS: Mapping[str, HostConfig] = {
    "claude-desktop": HostConfig(
        title="Claude Desktop",
        file="claude_desktop_config.json",
        place="~/Library/Application Support/Claude (Windows: %APPDATA%\\Claude)",
        url="",
    ),
    "claude-code": HostConfig(
        title="Claude Code",
        file=".mcp.json",
        place="the project's folder",
        typed=True,
        shortcut=(
            "claude mcp add --scope user {name} -- {address}",
            "claude mcp add --scope user --transport http {name} {address}{authorization}",
        ),
    ),
    "cursor": HostConfig(
        title="Cursor",
        file="mcp.json",
        place="~/.cursor, or .cursor in the project",
        variable_syntax="${env:%s}",
        shortcut=(_CURSOR_LINK, _CURSOR_LINK),
    ),
    "vscode": HostConfig(
        title="VS Code",
        file="mcp.json",
        place=".vscode in the project",
        servers="servers",
        typed=True,
        variable_syntax="${env:%s}",
        shortcut=(_VSCODE_LINK, _VSCODE_LINK),
    ),
    "codex": HostConfig(
        title="Codex",
        file="config.toml",
        place="~/.codex",
        servers="mcp_servers",
        bearer_key="bearer_token_env_var",
        # `uvx` may first have to download the package; a call may wait for an answer, and then for a person.
        options={"required": True, "startup_timeout_sec": 60, "tool_timeout_sec": 300},
        shortcut=("codex mcp add {name} -- {address}", "codex mcp add {name} --url {address}{authorization}"),
    ),
    "gemini-cli": HostConfig(
        title="Gemini CLI",
        file="settings.json",
        place="~/.gemini, or .gemini in the project",
        url="httpUrl",
        shortcut=(
            "gemini mcp add --scope user {name} {address}",
            "gemini mcp add --scope user --transport http {name} {address}{authorization}",
        ),
    ),
    # Their file is edited by `tertulia install`; what they take for HTTP has forms of its own, too.
    "opencode": HostConfig(
        title="OpenCode",
        file="opencode.json",
        place="~/.config/opencode, or the project's folder",
        servers="mcp",
        url="",
        command_entry=lambda command: {"type": "local", "command": list(command)},
        options={"enabled": True, "timeout": 60_000},
    ),
    "zed": HostConfig(
        title="Zed", file="settings.json", place="~/.config/zed", servers="context_servers", url=""
    ),
    "goose": HostConfig(
        title="goose",
        file="config.yaml",
        place="~/.config/goose",
        servers="extensions",
        url="",
        command_entry=lambda command: {
            "name": NAME,
            "type": "stdio",
            "cmd": command[0],
            "args": list(command[1:]),
        },
        options={"enabled": True, "timeout": 300},
    ),
}


def show(host: str, loaded: Loaded) -> tuple[str, str]:
    """Return the configuration of a host for the running command and its settings, and where it belongs.

    Raises:
        InvalidInputError: there is no such host, it does not accept a URL, or the store's token cannot be had.
    """
    config = HOSTS.get(host)
    if config is None:
        raise InvalidInputError(f"There is no host `{host}` that we know.", valid=list(HOSTS))
    command = running_command(loaded)
    address = _endpoint(config, loaded.settings) if loaded.settings.http else command
    content = config.content(address)
    token_command = shlex.join([*command, "token"])
    todo = [f"For {config.file} in {config.place}, beside what it holds."]
    if problem := password_left_out(loaded):
        todo.append(problem)
    own = loaded.settings.token_file is None  # the store's token opens no server with a file of tokens
    if shortcut := config.shortcut_to(address, token_command if own else f"printenv {TOKEN_VARIABLE}"):
        todo.append(f"Or: {shortcut}")
    if isinstance(address, Endpoint):
        if address.token is not None:
            todo.append(_about_token(config, loaded.settings, token_command))
        todo.append(f"Keep running: {shlex.join(command)}")
    return content, "\n".join(todo)


def _about_token(config: HostConfig, settings: Settings, token_command: str) -> str:
    export = f"Before {config.title} starts: export {TOKEN_VARIABLE}="
    if settings.token_file is not None:
        return f"{export}TOKEN, with what `{token_command} --add NAME` printed."
    if config.bearer_key:
        return f'{export}"$({token_command})"'
    return "The file then holds your store's token: keep it to yourself, and out of repositories."


def _endpoint(config: HostConfig, settings: Settings) -> Endpoint:
    url = settings.public_url or served_at(settings)
    if settings.oauth_issuer is not None or not settings.token or not config.url:
        return Endpoint(url)  # the host finds the issuer; and no token is made for one that takes none
    if settings.token_file is not None:
        return config.published(url)
    return Endpoint(url, store_token(settings.store))


def password_left_out(loaded: Loaded) -> str:
    """Return what to do where the running command has a password that the host's configuration does not get."""
    for name in DATABASES:
        url = getattr(loaded.settings, name)
        if isinstance(url, PostgresUrl) and url.has_password and loaded.sources[name] is not Source.FILE:
            return (
                f"The password of the database is left out: write it to ~/.pgpass, or the whole URL to {loaded.file}, "
                f"as `{name}`."
            )
    return ""


def running_command(loaded: Loaded) -> tuple[str, ...]:
    """Return the running command with absolute paths, and with the settings that do not come from the file."""
    program = Path(sys.argv[0]).absolute()
    words = [str(program)] if program.stem == NAME else [sys.executable, "-m", "tertulia_server"]
    if loaded.file != default_config():
        words += ["--config", str(loaded.file.absolute())]
    for name, source in loaded.sources.items():
        if source in {Source.ENVIRONMENT, Source.FLAG}:
            value, typed = getattr(loaded.settings, name), flag(name)
            if isinstance(value, bool):
                words.append(typed if value else f"--no-{typed.removeprefix('--')}")
            else:
                listed = ",".join(cast(tuple[str, ...], value)) if isinstance(value, tuple) else str(value)
                words += [typed, listed]
    return tuple(words)


def served_at(settings: Settings) -> str:
    """Return the URL of a server with these settings."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}{PATH}"
