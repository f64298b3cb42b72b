"""Measure full-text search over many messages, in a file beside the bare SQL there.

    python benchmarks/search.py [--messages N] [--store FILE or URL]

Builds a store of N messages (a million by default; about three minutes in a file) whose words are as frequent as in
natural text (Zipf's law), unless there is one from an earlier run. The floor is the newest ten row ids that the index
of a file yields, read on a raw connection: no filters, no text, no snippets. `CPU` is the time that the search's thread
was busy, and the server's process of a database on this machine: if others use it too, that says more than the time
that passed.

The second table is of eight callers at once, each of whom searches again as soon as it has a result, and of one beside
two whose searches are slow. With two cores, eight take four times as long as one at best.
"""

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import apsw
import psycopg
from _measure import OnCpu, median_ms, median_ms_async, print_table

from tertulia.store import conversations, messages
from tertulia.store.database import Store, Transaction
from tertulia.store.index.fts5 import rendered
from tertulia.store.index.tsvector import TsVector
from tertulia.store.search import search
from tertulia.store.sqlite import erasure
from tertulia.store.terms import read
from tertulia.store.words import tokenizer
from tertulia.vocabulary.location import PostgresUrl, StoreLocation, store_location
from tertulia.vocabulary.models import ConversationDraft, Message, Role, SearchQuery
from tertulia.vocabulary.states import Status

T = TypeVar("T")
PRINCIPALS = ("local", "colleague", "guest")
SHARES = (90, 9, 1)
"""Of a hundred conversations, how many are whose."""
AGENTS = ("local:archivist", "local:reviewer", "r2r:rag")
PER_CONVERSATION = 20
WORDS = 30
"""In a message, on average."""
VOCABULARY = 200_000
BATCH = 20_000
START = datetime(2024, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=30)
CALLERS, SECONDS = 8, 1.0
"""How many search at once, and how long."""
FLOOR = "SELECT rowid FROM message_index WHERE message_index MATCH ? ORDER BY rowid DESC LIMIT 10"
COUNT = "SELECT count(*) FROM message_index WHERE message_index MATCH ?"


class Corpus:
    """Made-up words, the most frequent first, and messages of them. The same in every run."""

    def __init__(self) -> None:
        self._random = random.Random(20261121)
        syllables = [
            a + b for a in "b c d f g h l m n p r s st t tr v w".split() for b in "a ai e en i o or u".split()
        ]
        found: dict[str, None] = {}
        while len(found) < VOCABULARY:
            length = 1 if len(found) < 80 else 2 if len(found) < 3_000 else 3 if len(found) < 60_000 else 4
            found["".join(self._random.choices(syllables, k=length))] = None
        self.words = list(found)
        self._weights = list(itertools.accumulate(1 / (rank + 2.7) ** 1.05 for rank in range(VOCABULARY)))

    def conversations(self, count: int) -> list[tuple[str, str, str]]:
        """Return conversations: whose, which agent's, with what title."""
        whose = self._random.choices(PRINCIPALS, SHARES, k=count)
        agents = self._random.choices(AGENTS, k=count)
        return [(who, agent, self.text(4)) for who, agent in zip(whose, agents, strict=True)]

    def conversation(self, count: int) -> int:
        """Return one of `count` conversations."""
        return self._random.randrange(count)

    def text(self, length: int | None = None) -> str:
        """Return a text; as long as messages are, without a length."""
        length = length or max(1, min(400, int(self._random.lognormvariate(3, 0.9))))
        return " ".join(self._random.choices(self.words, cum_weights=self._weights, k=length))


def _id(index: int, agent: str) -> str:
    return f"{agent.partition(':')[0]}:{index}"


def fill(tx: Transaction, corpus: Corpus, owners: Sequence[tuple[str, str, str]], numbers: range) -> None:
    """Add the messages of these numbers."""
    for number in numbers:
        index = corpus.conversation(len(owners))
        who, agent, _ = owners[index]
        messages.add(
            tx,
            who,
            Message(
                id=f"m{number}",
                conversation_id=_id(index, agent),
                author=agent,
                role=Role.ASSISTANT,
                text=corpus.text(),
                type="tool" if number % 10 == 0 else "chat",
                created_at=START + number * STEP,
            ),
        )


