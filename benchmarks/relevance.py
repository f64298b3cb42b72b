"""Measure what searches find: mean reciprocal rank and recall for each kind of query.

    python benchmarks/relevance.py [--failures]

`relevance_cases/corpus.jsonl` has messages, each in a conversation of its own, and `queries.jsonl` what people type,
with the messages that they should find. Of a query, the reciprocal rank is 1 where a right answer comes first, 1/2
where one comes second, and so on; recall is the share of the right answers among the first twenty. Where a suggestion
comes with the result, the better of both counts, as if the person had taken it.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
from _measure import print_table

from tertulia.store import conversations, messages
from tertulia.store.database import Store, Transaction
from tertulia.store.search import search
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.models import ConversationDraft, Message, Role, SearchQuery
from tertulia.vocabulary.states import Status

CASES = Path(__file__).with_name("relevance_cases")
START = datetime(2026, 1, 1, tzinfo=UTC)
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Score:
    """How well a query did."""

    rank: float
    recall: float


def fill(tx: Transaction) -> None:
    """Add the corpus."""
    for number, line in enumerate((CASES / "corpus.jsonl").read_text("utf-8").splitlines()):
        row = json.loads(line)
        conversation = f"local:{row['id']}"
        draft = ConversationDraft(agent="local:archivist", native_id=row["id"])
        conversations.insert(tx, "local", conversation, draft, Status.COMPLETED)
        message = Message(
            id=row["id"],
            conversation_id=conversation,
            author=row.get("role", "user"),
            role=Role(row.get("role", "user")),
            text=row["text"],
            type=row.get("type"),
            created_at=START + number * timedelta(minutes=1),
        )
        messages.add(tx, "local", message)


async def score(store: Store, query: str, answers: Sequence[str]) -> Score:
    """Search as a person does who follows a suggestion."""

    async def scored(text: str) -> tuple[Score, str | None]:
        asked = SearchQuery(text=text, limit=SHOWN)
        try:
            found = await store.read(partial(search, principal="local", query=asked))
        except InvalidInputError:
            return Score(0, 0), None
        ids = [hit.message_id for hit in found.hits]
        ranks = [ids.index(answer) + 1 for answer in answers if answer in ids]
        return Score(1 / min(ranks) if ranks else 0, len(ranks) / len(answers)), found.suggestion

    first, suggestion = await scored(query)
    if suggestion is None:
        return first
    second, _ = await scored(suggestion)
    return max(first, second, key=lambda each: each.rank + each.recall)


async def measured(path: Path, *, failures: bool) -> dict[str, list[Score]]:
    """Return the scores of the queries by kind; print those that found not everything at once, if wanted."""
    scores: dict[str, list[Score]] = {}
    async with Store(path) as store:
        await store.write(fill)
        for line in (CASES / "queries.jsonl").read_text("utf-8").splitlines():
            case = json.loads(line)
            scored = await score(store, case["query"], case["answers"])
            scores.setdefault(case["kind"], []).append(scored)
            if failures and scored != Score(1, 1):
                print(f"{case['kind']}: {case['query']}: rank {scored.rank:.2f}, recall {scored.recall:.2f}")
    return scores


def main(*, failures: bool) -> None:
    """Measure, and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        scores = anyio.run(partial(measured, Path(folder) / "relevance.db", failures=failures))
    everything = [each for kind in scores.values() for each in kind]
    rows: list[list[str | float | int]] = [
        [
            kind,
            len(found),
            statistics.mean(each.rank for each in found),
            statistics.mean(each.recall for each in found),
        ]
        for kind, found in [*scores.items(), ("all", everything)]
    ]
    print_table(("kind of query", "queries", "mean reciprocal rank", "recall"), rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure what searches find.")
    parser.add_argument(
        "--failures", action="store_true", help="print the queries that did not find everything"
    )
    main(failures=parser.parse_args().failures)
