"""Sent messages: how long one takes until it is accepted, and until it is answered; and how many a second.

`.venv/bin/python benchmarks/sends.py [--sends N] [--seconds N]`. One caller over stdio, beside a tool of the bare SDK
that does nothing; then eight callers of one server over HTTP, each with conversations of its own. The archivist
answers.
"""

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from _http import HttpClient, serving
from _measure import print_table
from _stdio import BARE, RawClient, connected, tertulia_command

AGENT = "local:archivist"
CALLERS = 8
EACH = 25
"""How many conversations a caller takes in turn: an answer is there before its conversation's next message."""


def conversations(client: RawClient | HttpClient, count: int) -> Sequence[str]:
    """Create conversations and return their ids."""
    created = [client.call("create_conversation", {"agent": AGENT}) for _ in range(count)]
    return [one["structuredContent"]["conversation_id"] for one in created]


def timed(call: Callable[[], object], pause: float) -> float:
    """Return the seconds of a call, after a pause in which what went before comes to its end."""
    time.sleep(pause)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def one_caller(sends: int) -> list[list[str | float]]:
    """Return the medians of calls over stdio, in turn."""
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store.db"
        with connected(BARE) as bare, connected(tertulia_command(store)) as own:
            (one,) = conversations(own, 1)

            def send(text: str, **more: object) -> object:
                number = next(numbers)
                message = {"conversation_id": one, "text": f"{text} {number}", **more}
                return own.call("send_message", message)

            def key() -> str:
                return f"key {next(numbers)}"

            calls: dict[str, Callable[[], object]] = {
                "bare SDK, no-op": lambda: bare.call("nothing", {}),
                "add_message": lambda: own.call("add_message", {"conversation_id": one, "text": "a note"}),
                "accepted (wait_seconds 0)": lambda: send("remember: note", wait_seconds=0),
                "accepted, with a key": lambda: send("remember: note", wait_seconds=0, idempotency_key=key()),
                "answered: remember": lambda: send("remember: note"),
                "answered: find": lambda: send("find note"),
            }
            taken: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(sends):
                for name, call in calls.items():
                    taken[name].append(timed(call, 0.02))
    medians = {name: statistics.median(times[3:]) * 1000 for name, times in taken.items()}
    floor = medians["bare SDK, no-op"]
    return [[name, median, median - floor, median / floor] for name, median in medians.items()]


def callers(seconds: float, store: Path | str, **more: object) -> float:
    """Return how many messages a second eight callers of a server with this store send over HTTP."""
    with serving(store) as url:
        first = HttpClient(url)
        created = conversations(first, CALLERS * EACH)
        first.close()
        clients = [HttpClient(url) for _ in range(CALLERS)]  # now: an idle connection is closed before long
        turns = [itertools.cycle(created[caller::CALLERS]) for caller in range(CALLERS)]
        sent = itertools.count()

        def work(client: HttpClient, turn: Iterator[str], until: float) -> None:
            while time.monotonic() < until:
                message = {"conversation_id": next(turn), "text": f"remember: {next(sent)}", **more}
                client.call("send_message", message)

        start = time.monotonic()
        workers = [
            threading.Thread(target=work, args=(client, turn, start + seconds))
            for client, turn in zip(clients, turns, strict=True)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        taken = time.monotonic() - start
        for client in clients:
            client.close()
        return next(sent) / taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sends", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    print_table(["one caller, stdio", "median ms", "over the bare SDK, ms", "ratio"], one_caller(given.sends))
    with tempfile.TemporaryDirectory() as folder:
        accepted = callers(given.seconds, Path(folder) / "accepted.db", wait_seconds=0)
        answered = callers(given.seconds, Path(folder) / "answered.db")
    print_table(
        ["eight callers, HTTP", "sends/s"],
        [["accepted (wait_seconds 0)", accepted], ["answered", answered]],
    )


if __name__ == "__main__":
    main()
