"""What every test of R2R can ask for."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tertulia import Client
from tests.client.platforms.r2r import Place, placed


@pytest.fixture
async def place(path: Path) -> AsyncGenerator[Place]:
    """Return a server that asks for no credentials."""
    async with placed(path) as place:
        yield place


@pytest.fixture
async def talk(place: Place) -> AsyncGenerator[Client]:
    """Return a client of it."""
    async with place.client() as client:
        yield client
