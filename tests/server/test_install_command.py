"""`tertulia install` and `uninstall`: what they change in the configuration of each host, and what they leave alone."""

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

from tertulia_server.cli import USAGE_ERROR, main
from tertulia_server.host_config import HOSTS
from tertulia_server.install_command import PLACES
from tertulia_server.settings import default_config

EDITED = [name for name in PLACES if not PLACES[name].add]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home on a machine without any host."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "venv" / "bin" / "tertulia")])
    return tmp_path


def read(file: Path) -> Mapping[str, Any]:
    """Return what a file holds."""
    text = file.read_text("utf-8")
    if file.suffix == ".toml":
        return tomllib.loads(text)
    return cast("Any", YAML(typ="safe")).load(text) if file.suffix == ".yaml" else json.loads(text)


def entry_in(name: str) -> Any:
    """Return a host's entry."""
    return read(PLACES[name].file)[HOSTS[name].servers]["tertulia"]


def program(home: Path, name: str, script: str) -> None:
    """Put a program on the PATH."""
    file = home / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_the_names_of_the_hosts_are_told() -> None:
    """In the help, in the list, and where the form of an entry is."""
    from tertulia_server.command_parser import HOST_NAMES

    assert HOST_NAMES.split(", ") == list(PLACES) == list(HOSTS)


