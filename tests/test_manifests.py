"""What hosts are told of Tertulia: what `tertulia manifest` prints, and the files in manifests/."""

import base64
import json
import os
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import anyio
import jsonschema
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from ruamel.yaml import YAML

from manifests import bundle, generate
from tertulia.platforms.local.archivist import Archivist
from tertulia_server.cli import USAGE_ERROR, main
from tertulia_server.host_config import HOSTS, Address, Endpoint
from tertulia_server.settings import ENVIRONMENT_PREFIX, TOKEN_VARIABLE, load
from tertulia_server.store_token import store_token, token_file
from tertulia_tools.registry import TOOLS
from tests.doubles.hosts import authorization

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 30
HERE = [sys.executable, "-m", "tertulia_server"]
"""How the command is started where no program of its name runs, as in these tests."""
SKILL = "claude-code/plugin/skills/tertulia/SKILL.md"
BY_HAND = {
    "README.md",
    "AGENTS.md",
    "generate.py",
    "python_reference.py",
    "bundle.py",
    "claude-desktop/main.py",
    SKILL,
}

# From the registry's schema, 2025-12-11, and from what its validator adds to that.
SPECIFIC_VERSION = {"type": "string", "maxLength": 255, "not": {"pattern": r"^latest$|[\^~<>=|* ]|\.x"}}
REGISTRY_INPUT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "description": {"type": "string"},
        "format": {"enum": ["string", "number", "boolean", "filepath"]},
        "default": {"type": "string"},
        "value": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "string"}},
        "isRequired": {"type": "boolean"},
        "isSecret": {"type": "boolean"},
    },
    "additionalProperties": False,
}
REGISTRY_PACKAGE = {
    "type": "object",
    "required": ["registryType", "identifier", "version", "transport"],
    "properties": {
        "registryType": {"const": "pypi"},
        "identifier": {"pattern": "^[^ ]+$"},
        "version": SPECIFIC_VERSION,
        "runtimeHint": {"const": "uvx"},
        "transport": {
            "oneOf": [
                {"properties": {"type": {"const": "stdio"}}, "additionalProperties": False},
                {
                    "properties": {
                        "type": {"const": "streamable-http"},
                        "url": {"pattern": "^https?://"},
                        "headers": {"type": "array", "items": REGISTRY_INPUT},
                    },
                    "required": ["url"],
                    "additionalProperties": False,
                },
            ],
            "required": ["type"],
        },
        "environmentVariables": {"type": "array", "items": REGISTRY_INPUT},
    },
    "additionalProperties": False,
}
REGISTRY_ENTRY = {
    "type": "object",
    "required": ["$schema", "name", "description", "version", "packages"],
    "properties": {
        "$schema": {"const": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"},
        "name": {"type": "string", "maxLength": 200, "pattern": "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$"},
        "title": {"type": "string", "minLength": 1, "maxLength": 100},
        "description": {"type": "string", "minLength": 1, "maxLength": 100},
        "version": SPECIFIC_VERSION,
        "packages": {"type": "array", "minItems": 1, "items": REGISTRY_PACKAGE},
    },
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def generated() -> Mapping[str, str]:
    """Return what each generated file holds."""
    return generate.outputs()


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what whoever runs the tests has set for Tertulia."""
    for name in os.environ:
        if name.startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store of this test's own."""
    return tmp_path / "tertulia.db"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what `tertulia manifest` prints for a file."""
    assert main(["manifest", *arguments]) == 0
    return capsys.readouterr().out


def server(host: str, content: str) -> dict[str, Any]:
    """Return what a host's file says of us."""
    config = HOSTS[host]
    # JSON is YAML, too.
    read = (
        tomllib.loads(content)
        if config.file.endswith(".toml")
        else cast("Any", YAML(typ="safe")).load(content)
    )
    ((key, servers),) = read.items()
    assert (key, list(servers)) == (config.servers, ["tertulia"])
    return servers["tertulia"]


@pytest.mark.parametrize("host", HOSTS)
def test_every_host_is_told_of_this_command_by_its_absolute_path(
    host: str, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A host starts us in a folder and with a path of its own."""
    monkeypatch.chdir(store.parent)
    monkeypatch.setattr(sys, "argv", ["bin/tertulia"])

    told = server(host, printed(capsys, host))

    command = told.get("cmd") or told["command"]
    words = [command, *told.get("args", [])] if isinstance(command, str) else command
    assert words == [str(store.parent / "bin" / "tertulia")]


@pytest.mark.anyio
@pytest.mark.io
async def test_what_is_printed_starts_a_server_with_the_settings_that_were_given(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flags and environment are in the command: the host passes on neither."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text('toolsets = ["browse"]')
    monkeypatch.setenv("TERTULIA_READ_ONLY", "true")
    told = server(
        "claude-code", printed(capsys, "claude-code", "--config", "own.toml", "--store", store.name)
    )

    started = StdioServerParameters(command=told["command"], args=told["args"], cwd="/")
    with anyio.fail_after(SECONDS):
        async with Client(stdio_client(started)) as client:
            tools = (await client.list_tools()).tools

    assert told["args"][2:] == [
        *("--config", str(tmp_path / "own.toml"), "--store", str(store), "--read-only")
    ]
    assert {tool.name for tool in tools} == {
        tool.name for tool in TOOLS if tool.toolset == "browse" and tool.read_only
    }


@pytest.mark.parametrize("host", [name for name, host in HOSTS.items() if host.url])
def test_every_host_that_takes_a_url_is_told_where_we_are_served(
    host: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address is that of the settings, in brackets where a URL wants them, with what lets the host in."""
    address = ["--host", "::1", "--port", "9000"]
    told = server(host, printed(capsys, host, "--http", *address, "--store", str(store)))

    assert told[HOSTS[host].url] == "http://[::1]:9000/mcp"
    assert "command" not in told
    if host == "codex":  # it takes a token from its environment only
        assert told["bearer_token_env_var"] == TOKEN_VARIABLE
        assert "headers" not in told
    else:
        assert told["headers"] == authorization(store)


@pytest.mark.parametrize("host", [name for name, host in HOSTS.items() if host.url])
def test_a_server_that_asks_for_no_token_is_told_none(
    host: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No host sends what nobody wants."""
    told = server(host, printed(capsys, host, "--http", "--no-token", "--store", str(store)))

    assert not {"headers", "bearer_token_env_var"} & told.keys()
    assert not token_file(store).exists()


@pytest.mark.parametrize("host", [name for name, host in HOSTS.items() if host.url])
def test_the_token_stands_only_in_the_file(
    host: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Command lines have the shell ask for it, and links, which lead over a web site, have none."""
    assert main(["manifest", host, "--http", "--store", str(store)]) == 0

    said = capsys.readouterr().err
    assert store_token(store) not in said
    assert "https://" not in said
    assert "keep it to yourself" in said or f'export {TOKEN_VARIABLE}="$(' in said


def test_no_file_of_the_repository_holds_a_token(generated: Mapping[str, str]) -> None:
    """It stands in the environment of the host."""
    over_http = {name: content for name, content in generated.items() if "/http/" in name}

    assert len(over_http) == len([host for host in HOSTS.values() if host.url])
    assert [name for name, content in over_http.items() if TOKEN_VARIABLE not in content] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["claude-desktop", "--http"], "Claude Desktop takes no URL in its configuration"),
        (["emacs"], "There is no host `emacs` that we know. Valid: claude-desktop, claude-code,"),
    ],
    ids=["no URL", "no host"],
)
def test_what_cannot_be_printed_is_explained(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed that would not work."""
    assert main(["manifest", *arguments]) == USAGE_ERROR

    output = capsys.readouterr()
    assert (output.out, sentence in output.err) == ("", True)


def test_the_help_names_every_host(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line knows them without importing what configures them."""
    with pytest.raises(SystemExit):
        main(["manifest", "--help"])

    said = "".join(capsys.readouterr().out.split())  # the help breaks lines at hyphens, too
    assert [host for host in HOSTS if host not in said] == []


def test_where_it_belongs_is_said_apart_from_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output can be written into a file as it is."""
    command = shlex.join([*HERE, "--store", str(store), "--http"])
    assert main(["manifest", "codex", "--http", "--store", str(store)]) == 0

    assert capsys.readouterr().err.splitlines() == [
        "For config.toml in ~/.codex, beside what it holds.",
        f"Or: codex mcp add tertulia --url http://127.0.0.1:8765/mcp --bearer-token-env-var {TOKEN_VARIABLE}",
        f'Before Codex starts: export {TOKEN_VARIABLE}="$({command} token)"',
        f"Keep running: {command}",
    ]


@pytest.mark.parametrize(
    "reach", [("uvx", "tertulia"), Endpoint("http://127.0.0.1:8765/mcp")], ids=["stdio", "http"]
)
def test_an_install_link_says_what_the_file_says(reach: Address) -> None:
    """VS Code reads JSON from the link, Cursor JSON in base64."""
    (vscode,), (cursor,) = (
        parse_qs(urlsplit(HOSTS[host].shortcut_to(reach) or "").query)["config"]
        for host in ("vscode", "cursor")
    )

    assert json.loads(vscode) == HOSTS["vscode"].entry(reach)
    assert json.loads(base64.b64decode(cursor)) == HOSTS["cursor"].entry(reach)


def test_every_file_in_manifests_is_generated_or_known(generated: Mapping[str, str]) -> None:
    """What a host no longer wants does not stay behind."""
    folder = ROOT / "manifests"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    assert {file for file in files if "__pycache__" not in file} == BY_HAND | {
        name.removeprefix("manifests/") for name in generated if name.startswith("manifests/")
    }


@pytest.mark.parametrize("file", ["AGENTS.md", SKILL])
def test_what_teaches_a_model_names_only_tools_that_are_there(file: str) -> None:
    """And the commands of the archivist that it has."""
    text = (ROOT / "manifests" / file).read_text("utf-8")
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", text))

    assert named - {"input_required", "conversation_id", "awaiting_me"} <= {tool.name for tool in TOOLS}
    assert {"send_message", "search_conversations", "confirm_tool"} <= named
    for command in re.findall(r"`([a-z]+) (?:WORDS|TEXT)`", text):
        assert command in Archivist.description


def test_the_plugin_is_listed_with_the_server_that_it_starts(generated: Mapping[str, str]) -> None:
    """Claude Code reads the list at the root of the repository."""
    (plugin,) = json.loads(generated[".claude-plugin/marketplace.json"])["plugins"]
    folder = plugin["source"].removeprefix("./")

    assert json.loads(generated[f"{folder}/.claude-plugin/plugin.json"])["name"] == plugin["name"]
    assert server("claude-code", generated[f"{folder}/.mcp.json"])["command"] == "uvx"
    assert (ROOT / folder / "skills" / "tertulia" / "SKILL.md").is_file()


def test_the_bundle_names_every_tool(generated: Mapping[str, str]) -> None:
    """Claude Desktop shows them before it installs."""
    manifest = json.loads(generated["manifests/claude-desktop/manifest.json"])

    assert [tool["name"] for tool in manifest["tools"]] == [tool.name for tool in TOOLS]


def test_the_bundle_pins_what_the_lock_of_what_runs_pins() -> None:
    """Each release, where it is needed; and nothing is built on the machine of whoever installs it."""
    project = {"name": "tertulia", "version": "1", "requires-python": ">=3.11", "dependencies": ["anyio"]}
    described = bundle.project_of(project)
    pinned = [line for line in bundle.LOCK.read_text("utf-8").splitlines() if "==" in line]

    assert described["project"] == project
    assert described["tool"]["uv"]["constraint-dependencies"] == [line.removesuffix(" \\") for line in pinned]
    assert (described["tool"]["uv"]["package"], described["tool"]["uv"]["no-build"]) == (False, True)


def test_the_bundle_installs_no_file_whose_hash_is_not_locked() -> None:
    """A file that was published later is left out; a release of which nothing is left cannot be packed."""
    known, new = (f"sha256:{digit * 64}" for digit in "12")
    uv = (
        '[[package]]\nname = "anyio"\nversion = "4"\nsource = { registry = "https://index.example" }\nwheels = [\n'
        f'    {{ url = "https://index.example/a", hash = "{known}" }},\n'
        f'    {{ url = "https://index.example/b", hash = "{new}" }},\n]\n'
    )

    left = bundle.only_locked(uv, f"anyio==4 \\\n    --hash={known}\n")

    assert known in left
    assert new not in left
    with pytest.raises(bundle.LockError, match="anyio 4"):
        bundle.only_locked(uv, "anyio==4\n")


def test_a_bundle_that_is_left_as_it_is_runs_with_the_defaults(
    generated: Mapping[str, str], tmp_path: Path
) -> None:
    """Every placeholder is asked for and has a default, and the server reads what the host makes of it."""
    manifest = json.loads(generated["manifests/claude-desktop/manifest.json"])
    defaults = {
        f"${{user_config.{name}}}": json.dumps(asked["default"]).strip('"')
        for name, asked in manifest["user_config"].items()
    }
    variables: dict[str, str] = manifest["server"]["mcp_config"]["env"]

    (tmp_path / "empty.toml").touch()
    flags = {"config": str(tmp_path / "empty.toml")}
    as_started = load(flags, {name: defaults[placeholder] for name, placeholder in variables.items()})

    assert as_started.settings == load(flags, {}).settings


def test_the_registry_would_take_the_entry(generated: Mapping[str, str]) -> None:
    """It keeps within the limits of the registry's schema."""
    jsonschema.validate(json.loads(generated["manifests/server.json"]), REGISTRY_ENTRY)


def test_the_registry_finds_what_a_url_names(generated: Mapping[str, str]) -> None:
    """A variable in a package's URL is one of the package's inputs."""
    for package in json.loads(generated["manifests/server.json"])["packages"]:
        named = set(re.findall(r"{(.+?)}", package["transport"].get("url", "")))
        assert named <= {given["name"] for given in package["environmentVariables"]}


def test_the_readme_says_that_the_registry_name_is_ours() -> None:
    """The registry believes it of who publishes the package with this README."""
    assert f"mcp-name: {generate.REGISTRY_NAME} " in (ROOT / "README.md").read_text("utf-8")


def test_generated_files_that_are_not_what_they_should_be_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written once, and then the check says which of them somebody has changed."""
    for file in generate.outputs():
        if file.endswith(".md"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, tmp_path / file)
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    generate.main([])
    generate.main(["--check"])
    codex = tmp_path / "manifests" / "codex" / "config.toml"
    codex.write_text(codex.read_text().replace("uvx", "pipx"))

    with pytest.raises(SystemExit, match=r"^Not what would be written now: manifests/codex/config\.toml\."):
        generate.main(["--check"])


def test_a_readme_without_markers_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever rewrites it is told what the tables need."""
    (tmp_path / "README.md").write_text("# Tertulia\n<!-- tools:begin -->\n")
    monkeypatch.setattr(generate, "ROOT", tmp_path)

    with pytest.raises(SystemExit) as ended:
        generate.filled("README.md", tools="| a table |")

    assert ended.value.code == (
        "README.md lacks the lines <!-- tools:begin --> and <!-- tools:end -->, "
        "between which tools is written."
    )


@pytest.mark.parametrize(
    ("repository", "command"),
    [("", "uv tool install .\n"), ("https://example.org/tertulia", "uv tool install tertulia\n")],
)
def test_the_readme_shows_only_commands_that_work(repository: str, command: str) -> None:
    """Before publication it begins in the checkout; after it, with the package and the repository's address."""
    shown = generate.getting(repository)

    assert command in shown
    assert ("git clone https://example.org/tertulia tertulia" in shown) == bool(repository)


def test_the_reference_tells_which_tools_change_something(generated: Mapping[str, str]) -> None:
    """What is generated reads as a table of the tools, each with its first sentence."""
    page = generated["docs/reference/tools.md"]
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    tools = {cells[1].strip(" `"): cells for cells in rows}

    assert list(tools) == [tool.name for tool in TOOLS]
    assert [tools[tool.name][3].strip() == "no" for tool in TOOLS] == [tool.read_only for tool in TOOLS]
