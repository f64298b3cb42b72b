"""One search finds the same in a file and in a database: in the same order, with the same suggestion."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from tertulia.store.database import Store, Transaction
from tertulia.store.index import tsvector
from tertulia.store.search import search
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.models import Role, SearchQuery, SearchResult
from tests.client.making import ME, add_conversation, add_message
from tests.support.drawing import examples
from tests.support.postgres import Database

pytestmark = [pytest.mark.anyio, pytest.mark.io]

CASES = Path(__file__).parents[3] / "benchmarks" / "relevance_cases"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Text(NamedTuple):
    """A message: which conversation it is in, and by whom."""

    text: str
    conversation: str = "c"
    role: Role = Role.USER


Both = Callable[[Callable[[Store], Awaitable[Any]]], Awaitable[list[Any]]]


@pytest.fixture
def both(tmp_path: Path, postgres: Database) -> Both:
    """Return what does something with an empty store in a file, then with one in a database, and has both results."""

    @asynccontextmanager
    async def file() -> AsyncGenerator[Store]:
        path = tmp_path / "both.db"
        for each in tmp_path.glob("both.db*"):
            each.unlink()
        async with Store(path) as store:
            yield store

    @asynccontextmanager
    async def database() -> AsyncGenerator[Store]:
        async with Store(postgres.url) as store:
            await store.read(lambda _: None)
            postgres.clear()
            postgres.execute("VACUUM")  # other tests have deleted thousands of the same words
            yield store

    async def do(work: Callable[[Store], Awaitable[Any]]) -> list[Any]:
        results: list[Any] = []
        for opened in (file, database):
            async with opened() as store:
                results.append(await work(store))
        return results

    return do


def fill(tx: Transaction, texts: Sequence[Text], titles: Sequence[str] = ()) -> None:
    """Enter messages, further and further apart in time, and conversations without any."""
    for conversation in sorted({each.conversation for each in texts}):
        add_conversation(tx, conversation)
    for number, title in enumerate(titles):
        add_conversation(tx, f"titled{number}", title=title)
    for number, (text, conversation, role) in enumerate(texts):
        at = START + number**2 * timedelta(hours=5)
        add_message(
            tx, text, id=f"m{number}", conversation_id=f"local:{conversation}", role=role, created_at=at
        )


def shown(result: SearchResult) -> tuple[object, ...]:
    """Return what a caller sees of a page, but for the time of a conversation."""
    hits = [(hit.conversation_id, hit.message_id, hit.snippet) for hit in result.hits]
    return hits, result.total, result.ranked, result.suggestion, result.next_cursor is None


async def found(store: Store, queries: Sequence[str], **more: Any) -> dict[str, tuple[object, ...] | None]:
    """Return what is found by each query; None where there is no word to look for."""

    async def one(query: str) -> tuple[object, ...] | None:
        asked = SearchQuery(text=query, limit=20, **more)
        try:
            return shown(await store.read(partial(search, principal=ME, query=asked)))
        except InvalidInputError:
            return None

    return {query: await one(query) for query in queries}


def rows(name: str) -> list[dict[str, Any]]:
    """Return the lines of a file of the relevance corpus."""
    return [json.loads(line) for line in (CASES / name).read_text("utf-8").splitlines()]


async def test_what_people_type_finds_the_same(both: Both) -> None:
    """The corpus by which relevance is measured: its texts, and some two hundred searches."""
    texts = [Text(row["text"], row["id"], Role(row.get("role", "user"))) for row in rows("corpus.jsonl")]
    queries = [row["query"] for row in rows("queries.jsonl")]

    async def work(store: Store) -> object:
        await store.write(partial(fill, texts=texts))
        return await found(store, queries)

    file, database = await both(work)

    assert sum(bool(result and result[0]) for result in file.values()) > 150
    for query in queries:
        assert database[query] == file[query], query


LONG = "ሀ" * 900
"""More bytes than a lexeme has."""
WORDS = [
    *(
        "acme",
        "the",
        "of",
        "a",
        "net",
        "thirty",
        "days",
        "Acme's",
        "l'API",
        "api",
        "don't",
        "naïve",
        "Straße",
    ),
    *(
        "getUserById",
        "user",
        "by",
        "id",
        "HTTPResponse",
        "http",
        "response",
        "max_retry_count",
        "maxRetryCount",
    ),
    *(
        "v3.2.0",
        "3.2",
        "3",
        "1,000.50",
        "2026-01-02",
        "C++",
        "c",
        "src/app.py",
        "jane@example.com",
        "9f8e7d6a",
    ),
    *("会议", "纪要", "会议纪要", "データベース", "กรุงเทพ", "데이터베이스를", "мир", "שלום", "नमस्ते"),
    *("👍🏽", "🚀", "🇵🇹", "'", "\\", ":*", "&", "|", "!", "<->", "\0", "~s0", LONG, LONG + "ሁ", LONG + "ሂ"),
]
WORD = st.sampled_from(WORDS)
GAP = st.sampled_from([" ", " ", " ", "-", ". ", "\n", ""])


def joined(parts: Sequence[tuple[str, str]]) -> str:
    """Join words and what stands between them."""
    return "".join(word + gap for word, gap in parts)


TEXT = st.lists(st.tuples(WORD, GAP), min_size=1, max_size=12).map(joined)
ATOM = st.one_of(
    WORD,
    WORD.map(lambda word: word[: max(3, len(word) // 2)] + "*"),
    st.lists(WORD, min_size=2, max_size=4).map(lambda words: '"' + " ".join(words) + '"'),
    st.tuples(WORD, WORD).map("".join),
    st.text(max_size=4),
)
QUERY = st.lists(
    st.one_of(ATOM, ATOM, ATOM, ATOM.map("-{}".format), st.tuples(ATOM, ATOM).map(" OR ".join)),
    min_size=1,
    max_size=3,
).map(" ".join)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at few messages and titles one by one, and at the others as at the older ones of many."""
    for name, value in {
        "_WALKED": 3,
        "_WALKED_FOR_BEGINNINGS": 9,
        "_OF_FEW": 4,
        "_TITLES_WALKED": 2,
        "_STRETCH": 4,
    }.items():
        monkeypatch.setattr(tsvector, name, value)


