"""Measure full-text search over many messages, beside the bare SQL in the same file.

    python benchmarks/search.py [--messages N] [--store FILE]

Builds a store of N messages (a million by default; about three minutes) whose words are as frequent as in natural text
(Zipf's law), unless FILE has one from an earlier run. The floor is the newest ten row ids that the index yields, read on
a raw connection: no filters, no text, no snippets.
"""

import argparse
import itertools
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
import apsw
import apsw.fts5
from _measure import median_ms, median_ms_async, print_table

from tertulia.store import conversations, messages
from tertulia.store.database import Store, Transaction
from tertulia.store.search import search
from tertulia.vocabulary.models import ConversationDraft, Message, Role, SearchQuery, SearchResult
from tertulia.vocabulary.states import Status

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
FLOOR = "SELECT rowid FROM message_index WHERE message_index MATCH ? ORDER BY rowid DESC LIMIT 10"


class Corpus:
    """Made-up words, the most frequent first, and messages of them. The same in every run."""

    def __init__(self) -> None:
        self._random = random.Random(20261121)
        syllables = [a + b for a in "b c d f g h l m n p r s st t tr v w".split() for b in "a ai e en i o or u".split()]
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
