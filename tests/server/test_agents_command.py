"""`tertulia agents`: what is installed here, and the table that configures it."""

from pathlib import Path

import pytest
from anyio import to_thread

from tertulia import Client, MessageDraft, NewConversation
from tertulia_server.cli import main
from tertulia_server.model_servers import ModelServer, agent_name
from tertulia_server.settings import load
from tests.doubles.chat_completions import MODEL, ChatCompletions, Turn
from tests.doubles.network import served


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a configuration file that is not there yet, on a machine with Codex alone."""
    monkeypatch.setattr("tertulia_server.model_servers.MODEL_SERVERS", ())
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


@pytest.mark.io
@pytest.mark.anyio
async def test_models_that_answer_on_this_machine_are_shown_and_added(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is an agent that answers."""
    monkeypatch.setattr("tertulia_server.settings.default_config", lambda: config)
    double = ChatCompletions(turns=[Turn(text="Hello.")])
    async with served(double.app) as origin:
        port = int(origin.rpartition(":")[2])
        here = (ModelServer("lmstudio", "LM Studio", port), ModelServer("vllm", "vLLM", 1))
        monkeypatch.setattr("tertulia_server.model_servers.MODEL_SERVERS", here)
        assert await to_thread.run_sync(run, config) == 0
        shown = capsys.readouterr().out
        assert await to_thread.run_sync(run, config, "--add", "lmstudio:nothing") == 2
        refused = capsys.readouterr().err
        assert await to_thread.run_sync(run, config, "--add", f"lmstudio:{MODEL}") == 0
        settings = load({"config": str(config), "store": str(config.with_name("tertulia.db"))}, {}).settings
        async with Client.open(settings.client_settings()) as client:
            sent = await client.runs.start(
                NewConversation(agent=f"local:{MODEL}"), MessageDraft(text="Are you there?")
            )
            outcome = await client.runs.wait(sent.run, timeout=20)

    assert f"answers with “{MODEL}”: tertulia agents --add lmstudio:MODEL" in shown
    assert "vllm" not in shown
    assert f"lmstudio:{MODEL}" in refused
    assert outcome.reply == "Hello."


@pytest.mark.parametrize(
    ("model", "name"),
    [("qwen3", "qwen3"), ("Qwen/Qwen3-8B", "qwen3-8b"), ("llama3.2:latest", "llama3-2"), ("???", "model")],
)
def test_an_agent_is_named_after_its_model(model: str, name: str) -> None:
    assert agent_name(model) == name
