"""`tertulia follow`, and a server that follows: real processes, and a session that is written meanwhile."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.app import build
from tertulia_server.follow_command import followed_roots
from tertulia_server.settings import load
from tests.doubles.hosts import ROOT, SECONDS, environment
from tests.server.following import SESSION, check_follows
from tests.support.forking import PROGRAM, forked_command


@pytest.fixture
def here(tmp_path: Path) -> Sequence[str]:
    """Return the flags of a store and a configuration of its own."""
    config = tmp_path / "config.toml"
    config.write_text("discover_agents = false\n")
    return ["--store", str(tmp_path / "tertulia.db"), "--config", str(config)]


@pytest.mark.io
def test_a_session_comes_in_while_it_is_written(here: Sequence[str], tmp_path: Path) -> None:
    """The command says what it watches, and what came in; nothing of the terminal's own."""
    check_follows([sys.executable, "-m", "tertulia_server"], tmp_path / "projects", here)


@pytest.mark.io
@pytest.mark.anyio
async def test_a_server_follows_what_the_setting_says(here: Sequence[str], tmp_path: Path) -> None:
    """Its host finds the session with a tool, without an import by anybody."""
    folder = tmp_path / "projects"
    folder.mkdir()
    (folder / "session.jsonl").write_text(SESSION, "utf-8")
    program, *arguments = forked_command(PROGRAM)
    server = StdioServerParameters(
        command=program,
        args=[*arguments, *here, "--follow", str(folder)],
        env=environment(),
        cwd=ROOT,
    )
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(stdio_client(server)))
        with anyio.fail_after(SECONDS):
            while True:
                found = await client.call_tool("list_conversations", {"source": "claude-code"})
                if json.loads(json.dumps(found.structured_content))["conversations"]:
                    break
                await anyio.sleep(0.2)


@pytest.mark.io
def test_a_folder_that_is_not_there_is_told(here: Sequence[str], tmp_path: Path) -> None:
    """Rather than waited for: it was typed."""
    done = subprocess.run(
        [*forked_command(PROGRAM), "follow", str(tmp_path / "nowhere"), *here],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith(f"tertulia: There is no such folder: {tmp_path / 'nowhere'}.")


def test_the_home_folder_is_too_much(tmp_path: Path) -> None:
    """Everything in it would be watched, and much of it read. A server says so before it serves."""
    config = tmp_path / "config.toml"
    config.write_text("")
    with pytest.raises(InvalidInputError, match="too much"):
        followed_roots(["~"])
    with pytest.raises(InvalidInputError, match="too much"):
        build(load({"config": str(config), "follow": "/"}, {}).settings)
