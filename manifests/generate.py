"""Write everything that installs Tertulia in a host, and the documents' tables, from what Tertulia is.

The one description is the software itself: pyproject.toml, the server's tools and settings, and what it knows of hosts
(`tertulia_server.host_config`). `python3 dev.py manifests` writes the files; `--check`, which CI runs, writes nothing
and fails where what is committed is not what would be written now.
"""

import json
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
from mcp_types import Tool

from manifests.python_reference import reference
from tertulia.platforms.registry import PLATFORMS
from tertulia.vocabulary.features import Feature
from tertulia_server.app import NAME, build
from tertulia_server.host_config import HOSTS, served_at
from tertulia_server.install_command import PLACES
from tertulia_server.settings import CONFIG_NAME, CONFIG_VARIABLE, TABLES, Settings, flag, variable
from tertulia_tools.registry import TOOLS
from tertulia_tools.schemas import tidied

ROOT = Path(__file__).resolve().parent.parent
PROJECT: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SETTINGS: Mapping[str, dict[str, Any]] = tidied(Settings.model_json_schema())["properties"]
DEFAULTS = Settings.model_validate({"store": "tertulia.db"})
PUBLISHED = ("uvx", NAME)
REPOSITORY = ""
"""The address of the public repository. Filled in when the package is published: documents then begin with both."""
REGISTRY_NAME = f"io.github.tertulia/{NAME}"
"""Published by who owns that account; the registry looks for `mcp-name: ` and this in the README."""
REGISTRY_SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"

PLUGIN = "claude-code/plugin"
CONFIG_FILE = "The configuration file."
ASKED = {
    "toolsets": "Toolsets",
    "read_only": "Read only",
    "approvals": "Approvals",
    "wait_seconds": "Seconds to wait",
}
"""What an installer asks for, under which title; the configuration file, for which it asks too, can hold the rest."""


def outputs() -> Mapping[str, str]:
    """Return what each generated file holds, by its path in the project."""
    tools = anyio.run(build(DEFAULTS).list_tools)
    files = {
        "README.md": filled("README.md", get=getting(REPOSITORY)),
        "docs/reference/tools.md": filled("docs/reference/tools.md", tools=tools_table(tools)),
        "docs/reference/settings.md": filled("docs/reference/settings.md", settings=settings_table()),
        "docs/reference/python.md": filled("docs/reference/python.md", python=reference()),
        "docs/platforms/README.md": filled("docs/platforms/README.md", features=features_table()),
        "manifests/README.md": filled("manifests/README.md", hosts=hosts_table()),
        "manifests/server.json": as_json(registry_entry()),
        "manifests/claude-desktop/manifest.json": as_json(desktop_bundle(tools)),
        "manifests/gemini-cli/gemini-extension.json": as_json(gemini_extension()),
        f"manifests/{PLUGIN}/.claude-plugin/plugin.json": as_json(claude_plugin()),
        f"manifests/{PLUGIN}/.mcp.json": HOSTS["claude-code"].content(PUBLISHED),
        ".claude-plugin/marketplace.json": as_json(claude_marketplace()),
    }
    for name, host in HOSTS.items():
        files[f"docs/hosts/{name}.md"] = filled(f"docs/hosts/{name}.md", host=host_section(name))
        files[f"manifests/{name}/{host.file}"] = host.content(PUBLISHED)
        if host.url:
            files[f"manifests/{name}/http/{host.file}"] = host.content(host.published(served_at(DEFAULTS)))
    return files


def desktop_bundle(tools: Sequence[Tool]) -> dict[str, Any]:
    """Return the manifest of the bundle for Claude Desktop, which `manifests/bundle.py` packs."""
    variables = {CONFIG_VARIABLE: "${user_config.config_file}"}
    # Each has a default, or the host would pass on the placeholder; to the server, an empty one is not set.
    form: dict[str, dict[str, Any]] = {
        "config_file": {
            "type": "file",
            "title": "Configuration file",
            "description": f"{CONFIG_FILE} Platforms and their credentials belong there.",
            "default": "",
        }
    }
    for name, title in ASKED.items():
        setting = SETTINGS[name]
        variables[variable(name)] = f"${{user_config.{name}}}"
        form[name] = {
            "type": setting["type"] if setting["type"] in {"boolean", "number"} else "string",
            "title": title,
            "description": setting["description"],
            "default": "" if setting["default"] == [] else setting["default"],
        }
        for schema_key, form_key in (("minimum", "min"), ("maximum", "max")):
            if schema_key in setting:
                form[name][form_key] = setting[schema_key]
    return {
        "manifest_version": "0.4",
        "name": NAME,
        "display_name": NAME.capitalize(),
        "version": PROJECT["version"],
        "description": PROJECT["description"],
        "author": PROJECT["authors"][0],
        "license": PROJECT["license"],
        "keywords": PROJECT["keywords"],
        "server": {
            "type": "uv",
            "entry_point": "main.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--frozen", "--directory", "${__dirname}", "main.py"],
                "env": variables,
            },
        },
        "compatibility": {
            "platforms": ["darwin", "win32", "linux"],
            "runtimes": {"python": PROJECT["requires-python"]},
        },
        "tools": [{"name": tool.name, "description": point(tool)} for tool in tools],
        "user_config": form,
    }


