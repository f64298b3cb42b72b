"""The command `tertulia`: exit codes, what goes where, and what people read."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tertulia_server.cli import main
from tertulia_server.demo import demo
from tertulia_server.settings import Settings, flag
from tests.doubles.hosts import CONFIG, ROOT, SECONDS, environment


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own, with no input."""
    return subprocess.run(
        [sys.executable, "-m", "tertulia_server", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env={**environment(), "PYTHONUTF8": "1"},
        timeout=SECONDS,
        check=False,
    )


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    """For bug reports."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"tertulia {version('tertulia')}\n"


def test_help_names_every_command_and_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever can be set has a flag, but for tables of instances."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    said = capsys.readouterr().out
    assert ended.value.code == 0
    for command in ("serve", "config", "demo", "chat", "import", "export"):
        assert command in said
    for name in set(Settings.model_fields) - {"instances"}:
        assert flag(name) in said


@pytest.mark.parametrize("arguments", [["--nonsense"], ["nonsense"], ["chat", "a", "b"], ["--wait-seconds"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And says on stderr how it goes; stdout is left alone."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    said = capsys.readouterr()
    assert ended.value.code == 2
    assert "usage: tertulia" in said.err
    assert not said.out


@pytest.mark.parametrize("command", [[], ["serve"], ["config"], ["chat"]])
def test_an_impossible_setting_ends_every_command_with_2_and_a_sentence(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A host shows what we wrote to stderr, at best."""
    code = main([*command, "--wait-seconds", "1000"])

    said = capsys.readouterr()
    assert code == 2
    assert said.err.startswith("tertulia: --wait-seconds is not possible: ")
    assert "Traceback" not in said.err
    assert not said.out


def test_an_unknown_tool_is_told_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is served."""
    assert main(["--tools", "send_massage"]) == 2

    assert "There is no tool `send_massage`. Valid: list_agents, " in capsys.readouterr().err


def test_flags_may_stand_before_or_after_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """People try both."""
    config = tmp_path / "config.toml"
    config.write_text("")
    for arguments in (["--wait-seconds", "7", "config"], ["config", "--wait-seconds", "7"]):
        assert main([*arguments, "--config", str(config)]) == 0
        assert "wait_seconds = 7.0  # from flag" in capsys.readouterr().out


def test_config_shows_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is what people paste into bug reports."""
    config = tmp_path / "config.toml"
    config.write_text(f'{CONFIG}api_key = "sk-hunter2"\n')

    assert main(["config", "--config", str(config)]) == 0

    said = capsys.readouterr().out
    assert "api_key = (set)" in said
    assert "hunter2" not in said


@pytest.mark.io
def test_the_command_runs_as_a_module(tmp_path: Path) -> None:
    """Where it is not on the path; and serving ends with 0 when there is no input."""
    done = run("--store", str(tmp_path / "t.db"))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.io
def test_the_demonstration_succeeds_and_reads_as_a_transcript() -> None:
    """The main job: found, asked, approved, answered, found again, completed."""
    done = run("demo")

    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    for expected in (
        "→ list_agents()",
        "→ send_message(agent='local:archivist'",
        "  … ",
        "  ✓ approve",
        "← completed · local:",
        "All of it worked",
    ):
        assert expected in done.stdout


@pytest.mark.io
def test_the_demonstration_talks_about_a_text_of_ones_own(tmp_path: Path) -> None:
    """From the command line or a file, in any script."""
    file = tmp_path / "notes.txt"
    file.write_text("Подписать договор с заказчиком до конца марта.", "utf-8")

    done = run("demo", "--file", str(file))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "заказчиком" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--text", " … "], "The text has no word in it."),
        (["--file", "no such file"], "no such file cannot be read as text"),
    ],
)
def test_the_demonstration_refuses_a_text_without_a_word(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is started for it."""
    assert main(["demo", *arguments]) == 2

    assert says in capsys.readouterr().err


@pytest.mark.io
def test_the_demonstration_fails_with_1_when_a_step_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a script notices; and says which."""
    monkeypatch.setattr("tertulia_server.demo.AGENT", "local:nobody")

    assert demo("Some words.", None) == 1

    said = capsys.readouterr()
    assert "→ list_agents()" in said.out
    assert "The demonstration failed: expected that local:nobody is among the agents." in said.err
    assert "All of it worked" not in said.out


@pytest.mark.io
def test_the_demonstration_fails_with_1_when_the_server_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a sentence, not with what the client library raises."""
    monkeypatch.setattr("tertulia_server.demo.sys.executable", str(ROOT / "no such python"))

    assert demo("Some words.", None) == 1

    assert "The demonstration failed: the server was not there to talk to" in capsys.readouterr().err
