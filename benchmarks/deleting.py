"""Measure what deletion costs: that words leave the pages of the full-text index, and how long nobody else can write.

    python benchmarks/deleting.py [--messages N] [--long N]

Builds a store of N messages (a hundred thousand by default) as `benchmarks/search.py` does, and deletes in it: with
FTS5's option `secure-delete`, and without. Then it erases what was deleted without, in steps, as an idle store does.
Last, one conversation of as many messages as `--long` says is deleted, and the longest transaction of that is shown;
`CPU` is the time that it kept its thread busy, without the commit.
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
from _measure import OnCpu, print_table
from search import Corpus, build

from tertulia.store import conversations, messages
from tertulia.store.database import Store, Transaction
from tertulia.store.sqlite import erasure
from tertulia.vocabulary.models import ConversationDraft, Message, Role
from tertulia.vocabulary.states import Status

T = TypeVar("T")
ROUNDS = 20
BATCH = 2_000
ME = "local"
LONG = "local:long"
SETTING = "INSERT INTO message_index (message_index, rank) VALUES ('secure-delete', ?)"


def owned(tx: Transaction) -> list[tuple[str, str]]:
    """Return conversations that have messages: the newest, and the oldest, whose words stand in older segments."""
    found = tx.all("SELECT DISTINCT principal, conversation_id FROM messages ORDER BY position")
    middle = found[len(found) // 2 :]
    return [(row[0], row[1]) for pair in zip(found, middle, strict=False) for row in pair]


def remove(tx: Transaction, own: tuple[str, str]) -> None:
    """Remove a conversation's first message."""
    row = tx.one(
        "SELECT id FROM messages WHERE principal = ? AND conversation_id = ? ORDER BY position LIMIT 1", *own
    )
    assert row is not None
    messages.remove(tx, *own, row[0])


def erase(tx: Transaction) -> list[float]:
    """Erase deleted words from the index of messages; return how long each step took, in milliseconds."""
    times: list[float] = []
    step = erasure.begin
    more = True
    while more:
        start = time.perf_counter()
        more = step(tx, "message_index")
        times.append((time.perf_counter() - start) * 1000)
        step = erasure.go_on
    return times


async def timed(store: Store, works: Iterator[Callable[[Transaction], object]]) -> float:
    """Return the median time of `ROUNDS` transactions, in milliseconds."""
    times: list[float] = []
    for _ in range(ROUNDS):
        work = next(works)
        start = time.perf_counter()
        await store.write(work)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


class WatchedStore(Store):
    """A store that notes how long it writes, in milliseconds: `holds`, and without the commit `busy`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.holds: list[float] = []
        self.busy: list[float] = []

    async def write(
        self,
        work: Callable[[Transaction], T],
        *,
        principal: str | frozenset[str] | None = None,
        conversation_id: str | None = None,
    ) -> T:
        """See `Store`."""
        on_cpu = OnCpu(work)
        begun = time.perf_counter()
        done = await super().write(on_cpu, principal=principal, conversation_id=conversation_id)
        self.holds.append((time.perf_counter() - begun) * 1000)
        self.busy.append(on_cpu.median_ms())
        return done


async def delete_long(path: Path, count: int) -> list[str | float | int]:
    """Delete a conversation of so many messages; return how long it took, and how long its longest transaction."""
    corpus = Corpus()
    async with WatchedStore(path) as store:
        draft = ConversationDraft(agent="local:archivist", native_id="long")
        await store.write(lambda tx: conversations.insert(tx, ME, LONG, draft, Status.OPEN))
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            await store.write(partial(lengthen, corpus=corpus, numbers=numbers))
        store.holds.clear()
        store.busy.clear()
        gc.freeze()  # as a server does: to look through the corpus would be the longest hold
        begun = time.perf_counter()
        await conversations.shorten(store, ME, LONG)
        await store.write(partial(conversations.delete, principal=ME, conversation_id=LONG))
        took = time.perf_counter() - begun
    holds, busy = store.holds, store.busy
    return [
        f"{count:,} messages",
        took,
        statistics.median(holds),
        max(holds),
        statistics.median(busy),
        max(busy),
    ]


def lengthen(tx: Transaction, corpus: Corpus, numbers: range) -> None:
    """Add messages to the long conversation."""
    for number in numbers:
        message = Message(
            id=f"m{number}", conversation_id=LONG, author="user", role=Role.USER, text=corpus.text()
        )
        messages.add(tx, ME, message)


async def measured(path: Path, count: int) -> list[list[str | float | int]]:
    """Return the table."""
    async with Store(path) as store:
        await build(store, Corpus(), count)
        ids = iter(await store.read(owned))
        rows: list[list[str | float | int]] = []
        for name, secure in (("without", 0), ("with secure-delete", 1)):
            await store.write(lambda tx, on=secure: tx.run(SETTING, on))
            removals = await timed(store, (partial(remove, own=own) for own in ids))
            deletions = await timed(
                store,
                (partial(conversations.delete, principal=own[0], conversation_id=own[1]) for own in ids),
            )
            rows.append([name, removals, deletions])
        steps = await store.write(erase)
    print(f"erased in {len(steps)} steps: {sum(steps):,.0f} ms in all, {max(steps):,.0f} ms the longest")
    return rows


def main(count: int, length: int) -> None:
    """Measure, and print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        rows = anyio.run(measured, Path(folder) / "store.db", count)
        row = anyio.run(delete_long, Path(folder) / "long.db", length)
    print(f"{count:,} messages; medians in milliseconds")
    print_table(("", "a message removed", "20 messages deleted"), rows)
    held = ("median hold, ms", "longest hold, ms", "median CPU, ms", "longest CPU, ms")
    print_table(("a conversation of", "seconds", *held), [row])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure deletion from the full-text index.")
    parser.add_argument("--messages", type=int, default=100_000, help="how many (default: 100,000)")
    parser.add_argument("--long", type=int, default=100_000, help="how many in one (default: 100,000)")
    given = parser.parse_args()
    main(given.messages, given.long)
