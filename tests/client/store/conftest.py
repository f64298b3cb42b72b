"""A store on each engine, for what holds on all of them."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tertulia.store.database import Store, Transaction
from tertulia.store.engine import EngineOptions
from tertulia.vocabulary.location import StoreLocation
from tests.client.store.library import Library
from tests.doubles.repeating import Repeating


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.io)])
def location(request: pytest.FixtureRequest, path: Path) -> StoreLocation:
    """Return where a store may be: a file that is not there yet, or a database with empty tables."""
    return path if request.param == "sqlite" else request.getfixturevalue("database")


@pytest.fixture
async def store(location: StoreLocation) -> AsyncGenerator[Store]:
    """Return a store, as one process has it, on each engine; whatever a test writes with it is done twice."""
    made: list[Repeating] = []

    def repeating(where: StoreLocation, options: EngineOptions) -> Repeating:
        made.append(Repeating(where, options))
        return made[-1]

    async with Store(location, engine=repeating) as store:
        yield store
    assert made[0].differed == []


@pytest.fixture
async def plain_store(location: StoreLocation) -> AsyncGenerator[Store]:
    """Return a store on each engine that does everything once, for tests that write thousands of messages."""
    async with Store(location) as store:
        yield store


@pytest.fixture
def library(plain_store: Store) -> Library:
    """Return an empty store to search in."""
    return Library(plain_store)


@pytest.fixture
async def file_store(path: Path) -> AsyncGenerator[Store]:
    """Return a store in a file, as one process has it."""
    async with Store(path) as store:
        yield store


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return how SQLite carries out what is read from now on, step by step."""
    steps: list[str] = []
    read = Transaction.all

    def explained(tx: Transaction, sql: str, *values: Any) -> list[Any]:
        steps.extend(str(row[-1]) for row in read(tx, f"EXPLAIN QUERY PLAN {sql}", *values))
        return read(tx, sql, *values)

    def first(tx: Transaction, sql: str, *values: Any) -> Any:
        return next(iter(explained(tx, sql, *values)), None)

    monkeypatch.setattr(Transaction, "all", explained)
    monkeypatch.setattr(Transaction, "one", first)
    return steps
