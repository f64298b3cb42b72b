"""What the tests of the client can ask for."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from tertulia.store.database import Store
from tertulia.vocabulary.location import PostgresUrl
from tests.support.postgres import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a store may be; nothing is there yet."""
    return tmp_path / "tertulia" / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[Store]:
    """Return a store, as one process has it."""
    async with Store(path) as store:
        yield store


@pytest.fixture(scope="session")
def postgres(postgres_server: str) -> Generator[Database]:
    """Return a database of our own in a PostgreSQL server."""
    with Database.made(postgres_server) as database:
        yield database


@pytest.fixture
def database(postgres: Database) -> PostgresUrl:
    """Return where a store in PostgreSQL is; nothing is in it."""
    postgres.clear()
    return postgres.url
