"""Store-backed calls over stdio, beside a tool of the bare SDK that does nothing, and beside raw SQL.

`.venv/bin/python benchmarks/calls.py [--calls N]`. Held: a read through MCP costs at most half a millisecond more than
nothing does.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import apsw
from _measure import median_ms, print_table
from _stdio import BARE, connected, tertulia_command

AGENT = "local:archivist"


def main() -> None:
    """Measure one read after another on a store with one conversation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    calls: int = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store.db"
        with connected(BARE) as bare, connected(tertulia_command(store)) as own:
            first = own.call(
                "create_conversation", {"agent": AGENT, "message": "remember: forty thousand a year"}
            )
            conversation_id: str = first["structuredContent"]["conversation_id"]
            one = {"conversation_id": conversation_id}
            floor = median_ms(lambda: bare.call("nothing", {}), calls)
            reads = {
                "get_conversation": median_ms(lambda: own.call("get_conversation", one), calls),
                "list_messages": median_ms(lambda: own.call("list_messages", one), calls),
                "list_conversations": median_ms(lambda: own.call("list_conversations", {}), calls),
                "search_conversations": median_ms(
                    lambda: own.call("search_conversations", {"query": "forty"}), calls
                ),
                "send_message, answered": median_ms(
                    lambda: own.call("send_message", {**one, "text": "remember: x"}), calls
                ),
            }
            raw: Any = apsw.Connection(str(store))  # APSW's stubs leave its types half unknown
            sql = median_ms(
                lambda: raw.execute(
                    "SELECT * FROM conversations WHERE id = ?", (conversation_id,)
                ).fetchall(),
                calls,
            )
            raw.close()
    print_table(
        ["over stdio", "median ms", "over the bare SDK, ms", "ratio"],
        [
            ["raw SQL, in process", sql, "", ""],
            ["bare SDK, no-op", floor, 0.0, 1.0],
            *([name, taken, taken - floor, taken / floor] for name, taken in reads.items()),
        ],
    )


if __name__ == "__main__":
    main()
