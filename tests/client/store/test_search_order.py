"""The order of what a search finds, its pages, and its filters."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia.store import conversations
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.location import StoreLocation
from tertulia.vocabulary.models import (
    Conversation,
    ConversationChanges,
    ConversationDraft,
    Role,
)
from tertulia.vocabulary.states import Status
from tests.client.store.library import BEGINNING, MINUTE, Library, in_a_store, keys
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio


# Order and pages


async def test_many_matches_come_newest_first_without_a_total(library: Library) -> None:
    """To rank or to count them would cost more than the page is worth."""
    await library.put(*(f"needle {i}" for i in range(51)))

    found = await library.search("needle", limit=3)

    assert [hit.message_id for hit in found.hits] == ["m50", "m49", "m48"]
    assert (found.ranked, found.total) == (False, None)


async def test_few_matches_come_best_first_with_their_total(library: Library) -> None:
    """A short message that says it twice is a better match than a long one that mentions it."""
    await library.put("needle needle", "a needle " + "in the hay " * 40, *(f"hay {i}" for i in range(48)))

    found = await library.search("needle")

    assert [hit.message_id for hit in found.hits] == ["m0", "m1"]
    assert (found.ranked, found.total) == (True, 2)


async def test_a_word_that_is_everywhere_does_not_keep_the_rare_one_from_ranking(library: Library) -> None:
    """Ranking leaves out what would be counted a million times and tells messages apart by the rest."""
    await library.put("the needle needle", "the needle " + "in hay " * 40, *("the hay" for _ in range(2_100)))

    found = await library.search("the needle")

    assert ([hit.message_id for hit in found.hits], found.ranked, found.total) == (["m0", "m1"], True, 2)


async def test_how_others_use_a_word_does_not_show_in_a_ranking(library: Library) -> None:
    """It is rare among the caller's own messages."""
    await library.put("the needle needle", "the needle " + "in hay " * 40)
    before = await library.search("needle")

    await library.of("somebody").put(*("needle" for _ in range(2_100)), conversation="local:two")

    after = await library.search("needle")
    assert before.ranked
    assert [hit.message_id for hit in after.hits] == [hit.message_id for hit in before.hits]
    assert (after.ranked, after.total) == (before.ranked, before.total)


async def test_a_word_counts_by_how_rare_it_is_among_the_callers_own_messages(library: Library) -> None:
    """Whatever others write, and however much of it."""
    await library.put("red red blue", "red blue blue", "red", "red", *("hay" for _ in range(20)))
    before = await library.ids("red blue")

    await library.of("somebody").put(*("blue" for _ in range(20)), conversation="local:two")

    assert await library.ids("red blue") == before == ["m1", "m0"]


async def test_a_match_is_as_good_as_fts5_says(file_store: Store) -> None:
    """Where all messages are one principal's: our function differs from its own in whose messages it counts."""
    library = Library(file_store)
    await library.put(*("red " * (n % 4) + "blue " * (n % 3) + "hay " * n for n in range(30)))
    counted = "SELECT count(*) FROM message_index WHERE message_index MATCH ?"
    scored = "SELECT relevance(message_index, ?), -bm25(message_index) FROM message_index WHERE message_index MATCH ?"

    def work(tx: Transaction) -> list[tuple[float, float]]:
        counts = [tx.all(counted, word)[0][0] for word in ("red", "blue")]
        return [(row[0], row[1]) for row in tx.all(scored, json.dumps(counts), "{text} : (red AND blue)")]

    found = await library.store.read(work)

    assert len(found) > 10
    assert [ours for ours, _ in found] == pytest.approx([theirs for _, theirs in found])


async def test_few_matches_of_common_words_alone_come_newest_first(library: Library) -> None:
    """Both words are common, only together they are rare: there is nothing cheap to rank by."""
    await library.put(
        "black cat", "white cat", *("black" for _ in range(2_100)), *("cat" for _ in range(2_100))
    )

    found = await library.search("black cat")

    assert ([hit.message_id for hit in found.hits], found.ranked, found.total) == (["m0"], True, 1)
    await library.put("cat and more black")
    found = await library.search("black cat")
    assert ([hit.message_id for hit in found.hits], found.ranked, found.total) == (["m4202", "m0"], False, 2)

    await library.put("black black", "black sheep", conversation="local:two")
    alone = await library.search("black", conversation_id="local:two")
    assert ([hit.message_id for hit in alone.hits], alone.ranked) == (["m4203", "m4204"], True)


