"""`tertulia store`: what a person reads who moves a store, and what goes with it."""

import shlex
import subprocess
from functools import partial
from pathlib import Path

import anyio
import pytest

from tertulia.store import runs
from tertulia.store.copy import CopyListener
from tertulia.store.database import Store
from tertulia.vocabulary.location import PostgresUrl, StoreLocation
from tertulia.vocabulary.states import RunStatus
from tertulia_server import store_command
from tertulia_server.cli import main
from tertulia_server.store_token import store_token, token_file
from tests.client.making import ME, add_conversation, add_message, add_run
from tests.support.postgres import installed_programs

pytestmark = pytest.mark.io


async def _fill(location: StoreLocation) -> None:
    async with Store(location) as store:
        await store.write(add_conversation)
        await store.write(partial(add_message, text="Acme renews in May"))


async def _send(location: StoreLocation) -> None:
    """Enter a run that has been sent to a platform."""
    async with Store(location) as store:
        await store.write(partial(add_message, text="Hello", id="m_1"))
        await store.write(lambda tx: runs.set_status(tx, add_run(tx), RunStatus.RUNNING))
        await store.write(
            lambda tx: [
                tx.run(f"UPDATE {table} SET {column} = 'r2r:c1' WHERE principal = ?", ME)
                for table, column in (
                    ("conversations", "id"),
                    ("messages", "conversation_id"),
                    ("runs", "conversation_id"),
                )
            ]
        )


async def _status(location: StoreLocation) -> RunStatus:
    async with Store(location) as store:
        return await store.read(lambda tx: runs.get(tx, ME, "run_1").status)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a store with a conversation."""
    path = tmp_path / "store.db"
    anyio.run(_fill, path)
    return path


def test_a_store_moves_into_a_database_and_back(
    path: Path, database: PostgresUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the token that its callers over HTTP have. Whoever names the former place is told the new one."""
    token = store_token(path)
    back = path.with_name("back.db")

    assert main(["store", "copy", str(path), database.url]) == 0
    copied = capsys.readouterr()
    assert main(["search", "acme", "--store", database.url]) == 0
    found = capsys.readouterr().out
    assert main(["search", "acme", "--store", str(path)]) == 2
    refused = capsys.readouterr().err
    assert store_token(database) == token
    assert main(["store", "copy", database.url, str(back)]) == 0
    assert main(["search", "acme", "--store", str(back)]) == 0

    assert copied.out == (
        f"{database}: 1 conversations, 1 messages. Copied, and compared row by row.\n"
        f"{path} is closed: whoever uses it is told where the store is.\n"
    )
    assert copied.err == ""
    assert "Acme renews in May" in found
    assert refused == (
        f"tertulia: The store {path} has moved to {database}. "
        "Name that with --store, or as `store` in the configuration file.\n"
    )
    assert token_file(back).read_text() == f"{token}\n"


def test_the_password_of_a_database_is_not_shown(
    path: Path, database: PostgresUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither now nor to whoever asks the former place later."""
    url = f"{database.url}&password=s3cret"
    assert main(["store", "copy", str(path), url]) == 0
    assert main(["store", "copy", url, str(path)]) == 2
    assert main(["search", "acme", "--store", str(path)]) == 2
    assert main(["store", "copy", str(path), "postgresql://ann:s3cret@127.0.0.1:1/db"]) == 2
    assert main(["store", "reopen", url]) == 2

    told = capsys.readouterr()
    assert "has moved to postgresql:///" in told.err
    assert "s3cret" not in told.out + told.err
    assert b"s3cret" not in path.read_bytes()


def test_a_copy_can_stand_beside_its_source(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a token of its own, and sends nothing that its source has sent."""
    anyio.run(_send, path)
    store_token(path)
    copy = tmp_path / "copy.db"

    assert main(["store", "copy", str(path), str(copy), "--keep"]) == 0

    assert capsys.readouterr().out == (
        f"{copy}: 1 conversations, 2 messages. Copied, and compared row by row.\n"
        "It is a store of its own: it refuses cursors of the other one.\n"
        "Of the messages that are unanswered, 1 may have been sent to platforms; "
        "their runs are interrupted in the copy.\n"
    )
    assert not token_file(copy).exists()
    assert anyio.run(_status, copy) is RunStatus.INTERRUPTED
    assert anyio.run(_status, path) is RunStatus.RUNNING


def test_a_store_that_has_moved_is_opened_again(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For whoever must go back. Another one needs no opening."""
    anyio.run(_send, path)
    assert main(["store", "reopen", str(path)]) == 2
    assert capsys.readouterr().err == f"tertulia: The store {path} has not moved.\n"
    assert main(["store", "copy", str(path), str(tmp_path / "copy.db")]) == 0
    capsys.readouterr()

    assert main(["store", "reopen", str(path)]) == 0

    assert capsys.readouterr().out == (
        f"{path} can be used. It is a store of its own: it refuses cursors from before.\n"
        "Of the messages that were unanswered, 1 may have been sent since; their runs are interrupted.\n"
    )
    assert anyio.run(_status, path) is RunStatus.INTERRUPTED


def test_a_copy_that_is_stopped_says_that_it_can_be_repeated(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C is no error."""

    def interrupted(*_: object, listener: CopyListener, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store_command, "copy_store", interrupted)

    assert main(["store", "copy", str(path), str(tmp_path / "copy.db")]) == store_command.INTERRUPTED

    assert capsys.readouterr().err == "Stopped; the command can be repeated.\n"


def test_a_database_is_backed_up_and_restored_as_the_hints_say(
    tmp_path: Path, database: PostgresUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    """By PostgreSQL's own programs; what was sent since the backup is not sent again."""
    programs = installed_programs()
    if programs is None or not (programs / "pg_dump").exists():
        pytest.skip("no pg_dump is installed")
    file = tmp_path / "backup.dump"
    anyio.run(_fill, database)
    anyio.run(_send, database)
    commands: list[list[str]] = []
    for command in ("backup", "restore"):
        assert main([command, str(file), "--store", database.url]) == 2
        quoted = capsys.readouterr().err.split("`")[1::2]
        commands += [shlex.split(each) for each in quoted if "--keep" not in each]
    dump, restore, reopen = commands

    subprocess.run([programs / dump[0], *dump[1:]], check=True, timeout=60)
    anyio.run(_reword, database)
    subprocess.run([programs / restore[0], *restore[1:]], check=True, timeout=60)
    assert main(reopen[1:]) == 0

    assert anyio.run(_status, database) is RunStatus.INTERRUPTED
    assert main(["search", "acme", "--store", database.url]) == 0
    assert "Acme renews in May" in capsys.readouterr().out


async def _reword(location: StoreLocation) -> None:
    async with Store(location) as store:
        await store.write(lambda tx: tx.run("UPDATE messages SET text = 'Since' WHERE principal = ?", ME))
