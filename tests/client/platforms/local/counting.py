"""How much is read of the store: the bound of an answer is what it reads, not how long a machine takes for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tertulia.platforms.local.archivist.toolcalls import Tool
from tertulia.platforms.local.archivist.tools import look_up
from tertulia.store.database import Row, Store, Transaction
from tests.client.platforms.local.talk import Talk


@dataclass
class Reading:
    """What a tool found, and what it read for that: rows, and characters in them."""

    result: Mapping[str, Any]
    rows: int
    characters: int


async def read_by(
    here: Talk, monkeypatch: pytest.MonkeyPatch, tool: Tool, arguments: Mapping[str, Any]
) -> Reading:
    """Call a tool that changes nothing, and count all it reads."""
    found: list[Row] = []
    every, one = Transaction.all, Transaction.one

    def all_(self: Transaction, sql: str, *values: Any) -> list[Row]:
        rows = every(self, sql, *values)
        found.extend(rows)
        return rows

    def one_(self: Transaction, sql: str, *values: Any) -> Row | None:
        row = one(self, sql, *values)
        found.extend([] if row is None else [row])
        return row

    async with Store(here.path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(Transaction, "all", all_)
            patch.setattr(Transaction, "one", one_)
            result = await store.read(lambda tx: look_up(tx, here.client.principal, tool, arguments))
    return Reading(
        result, len(found), sum(len(value) for row in found for value in row if isinstance(value, str))
    )
