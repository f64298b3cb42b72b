"""What the tests of the server can ask for."""

from collections.abc import Generator

import pytest

from tertulia.vocabulary.location import PostgresUrl
from tests.doubles.hosts import connect, connect_in_memory
from tests.support.postgres import Database, server

__all__ = ["connect", "connect_in_memory"]


@pytest.fixture(scope="session")
def database_server() -> Generator[str]:
    """Return the URL of a PostgreSQL server."""
    with server() as url:
        yield url


@pytest.fixture
def database(database_server: str) -> Generator[PostgresUrl]:
    """Return a database in which nothing is."""
    with Database.made(database_server) as database:
        yield database.url
