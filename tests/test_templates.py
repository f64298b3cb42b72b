"""A store that is a copy of the template is what the product would have made."""

import stat
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tertulia.store import private_files
from tertulia.store.database import Store, Transaction
from tests.client.inside import everything
from tests.support.templates import copied_stores

pytestmark = [pytest.mark.anyio, pytest.mark.creates]

SETTINGS = ("user_version", "application_id", "journal_mode", "encoding", "page_size", "auto_vacuum")


def whole(tx: Transaction) -> tuple[Sequence[Any], ...]:
    """Return all that a store has, except its epoch."""
    found = everything(tx)
    found["meta"] = [row for row in found["meta"] if row[0] != "epoch"]
    tables = tx.all("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")
    return [tx.one(f"PRAGMA {name}") for name in SETTINGS], tables, list(found.items())


async def created(path: Path, *, copied: bool) -> tuple[str, tuple[Sequence[Any], ...]]:
    """Create a store; return its epoch and what it has."""
    with copied_stores() if copied else nullcontext():
        async with Store(path) as store:
            found = await store.read(whole)
            return store.epoch, found


async def test_a_copy_has_what_a_new_store_has_and_an_epoch_of_its_own(tmp_path: Path) -> None:
    new, content = await created(tmp_path / "new.db", copied=False)
    first, copied = await created(tmp_path / "first.db", copied=True)
    second, _ = await created(tmp_path / "second.db", copied=True)

    assert copied == content
    assert len({new, first, second}) == 3
    assert {each.name for each in tmp_path.iterdir()} == {"new.db", "first.db", "second.db"}


async def test_other_files_are_created_empty(tmp_path: Path) -> None:
    with copied_stores():
        private_files.create_file(tmp_path / "config.toml")

    assert (tmp_path / "config.toml").read_bytes() == b""


async def test_a_store_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    before = await created(path, copied=False)

    assert await created(path, copied=True) == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights")
async def test_only_its_owner_can_read_a_copy(tmp_path: Path) -> None:
    await created(tmp_path / "store.db", copied=True)

    assert stat.S_IMODE((tmp_path / "store.db").stat().st_mode) == 0o600
