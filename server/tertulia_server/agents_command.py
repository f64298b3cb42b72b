"""`tertulia agents`: which agent programs and models this machine has, and the configuration for one of them."""

import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import anyio

from tertulia.platforms.acp.settings import KNOWN_AGENTS, KnownAgent
from tertulia.store.private_files import create_file, make_folder
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.untrusted import shown
from tertulia_server import model_servers
from tertulia_server.settings import Loaded

PLATFORM = "acp"


def show(loaded: Loaded) -> str:
    """Return a line for each known agent (whether it is installed, configured, and what to do), and model server."""
    programs = [_line(loaded, name, agent) for name, agent in KNOWN_AGENTS.items()]
    models = [f"{name:<10}{'a model':<14}configured: local:{name}" for name in sorted(loaded.settings.agents)]
    servers = [model_servers.line(found, loaded.settings) for found in anyio.run(model_servers.find)]
    return "\n".join([*programs, *models, *servers])


def add(loaded: Loaded, name: str, folders: Sequence[str]) -> str:
    """Write the table of an agent, or of a model as `SERVER:MODEL`, into the configuration file; return what was done.

    Raises:
        InvalidInputError: the agent is not known or configured already, no folder is given, or the model is not there.
    """
    return _add_model(loaded, name) if ":" in name else _add_program(loaded, name, folders)


def _add_model(loaded: Loaded, name: str) -> str:
    server, _, model = name.partition(":")
    found = {one.server.name: one for one in anyio.run(model_servers.find)}
    if server not in found or model not in found[server].models:
        raise InvalidInputError(
            f"No server on this machine answers as {shown(server)} with a model {shown(model)}.",
            valid=[f"{one.server.name}:{each}" for one in found.values() for each in one.models],
            hint="Start it, or write [agents.NAME] by hand: docs/platforms/local.md says how.",
        )
    agent = model_servers.agent_name(model)
    if agent in loaded.settings.agents:
        raise InvalidInputError(f"[agents.{agent}] is configured already, in {loaded.file}.")
    written = found[server].table(model)
    _append(loaded, written)
    hint = (
        ""
        if find_spec("pydantic_ai")
        else "\nWhat runs models is not installed yet: pip install 'tertulia[models]'"
    )
    return (
        f"Written to {loaded.file}:\n\n{written}\nHosts that run now see local:{agent} after a restart.{hint}"
    )


def _add_program(loaded: Loaded, name: str, folders: Sequence[str]) -> str:
    agent = KNOWN_AGENTS.get(name)
    if agent is None:
        raise InvalidInputError(
            f"{shown(name)} is not an agent that is known by name.",
            valid=[*sorted(KNOWN_AGENTS), "SERVER:MODEL"],
            hint='Any other that speaks ACP is configured by hand: platform = "acp", command, mode and folders.',
        )
    if name in loaded.settings.instances:
        raise InvalidInputError(f"[instances.{name}] is configured already, in {loaded.file}.")
    if not folders:
        raise InvalidInputError(
            f"In which folders may {agent.title} work?", hint="Give --folder PATH, once for each."
        )
    resolved = [Path(folder).expanduser().resolve() for folder in folders]
    for folder in resolved:
        if not folder.is_dir():
            raise InvalidInputError(f"There is no folder {shown(str(folder))}.")
    written = table(name, resolved)
    _append(loaded, written)
    hint = "" if agent.installed else f"\nIt is not installed yet: npm install -g {agent.package}"
    return f"Written to {loaded.file}:\n\n{written}\nHosts that run now see it after a restart.{hint}"


def _append(loaded: Loaded, written: str) -> None:
    """Append a table to the configuration file, which is made if it is not there."""
    make_folder(loaded.file.parent)
    create_file(loaded.file)
    before = loaded.file.read_text("utf-8") if loaded.file_read else ""
    separator = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    with loaded.file.open("a", encoding="utf-8") as file:
        file.write(f"{separator}{written}")


def table(name: str, folders: Sequence[Path]) -> str:
    """Return the table of an agent.

    It has this terminal's PATH: hosts with a window are often started with one that lacks the agent, or its Node.
    """
    lines = [
        f"[instances.{name}]",
        f'platform = "{PLATFORM}"',
        f'agent = "{name}"',
        f"folders = [{', '.join(_quoted(str(folder)) for folder in folders)}]",
        f"env = {{ PATH = {_quoted(os.environ.get('PATH', os.defpath))} }}",
    ]
    return "\n".join(lines) + "\n"


def _line(loaded: Loaded, name: str, agent: KnownAgent) -> str:
    configured = [
        instance
        for instance, options in sorted(loaded.settings.instances.items())
        if options.get("platform") == PLATFORM and options.get("agent") == name
    ]
    if not agent.installed:
        what = f"not found: npm install -g {agent.package}"
    elif configured:
        what = f"configured: {', '.join(f'{instance}:agent' for instance in configured)}"
    else:
        add = loaded.settings.command("agents", "--add", name, "--folder", "PATH")
        what = f"installed, not configured: {add}"
    return f"{name:<10}{agent.title:<14}{what}"


def _quoted(text: str) -> str:
    """Return a text as TOML has it: a JSON string is one."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