@pytest.mark.usefixtures("impatient")
@examples(15, [HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.builds(Text, TEXT, st.sampled_from("abc"), st.sampled_from([Role.USER, Role.TOOL])),
        min_size=1,
        max_size=30,
    ),
    titles=st.lists(TEXT, max_size=6),
    queries=st.lists(QUERY, min_size=1, max_size=20),
)
@example(
    texts=[Text("max of the retry count"), Text("the count, retry max"), Text("count x y max retry")],
    titles=["max-retry count", "maxRetryCount"],
    queries=["maxRetryCount", "x -maxRetryCount", "maxRetryCount OR y", "max_retry_count"],
)
@example(
    texts=[Text(f"{LONG}ሁ"), Text(f"{LONG}ሂ"), Text(f"a {LONG}")],
    titles=[],
    queries=[LONG, f"{LONG}ሁ", f"{LONG}*", f'"a {LONG}"', f"a -{LONG}"],
)
async def test_any_query_finds_the_same_in_any_texts(
    both: Both, texts: list[Text], titles: list[str], queries: list[str]
) -> None:
    """Words of any script and length, phrases, beginnings, names in parts, and what is left out."""
    queries = [query[:1000] for query in queries] + [f'"{each.text[:200]}"' for each in texts[:5]]

    async def work(store: Store) -> object:
        await store.write(partial(fill, texts=texts, titles=titles))
        return await found(store, queries)

    file, database = await both(work)

    for query in queries:
        assert database[query] == file[query], query


async def test_long_texts_are_found_as_short_ones_are(both: Both) -> None:
    """By words that are far apart, by what stands anywhere in them, and not by what is left out further on."""
    filler = [f"word{number} {'the and of it'.split()[number % 4]}" for number in range(10_000)]
    filler[4_000] = "the needle is here, net thirty days"
    filler[9_900] = "a needle at the end, getUserById"
    texts = [
        Text(" ".join(filler)),
        Text("hay " * 5_000 + "needle"),
        Text("needle"),
        Text("需要" * 10_000 + "针"),
    ]
    edges = [f'"{" ".join(filler[number : number + 20])}"' for number in range(8_150, 8_230, 5)]
    queries = [
        *(
            "needle",
            "word1 word9999",
            "word1 -needle",
            "net thirty word9998",
            "getUserById word17",
            "hay needle",
        ),
        *('"needle is here"', '"here net thirty days word4001"', '"end getUserById word9901"', '"it word3"'),
        *(
            "needle -getUserById",
            'needle -"at the end"',
            'word1 -"thirty days"',
            "needle OR 针",
            "需要针",
            "word99*",
        ),
        *('"word9999 word1"', '"needle needle"', "needle -hay", "nedle", "hay", "the of"),
        *edges,
    ]

    async def work(store: Store) -> object:
        await store.write(partial(fill, texts=texts))
        return await found(store, queries)

    file, database = await both(work)

    assert all(result and result[0] for query, result in file.items() if query in edges)
    for query in queries:
        assert database[query] == file[query], query
