"""What each host wants in its configuration to reach Tertulia.

`tertulia manifest HOST` prints it for the command that runs, and `manifests/generate.py` writes it for the published
one. Here is what differs between hosts, and nothing else is: a new host is an entry of `HOSTS`.
"""

import base64
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.app import NAME
from tertulia_server.http import PATH
from tertulia_server.settings import Loaded, Settings, Source, default_config, flag

Reach = tuple[str, ...] | str
"""How a server is reached: the command that starts it, or the URL where it is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfig:
    """One host's way to be told of a server."""

    title: str
    file: str
    place: str
    """Where the host looks for the file."""
    servers: str = "mcpServers"
    """The key in the file under which servers are named."""
    url: str = "url"
    """The key of a URL; empty where a host only takes commands."""
    typed: bool = False
    """Whether a server says what type of transport it is."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else to say of a server."""
    shortcut: tuple[str, str] | None = None
    """What does the same without the file, for a command and for a URL: a line for a terminal, or a link."""

    def entry(self, reach: Reach) -> dict[str, Any]:
        """Return what the file says of a server.

        Raises:
            InvalidInputError: it is reached by a URL, and this host takes none.
        """
        if not isinstance(reach, str):
            transport: dict[str, Any] = {"type": "stdio"} if self.typed else {}
            return {**transport, "command": reach[0], "args": list(reach[1:]), **self.options}
        if not self.url:
            raise InvalidInputError(
                f"{self.title} takes no URL in its configuration: it starts its servers itself.",
                hint="Leave out --http.",
            )
        return {**({"type": "http"} if self.typed else {}), self.url: reach, **self.options}

    def content(self, reach: Reach) -> str:
        """Return the file, with this one server in it.

        Raises:
            InvalidInputError: see `entry`.
        """
        entry = self.entry(reach)
        if not self.file.endswith(".toml"):
            return json.dumps({self.servers: {NAME: entry}}, indent=2, ensure_ascii=False) + "\n"
        # Strings, numbers and lists of strings are written alike in TOML and in JSON.
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()]
        return "\n".join([f"[{self.servers}.{NAME}]", *lines]) + "\n"

    def shortcut_to(self, reach: Reach) -> str | None:
        """Return what makes the host know a server without writing its file, if there is such a thing."""
        if self.shortcut is None:
            return None
        entry = json.dumps(self.entry(reach), separators=(",", ":"), ensure_ascii=False)
        return self.shortcut[isinstance(reach, str)].format(
            name=NAME,
            reach=reach if isinstance(reach, str) else shlex.join(reach),
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
            "claude mcp add --scope user {name} -- {reach}",
            "claude mcp add --scope user --transport http {name} {reach}",
        ),
    ),
    "cursor": HostConfig(
        title="Cursor",
        file="mcp.json",
        place="~/.cursor, or .cursor in the project",
        shortcut=(_CURSOR_LINK, _CURSOR_LINK),
    ),
    "vscode": HostConfig(
        title="VS Code",
        file="mcp.json",
        place=".vscode in the project",
        servers="servers",
        typed=True,
        shortcut=(_VSCODE_LINK, _VSCODE_LINK),
    ),
    "codex": HostConfig(
        title="Codex",
        file="config.toml",
        place="~/.codex",
        servers="mcp_servers",
        # `uvx` may have to fetch us first; a call may wait for an answer, and then for a person.
        options={"startup_timeout_sec": 60, "tool_timeout_sec": 300},
        shortcut=("codex mcp add {name} -- {reach}", "codex mcp add {name} --url {reach}"),
    ),
    "gemini-cli": HostConfig(
        title="Gemini CLI",
        file="settings.json",
        place="~/.gemini, or .gemini in the project",
        url="httpUrl",
        shortcut=(
            "gemini mcp add --scope user {name} {reach}",
            "gemini mcp add --scope user --transport http {name} {reach}",
        ),
    ),
}


def show(host: str, loaded: Loaded) -> tuple[str, str]:
    """Return what the configuration of `host` needs, and what to do with it, for the command and settings in force.

    Raises:
        InvalidInputError: no such host is known, or it cannot be configured so.
    """
    config = HOSTS.get(host)
    if config is None:
        raise InvalidInputError(f"There is no host `{host}` that we know.", valid=list(HOSTS))
    command = running_command(loaded)
    reach = served_at(loaded.settings) if loaded.settings.http else command
    todo = [f"For {config.file} in {config.place}, beside what it holds."]
    if shortcut := config.shortcut_to(reach):
        todo.append(f"Or: {shortcut}")
    if loaded.settings.http:
        todo.append(f"Keep running: {shlex.join(command)}")
    return config.content(reach), "\n".join(todo)


def running_command(loaded: Loaded) -> tuple[str, ...]:
    """Return the command that runs, as it can be started from anywhere, with what was set for it but in the file."""
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
    """Return the URL at which a server with these settings is served over HTTP."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}{PATH}"
