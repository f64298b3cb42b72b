"""`tertulia doctor`: each thing that can be wrong is told with what to do, and the exit code says it to scripts."""

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from tertulia import Client, ClientSettings, MessageDraft, NewConversation
from tertulia_server.cli import main
from tertulia_server.install_command import PLACES

Report = dict[str, tuple[str, str, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home with no host and no configuration, and a store that holds a conversation."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "tertulia")])
    return tmp_path


@pytest.fixture
def store(home: Path) -> Path:
    """A store that holds a conversation."""

    async def talk() -> None:
        async with Client.open(ClientSettings(store=store)) as client:
            sent = await client.runs.start(
                NewConversation(agent="local:archivist"), MessageDraft(text="help")
            )
            await client.runs.wait(sent.run, timeout=20)

    store = home / "tertulia.db"
    anyio.run(talk)
    return store


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Report]:
    """Return the exit code, and what was found about each thing: the verdict, what was said, what to do."""
    capsys.readouterr()
    code = main(["doctor", "--json", *arguments])
    findings = json.loads(capsys.readouterr().out)
    return code, {one["about"]: (one["verdict"], one["said"], one["todo"]) for one in findings}


def test_all_is_well(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a store, too; for people it is a line each."""
    code, found = examined(capsys, "--store", str(store))
    assert (code, {verdict for verdict, _, _ in found.values()}) == (0, {"ok"})
    assert "whole; 1 conversations, 2 messages" in found["store"][1]
    assert "2026-07-28" in found["Tertulia"][1]
    code, found = examined(capsys, "--store", str(store.with_name("none.db")))
    assert (code, found["store"][0]) == (0, "ok")
    assert not store.with_name("none.db").exists()
    assert main(["doctor", "--store", str(store)]) == 0
    assert "ok       store: " in capsys.readouterr().out


def contents(folder: Path) -> dict[Path, bytes]:
    """Return what is in a folder, but for what SQLite makes beside a file to read it."""
    beside = ("-wal", "-shm")
    files = [each for each in folder.rglob("*") if each.is_file() and not each.name.endswith(beside)]
    return {file: file.read_bytes() for file in files}


def test_nothing_is_changed(home: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store of an older schema stays as it is, and there is no new file."""
    with closing(sqlite3.connect(store)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0] - 1
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = contents(home)
    code, found = examined(capsys, "--store", str(store))
    assert (code, found["instance local"][0]) == (0, "ok")
    assert f"schema {version} of {version + 1}" in found["store"][1]
    assert contents(home) == before


def test_a_damaged_store_is_told(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And another program's file."""
    damaged = bytearray(store.read_bytes())
    damaged[8192:12288] = os.urandom(4096)
    store.write_bytes(damaged)
    code, found = examined(capsys, "--store", str(store))
    assert (code, found["store"][0]) == (1, "failed")
    assert found["store"][2]
    other = store.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    code, found = examined(capsys, "--store", str(other))
    assert (code, "another program's" in found["store"][1]) == (1, True)


def test_a_clock_that_went_back_is_told(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The store's newest entry is of a time that is still to come."""
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("UPDATE journal SET at = at + 7200 * 1000000")
        connection.commit()
    code, found = examined(capsys, "--store", str(store))
    assert (code, found["clock"][0]) == (0, "warning")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps permissions elsewhere")
def test_files_that_others_can_read_are_told(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.chmod(0o644)
    code, found = examined(capsys, "--store", str(store))
    assert (code, found["permissions"]) == (
        0,
        ("warning", f"{store} can be read by other users of this machine", f"chmod 600 {store}"),
    )


def test_an_instance_that_lacks_something_is_told(
    home: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the one thing to set; an unknown variable of ours, too."""
    config = home / "config.toml"
    config.write_text('[instances.flow]\nplatform = "agentflow"\n')
    code, found = examined(capsys, "--config", str(config), "--store", str(store))
    assert (code, found["instance flow"][0]) == (1, "failed")
    assert "Set " in found["instance flow"][2]


def test_a_host_that_starts_what_is_gone_is_told(
    home: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An environment was moved, or deleted."""
    (home / "bin").mkdir()
    program = home / "bin" / "tertulia"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert main(["install", "cursor"]) == 0
    _, found = examined(capsys, "--store", str(store))
    assert found["host Cursor"][0] == "ok"
    program.unlink()
    code, found = examined(capsys, "--store", str(store))
    assert (code, found["host Cursor"][0]) == (1, "failed")
    assert found["host Cursor"][2] == f"tertulia --store {store} install cursor"
    assert str(PLACES["cursor"].file) in found["host Cursor"][1]
