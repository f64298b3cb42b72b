"""Store-backed calls, beside a tool of the bare SDK that does nothing, and beside raw SQL.

`.venv/bin/python benchmarks/calls.py [--calls N] [--http] [--store FILE] [--query WORDS]`. Over stdio, or over HTTP; in
a store with one conversation, or in one that is there, such as that of `search.py`. All are called in turn, twenty
times each, so that other programs on the machine are in the way of all alike. Held: a read through MCP costs at most
half a millisecond more than nothing does.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
from _http import HttpClient, serving, started
from _measure import median_ms, print_table
from _stdio import BARE, RawClient, connected, tertulia_command

AGENT = "local:archivist"
NOTHING = "bare SDK, no-op"
BLOCK = 20
"""How often each is called before the next one's turn."""


def in_turn(calls: Mapping[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Return the median milliseconds of each of these calls, of `count` or a few more."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(-(count // -BLOCK)):
        for name, call in calls.items():
            for _ in range(BLOCK):
                start = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) * 1000 for name, times in taken.items()}


@contextmanager
def servers(store: Path, *, http: bool) -> Generator[tuple[RawClient | HttpClient, RawClient | HttpClient]]:
    """Start the bare SDK's server and Tertulia; yield a client of each."""
    if http:
        with started([*BARE, "--http"]) as bare, serving(store) as own:
            yield HttpClient(bare), HttpClient(own)
    else:
        with connected(BARE) as bare, connected(tertulia_command(store)) as own:
            yield bare, own


def main() -> None:
    """Measure one read after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--query", default="forty", help="what is searched for")
    given = parser.parse_args()
    count: int = given.calls
    with tempfile.TemporaryDirectory() as folder:
        store: Path = given.store or Path(folder) / "store.db"
        with servers(store, http=given.http) as (bare, own):
            first = own.call(
                "create_conversation", {"agent": AGENT, "message": "remember: forty thousand a year"}
            )
            conversation_id: str = first["structuredContent"]["conversation_id"]
            one = {"conversation_id": conversation_id}
            calls: dict[str, Callable[[], object]] = {
                NOTHING: lambda: bare.call("nothing", {}),
                "get_conversation": lambda: own.call("get_conversation", one),
                "list_messages": lambda: own.call("list_messages", one),
                "list_conversations": lambda: own.call("list_conversations", {}),
                "search_conversations": lambda: own.call("search_conversations", {"query": given.query}),
            }
            medians = in_turn(calls, count)
            answered = median_ms(lambda: own.call("send_message", {**one, "text": "remember: x"}), count)
            raw: Any = apsw.Connection(str(store))  # APSW's stubs leave its types half unknown
            sql = median_ms(
                lambda: raw.execute(
                    "SELECT * FROM conversations WHERE id = ?", (conversation_id,)
                ).fetchall(),
                count,
            )
            raw.close()
    floor = medians.pop(NOTHING)
    taken_by = {**medians, "send_message, answered": answered}
    print_table(
        ["over HTTP" if given.http else "over stdio", "median ms", "over the bare SDK, ms", "ratio"],
        [
            ["raw SQL, in process", sql, "", ""],
            [NOTHING, floor, 0.0, 1.0],
            *([name, taken, taken - floor, taken / floor] for name, taken in taken_by.items()),
        ],
    )


if __name__ == "__main__":
    main()
