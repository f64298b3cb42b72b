"""What the benchmarks share: timing, and a table of results."""

import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

ROWS = "BENCHMARK_ROWS"
"""The environment variable with the file that tables are written to as well, one a line, for `rounds.py`."""

ROUNDS = 25
PATIENCE = 2.0
"""Seconds after which a slow measurement ends early."""


def median_ms(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median time of `work` in milliseconds, after one call that does not count."""
    work()
    times: list[float] = []
    while len(times) < rounds and sum(times) < PATIENCE:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


async def median_ms_async(work: Callable[[], Awaitable[object]], rounds: int = ROUNDS) -> float:
    """Return the median time of awaiting `work` in milliseconds, after one call that does not count."""
    await work()
    times: list[float] = []
    while len(times) < rounds and sum(times) < PATIENCE:
        start = time.perf_counter()
        await work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def thread_clock(*_: object) -> Callable[[], float]:
    """Return what tells for how many seconds this thread has been busy."""
    return time.thread_time


class OnCpu(Generic[T]):
    """Does `work`, and notes for how long it kept its thread busy: others on the machine change less of that.

    `clock` makes what tells that, of the arguments.
    """

    def __init__(
        self, work: Callable[..., T], clock: Callable[..., Callable[[], float]] = thread_clock
    ) -> None:
        self._work = work
        self._clock = clock
        self._busy: list[float] = []

    def __call__(self, *args: object) -> T:
        """Do the work once."""
        busy = self._clock(*args)
        begun = busy()
        try:
            return self._work(*args)
        finally:
            self._busy.append(busy() - begun)

    def median_ms(self) -> float:
        """Return the median time in milliseconds."""
        return statistics.median(self._busy) * 1000


def print_table(head: Sequence[str], rows: Sequence[Sequence[str | float | int]]) -> None:
    """Print rows under `head`: the first column to the left, figures to the right."""
    cells = [list(head), *([_shown(cell) for cell in row] for row in rows)]
    if ROWS in os.environ:
        with Path(os.environ[ROWS]).open("a") as file:
            file.write(f"{json.dumps(cells)}\n")
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        print("  ".join([row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))]).rstrip())


def read_tables(path: Path) -> list[list[list[str]]]:
    """Return the tables that were written to a file, each with its head first."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def _shown(cell: str | float | int) -> str:
    return f"{cell:,.3f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else cell
