"""`tertulia install HOST` and `tertulia uninstall HOST`: this installation in a host's own configuration.

Where the host has a command for that, it is called. Else its file is edited: what was there stays, with its comments,
and a copy is made first.
"""

import difflib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.app import NAME
from tertulia_server.host_config import HOSTS, HostConfig, password_left_out, running_command
from tertulia_server.host_files import Entry, UneditableError, edited, read_entry, write
from tertulia_server.settings import Loaded

_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a host keeps the user's own configuration, and its commands that change it."""

    files: Mapping[str, str]
    """The file by `sys.platform`, `linux` for every other; `~`, `$XDG_CONFIG_HOME` and `$APPDATA` are expanded."""
    program: str = ""
    """The program that is on the PATH where the host is installed."""
    add: Sequence[str] = ()
    """What follows the program to add a server, before its command."""
    remove: Sequence[str] = ()
    needs: str = ""
    """What else a person must do."""
    keys: Sequence[str] = field(default=())

    @property
    def file(self) -> Path:
        """Return the file."""
        config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        path = self.files.get(sys.platform, self.files["linux"]).replace("$XDG_CONFIG_HOME", config)
        return Path(path.replace("$APPDATA", os.environ.get("APPDATA", "~/AppData/Roaming"))).expanduser()

    @property
    def found(self) -> bool:
        """Whether the host seems to be installed."""
        return self.has_program or self.file.exists() or self.file.parent.is_dir()

    @property
    def has_program(self) -> bool:
        """Whether the host's own command can be called."""
        return bool(self.program) and shutil.which(self.program) is not None


PLACES: Mapping[str, Place] = {
    "claude-desktop": Place(
        files={
            "darwin": "~/Library/Application Support/Claude/claude_desktop_config.json",
            "win32": "$APPDATA/Claude/claude_desktop_config.json",
            "linux": "$XDG_CONFIG_HOME/Claude/claude_desktop_config.json",
        },
        needs="Quit Claude Desktop, its icon in the tray too, and start it again.",
    ),
    "claude-code": Place(
        files={"linux": "~/.claude.json"},
        program="claude",
        add=("mcp", "add", "--scope", "user", NAME, "--"),
        remove=("mcp", "remove", "--scope", "user", NAME),
        needs='Without a terminal (claude -p) its tools have to be allowed: --allowedTools "mcp__tertulia".',
    ),
    "cursor": Place(
        files={"linux": "~/.cursor/mcp.json"}, needs="Cursor asks once whether the server may run."
    ),
    "vscode": Place(
        files={
            "darwin": "~/Library/Application Support/Code/User/mcp.json",
            "win32": "$APPDATA/Code/User/mcp.json",
            "linux": "$XDG_CONFIG_HOME/Code/User/mcp.json",
        },
        program="code",
        needs="VS Code asks once whether the server is trusted; its tools are offered in agent mode.",
    ),
    "codex": Place(files={"linux": "~/.codex/config.toml"}, program="codex"),
    "gemini-cli": Place(files={"linux": "~/.gemini/settings.json"}, program="gemini"),
    "opencode": Place(files={"linux": "$XDG_CONFIG_HOME/opencode/opencode.json"}, program="opencode"),
    "zed": Place(
        files={"win32": "$APPDATA/Zed/settings.json", "linux": "$XDG_CONFIG_HOME/zed/settings.json"},
        program="zed",
    ),
    "goose": Place(
        files={
            "win32": "$APPDATA/Block/goose/config/config.yaml",
            "linux": "$XDG_CONFIG_HOME/goose/config.yaml",
        },
        program="goose",
    ),
}


def hosts(loaded: Loaded) -> str:
    """Return a line for each host: whether it is here, and whether it starts this installation."""
    return "\n".join(
        f"{name:<16}{HOSTS[name].title:<16}{state(name, installed(name), loaded)}" for name in PLACES
    )


