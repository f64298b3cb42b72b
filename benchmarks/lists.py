"""Lists of many conversations: every filter, sort and deep page, in process, beside the read of one conversation by id.

`.venv/bin/python benchmarks/lists.py [--conversations N] [--messages N] [--store FILE]`. Builds a store of N
conversations (200,000 by default) of several agents, sources and kinds, one of them with N messages (100,000 by
default), in about a minute, unless FILE has one from an earlier run. Figures (`get_analytics`) are counted of all, and
of the long one. `CPU` is the time that the read's thread was busy.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
from _measure import OnCpu, median_ms_async, print_table

from tertulia.store import analytics, conversation_pages, conversations, messages
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.models import Conversation, ConversationQuery, Message, Role, SortKey
from tertulia.vocabulary.states import Status

ME = "local"
START = datetime(2024, 1, 1, tzinfo=UTC)
BATCH = 10_000
LONG = "local:0"
AGENTS = ("local:archivist", "r2r:rag", "r2r:research")
SOURCES = ("web", "crm", None, None, None)
STATUSES = (Status.OPEN,) * 18 + (Status.COMPLETED, Status.FAILED)


def fill(tx: Transaction, numbers: range) -> None:
    """Add the conversations of these numbers."""
    for number in numbers:
        agent = AGENTS[number % 3] if number % 5_000 != 1 else "local:reviewer"
        at = START + number * timedelta(minutes=3)
        conversations.remember(
            tx,
            ME,
            Conversation(
                id=f"{agent.partition(':')[0]}:{number}",
                agent=agent,
                status=STATUSES[number % 20],
                title=f"Conversation {number % 977} about {number % 31}",
                metadata={"team": f"t{number % 50}", "number": number},
                entity_type="user" if number % 4 else None,
                source=SOURCES[number % 5],
                source_ref=f"ref{number // 5}" if SOURCES[number % 5] else None,
                archived=number % 10 == 0,
                created_at=at,
                updated_at=at + timedelta(days=number % 7),
            ),
        )


def lengthen(tx: Transaction, numbers: range) -> None:
    """Add the messages of these numbers to the long conversation."""
    for number in numbers:
        asked = number % 2 == 0
        message = Message(
            id=f"m{number}",
            conversation_id=LONG,
            author="user" if asked else AGENTS[0],
            role=Role.USER if asked else Role.ASSISTANT,
            text=f"Message {number % 977} about {number % 31}",
            created_at=START + number * timedelta(seconds=5),
            metadata={} if asked else {"total_tokens": number % 100},
        )
        messages.add(tx, ME, message)


async def build(store: Store, count: int, length: int) -> None:
    """Fill an empty store."""
    begun = time.perf_counter()
    for work, size in ((fill, count), (lengthen, length)):
        for start in range(0, size, BATCH):
            await store.write(partial(work, numbers=range(start, min(start + BATCH, size))))
            print(f"\r{start + BATCH:,} in {time.perf_counter() - begun:,.0f} s", end="", flush=True)
        print()


def cases(count: int) -> dict[str, ConversationQuery]:
    """Return the lists that are measured."""
    every = ConversationQuery(archived=False, limit=20)
    middle = START + count // 2 * timedelta(minutes=3)
    return {
        "no filter": every,
        "archived and not": replace(every, archived=None),
        "archived": replace(every, archived=True),
        "ascending": replace(every, descending=False),
        "by creation": replace(every, sort=SortKey.CREATED),
        "an agent of three": replace(every, agent=AGENTS[1]),
        "an agent of few": replace(every, agent="local:reviewer"),
        "an agent of none": replace(every, agent="local:nobody"),
        "an instance": replace(every, instance="r2r"),
        "open": replace(every, statuses=frozenset({Status.OPEN})),
        "failed": replace(every, statuses=frozenset({Status.FAILED})),
        "a status that none has": replace(every, statuses=frozenset({Status.INPUT_REQUIRED})),
        "a source": replace(every, source="crm"),
        "a reference": replace(every, source="web", source_ref=f"ref{count // 10 + 1}"),
        "a source of none": replace(every, source="fax"),
        "not a source": replace(every, exclude_source="crm"),
        "an entity type": replace(every, entity_type="user"),
        "created after the middle": replace(every, created_after=middle),
        "created before the middle": replace(every, created_before=middle),
        "awaiting me": replace(every, awaiting=True, me="user"),
        "metadata: a text": replace(every, metadata={"team": "t7"}),
        "metadata: a number": replace(every, metadata={"number": count // 2 + 1}),
        "by title": replace(every, sort=SortKey.TITLE),
        "an agent of few, by creation": replace(every, agent="local:reviewer", sort=SortKey.CREATED),
        "an agent of few, archived and not": replace(every, agent="local:reviewer", archived=None),
        "an agent's failed ones": replace(every, agent=AGENTS[1], statuses=frozenset({Status.FAILED})),
        "a few's open ones": replace(every, agent="local:reviewer", statuses=frozenset({Status.OPEN})),
        "an instance's ended ones": replace(
            every, instance="r2r", statuses=frozenset({Status.COMPLETED, Status.FAILED})
        ),
        "an agent's, created before the middle": replace(every, agent=AGENTS[1], created_before=middle),
        "open, of the first months": replace(
            every,
            statuses=frozenset({Status.OPEN}),
            created_before=START + count // 15 * timedelta(minutes=3),
        ),
        "a reference, whatever its source": replace(every, source_ref=f"ref{count // 10 + 1}"),
    }


async def nth_page(store: Store, query: ConversationQuery, number: int) -> ConversationQuery:
    """Return the query for a later page of 50."""
    query = replace(query, limit=50)
    for _ in range(number - 1):
        page = await store.read(partial(conversation_pages.page, principal=ME, query=query))
        query = replace(query, cursor=page.next_cursor)
    return query


async def measured(path: Path, count: int, length: int, *, filled: bool) -> None:
    """Measure, and print the table."""
    async with Store(path, read_seconds=60) as store:
        if not filled:
            await build(store, count, length)
        queries = cases(count)
        queries["page 20 of 50 each"] = await nth_page(store, queries["no filter"], 20)
        one = OnCpu(partial(conversations.get, principal=ME, conversation_id="r2r:2"))
        floor = await median_ms_async(lambda: store.read(one))
        rows: list[list[str | float | int]] = [["one by its id", 1, floor, one.median_ms(), 1.0]]
        for name, query in queries.items():
            page = OnCpu(partial(conversation_pages.page, principal=ME, query=query))
            found = await store.read(page)
            took = await median_ms_async(lambda page=page: store.read(page), 9)
            rows.append([name, len(found.items), took, page.median_ms(), took / floor])
        every = ConversationQuery(archived=None)
        figures = {
            "figures of all": OnCpu(partial(analytics.of_query, principal=ME, query=every)),
            "figures of the long one": OnCpu(
                partial(analytics.of_conversation, principal=ME, conversation_id=LONG)
            ),
        }
        for name, counted in figures.items():
            took = await median_ms_async(lambda counted=counted: store.read(counted), 5)
            rows.append([name, 1, took, counted.median_ms(), took / floor])
    print_table(("list", "items", "median ms", "CPU ms", "ratio"), rows)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=200_000)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument(
        "--store", type=Path, help="keep the store in this file, or use the one that is there"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path: Path = given.store or Path(folder) / "lists.db"
        anyio.run(partial(measured, path, given.conversations, given.messages, filled=path.exists()))


if __name__ == "__main__":
    main()
