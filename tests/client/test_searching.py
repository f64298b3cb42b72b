"""One search over all: platforms and index at once, merged into pages, with who answered."""

import string
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tertulia import (
    Answered,
    Client,
    Coverage,
    Feature,
    InvalidInputError,
    NewConversation,
    Role,
    SearchedBy,
    SearchHit,
    SearchQuery,
    UnavailableError,
)
from tests.doubles.library import ALL, Library, opened
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio

SOON = 0.05
"""How long a platform that is held up is waited for."""


def library(*native_ids: str, features: frozenset[Feature] = ALL) -> Library:
    """Return a library of conversations about Acme."""
    made = Library(features=features)
    for native_id in native_ids:
        made.add(native_id, f"Acme {native_id}", f"said of acme in {native_id}")
    return made


async def everything(client: Client, query: SearchQuery) -> list[SearchHit]:
    """Return the hits of all pages, after seeing that none but the last is empty."""
    hits: list[SearchHit] = []
    while True:
        page = await client.search.messages(query)
        assert len(page.hits) <= query.limit
        hits += page.hits
        if page.next_cursor is None:
            return hits
        query = SearchQuery(text=query.text, limit=query.limit, cursor=page.next_cursor)


def ids(hits: Sequence[SearchHit]) -> list[str]:
    """Return the conversations of hits."""
    return [hit.conversation_id for hit in hits]


async def test_a_platform_finds_what_the_index_does_not_have(path: Path) -> None:
    """It comes behind what the index finds, and says that it is the platform's."""
    async with opened(path, library=library("a", "b")) as client:
        await client.messages.list("library:a")
        await client.conversations.create(NewConversation(agent="local:archivist", title="Acme at home"))

        page = await client.search.messages(SearchQuery(text="acme"))

        assert ids(page.hits)[-1] == "library:b"
        assert [hit.by_platform for hit in page.hits][-1]
        assert not any(hit.by_platform for hit in page.hits[:-1])
        assert ids(page.hits).count("library:b") == 1
        assert {"library:a", "local:" + ids(page.hits)[0].partition(":")[2]} <= set(ids(page.hits))


async def test_what_both_find_is_the_index_s(path: Path) -> None:
    """Its hit is a message; the platform's is none."""
    async with opened(path, library=library("a")) as client:
        await client.search.sync("library")

        page = await client.search.messages(SearchQuery(text="acme"))

        assert set(ids(page.hits)) == {"library:a"}
        assert not any(hit.by_platform for hit in page.hits)
        assert any(hit.message_id for hit in page.hits)


async def test_what_a_platform_found_can_be_opened_and_is_found_here_from_then_on(path: Path) -> None:
    """The conversation is entered with its title."""
    there = library("a")
    async with opened(path, library=there) as client:
        await client.search.messages(SearchQuery(text="acme"))
        there.asked.clear()

        assert (await client.conversations.get_stored("library:a")).title == "Acme a"
        assert there.asked == []
    async with opened(path, library=Library(features=frozenset())) as client:
        assert ids((await client.search.messages(SearchQuery(text="acme"))).hits) == ["library:a"]


async def test_another_principal_learns_nothing_of_what_was_found(path: Path) -> None:
    """It asks the platform itself."""
    there = library("a")
    async with opened(path, library=there) as client:
        await client.search.messages(SearchQuery(text="acme"))
        there.books.clear()

        other = await client.as_principal("somebody").search.messages(SearchQuery(text="acme"))

    assert other.hits == []


async def test_it_is_told_who_answered(path: Path) -> None:
    """The platform and the index, the index alone, the platform alone; and what the index has of each."""
    options: dict[str, Any] = {
        "both": {"library": library("a")},
        "index": {"library": library("b", features=ALL - {Feature.SEARCH})},
        "platform": {"library": library("c"), "store_content": False},
        "bare": {"library": library("d"), "missing": "Set a key."},
    }
    async with opened(path, **options) as client:
        page = await client.search.messages(SearchQuery(text="acme"))

        assert page.answered == [
            Answered(instance="bare", by=SearchedBy.INDEX, coverage=Coverage()),
            Answered(instance="both", by=SearchedBy.BOTH, coverage=Coverage()),
            Answered(instance="index", by=SearchedBy.INDEX, coverage=Coverage()),
            Answered(instance="local", by=SearchedBy.INDEX, coverage=Coverage(complete=True), embedded=True),
            Answered(instance="platform", by=SearchedBy.PLATFORM),
        ]
        assert set(ids(page.hits)) == {"both:a", "platform:c"}


async def test_only_the_instance_that_a_search_names_is_asked_and_told_of(path: Path) -> None:
    """Whether it is named itself, by an agent, or by a conversation."""
    one, other = library("a"), library("b")
    async with opened(path, one=one, other=other) as client:
        for query in (
            SearchQuery(text="acme", instance="one"),
            SearchQuery(text="acme", agent="one:clerk"),
            SearchQuery(text="acme", conversation_id="one:a"),
        ):
            page = await client.search.messages(query)
            assert [answered.instance for answered in page.answered] == ["one"]

    assert (len(one.asked), other.asked) == (3, [])


@pytest.mark.parametrize(
    "filters", [{"role": Role.USER}, {"types": frozenset({"note"})}, {"source": "codex"}, {"folder": "acme"}]
)
async def test_a_platform_is_not_asked_for_what_it_cannot_tell(path: Path, filters: dict[str, Any]) -> None:
    """It would return conversations that the filter leaves out."""
    one = library("a")
    async with opened(path, one=one) as client:
        page = await client.search.messages(SearchQuery(text="acme", **filters))

    assert (page.hits, one.asked) == ([], [])
    assert [answered.by for answered in page.answered if not answered.embedded] == [SearchedBy.INDEX]


