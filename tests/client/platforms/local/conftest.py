"""A conversation with the archivist for every test that asks for one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.client.platforms.local.talk import Talk, talk


@pytest.fixture
async def here(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Talk]:
    """A conversation over a store of its own."""
    async with talk(tmp_path / "tertulia.db") as conversation:
        yield conversation
