"""How much is read of the store: the bound of an answer is what it reads, not how long a machine takes for it."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tertulia.store.database import Row, Transaction


@dataclass
class Reading:
    """What was read: rows, and characters of text in them."""

    rows: int = 0
    characters: int = 0
    counts: bool = False


def observed(monkeypatch: pytest.MonkeyPatch) -> Reading:
    """Return what is counted of all that any transaction reads from now on."""
    reading = Reading()
    every = Transaction.all

    def counting(self: Transaction, sql: str, *values: Any) -> list[Row]:
        rows = every(self, sql, *values)
        if reading.counts:
            reading.rows += len(rows)
            reading.characters += sum(len(value) for row in rows for value in row if isinstance(value, str))
        return rows

    monkeypatch.setattr(Transaction, "all", counting)
    return reading


@contextmanager
def counted_rows(reading: Reading) -> Generator[None]:
    """Count from zero, meanwhile."""
    reading.rows = reading.characters = 0
    reading.counts = True
    try:
        yield
    finally:
        reading.counts = False