def install(host: str, loaded: Loaded, *, dry_run: bool) -> str:
    """Put this installation into a host's configuration; return what was done, or would be.

    Raises:
        InvalidInputError: there is no such host, or its file cannot be changed; the error says what to paste.
    """
    place, config = _known(host)
    command = running_command(loaded)
    if place.add and place.has_program:
        done = _call(place, [[*place.remove], [*place.add, *command]], dry_run=dry_run)
    else:
        done = _edit(host, place, config, command, dry_run=dry_run)
    return "\n".join(filter(None, (done, place.needs, password_left_out(loaded))))


def uninstall(host: str, *, dry_run: bool) -> str:
    """Take Tertulia out of a host's configuration; return what was done, or would be.

    Raises:
        InvalidInputError: there is no such host, or its file cannot be changed.
    """
    place, config = _known(host)
    if place.remove and place.has_program:
        return _call(place, [[*place.remove]], dry_run=dry_run)
    return _edit(host, place, config, None, dry_run=dry_run)


def _known(host: str) -> tuple[Place, HostConfig]:
    if host not in PLACES:
        raise InvalidInputError(f"There is no host `{host}` that we know.", valid=list(PLACES))
    return PLACES[host], HOSTS[host]


def installed(host: str) -> Entry | None:
    """Return what a host's configuration has of Tertulia; None where it has nothing."""
    place, config = _known(host)
    return read_entry(place.file, (config.servers, NAME))


def state(host: str, entry: Entry | None, loaded: Loaded) -> str:
    """Return whether a host is here, and whether its `entry` starts this installation."""
    place, config = _known(host)
    if entry is None:
        return f"here: {loaded.settings.command('install', host)}" if place.found else "not found"
    mine = config.entry(running_command(loaded))
    return (
        f"starts this installation, by {place.file}"
        if {key: entry.get(key) for key in mine} == mine
        else f"starts Tertulia in another way, by {place.file}: {loaded.settings.command('install', host)}"
    )


def _edit(
    host: str, place: Place, config: HostConfig, command: Sequence[str] | None, *, dry_run: bool
) -> str:
    file = place.file
    entry = None if command is None else config.entry(tuple(command))
    try:
        before = file.read_text("utf-8-sig") if file.exists() else ""
        after = edited(file, before, (config.servers, NAME), entry)
    except (UneditableError, OSError, UnicodeDecodeError) as error:
        why = error if isinstance(error, UneditableError) else f"it cannot be read: {error}"
        raise InvalidInputError(
            f"{file} is left as it is: {why}.",
            hint=(
                f"Take out `{NAME}` under `{config.servers}` by hand."
                if command is None
                else f"Put this into it by hand:\n{config.content(tuple(command))}"
            ),
        ) from error
    if before == after:
        return f"{config.title} has nothing to change, in {file}."
    if dry_run:
        return "".join(
            difflib.unified_diff(
                before.splitlines(keepends=True),
                after.splitlines(keepends=True),
                str(file),
                f"{file}, changed",
            )
        )
    backup = write(file, after)
    kept = "" if backup is None else f" What it held before is in {backup.name} beside it."
    what = "starts Tertulia no more" if command is None else "starts this installation"
    return f"{config.title} {what}, by {file}.{kept} Hosts that run now see it after a restart."


def _call(place: Place, calls: Sequence[Sequence[str]], *, dry_run: bool) -> str:
    """Call the host's own command; where there are several calls, all but the last may fail."""
    program = shutil.which(place.program) or place.program
    lines = [shlex.join([place.program, *call]) for call in calls]
    if dry_run:
        return "\n".join(lines)
    done = [
        subprocess.run([program, *call], capture_output=True, text=True, timeout=_SECONDS, check=False)
        for call in calls
    ][-1]
    if done.returncode:
        raise InvalidInputError(
            f"`{lines[-1]}` failed: {' '.join((done.stderr or done.stdout).split())[:300]}",
            hint="Call it yourself, to see why.",
        )
    return f"Done, by `{lines[-1]}`."
