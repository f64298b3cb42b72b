"""The command `tertulia`: exit codes, what goes where, and what people read."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import anyio
import httpx
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import CallToolResult

from tertulia_server.cli import main
from tertulia_server.demo import demo
from tertulia_server.settings import TABLES, Settings, flag
from tests.doubles.hosts import ROOT, SECONDS, environment
from tests.support.forking import PROGRAM, forked_command

MODULE = [sys.executable, "-m", PROGRAM]
"""What starts the command as users' hosts do."""


def run(*arguments: str, program: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own, with no input."""
    return subprocess.run(
        [*(program or forked_command(PROGRAM)), *arguments],
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
    """Whatever can be set has a flag, but for tables."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    said = capsys.readouterr().out
    assert ended.value.code == 0
    for command in ("serve", "config", "demo", "chat", "import", "export"):
        assert command in said
    for name in set(Settings.model_fields) - TABLES:
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


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ("[instances.work]\nplatform = 'nowhere'", "The instance work is of an unknown platform, "),
        ("[instances.work]\nplatform = 'r2r'\nurll = 'x'", "has an option `urll`"),
        ("[instances.Work]\nplatform = 'r2r'", "cannot be the name of an instance"),
        ("[instances.second]\nplatform = 'local'", "there is one embedded platform"),
        ("[instances.work]\nurl = 'x'", "does not say which platform it is of"),
        (
            "[instances.work]\nplatform = 'r2r'\napi_key = 'hunter2'\nemail = 'ana@example.com'",
            "has an API key and a login",
        ),
    ],
)
@pytest.mark.parametrize(
    "command", ["serve --http", "config", "chat", "sync", "export", "approve", "manifest codex"]
)
def test_a_wrong_instance_ends_every_command_with_2_and_a_sentence(
    command: str, tables: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is served or done."""
    file = tmp_path / "config.toml"
    file.write_text(tables)
    file.chmod(0o600)

    code = main([*command.split(), "--config", str(file), "--store", str(tmp_path / "tertulia.db")])

    said = capsys.readouterr()
    assert code == 2
    assert said.err.startswith("tertulia: ")
    assert says in said.err
    assert said.err.count("\n") == 1
    assert "hunter2" not in said.err
    assert not said.out


def test_all_wrong_instances_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody mends one to learn of the next."""
    file = tmp_path / "config.toml"
    file.touch(mode=0o600)
    file.write_text("[instances.one]\nplatform = 'nowhere'\n[instances.two]\nurl = 'x'\n[instances.Three]\n")

    assert main(["config", "--config", str(file)]) == 2

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        "3 instances are configured in a way that cannot work: The instance one is of an unknown platform"
        in said
    )
    assert "The instance two does not say which platform it is of" in said
    assert "“Three” cannot be the name of an instance" in said


@pytest.mark.io
def test_a_host_is_served_the_instances_that_can_work(tmp_path: Path) -> None:
    """It hears of the others: whoever reads what a server prints is not there. The exit code tells it as well."""
    file = tmp_path / "config.toml"
    file.write_text(
        "[instances.work]\nplatform = 'r2r'\napi_key = 'hunter2'\nurll = 'x'\n[instances.local]\nmailbox = 1\n"
    )
    said: list[CallToolResult] = []
    log = tmp_path / "log"

    async def talk() -> None:
        program, *arguments = forked_command(PROGRAM)
        arguments += ["--config", str(file), "--store", str(tmp_path / "tertulia.db")]
        server = StdioServerParameters(command=program, args=arguments)
        with anyio.fail_after(SECONDS), log.open("w") as written:
            async with Client(stdio_client(server, written)) as client:
                said.append(await client.call_tool("list_agents", {}))
                said.append(
                    await client.call_tool("send_message", {"agent": "local:archivist", "text": "help"})
                )
                said.append(await client.call_tool("list_conversations", {"instance": "work"}))

    anyio.run(talk)
    assert log.read_text().count("tertulia: 2 instances are configured in a way that cannot work: ") == 1
    listed, answered, refused = (str(result.content) for result in said)
    assert "work (not available: The instance work has an option `urll`" in listed
    assert "completed" in answered
    assert "has an option `urll`" in refused
    assert "hunter2" not in listed + answered + refused


