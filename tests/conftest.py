"""What every test can ask for."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, the one event loop that we serve on."""
    return "asyncio"
