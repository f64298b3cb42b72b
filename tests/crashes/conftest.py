"""Where the servers that are killed have their stores."""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tertulia.vocabulary.location import StoreLocation
from tests.crashes.sites import Stores
from tests.support.postgres import Database


@pytest.fixture(params=["sqlite", "postgres"])
def stores(request: pytest.FixtureRequest) -> Stores:
    """Return what makes a store for a folder, on each engine."""
    if request.param == "sqlite":
        return lambda folder: nullcontext(folder / "store.db")
    server: str = request.getfixturevalue("postgres_server")

    @contextmanager
    def database(_: Path) -> Generator[StoreLocation]:
        with Database.made(server) as made:
            yield made.url

    return database
