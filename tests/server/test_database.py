"""What people type, where the store is a PostgreSQL database."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest

from tertulia.vocabulary.location import PostgresUrl
from tertulia_server.cli import main
from tests.client.history.bringing import FIXTURES
from tests.doubles.hosts import CONFIG, ROOT, Connector, Setup, environment, memory
from tests.doubles.stage import ACTOR, register, script
from tests.server.following import check_follows

pytestmark = pytest.mark.io


@pytest.fixture
def here(tmp_path: Path, database: PostgresUrl, monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """Return the flags of the database and of a configuration of its own, for a person without any files."""
    register()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    return ["--store", f"{database.url}&password=s3cret", "--config", str(config)]


def typed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Return what a command prints."""
    capsys.readouterr()
    assert main(arguments) == code
    told = capsys.readouterr()
    assert "s3cret" not in told.out + told.err
    return told.out + told.err


def about_store(capsys: pytest.CaptureFixture[str], *flags: str, code: int = 0) -> tuple[str, str, str]:
    """Return what `tertulia doctor` says about the store."""
    found = json.loads(typed(capsys, "doctor", "--json", *flags, code=code))
    (store,) = (each for each in found if each["about"] == "store")
    return store["verdict"], store["said"], store["todo"]


def test_history_comes_in_and_is_found(
    here: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is read, written out, and not brought in twice."""
    assert "Conversations: 8 new" in typed(capsys, "import", str(FIXTURES), *here)
    assert "0 new, 0 updated, 8 unchanged" in typed(capsys, "import", str(FIXTURES), *here)
    found = json.loads(typed(capsys, "search", "acme", "--json", *here))["matches"]
    own_id = found[0]["conversation_id"]
    assert own_id in typed(capsys, "search", "acme", *here)
    assert f"Conversation: {own_id}" in typed(capsys, "show", own_id, *here)
    page = tmp_path / "page.md"
    assert typed(capsys, "export", "--conversation", own_id, "--output", str(page), *here) == ""
    assert "Acme" in page.read_text("utf-8")
    assert typed(capsys, "sync", "--all", *here, code=2).startswith("tertulia: No instance")


def test_the_doctor_says_what_the_database_is(
    here: Sequence[str], database: PostgresUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before there is a store in it, and afterwards."""
    verdict, said, _ = about_store(capsys, *here)
    assert verdict == "ok"
    assert f"{database}: none yet; the first use makes it; PostgreSQL " in said
    assert about_store(capsys, *here)[1] == said, "the doctor made it"

    typed(capsys, "import", str(FIXTURES / "codex.jsonl"), *here)
    verdict, said, _ = about_store(capsys, *here)
    assert verdict == "ok"
    assert f"{database}: 1 conversations, " in said
    assert " MB; schema " in said


def test_the_doctor_says_why_a_database_cannot_be_used(
    here: Sequence[str], database: PostgresUrl, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not there, a standby, of somebody else, or has moved."""
    verdict, said, todo = about_store(capsys, "--store", "postgresql://ann:s3cret@127.0.0.1:1/db", code=1)
    assert verdict == "failed"
    assert said.startswith("The store postgresql://ann@127.0.0.1:1/db cannot be reached now: ")
    assert "see whether the server runs" in todo

    with psycopg.connect(database.url, autocommit=True) as connection:
        (name,) = connection.execute("SELECT current_database()").fetchone() or ("",)
        connection.execute("CREATE ROLE stranger LOGIN")
        stranger = database.url.replace("user=postgres", "user=stranger")
        assert "may not create it" in about_store(capsys, "--store", stranger, code=1)[1]
        connection.execute("DROP ROLE stranger")
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        assert "takes no writes" in about_store(capsys, *here, code=1)[1]
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())

    typed(capsys, "import", str(FIXTURES / "codex.jsonl"), *here)
    assert main(["store", "copy", database.url, str(tmp_path / "store.db")]) == 0
    assert "has moved to" in about_store(capsys, *here, code=1)[1]


def test_a_session_is_followed_into_a_database(here: Sequence[str], tmp_path: Path) -> None:
    """While it is written."""
    check_follows([sys.executable, "-m", "tests.doubles.serve"], tmp_path / "projects", here)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminal that Python could open")
def test_a_person_talks_and_approves(here: Sequence[str], tmp_path: Path, database: PostgresUrl) -> None:
    """In a terminal, what a host of another process has asked."""
    from tests.doubles.terminal import terminal

    @asynccontextmanager
    async def in_database(setup: Setup) -> AsyncGenerator[Any]:
        async with memory(replace(setup, flags={**setup.flags, "store": database.url})) as server:
            yield server

    connector = Connector("legacy", in_database, tmp_path)

    async def ask() -> str:
        async with connector(approvals="person") as host:
            reply = await host.call("send_message", agent=ACTOR, text=script({"ask": "delete"}))
            assert reply["status"] == "input_required"
            return str(reply["conversation_id"])

    async def read(own_id: str) -> str:
        async with connector(approvals="person") as host:
            await host.call("stream_conversation", conversation_id=own_id)
            return (await host.call("list_messages", conversation_id=own_id)).text

    own_id = anyio.run(ask)
    with terminal("tests.doubles.serve", "approve", *here, "--approvals", "person") as shown:
        shown.until(f" in {own_id}\n")
        shown.until("Type approve or reject (empty: leave it open): ")
        shown.type("approve\n")
        shown.until("Decided.")
        assert shown.end() == 0
    assert "[delete: approved" in anyio.run(read, own_id)

    with terminal("tests.doubles.serve", "chat", *here) as shown:
        shown.until("with local:archivist")
        shown.until("> ")
        shown.type("remember Acme renews in May\n")
        shown.until("Kept (4 words)")


def test_what_is_of_this_machine_is_kept_beside_the_default_store(
    here: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The token of the store is in the database; tokens of others, and the worker's log, are files."""
    token = typed(capsys, "token", *here)
    assert typed(capsys, "token", *here) == token
    assert "of “ann”" in typed(capsys, "token", "--add", "ann", *here)
    assert "Removed 1 token" in typed(capsys, "token", "--remove", "ann", *here)
    assert "s3cret" not in typed(capsys, "manifest", "claude-code", *here)
    assert "s3cret" not in typed(capsys, "config", *here)


def test_a_worker_logs_beside_the_default_store(here: Sequence[str], tmp_path: Path) -> None:
    """The folder of which nobody has made yet."""
    worker = (
        "from tertulia_server.settings import load\n"
        "from tertulia_server.worker import serve\n"
        "from tests.doubles.stage import register\n"
        "register()\n"
        f"raise SystemExit(serve(load({{'store': {here[1]!r}, 'config': {here[3]!r}}}), idle=0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", worker],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    (log,) = tmp_path.rglob("worker.log")
    assert re.search(r"process (\d+) begins .*process \1 ends\n", log.read_text(), re.DOTALL)
    assert "s3cret" not in log.read_text()


def test_the_page_is_opened_from_beside_the_default_store(here: Sequence[str], tmp_path: Path) -> None:
    """From a folder that nobody has made yet."""
    variables = {
        **environment(),
        "BROWSER": f"{tmp_path / 'no-browser'} %s",
        "PATH": str(tmp_path),
        "DISPLAY": "",
    }
    command = [sys.executable, "-m", "tests.doubles.serve", "open", *here]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=variables) as opening:
        assert opening.stderr is not None
        try:
            said = [opening.stderr.readline() for _ in range(3)]
        finally:
            opening.terminate()
    assert said[2].startswith("No browser was found. Open http://127.0.0.1:")