def claude_plugin() -> dict[str, Any]:
    """Return the manifest of the plugin for Claude Code: the server, and a skill that says when to use which tool."""
    return {
        "name": NAME,
        "version": PROJECT["version"],
        "description": PROJECT["description"],
        "author": PROJECT["authors"][0],
        "license": PROJECT["license"],
        "keywords": PROJECT["keywords"],
    }


def claude_marketplace() -> dict[str, Any]:
    """Return the list of plugins that this repository is for Claude Code: the one."""
    return {
        "name": NAME,
        "description": PROJECT["description"],
        "owner": PROJECT["authors"][0],
        "plugins": [{"name": NAME, "source": f"./manifests/{PLUGIN}", "description": PROJECT["description"]}],
    }


def gemini_extension() -> dict[str, Any]:
    """Return the manifest of the extension for the Gemini CLI."""
    return {
        "name": NAME,
        "version": PROJECT["version"],
        "description": PROJECT["description"],
        "mcpServers": {NAME: HOSTS["gemini-cli"].entry(PUBLISHED)},
    }


def registry_entry() -> dict[str, Any]:
    """Return the entry for the MCP Registry: the package from PyPI, over stdio and over HTTP on the user's machine.

    It is no `remote`: those are served by somebody else, over HTTPS.
    """
    package = {
        "registryType": "pypi",
        "identifier": NAME,
        "version": PROJECT["version"],
        "runtimeHint": "uvx",
    }
    asked = [
        {"name": CONFIG_VARIABLE, "description": CONFIG_FILE, "format": "filepath"},
        *(registry_input(name) for name in ASKED),
    ]
    over_http = {"name": variable("http"), "description": SETTINGS["http"]["description"], "value": "true"}
    authorization = {
        "name": "Authorization",
        "description": "`Bearer `, and what `tertulia token` prints.",
        "isRequired": True,
        "isSecret": True,
    }
    url = served_at(DEFAULTS).replace(str(DEFAULTS.port), f"{{{variable('port')}}}")
    return {
        "$schema": REGISTRY_SCHEMA,
        "name": REGISTRY_NAME,
        "title": NAME.capitalize(),
        "description": PROJECT["description"],
        "version": PROJECT["version"],
        "packages": [
            package | {"transport": {"type": "stdio"}, "environmentVariables": asked},
            package
            | {
                "transport": {"type": "streamable-http", "url": url, "headers": [authorization]},
                "environmentVariables": [over_http, registry_input("port"), *asked],
            },
        ],
    }


def registry_input(name: str) -> dict[str, Any]:
    """Return a setting as the registry describes inputs, where every value is a string."""
    setting = SETTINGS[name]
    kind = {"boolean": "boolean", "number": "number", "integer": "number"}.get(setting["type"], "string")
    described = {"name": variable(name), "description": setting["description"], "format": kind}
    if setting["default"] != []:
        described["default"] = environment_value(setting["default"])
    if "enum" in setting:
        described["choices"] = setting["enum"]
    return described


def getting(repository: str) -> str:
    """Return how the command `tertulia` is installed: from the index, or before publication from the checkout."""
    package = NAME if repository else "."
    where = "With" if repository else "In this checkout, with"
    lines = [
        f"{where} [uv](https://docs.astral.sh/uv/), or with `pipx install {package}`:",
        "",
        "```sh",
        f"uv tool install {package}",
        "```",
    ]
    if repository:
        lines += ["", "To work on it:", "", "```sh", f"git clone {repository} {NAME}", "```"]
    return "\n".join(lines)


