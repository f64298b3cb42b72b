"""`tertulia backup` and `tertulia restore`: what a person reads."""

from functools import partial
from pathlib import Path

import pytest

from tertulia.store.database import Store
from tertulia_server.cli import main
from tests.client.making import add_conversation, add_message

pytestmark = pytest.mark.anyio


async def test_a_backup_is_made_and_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each says in one line what it holds; errors are one sentence."""
    path, file = tmp_path / "store.db", tmp_path / "backup.db"
    async with Store(path) as store:
        await store.write(add_conversation)
        await store.write(partial(add_message, text="before"))

        assert main(["backup", str(file), "--store", str(path)]) == 0
        assert capsys.readouterr().out == f"{file}: 1 conversations, 1 messages.\n"
        await store.write(partial(add_message, text="after"))
        assert main(["backup", str(file), "--store", str(path)]) == 2
        assert capsys.readouterr().err == f"tertulia: The file {file} exists already. Name a new file.\n"

        assert main(["restore", str(file), "--store", str(path)]) == 0
        assert capsys.readouterr().out == f"{path}: 1 conversations, 1 messages.\n"

        texts = await store.read(lambda tx: tx.all("SELECT text FROM messages"))
        assert texts == [("before",)]


@pytest.mark.parametrize(("command", "instead"), [("backup", "pg_dump"), ("restore", "pg_restore")])
def test_a_database_is_copied_by_its_own_programs(
    command: str, instead: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which ones, the error says."""
    assert main([command, "backup.db", "--store", "postgresql://ann:s3cret@host/db"]) == 2
    said = capsys.readouterr().err
    assert "postgresql://ann@host/db is a database, and not a file. " in said
    assert f"se `{instead} --" in said
    assert "s3cret" not in said