@pytest.mark.io
def test_a_server_that_left_out_an_instance_ends_with_2(tmp_path: Path) -> None:
    """When its host closes the pipe."""
    file = tmp_path / "config.toml"
    file.write_text("[instances.work]\nplatform = 'nowhere'")
    ended = run("--config", str(file), "--store", str(tmp_path / "tertulia.db"))

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


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
    config.write_text('[instances.work]\nplatform = "r2r"\napi_key = "sk-hunter2"\n')

    assert main(["config", "--config", str(config)]) == 0

    said = capsys.readouterr().out
    assert "api_key = (set)" in said
    assert "hunter2" not in said


@pytest.mark.io
def test_the_command_runs_as_a_module(tmp_path: Path) -> None:
    """Where it is not on the path; and serving ends with 0 when there is no input."""
    done = run("--store", str(tmp_path / "t.db"), program=MODULE)

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


INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "by hand", "version": "1"},
}


@pytest.mark.io
def test_a_host_that_reads_no_more_ends_the_server_quietly(tmp_path: Path) -> None:
    """At the first thing that it would have to be told, although its input is still open."""
    with subprocess.Popen(
        [*MODULE, "--store", str(tmp_path / "tertulia.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None

        def send(request: int, method: str, params: object) -> None:
            assert server.stdin is not None
            message = {"jsonrpc": "2.0", "id": request, "method": method, "params": params}
            server.stdin.write(json.dumps(message).encode() + b"\n")
            server.stdin.flush()

        send(1, "initialize", INITIALIZE)
        assert b'"result"' in server.stdout.readline()
        server.stdout.close()
        send(2, "tools/list", {})

        assert server.wait(SECONDS) == 0
        assert not server.stderr.read()


@pytest.mark.io
@pytest.mark.skipif(sys.platform == "win32", reason="a pipe there tells its writer something else")
@pytest.mark.parametrize("command", ["config", "doctor"])
def test_a_command_whose_output_nobody_reads_ends_quietly(tmp_path: Path, command: str) -> None:
    """As behind `| head`, which leaves when it has seen enough."""
    with subprocess.Popen(
        [*MODULE, command, "--store", str(tmp_path / "tertulia.db")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    ) as ran:
        assert ran.stdout is not None
        ran.stdout.close()
        assert ran.stderr is not None
        assert ran.stderr.read() == ""
        assert ran.wait(SECONDS) == 141


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.io
def test_one_interrupt_ends_the_server_on_http_quietly(tmp_path: Path) -> None:
    """It says where it serves and for whom, and nothing more."""
    with subprocess.Popen(
        [
            *(*MODULE, "serve", "--http", "--port", "0"),
            *("--store", str(tmp_path / "tertulia.db")),
        ],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    ) as server:
        assert server.stderr is not None
        serving = server.stderr.readline()
        assert f"`tertulia --store {tmp_path / 'tertulia.db'} token`" in server.stderr.readline()
        url = serving.rpartition(" ")[2].strip().replace("/mcp", "/healthz")
        assert httpx.get(url, timeout=SECONDS).status_code == 200
        server.send_signal(signal.SIGINT)

        assert server.wait(SECONDS) == 130
        assert not server.stderr.read()


@pytest.mark.parametrize(
    "arguments", [["--\x1b[2J"], ["chat", "x\x1b]0;pwned\x07"], ["sync", "\x1b[2J"], ["manifest", "\x1b[2J"]]
)
def test_a_message_of_the_command_line_is_only_shown(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was typed or pasted is repeated without what a terminal obeys."""
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main([*arguments, "--store", str(tmp_path / "s.db")]))

    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.err
    assert "\x1b" not in said.out + said.err
