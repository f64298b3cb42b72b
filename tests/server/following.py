"""`tertulia follow` as a person types it, while an agent writes a session."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.client.history.bringing import FIXTURES
from tests.doubles.hosts import ROOT, environment

SESSION = (FIXTURES / "claude-code.jsonl").read_text("utf-8")
"""A session of seven messages."""


def check_follows(program: Sequence[str], folder: Path, flags: Sequence[str]) -> None:
    """Check that the command says what it watches and what came in, and nothing of the terminal's own."""
    folder.mkdir()
    command = [*program, "follow", str(folder), *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
    ) as following:
        assert following.stdout is not None
        assert following.stderr is not None
        try:
            assert following.stdout.readline() == f"Following {folder}. Ctrl-C ends it.\n"
            (folder / "session.jsonl").write_text(SESSION, "utf-8")
            assert f"7 messages from {folder / 'session.jsonl'}" in following.stdout.readline()
        finally:
            following.terminate()
        assert following.stderr.read() == ""