def found(tx: Transaction, corpus: Corpus, owners: Sequence[tuple[str, str, str]]) -> None:
    """Create the conversations."""
    for index, (who, agent, title) in enumerate(owners):
        draft = ConversationDraft(agent=agent, native_id=str(index), title=title)
        conversations.insert(tx, who, _id(index, agent), draft, Status.OPEN)


async def build(store: Store, corpus: Corpus, count: int) -> None:
    """Fill an empty store with `count` messages."""
    begun = time.perf_counter()
    owners = corpus.conversations(max(1, count // PER_CONVERSATION))
    await store.write(partial(found, corpus=corpus, owners=owners))
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        await store.write(partial(fill, corpus=corpus, owners=owners, numbers=numbers))
        seconds = time.perf_counter() - begun
        print(f"\r{numbers.stop:,} messages in {seconds:,.0f} s", end="", flush=True)
    print()
    for index in ("message_index", "title_index"):  # as an import does at its end
        more = await store.write(partial(erasure.begin, index=index))
        while more:
            more = await store.write(partial(erasure.go_on, index=index))


def cases(corpus: Corpus, count: int, conversation_id: str) -> list[tuple[str, str, SearchQuery]]:
    """Return what is measured: its name, whose search it is, and the query."""
    words = corpus.words
    top, common, rare = words[0], words[60], words[20_000]
    end = START + count * STEP
    month = timedelta(days=30)
    return [
        ("a word of half the messages", "local", SearchQuery(text=top)),
        ("a common word", "local", SearchQuery(text=common)),
        ("a rare word, ranked", "local", SearchQuery(text=rare)),
        ("a word that nothing has", "local", SearchQuery(text="qqqqqqqqqq")),
        ("two common words", "local", SearchQuery(text=f"{common} {words[90]}")),
        ("common and rare, ranked", "local", SearchQuery(text=f"{top} {rare}")),
        ("one word or another", "local", SearchQuery(text=f"{common} OR {rare}")),
        ("without a common word", "local", SearchQuery(text=f"{common} -{top}")),
        ("a common phrase", "local", SearchQuery(text=f'"{top} {words[1]}"')),
        ("a rare phrase", "local", SearchQuery(text=f'"{words[60]} {words[400]}"')),
        ("a prefix of four letters", "local", SearchQuery(text=words[5_000][:4] + "*")),
        ("a prefix of three letters", "local", SearchQuery(text=words[5_000][:3] + "*")),
        ("the last month", "local", SearchQuery(text=common, since=end - month)),
        (
            "a month in the middle",
            "local",
            SearchQuery(text=common, since=end - 6 * month, until=end - 5 * month),
        ),
        ("the first month", "local", SearchQuery(text=common, until=START + month)),
        ("one agent of three", "local", SearchQuery(text=common, agent=AGENTS[2])),
        ("one instance, ten times fewer", "colleague", SearchQuery(text=common, instance="r2r")),
        ("a guest with one message in a hundred", "guest", SearchQuery(text=common)),
        ("a stranger without messages", "stranger", SearchQuery(text=top)),
        ("one conversation", "local", SearchQuery(text=top, conversation_id=conversation_id)),
        ("without a type", "local", SearchQuery(text=common, exclude_types=frozenset({"tool"}))),
        ("misspelt, with a suggestion", "local", SearchQuery(text=f"{common} {rare}x")),
        ("two letters wrong, with a suggestion", "local", SearchQuery(text=f"{rare[:4]}q{rare[5:]}x")),
        ("near to many words, but to none enough", "local", SearchQuery(text=f"{rare[:5]}qxz")),
    ]


async def measure(
    store: Store, raw: Any, name: str, principal: str, query: SearchQuery
) -> list[str | float | int]:
    """Return a row of the table: what was found, and how long it took, in a file beside the floor."""
    work = partial(search, principal=principal, query=query)
    result = await store.read(work)
    took = await median_ms_async(lambda: store.read(work))
    timed = OnCpu(work, clock)
    await median_ms_async(lambda: store.read(timed))
    on_cpu = timed.median_ms()
    if raw is None:
        return [name, len(result.hits), took, on_cpu]
    expression = rendered(read(query.text).expression)
    floor = median_ms(lambda: raw.execute(FLOOR, (expression,)).fetchall())
    matches = raw.execute(COUNT, (expression,)).get
    return [name, matches, len(result.hits), floor, took, on_cpu, took / floor]


def clock(tx: Transaction) -> Callable[[], float]:
    """Return what tells for how many seconds this thread was busy, and the process that serves it, if Linux says so."""
    if not isinstance(tx.index, TsVector):
        return time.thread_time
    row = tx.one("SELECT pg_backend_pid()")
    server = Path(f"/proc/{row and row[0]}/schedstat")
    if not server.exists():
        return time.thread_time
    return lambda: time.thread_time() + int(server.read_text().split()[0]) / 1e9


async def searching(store: Store, query: SearchQuery, times: list[float]) -> None:
    """Search again and again for a while, and note the seconds that each took."""
    end = time.perf_counter() + SECONDS
    while (begun := time.perf_counter()) < end:
        await store.read(partial(search, principal="local", query=query))
        times.append(time.perf_counter() - begun)


async def at_once(
    store: Store, name: str, query: SearchQuery, slow: Sequence[SearchQuery]
) -> list[str | float]:
    """Return a row of the second table."""
    one, many, beside = list[float](), list[float](), list[float]()
    await searching(store, query, one)
    async with anyio.create_task_group() as tasks:
        for _ in range(CALLERS):
            tasks.start_soon(searching, store, query, many)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(searching, store, query, beside)
        for each in slow:
            tasks.start_soon(searching, store, each, list[float]())
    alone, together, held_up = (statistics.median(times) * 1000 for times in (one, many, beside))
    return [name, alone, together, together / alone, held_up, held_up / alone]


async def nth_page(store: Store, query: SearchQuery, number: int) -> SearchQuery:
    """Return the query for a later page."""
    for _ in range(number - 1):
        result = await store.read(partial(search, principal="local", query=query))
        query = replace(query, cursor=result.next_cursor)
    return query


Rows = list[list[str | float | int]]


async def measured(location: StoreLocation, count: int) -> tuple[Rows, list[list[str | float]]]:
    """Return both tables, of the store at `location`; fill it first unless it is."""
    corpus = Corpus()
    async with Store(location) as store:
        if await store.read(lambda tx: tx.one("SELECT 1 FROM conversations LIMIT 1")) is None:
            await build(store, corpus, count)
            if isinstance(location, PostgresUrl):
                vacuum(location)
        raw = cast("Any", opened(location) if isinstance(location, Path) else None)
        first = "SELECT id FROM conversations WHERE principal = 'local' ORDER BY number LIMIT 1"
        (one,) = (await store.read(lambda tx: tx.all(first)))[0]
        searches = cases(corpus, count, one)
        for name, principal, query in searches[:2]:
            searches.append((f"{name}, tenth page", principal, await nth_page(store, query, 10)))
        rows = [await measure(store, raw, *case) for case in searches]
        if raw is not None:
            raw.close()
        named = {name: query for name, _, query in searches}
        slow = [named["a word that nothing has"], named["a prefix of three letters"]]
        common = ("a word of half the messages", "a common word", "two common words")
        together = [await at_once(store, name, named[name], slow) for name in common]
    return rows, together


def opened(path: Path) -> apsw.Connection:
    """Open a file beside the store."""
    raw = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    raw.register_fts5_tokenizer("words", tokenizer)
    return raw


def vacuum(url: PostgresUrl) -> None:
    """Do what PostgreSQL itself does after a while: learn how frequent words are."""
    with psycopg.connect(url.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def main(count: int, location: StoreLocation) -> None:
    """Measure, and print the table."""
    rows, together = anyio.run(partial(measured, location, count))
    size = f", {location.stat().st_size / 1e6:,.0f} MB" if isinstance(location, Path) else ""
    print(f"{count:,} messages{size}; medians in milliseconds")
    if isinstance(location, Path):
        print_table(("search", "matches", "hits", "floor", "search()", "CPU", "ratio"), rows)
    else:
        print_table(("search", "hits", "search()", "CPU"), rows)
    print_table(
        ("callers", "one", f"{CALLERS} at once", "ratio", "one beside two slow", "ratio of these"), together
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure full-text search.")
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many (default: 1,000,000)")
    parser.add_argument(
        "--store", type=store_location, help="keep the store in this file or database, or use the one there"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        main(given.messages, given.store or Path(folder) / "search.db")
