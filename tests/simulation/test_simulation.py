"""Random schedules: whatever dies, stands still, is lost or late, every promise holds.

A schedule that fails is played again by its seed: `SIMULATION_SEED=4711 python3 dev.py test tests/simulation`.
"""

import logging
import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from tertulia.store.database import Store
from tests.simulation.checker import check
from tests.simulation.loop import run
from tests.simulation.process import simulate_stores
from tests.simulation.world import World

SEED = os.environ.get("SIMULATION_SEED")
QUICK = range(100)
LONG = range(100, 10_000)
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


def played(seed: int, template: Path, folder: Path) -> World:
    """Play a schedule and check it; say its seed if it fails."""
    store = folder / f"store-{seed}.db"
    shutil.copy(template, store)
    world = World(seed, store)
    try:
        run(world.play)
        check(world)
    except BaseException:
        print(f"SIMULATION_SEED={seed}", *world.machine.trace[-200:], sep="\n")
        raise
    for suffix in ("", "-wal", "-shm"):
        store.with_name(store.name + suffix).unlink(missing_ok=True)
    return world


@pytest.mark.skipif(SEED is not None, reason="one seed is played")
@pytest.mark.parametrize("first", range(QUICK.start, QUICK.stop, 10))
def test_every_promise_holds_in_a_hundred_schedules(first: int, template: Path, tmp_path: Path) -> None:
    """Each by its seed."""
    for seed in range(first, first + 10):
        played(seed, template, tmp_path)


@pytest.mark.skipif(SEED is not None, reason="one seed is played")
@pytest.mark.long
@pytest.mark.parametrize("first", range(LONG.start, LONG.stop, CHUNK))
def test_every_promise_holds_in_ten_thousand_schedules(first: int, template: Path, tmp_path: Path) -> None:
    """The same, for minutes."""
    for seed in range(first, first + CHUNK):
        played(seed, template, tmp_path)


@pytest.mark.skipif(SEED is None, reason="SIMULATION_SEED names no seed")
def test_the_schedule_of_a_seed(template: Path, tmp_path: Path) -> None:
    """It is printed when it fails."""
    played(int(SEED or 0), template, tmp_path)


def test_a_seed_is_the_same_schedule_each_time(template: Path, tmp_path: Path) -> None:
    """Otherwise nobody could look into a failure."""
    traces = [played(seed, template, tmp_path).machine.trace for seed in (3, 4, 3, 4)]

    assert traces[:2] == traces[2:]