async def test_nothing_is_told_where_everything_lives_here(path: Path) -> None:
    """There is nothing to tell."""
    async with opened(path) as client:
        assert (await client.search.messages(SearchQuery(text="acme"))).answered == ()


async def test_a_platform_that_is_late_is_not_waited_for(path: Path) -> None:
    """The rest is there, and the next page asks it again."""
    slow, quick = library("a"), library(*"bcd")
    slow.held = anyio.Event()
    async with opened(path, quick=quick, slow=slow) as client:
        page = await client.search.messages(SearchQuery(text="acme", limit=2), patience=SOON)

        assert ids(page.hits) == ["quick:b", "quick:c"]
        (told,) = [one for one in page.answered if one.instance == "slow"]
        assert told.by is SearchedBy.INDEX
        assert told.failure == "It had not answered after 0.05 seconds."
        slow.held.set()
        rest = await client.search.messages(SearchQuery(text="acme", limit=2, cursor=page.next_cursor))
        assert ids(rest.hits) == ["quick:d", "slow:a"]
        assert all(one.failure is None for one in rest.answered)


async def test_the_platforms_are_asked_at_once(path: Path) -> None:
    """Each answers only when the other was asked as well."""
    one, other = library("a"), library("b")
    one.held = other.held = anyio.Event()
    async with opened(path, one=one, other=other) as client, anyio.create_task_group() as tasks:

        async def both_asked() -> None:
            while not (one.asked and other.asked):
                await anyio.lowlevel.checkpoint()
            assert one.held is not None
            one.held.set()

        tasks.start_soon(both_asked)
        page = await client.search.messages(SearchQuery(text="acme"))

        assert set(ids(page.hits)) == {"one:a", "other:b"}


async def test_a_platform_that_fails_fails_no_search(path: Path) -> None:
    """It is told of in its own words."""
    broken, sound = library("a"), library("b")
    broken.failure = UnavailableError("It is away.")
    async with opened(path, broken=broken, sound=sound) as client:
        page = await client.search.messages(SearchQuery(text="acme"))

    assert ids(page.hits) == ["sound:b"]
    assert [one.failure for one in page.answered] == ["It is away.", None, None]
    assert page.total is None


@pytest.mark.parametrize("query", [SearchQuery(text="!"), SearchQuery(text="a", limit=0)])
async def test_a_search_that_cannot_be_is_refused_before_anybody_is_asked(
    path: Path, query: SearchQuery
) -> None:
    """As the index refuses it."""
    there = library("a")
    async with opened(path, library=there) as client:
        with pytest.raises(InvalidInputError):
            await client.search.messages(query)

    assert there.asked == []


async def test_a_platform_gets_the_words_without_our_operators(path: Path) -> None:
    """They would be text to it."""
    there = library("a")
    async with opened(path, library=there) as client:
        await client.search.messages(SearchQuery(text='"acme renewal" invoic* -draft'))

    assert there.asked == ["search acme renewal invoic"]


async def test_a_cursor_belongs_to_its_search(path: Path) -> None:
    """With other words it is refused."""
    async with opened(path, library=library(*"abc")) as client:
        page = await client.search.messages(SearchQuery(text="acme", limit=1))
        with pytest.raises(InvalidInputError, match="other filters"):
            await client.search.messages(SearchQuery(text="other", limit=1, cursor=page.next_cursor))


async def test_a_page_that_is_cut_short_goes_on_behind_what_was_shown(path: Path) -> None:
    """Wherever it is cut: in the index's hits, or in a platform's."""
    async with opened(path, one=library(*"abcd"), other=library(*"ef")) as client:
        for native_id in "ab":
            await client.messages.list(f"one:{native_id}")
        whole = ids(await everything(client, SearchQuery(text="acme", limit=50)))
        for room in range(1, len(whole) + 1):
            cursor, hits = None, list[str]()
            while True:
                query = SearchQuery(text="acme", limit=len(whole), cursor=cursor)
                page = await client.search.messages(query, hit_limit=partial(_room, room))
                hits += ids(page.hits)
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert sorted(hits) == sorted(whole)


def _room(room: int, hits: Sequence[SearchHit]) -> int:
    return min(room, len(hits))


names = st.lists(st.sampled_from(string.ascii_lowercase), unique=True, max_size=12)


@examples(25, suppress=[HealthCheck.function_scoped_fixture])
@given(one=names, other=names, synced=st.booleans(), passed=st.integers(0, 12), limit=st.integers(1, 9))
async def test_the_pages_of_a_search_have_everything_once(
    one: list[str], other: list[str], synced: bool, passed: int, limit: int
) -> None:
    """What any platform or the index finds, each conversation from one side only, each message once."""
    with TemporaryDirectory() as folder:
        async with opened(Path(folder, "store.db"), one=library(*one), other=library(*other)) as client:
            if synced:
                await client.search.sync("other")
            for native_id in one[:passed]:
                await client.messages.list(f"one:{native_id}")

            hits = await everything(client, SearchQuery(text="acme", limit=limit))

    assert set(ids(hits)) == {*(f"one:{each}" for each in one), *(f"other:{each}" for each in other)}
    shown = [(hit.conversation_id, hit.message_id) for hit in hits]
    assert len(shown) == len(set(shown))
    by_platform = {hit.conversation_id for hit in hits if hit.by_platform}
    assert by_platform.isdisjoint(hit.conversation_id for hit in hits if not hit.by_platform)
