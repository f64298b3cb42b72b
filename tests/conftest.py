"""What every test can ask for, and what none may do without saying so."""

import gc
import sys
from collections.abc import Generator
from contextlib import nullcontext

import pytest

from tests.support.drawing import register_profiles
from tests.support.once import made_once
from tests.support.templates import copied_stores

register_profiles()

OUTSIDE = {"socket.bind", "socket.connect", "subprocess.Popen", "os.fork", "os.posix_spawn", "pty.spawn"}
"""The events of Python's audit that a socket or a process begins with."""


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every collection of garbage to come."""
    gc.freeze()


class Outside:
    """Notes what opens a socket or starts a process; `sys.addaudithook` takes it, and lets it never go."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Note an event."""
        if event in OUTSIDE:
            self.seen.append(event)


@pytest.fixture(scope="session")
def outside() -> Outside:
    """Return what notes every socket and process of this run."""
    outside = Outside()
    sys.addaudithook(outside)
    return outside


@pytest.fixture(autouse=True)
def only_marked_tests_go_outside(request: pytest.FixtureRequest, outside: Outside) -> Generator[None]:
    """Fail a test that opens a socket or starts a process and is not marked `io`: `--quick` would run it."""
    outside.seen.clear()
    yield
    if request.node.get_closest_marker("io") is None:
        assert outside.seen == [], "this test is to be marked `io`"


@pytest.fixture(scope="session", autouse=True)
def same_things_are_made_once() -> Generator[None]:
    """Make what is the same for each server and client once."""
    with made_once():
        yield


@pytest.fixture(autouse=True)
def stores_are_copies(request: pytest.FixtureRequest) -> Generator[None]:
    """Copy new stores from a template, except where a test is marked `creates`."""
    with nullcontext() if request.node.get_closest_marker("creates") else copied_stores():
        yield


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, the one event loop that we serve on."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Generator[str]:
    """Return the URL of a PostgreSQL server in which databases can be made."""
    from tests.support.postgres import server

    with server() as url:
        yield url
