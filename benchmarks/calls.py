"""Store-backed calls over stdio, beside a tool of the bare SDK that does nothing, and beside raw SQL.

`.venv/bin/python benchmarks/calls.py [--calls N]`. All are called in turn, twenty times each, so that other programs on
the machine are in the way of all alike. Held: a read through MCP costs at most half a millisecond more than nothing
does.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apsw
from _measure import median_ms, print_table
from _stdio import BARE, connected, tertulia_command

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


def main() -> None:
    """Measure one read after another on a store with one conversation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    count: int = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store.db"
        with connected(BARE) as bare, connected(tertulia_command(store)) as own:
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
                "search_conversations": lambda: own.call("search_conversations", {"query": "forty"}),
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
        ["over stdio", "median ms", "over the bare SDK, ms", "ratio"],
        [
            ["raw SQL, in process", sql, "", ""],
            [NOTHING, floor, 0.0, 1.0],
            *([name, taken, taken - floor, taken / floor] for name, taken in taken_by.items()),
        ],
    )


if __name__ == "__main__":
    main()
