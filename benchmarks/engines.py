"""A store in a file and one in a PostgreSQL database, side by side: the same calls, in turn.

`.venv/bin/python benchmarks/engines.py --store URL [--calls N] [--seconds N]`. The database is filled; take one for it
alone. One caller over stdio at a server on each engine, beside a tool of the bare SDK that does nothing; then, without
a server, one message that is written while another process watches its conversation; then eight callers over HTTP.

Where the database is not on the same machine, each transaction takes some of its round trips more.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import anyio
from _measure import print_table
from _stdio import BARE, RawClient, connected, tertulia_command
from sends import callers

from tertulia.store import conversations, messages
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.identifiers import new_id
from tertulia.vocabulary.location import store_location
from tertulia.vocabulary.models import ConversationDraft, Message, Role
from tertulia.vocabulary.states import Status

AGENT = "local:archivist"
PAUSE = 0.02
"""Seconds before each call, in which what the last one has begun comes to its end."""
TURNS = 6
"""How many conversations get messages in turn: an answer is there before its conversation's next message."""
PATIENCE = 5
"""Seconds that another process may take to notice a change."""

Row = list[str | float]


class Caller:
    """One caller of a server with a store of its own, and what is measured there."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._number = itertools.count()
        first, *others = (self._created() for _ in range(1 + TURNS))
        client.call("send_message", {**first, "text": "remember: forty thousand"})
        self._one = first
        self._turn = itertools.cycle(others)

    @property
    def calls(self) -> Mapping[str, Callable[[], object]]:
        """What is called, by name."""
        call, one = self._client.call, self._one
        return {
            "get_conversation": lambda: call("get_conversation", one),
            "list_messages": lambda: call("list_messages", {**one, "limit": 20}),
            "list_conversations": lambda: call("list_conversations", {}),
            "search_conversations": lambda: call("search_conversations", {"query": "forty"}),
            "add_message": lambda: call("add_message", {**one, "text": "a note"}),
            "send_message, accepted": lambda: self._send(wait_seconds=0),
            "send_message, answered": self._send,
        }

    def _created(self) -> dict[str, object]:
        created = self._client.call("create_conversation", {"agent": AGENT})
        return {"conversation_id": created["structuredContent"]["conversation_id"]}

    def _send(self, **more: object) -> object:
        text = f"remember: note {next(self._number)}"
        return self._client.call("send_message", {**next(self._turn), "text": text, **more})


def one_caller(stores: Sequence[str], calls: int) -> list[Row]:
    """Return the medians of calls over stdio, of both engines in turn."""
    with ExitStack() as stack:
        bare = stack.enter_context(connected(BARE))
        servers = [stack.enter_context(connected(tertulia_command(store))) for store in stores]
        on_each = [Caller(server).calls for server in servers]
        measured: dict[str, Sequence[Callable[[], object]]] = {
            "bare SDK, no-op": [partial(bare.call, "nothing", {})] * len(stores),
            **{name: [calls[name] for calls in on_each] for name in on_each[0]},
        }
        taken = {name: [list[float]() for _ in stores] for name in measured}
        for _ in range(calls):
            for name, engines in measured.items():
                for call, times in zip(engines, taken[name], strict=True):
                    time.sleep(PAUSE)
                    begun = time.perf_counter()
                    call()
                    times.append(time.perf_counter() - begun)
    return [_row(name, *(statistics.median(times[3:]) * 1000 for times in of)) for name, of in taken.items()]


def _row(name: str, file: float, database: float) -> Row:
    return [name, file, database, database / file]


async def watch(store: str, conversation_id: str) -> None:
    """Print when this process is woken, after a line that says that it watches; until it is ended."""
    async with Store(store_location(store)) as opened:
        with opened.watch(conversation_id) as changes:
            await opened.read(lambda _: None)
            print("watching", flush=True)
            while True:
                await changes.changed()
                print(time.monotonic(), flush=True)


@contextmanager
def watcher(store: str, conversation_id: str) -> Generator[Callable[[], float]]:
    """Have another process watch; what is yielded waits for it to wake, and returns when it did."""
    command = (sys.executable, __file__, "--store", store, "--watch", conversation_id)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "watching\n"
        yield lambda: float(process.stdout.readline()) if process.stdout is not None else 0.0
        process.terminate()


def noticed(store: str, times: int) -> tuple[float, float]:
    """Return how long a message takes to be written, and until another process is woken by it, in milliseconds."""
    native_id = new_id("c_")
    conversation_id = f"local:{native_id}"

    def begin(tx: Transaction) -> None:
        draft = ConversationDraft(agent=AGENT, native_id=native_id)
        conversations.insert(tx, "local", conversation_id, draft, Status.OPEN)

    def say(tx: Transaction) -> None:
        message = Message(
            id=new_id("m_"),
            conversation_id=conversation_id,
            author="user",
            role=Role.USER,
            text="something that another process waits for",
        )
        messages.add(tx, "local", message)

    async def measure() -> tuple[float, float]:
        wrote, woke = list[float](), list[float]()
        async with Store(store_location(store)) as opened:
            await opened.write(begin, principal="local")
            with watcher(store, conversation_id) as woken:
                for _ in range(times):
                    await anyio.sleep(PAUSE)
                    begun = time.monotonic()
                    await opened.write(say, principal="local")
                    wrote.append(time.monotonic() - begun)
                    with anyio.fail_after(PATIENCE):
                        while (at := await anyio.to_thread.run_sync(woken)) < begun:
                            pass  # woken by what went before
                    woke.append(at - begun)
        return statistics.median(wrote) * 1000, statistics.median(woke) * 1000

    return anyio.run(measure)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="A file and a PostgreSQL database, side by side.")
    parser.add_argument("--store", required=True, help="the URL of the database")
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.watch is not None:
        anyio.run(watch, given.store, given.watch)
        return
    with tempfile.TemporaryDirectory() as folder:
        stores = (str(Path(folder) / "store.db"), given.store)
        rows = one_caller(stores, given.calls)
        (wrote, woke), (wrote_there, woke_there) = (noticed(store, given.calls) for store in stores)
        rows += [
            _row("a message written, without a server", wrote, wrote_there),
            _row("and another process woken by it", woke, woke_there),
        ]
        print_table(["one caller", "file, ms", "PostgreSQL, ms", "ratio"], rows)
        sent = [
            _row(name, *(callers(given.seconds, store, **more) for store in stores))
            for name, more in (("accepted (wait_seconds 0)", {"wait_seconds": 0}), ("answered", {}))
        ]
        print_table(["eight callers, HTTP", "file, sends/s", "PostgreSQL, sends/s", "ratio"], sent)


if __name__ == "__main__":
    main()
