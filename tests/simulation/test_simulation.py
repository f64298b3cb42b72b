"""Random schedules: whatever dies, stands still, is lost or late, every promise holds.

A schedule that fails is played again by its seed: `SIMULATION_SEED=4711 python3 dev.py test tests/simulation`.
"""

import logging
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tertulia.store.database import Store
from tertulia.vocabulary.location import StoreLocation
from tests.simulation.checker import check
from tests.simulation.loop import run
from tests.simulation.process import simulate_stores
from tests.simulation.world import World
from tests.support.postgres import Database

SEED = os.environ.get("SIMULATION_SEED")
QUICK = range(50)
LONG = range(50, 10_010)
CHUNK = 20


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty store, to be copied: making the tables takes longer than a schedule."""
    path = tmp_path_factory.mktemp("template") / "store.db"

    async def make() -> None:
        async with Store(path) as store:
            await store.read(lambda tx: tx.one("SELECT 1"))

    import anyio

    anyio.run(make)
    return path


@pytest.fixture(autouse=True)
def simulated(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Have clients open simulated stores, and log nothing: what dies complains."""
    simulate_stores(monkeypatch.setattr)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


Empty = Callable[[], AbstractContextManager[StoreLocation]]
"""Has an empty store for a schedule."""


@pytest.fixture
def file(template: Path, tmp_path: Path) -> Empty:
    """Return what copies the template, and removes the copy."""

    @contextmanager
    def copied() -> Generator[StoreLocation]:
        store = tmp_path / "store.db"
        shutil.copy(template, store)
        yield store
        for suffix in ("", "-wal", "-shm"):
            store.with_name(store.name + suffix).unlink(missing_ok=True)

    return copied


@pytest.fixture(scope="module")
def database(postgres_server: str) -> Generator[Empty]:
    """Return what empties a database."""
    with Database.made(postgres_server) as made:

        @contextmanager
        def emptied() -> Generator[StoreLocation]:
            made.clear()
            yield made.url

        yield emptied


def played(seed: int, empty: Empty) -> World:
    """Play a schedule and check it; say its seed if it fails."""
    with empty() as store:
        world = World(seed, store)
        try:
            run(world.play)
            check(world)
        except BaseException:
            print(f"SIMULATION_SEED={seed}", *world.machine.trace[-200:], sep="\n")
            raise
    return world


one_seed = pytest.mark.skipif(SEED is not None, reason="one seed is played")


@one_seed
@pytest.mark.parametrize("first", range(QUICK.start, QUICK.stop, 10))
def test_every_promise_holds_in_fifty_schedules(first: int, file: Empty) -> None:
    """Each by its seed."""
    for seed in range(first, first + 10):
        played(seed, file)


@one_seed
@pytest.mark.io
def test_every_promise_holds_in_some_schedules_on_postgresql(database: Empty) -> None:
    """Where connections are lost in a commit, too."""
    for seed in range(5):
        played(seed, database)


@one_seed
@pytest.mark.long
@pytest.mark.parametrize("first", range(LONG.start, LONG.stop, CHUNK))
def test_every_promise_holds_in_ten_thousand_schedules(first: int, file: Empty) -> None:
    """The same, for minutes."""
    for seed in range(first, first + CHUNK):
        played(seed, file)


@one_seed
@pytest.mark.io
@pytest.mark.long
@pytest.mark.parametrize("first", range(LONG.start, LONG.start + 1_000, 5))
def test_every_promise_holds_in_a_thousand_schedules_on_postgresql(first: int, database: Empty) -> None:
    """A schedule takes ten times as long there."""
    for seed in range(first, first + 5):
        played(seed, database)


@pytest.mark.skipif(SEED is None, reason="SIMULATION_SEED names no seed")
@pytest.mark.parametrize("empty", ["file", pytest.param("database", marks=pytest.mark.io)])
def test_the_schedule_of_a_seed(empty: str, request: pytest.FixtureRequest) -> None:
    """It is printed when it fails."""
    played(int(SEED or 0), request.getfixturevalue(empty))


@pytest.mark.parametrize(
    ("empty", "seeds"),
    [("file", (3, 4)), pytest.param("database", (3,), marks=pytest.mark.io)],
)
def test_a_seed_is_the_same_schedule_each_time(
    empty: str, seeds: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    """Otherwise nobody could look into a failure."""
    store: Empty = request.getfixturevalue(empty)

    first, second = ([played(seed, store).machine.trace for seed in seeds] for _ in range(2))

    assert first == second