@examples(30)
@given(
    texts=st.lists(st.sampled_from(["needle", "needle in hay", "hay", "needle needle -"]), max_size=130),
    titles=st.lists(st.sampled_from(["needle", "hay"]), max_size=12),
    told=st.lists(st.sampled_from([None, "needle", "hay"]), max_size=12),
    limit=st.integers(1, 50),
)
@example(texts=["needle"] * 50, titles=["needle"] * 5, told=[], limit=10)
@example(texts=["needle"] * 51, titles=["needle"] * 4, told=["needle"] * 4, limit=1)
@example(texts=[], titles=["needle"] * 60, told=["needle"] * 8, limit=7)
async def test_the_pages_have_each_hit_exactly_once(
    texts: list[str], titles: list[str], told: list[str | None], limit: int
) -> None:
    """Whatever the size of a page, whether ranked or not, with titles before and behind, with a message or without."""

    async def work(library: Library) -> None:
        await library.put(*texts)
        await library.title(*titles)
        messages = [(f"local:titled{i}", text) for i, text in enumerate(told) if text is not None]
        for conversation, text in messages:
            await library.put(text, conversation=conversation)
        pages = await library.pages("needle", limit=limit)

        found = keys([hit for page in pages for hit in page.hits])
        wanted = [("local:one", f"m{i}") for i, text in enumerate(texts) if "needle" in text]
        texts_told = [
            (conversation, f"m{len(texts) + i}", text) for i, (conversation, text) in enumerate(messages)
        ]
        wanted += [(conversation, message) for conversation, message, text in texts_told if text == "needle"]
        shown = {conversation for conversation, _ in wanted}
        titled = [f"local:titled{i}" for i, title in enumerate(titles) if title == "needle"]
        wanted += [(conversation, None) for conversation in titled if conversation not in shown]
        assert sorted(found, key=str) == sorted(wanted, key=str)
        assert all(len(page.hits) == limit for page in pages[:-1])
        assert pages[0].total in {len(wanted), None}

    await in_a_store(work)


async def test_a_message_that_arrives_between_two_pages_moves_nothing(library: Library) -> None:
    """The pages go on where they were, ranked or newest first."""
    await library.put(*("needle" for _ in range(10)))
    first = await library.search("needle", limit=5)
    await library.put(*("needle" for _ in range(60)))
    second = await library.search("needle", limit=5, cursor=first.next_cursor)

    assert first.ranked
    assert second.ranked
    assert {*keys(first.hits), *keys(second.hits)} == {("local:one", f"m{i}") for i in range(10)}

    first = await library.search("needle", limit=5)
    await library.put("needle")
    second = await library.search("needle", limit=5, cursor=first.next_cursor)
    assert [hit.message_id for hit in second.hits] == ["m64", "m63", "m62", "m61", "m60"]


async def test_a_cursor_leads_nowhere_but_to_its_own_query(library: Library) -> None:
    """Not for other words or filters, not for another principal, and not when it is none."""
    await library.put(*("needle hay" for _ in range(3)))
    cursor = (await library.search("needle", limit=2)).next_cursor

    with pytest.raises(InvalidInputError, match="other filters"):
        await library.search("hay", cursor=cursor)
    with pytest.raises(InvalidInputError, match="other filters"):
        await library.search("needle", cursor=cursor, until=BEGINNING)
    with pytest.raises(InvalidInputError, match="other filters"):
        await library.of("another").search("needle", cursor=cursor)
    with pytest.raises(InvalidInputError, match="not a cursor"):
        await library.search("needle", cursor="x")


@pytest.mark.parametrize("limit", [0, -1, 51])
async def test_a_page_has_from_one_to_fifty_hits(library: Library, limit: int) -> None:
    """Another limit is refused."""
    with pytest.raises(InvalidInputError, match="from 1 to 50"):
        await library.search("needle", limit=limit)


# Filters


async def test_another_principals_messages_and_titles_are_not_found(library: Library) -> None:
    """Not one of them, however well they match, nor counted."""
    await library.of("another").put("needle", title="needle")
    await library.put("a needle of mine")

    found = await library.search("needle")

    assert ([hit.snippet for hit in found.hits], found.total) == (["a needle of mine"], 1)


