"""`tertulia agents`: what is installed here, and the table that configures it."""

from pathlib import Path

import pytest

from tertulia_server.cli import main
from tertulia_server.settings import load


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a configuration file that is not there yet, on a machine with Codex alone."""
    program = tmp_path / "bin" / "codex-acp"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return tmp_path / "etc" / "config.toml"


def run(config: Path, *arguments: str) -> int:
    """Run `tertulia agents`; a file that is not there yet cannot be named by a flag."""
    given = ["--config", str(config)] if config.exists() else []
    return main(["agents", *given, *arguments])


def test_each_known_agent_is_shown_with_what_to_do(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tertulia_server.settings.default_config", lambda: config)
    assert run(config) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == {"claude", "codex", "gemini", "qwen", "opencode"}
    assert "tertulia agents --add codex" in lines["codex"]
    assert "npm install -g @google/gemini-cli" in lines["gemini"]


def test_an_agent_is_added_once_and_can_be_used_then(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tertulia_server.settings.default_config", lambda: config)
    folder = tmp_path / 'a "quoted" folder'
    folder.mkdir()
    assert run(config, "--add", "codex") == 2
    assert "--folder" in capsys.readouterr().err
    assert run(config, "--add", "nobody", "--folder", str(folder)) == 2
    assert run(config, "--add", "codex", "--folder", str(tmp_path / "none")) == 2
    assert not config.exists()
    assert run(config, "--add", "codex", "--folder", str(folder)) == 0
    assert str(config) in capsys.readouterr().out
    table = load({"config": str(config)}, {}).settings.instances["codex"]
    assert (table["platform"], table["agent"]) == ("acp", "codex")
    assert table["folders"] == [str(folder)]
    assert table["env"] == {"PATH": str(tmp_path / "bin")}
    before = config.read_text()
    assert run(config, "--add", "codex", "--folder", str(folder)) == 2
    assert config.read_text() == before
    assert run(config) == 0
    assert "configured: codex:agent" in capsys.readouterr().out


def test_what_was_configured_before_stays(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.parent.mkdir()
    config.write_text("wait_seconds = 3")
    assert run(config, "--add", "codex", "--folder", str(tmp_path)) == 0
    settings = load({"config": str(config)}, {}).settings
    assert (settings.wait_seconds, list(settings.instances)) == (3, ["codex"])