@pytest.mark.parametrize("name", EDITED)
def test_a_host_is_given_this_installation_and_forgets_it(
    name: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the absolute path of the command, with the name to serve under; again changes nothing."""
    assert main(["install", name, "--as", "bob"]) == 0
    entry = entry_in(name)
    command = entry.get("cmd") or entry["command"]
    words = [command, *entry.get("args", [])] if isinstance(command, str) else command
    assert words == [str(home / "venv" / "bin" / "tertulia"), "--as", "bob"]
    before = PLACES[name].file.read_bytes()
    assert main(["install", name, "--as", "bob"]) == 0
    assert "nothing to change" in capsys.readouterr().out
    assert PLACES[name].file.read_bytes() == before
    assert main(["uninstall", name]) == 0
    assert "tertulia" not in str(read(PLACES[name].file))


CODEX = """\
# my settings
model = "gpt-5" # the good one

[mcp_servers.other]
command = 'other'   # single quotes
args = [
    "a",
]
"""
GOOSE = """\
# my settings
GOOSE_PROVIDER: "openai"
extensions:
  developer:
    enabled: true # always
    args:
      - 'a'
"""
CURSOR = (
    '{\n    "mcpServers": {\n        "other": {"command": "o\u00e4", "args": []}\n    },\n    "x": 1\n}\n'
)


@pytest.mark.parametrize(("name", "text"), [("codex", CODEX), ("goose", GOOSE)])
def test_what_a_file_held_stays_with_its_comments(name: str, text: str) -> None:
    """And comes back to the letter; a copy of it is beside it."""
    file = PLACES[name].file
    file.parent.mkdir(parents=True)
    file.write_text(text)
    file.chmod(0o600)
    assert main(["install", name]) == 0
    assert all(line in file.read_text().splitlines() for line in text.splitlines())
    assert file.stat().st_mode & 0o777 == 0o600
    (backup,) = file.parent.glob("*.bak")
    assert backup.read_text() == text
    assert main(["uninstall", name]) == 0
    assert file.read_text().rstrip() == text.rstrip()


def test_what_a_user_has_added_to_the_entry_stays() -> None:
    """Only what starts this installation is set anew."""
    file = PLACES["codex"].file
    file.parent.mkdir(parents=True)
    file.write_text('[mcp_servers.tertulia]\ncommand = "old"\nenv = { A = "b" } # mine\n')
    assert main(["install", "codex"]) == 0
    entry = entry_in("codex")
    assert (entry["env"], entry["required"]) == ({"A": "b"}, True)
    assert entry["command"] != "old"
    assert "# mine" in file.read_text()


def test_the_order_and_the_indentation_of_json_stay() -> None:
    file = PLACES["cursor"].file
    file.parent.mkdir(parents=True)
    file.write_text(CURSOR, "utf-8")
    assert main(["install", "cursor"]) == 0
    assert list(read(file)) == ["mcpServers", "x"]
    assert '\n    "mcpServers"' in file.read_text("utf-8")
    assert "oä" in file.read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("zed", '// mine\n{"theme": "x"}\n', "comments"),
        ("zed", '{"theme": "x",}\n', "comments or trailing commas"),
        ("cursor", '{"mcpServers": {', "no JSON"),
        ("cursor", "[]", "no object"),
        ("cursor", '{"mcpServers": []}', "`mcpServers`"),
        ("cursor", '{"a": 1, "a": 2}', "twice"),
        ("codex", "model = \n", "no TOML"),
        ("codex", 'mcp_servers = "none"\n', "`mcp_servers`"),
        ("goose", "a: [\n", "no YAML"),
        ("goose", "- a\n", "no mapping"),
    ],
)
def test_a_file_that_cannot_be_edited_safely_is_left_and_what_to_paste_is_told(
    name: str, text: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never rewritten."""
    file = PLACES[name].file
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert main(["install", name]) == USAGE_ERROR
    said = capsys.readouterr().err
    assert why in said
    assert "tertulia" in said.partition("by hand:")[2]
    assert file.read_text() == text
    assert not list(file.parent.glob("*.bak"))


@pytest.mark.parametrize("command", ["install", "manifest"])
def test_no_host_gets_the_password_of_a_database(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What to do instead is told; where the configuration file has the URL, there is nothing to tell."""
    assert main([command, "cursor", "--store", "postgresql://ann:s3cret@host/db"]) == 0
    said = "".join(capsys.readouterr())
    assert "The password of the database is left out: write it to ~/.pgpass" in said
    installed = PLACES["cursor"].file.read_text() if command == "install" else said
    assert "postgresql://ann@host/db" in installed
    assert "s3cret" not in said + installed

    config = default_config()
    config.parent.mkdir(parents=True)
    config.touch(mode=0o600)
    config.write_text("store = 'postgresql://ann:s3cret@host/db'")
    assert main([command, "cursor"]) == 0
    assert "pgpass" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", EDITED)
def test_a_dry_run_shows_the_change_and_makes_none(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", name, "--dry-run"]) == 0
    assert "+" in capsys.readouterr().out
    assert not PLACES[name].file.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other links")
def test_a_link_stays_a_link(home: Path) -> None:
    """Many keep their settings elsewhere."""
    real = home / "dotfiles" / "codex.toml"
    real.parent.mkdir()
    real.write_text(CODEX)
    file = PLACES["codex"].file
    file.parent.mkdir(parents=True)
    file.symlink_to(real)
    assert main(["install", "codex"]) == 0
    assert file.is_symlink()
    assert "tertulia" in real.read_text()


@pytest.mark.io
@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script")
def test_a_host_with_a_command_is_called(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it says when it fails is told; a server that was there is taken out before."""
    program(home, "claude", f'echo "$@" >> {home}/calls; [ "$2" = add ] || exit 1')
    assert main(["install", "claude-code", "--dry-run"]) == 0
    assert not (home / "calls").exists()
    assert main(["install", "claude-code", "--as", "bob"]) == 0
    assert "--allowedTools" in capsys.readouterr().out
    assert (home / "calls").read_text().splitlines() == [
        "mcp remove --scope user tertulia",
        f"mcp add --scope user tertulia -- {home}/venv/bin/tertulia --as bob",
    ]
    assert main(["uninstall", "claude-code"]) == USAGE_ERROR
    program(home, "claude", "echo 'no such server' >&2; exit 1")
    assert main(["install", "claude-code"]) == USAGE_ERROR
    assert "no such server" in capsys.readouterr().err


def test_without_its_command_claude_codes_file_is_edited() -> None:
    assert main(["install", "claude-code"]) == 0
    assert entry_in("claude-code")["type"] == "stdio"


def test_without_a_name_the_hosts_that_are_here_are_listed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with what to do."""
    (home / ".cursor").mkdir()
    assert main(["install", "codex"]) == 0
    assert main(["install", "goose", "--as", "bob"]) == 0
    capsys.readouterr()
    assert main(["install"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(lines) == list(PLACES)
    assert "here: tertulia install cursor" in lines["cursor"]
    assert "starts this installation" in lines["codex"]
    assert "in another way" in lines["goose"]
    assert "not found" in lines["vscode"]


def test_an_unknown_host_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "emacs"]) == USAGE_ERROR
    assert "claude-desktop" in capsys.readouterr().err