@pytest.mark.parametrize(
    ("own", "filters"),
    [
        ({}, {}),
        ({"conversation": "r2r:one"}, {"instance": "r2r"}),
        ({"conversation": "local:two"}, {"conversation_id": "local:two"}),
        ({"conversation": "local:two", "agent": "local:reviewer"}, {"agent": "local:reviewer"}),
        (
            {"conversation": "local:two", "agent": "local:reviewer"},
            {"agent": "local:reviewer", "instance": "local", "conversation_id": "local:two"},
        ),
    ],
)
async def test_a_few_of_ones_own_are_found_behind_many_others(
    library: Library, own: dict[str, Any], filters: dict[str, Any]
) -> None:
    """Of the newest matches none is the caller's, or of the wanted instance, agent or conversation; older ones are."""
    await library.put("needle", "needle", **own)
    others = library if filters else library.of("another")
    others.added = 2
    await others.put(*("needle" for _ in range(300)))

    assert sorted(await library.ids("needle", **filters)) == ["m0", "m1"]


async def test_messages_are_found_by_an_agent_that_becomes_known_after_them(library: Library) -> None:
    """A platform may tell later who answers there."""
    await library.put("needle", conversation="r2r:one", agent=None)
    known = Conversation(id="r2r:one", agent="r2r:rag", status=Status.OPEN)
    await library.store.write(partial(conversations.remember, principal="local", said=known))
    await library.put(*("needle" for _ in range(300)))

    assert await library.ids("needle", agent="r2r:rag") == ["m0"]


async def test_filters_that_contradict_each_other_find_nothing(library: Library) -> None:
    """An agent of one instance is not in another."""
    await library.put("needle", conversation="local:one", agent="local:archivist", title="needle")

    assert await library.ids("needle", agent="local:archivist", instance="r2r") == []


async def test_since_and_until_cut_a_span_of_time(library: Library) -> None:
    """Since includes its moment, until does not."""
    await library.put(*(f"needle {i}" for i in range(5)))

    found = await library.ids("needle", since=BEGINNING + MINUTE, until=BEGINNING + 3 * MINUTE)

    assert sorted(found) == ["m1", "m2"]


async def test_since_goes_by_when_a_message_was_written_and_not_by_when_it_arrived(library: Library) -> None:
    """An old message that a platform sends late stands behind newer ones and is old all the same."""
    await library.put("needle", "needle")
    await library.put("needle", created_at=BEGINNING - 1000 * MINUTE)

    assert sorted(await library.ids("needle", since=BEGINNING)) == ["m0", "m1"]


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
async def test_the_ends_of_time_are_dates_like_others(library: Library, moment: datetime) -> None:
    """No date overflows what the store counts in."""
    await library.put("needle")

    assert (
        len(await library.ids("needle", since=moment)) + len(await library.ids("needle", until=moment)) == 1
    )


async def test_excluded_types_are_left_out(library: Library) -> None:
    """A message without a type has none of them."""
    await library.put("needle")
    await library.put("needle", type="tool")
    await library.put("needle", type="chat")

    assert sorted(await library.ids("needle", exclude_types=frozenset({"tool", "system"}))) == ["m0", "m2"]


async def test_archived_conversations_are_searched(library: Library) -> None:
    """They are put away, not gone."""
    await library.put("needle", title="A needle")
    await library.store.write(
        lambda tx: conversations.change(tx, "local", "local:one", ConversationChanges(archived=True))
    )

    assert await library.ids("needle") == ["m0"]


async def test_nothing_of_a_deleted_conversation_is_found(library: Library, location: StoreLocation) -> None:
    """Neither its messages nor its title."""
    await library.put("needle", title="A needle")
    await library.put("needle", conversation="local:two")
    await library.store.write(lambda tx: conversations.delete(tx, "local", "local:one"))

    assert await library.ids("needle") == ["m1"]
    if isinstance(location, Path):
        await library.store.write(
            lambda tx: tx.run("INSERT INTO message_index (message_index) VALUES ('integrity-check')")
        )


# What programs put in, and other filters