def host_section(name: str) -> str:
    """Return how a host is told of Tertulia: the command, and what that writes."""
    host, place = HOSTS[name], PLACES[name]
    language = {".toml": "toml", ".yaml": "yaml"}.get(Path(host.file).suffix, "json")
    written = host.content((f"/home/you/.local/bin/{NAME}",)).rstrip()
    command = f", by `{place.program} {' '.join(place.add[:2])}`" if place.add else ""
    return "\n".join(
        [
            "```sh",
            f"tertulia install {name}    # --dry-run shows the change; tertulia uninstall {name} takes it back",
            "```",
            "",
            f"puts this into {host.title}'s own configuration{command}, beside what it holds:",
            "",
            f"```{language}",
            written,
            "```",
        ]
    )


def tools_table(tools: Sequence[Tool]) -> str:
    """Return the table of tools."""
    toolsets = {tool.name: str(tool.toolset) for tool in TOOLS}
    return table(
        ["Tool", "What it does", "Changes anything?", "Toolset"],
        [[f"`{tool.name}`", point(tool), changes(tool), toolsets[tool.name]] for tool in tools],
    )


def settings_table() -> str:
    """Return the table of settings; tables are in the file only."""
    rows = [
        ["`--config`", f"`{CONFIG_VARIABLE}`", f"`{CONFIG_NAME}` in your configuration folder", CONFIG_FILE]
    ]
    for name, setting in SETTINGS.items():
        if name == "store":
            default = f"`{DEFAULTS.store}` in your data folder"
        elif name in TABLES:
            continue
        else:
            default = (
                f"`{environment_value(setting['default'])}`"
                if setting.get("default") not in ([], None)
                else ""
            )
        rows.append([f"`{flag(name)}`", f"`{variable(name)}`", default, setting["description"]])
    return table(["Flag", "Environment", "Default", "Meaning"], rows)


def features_table() -> str:
    """Return the table of what each platform offers, from what it declares."""
    offered: dict[str, frozenset[Feature]] = {}
    for name, where in PLATFORMS.items():
        module, _, attribute = where.partition(":")
        offered[name] = getattr(import_module(module), attribute).features
    rows = [
        [f"`{feature}`", *("yes" if feature in features else "" for features in offered.values())]
        for feature in Feature
    ]
    return table(["Feature", *(f"`{name}`" for name in offered)], rows)


def hosts_table() -> str:
    """Return the table of what each host takes to know the published server."""
    rows: list[list[str]] = []
    for name, host in HOSTS.items():
        files = [f"[{host.file}]({name}/{host.file})"]
        if host.url:
            files.append(f"[over HTTP]({name}/http/{host.file})")
        shortcut = host.shortcut_to(PUBLISHED) or ""
        if shortcut.startswith("https:"):
            shortcut = f"[install link]({shortcut})"
        elif shortcut:
            shortcut = f"`{shortcut}`"
        rows.append([host.title, ", ".join(files), host.place, shortcut])
    return table(["Host", "File", "Where it belongs", "Without the file"], rows)


def point(tool: Tool) -> str:
    """Return the first sentence of a tool's description."""
    return re.split(r"(?<=\.)\s", tool.description or "", maxsplit=1)[0]


def changes(tool: Tool) -> str:
    """Say whether a tool changes anything."""
    hints = tool.annotations
    if hints and hints.read_only_hint:
        return "no"
    return "yes, maybe for good" if hints and hints.destructive_hint else "yes"


def environment_value(value: object) -> str:
    """Return a setting's value as an environment variable holds it."""
    return value if isinstance(value, str) else json.dumps(value)


def as_json(value: object) -> str:
    """Return the text of a JSON file."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(file: str, **tables: str) -> str:
    """Return a file's text with tables between its markers, which it must have: this ends with a sentence otherwise."""
    text = (ROOT / file).read_text("utf-8")
    for name, content in tables.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            sys.exit(f"{file} lacks the lines {begin} and {end}, between which {name} is written.")
        text = f"{before}{begin}\n{content}\n{end}{after}"
    return text


def main(arguments: Sequence[str]) -> None:
    """Write the files that are not yet what they should be; with `--check`, end with their names."""
    stale = {
        name: content
        for name, content in outputs().items()
        if not (ROOT / name).is_file() or (ROOT / name).read_bytes() != content.encode()
    }
    if stale and "--check" in arguments:
        sys.exit(
            f"Not what would be written now: {', '.join(stale)}. `python3 dev.py manifests` writes them."
        )
    for name, content in stale.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_bytes(content.encode())


if __name__ == "__main__":
    main(sys.argv[1:])
