"""What the tests of the client can ask for."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tertulia.store.database import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a store may be; nothing is there yet."""
    return tmp_path / "tertulia" / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[Store]:
    """Return a store, as one process has it."""
    async with Store(path) as store:
        yield store