async def test_what_programs_put_in_comes_last(library: Library) -> None:
    """However new it is, and however well it matches; on each of several pages."""
    await library.put("I think that the needle is lost for good", "a needle in all this hay")
    await library.put("needle", role=Role.TOOL, type="tool_result")
    await library.put("needle needle", role=Role.SYSTEM, type="command_output")

    few = await library.search("needle")
    assert few.ranked
    assert [hit.message_id for hit in few.hits][2:] == ["m3", "m2"]
    pages = await library.pages("needle", limit=1)
    assert [hit.message_id for page in pages for hit in page.hits] == [hit.message_id for hit in few.hits]

    await library.put(*["needle"] * 30)
    await library.put(*["needle"] * 30, role=Role.TOOL)
    many = [hit.message_id for page in await library.pages("needle", limit=7) for hit in page.hits]
    assert many == [
        *(f"m{number}" for number in (*range(33, 3, -1), 1, 0)),
        *(f"m{number}" for number in (*range(63, 33, -1), 3, 2)),
    ]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"role": Role.USER}, ["m0"]),
        ({"role": Role.TOOL}, ["m2"]),
        ({"types": frozenset({"tool_result", "note"})}, ["m1", "m2"]),
        ({"program_text": False, "conversation_id": "local:one"}, ["m0", "m1"]),
        ({"source": "codex"}, ["m3"]),
        ({"source": "nowhere"}, []),
        ({"folder": "/home/ana/acme"}, ["m3"]),
        ({"folder": "/home/ana"}, ["m3"]),
        ({"folder": "/home/an"}, []),
        ({"folder": "acme"}, ["m3"]),
        ({"folder": "me"}, []),
        ({"folder": "C:\\work"}, ["m4"]),
    ],
)
async def test_filters_leave_out_what_does_not_fit(
    library: Library, filters: dict[str, Any], expected: list[str]
) -> None:
    """By what a message is, or where its conversation came from."""
    await library.put("a needle here", title="Needle")
    await library.put("a needle there", role=Role.ASSISTANT, type="note")
    await library.put("needle", role=Role.TOOL, type="tool_result")
    for number, (source, folder) in enumerate((("codex", "/home/ana/acme/"), ("other", "C:\\work\\x"))):

        def imported(
            tx: Transaction, number: int = number, source: str = source, folder: str = folder
        ) -> None:
            draft = ConversationDraft(
                agent="local:archivist", native_id=f"i{number}", source=source, metadata={"folder": folder}
            )
            conversations.insert(tx, "local", f"local:i{number}", draft, Status.COMPLETED)

        await library.store.write(imported)
        await library.put("needle", conversation=f"local:i{number}", role=Role.SYSTEM)

    assert sorted(await library.ids("needle", **filters)) == sorted(expected)


async def test_a_filter_that_many_conversations_pass_is_one_all_the_same(library: Library) -> None:
    """More of them than the index is asked for by name."""

    def work(tx: Transaction) -> None:
        for number in range(200):
            draft = ConversationDraft(
                agent="local:archivist", native_id=f"n{number}", source="codex" if number % 2 else "pi"
            )
            conversations.insert(tx, "local", f"local:n{number}", draft, Status.COMPLETED)

    await library.store.write(work)
    for number in range(200):
        await library.put("needle", conversation=f"local:n{number}")

    found = [hit for page in await library.pages("needle", source="pi", limit=50) for hit in page.hits]

    assert [hit.message_id for hit in found] == [f"m{number}" for number in range(198, -1, -2)]


@examples(40)
@given(
    of=st.lists(st.integers(0, 5), min_size=1, max_size=70),
    titled=st.sets(st.integers(0, 5)),
    programs=st.sets(st.integers(0, 69)),
    limit=st.integers(1, 7),
)
@example(of=[0, 1] * 35, titled={1}, programs=set(range(0, 70, 3)), limit=1)
async def test_each_conversation_is_shown_once_if_that_is_wanted(
    of: list[int], titled: set[int], programs: set[int], limit: int
) -> None:
    """By its best hit, on whichever page, whether its title matches or not; none is left out."""

    async def work(library: Library) -> None:
        for number, conversation in enumerate(of):
            await library.put(
                "needle" if number % 2 else "a needle in hay",
                conversation=f"local:{conversation}",
                title="Needle" if conversation in titled else "Hay",
                role=Role.TOOL if number in programs else Role.USER,
            )
        pages = await library.pages("needle", per_conversation=True, limit=limit)
        hits = [hit for page in pages for hit in page.hits]

        assert sorted(hit.conversation_id for hit in hits) == sorted({f"local:{each}" for each in of})
        assert all(hit.message_id is not None for hit in hits)
        for hit in hits:
            if hit.message_id is not None and hit.role is Role.TOOL:
                assert not any(
                    f"local:{each}" == hit.conversation_id and number not in programs
                    for number, each in enumerate(of)
                )

    await in_a_store(work)
