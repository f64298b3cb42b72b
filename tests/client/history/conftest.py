"""A store for every test of imports and exports that asks for one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.client.history.bringing import Bringing, bringing


@pytest.fixture
async def here(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Bringing]:
    """An empty store."""
    async with bringing(tmp_path / "tertulia.db") as store:
        yield store
