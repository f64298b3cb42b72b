"""Forked servers are to the tests what servers that were started are."""

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doubles.hosts import SECONDS, environment
from tests.support.forking import server_command

pytestmark = [pytest.mark.io, pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")]

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'


@contextmanager
def started(folder: Path, *arguments: str, **variables: str) -> Generator["subprocess.Popen[bytes]"]:
    """Start a server with more environment variables, in `folder`."""
    with subprocess.Popen(
        [*server_command(), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment() | variables,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_server_serves_its_host_and_ends_with_its_input(tmp_path: Path) -> None:
    with started(tmp_path, "--store", "store.db") as server:
        output, errors = server.communicate(PING, timeout=SECONDS)
        assert (server.returncode, errors) == (0, b"")
    assert b'"result"' in output


def test_arguments_that_are_wrong_are_the_commands_exit_code(tmp_path: Path) -> None:
    with started(tmp_path, "--nonsense") as server:
        output, errors = server.communicate(timeout=SECONDS)
        assert (server.returncode, output) == (2, b"")
    assert b"--nonsense" in errors


def test_folder_and_environment_are_those_of_the_command(tmp_path: Path) -> None:
    with started(tmp_path, "config", "--store", "store.db", TERTULIA_WAIT_SECONDS="17") as server:
        output, _ = server.communicate(timeout=SECONDS)
    lines = output.decode().splitlines()
    assert any(line.startswith("wait_seconds = 17.0 ") for line in lines), lines
    assert any(line.startswith("store = ") and str(tmp_path) in line for line in lines), lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_signal_to_the_command_ends_the_server(tmp_path: Path, number: signal.Signals) -> None:
    """Its output is at its end although its input is still open."""
    with started(tmp_path, "--store", "store.db") as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(PING)
        server.stdin.flush()
        assert b'"result"' in server.stdout.readline()
        server.send_signal(number)
        assert server.stdout.read() == b""
        assert server.wait(SECONDS) != 0


def test_all_servers_of_a_process_are_forked_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever changes in the environment, as the name of the test does."""
    before = server_command()
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "another")
    assert server_command() == before
