"""What a search shows of what it finds, titles among it, and what it suggests instead."""

from collections.abc import Collection
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.store import conversations
from tertulia.store.matches import Matches
from tertulia.store.words import words
from tertulia.vocabulary.models import (
    ConversationChanges,
    Role,
    SearchHit,
)
from tertulia.vocabulary.states import Status
from tests.client.store.library import BEGINNING, MINUTE, Library, in_a_store
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio


# Titles


async def test_titles_are_found_and_lead_the_first_page(library: Library) -> None:
    """The newest three come first, then the messages, then the other titles."""
    await library.title(*(f"needle {i}" for i in range(5)))
    await library.put("needle one", "needle two")

    hits = (await library.search("needle")).hits

    assert [hit.conversation_title or hit.message_id for hit in hits][:3] == [
        "needle 4",
        "needle 3",
        "needle 2",
    ]
    assert {hit.message_id for hit in hits[3:5]} == {"m0", "m1"}
    assert [hit.snippet for hit in hits[5:]] == ["needle 1", "needle 0"]


async def test_a_conversation_whose_title_matches_is_shown_by_its_best_message(library: Library) -> None:
    """Once, whether the messages are few enough to be ranked or not."""
    await library.put("a needle", "needle, needle, needle", title="A needle", conversation="local:sewing")
    await library.put(*("the needle" for _ in range(5)), conversation="local:else")

    hits = (await library.search("needle")).hits
    assert (hits[0].conversation_title, hits[0].message_id) == ("A needle", "m1")
    assert len(hits) == 7

    await library.put(*("the needle" for _ in range(60)), conversation="local:else")
    pages = await library.pages("needle")
    assert not pages[0].ranked
    assert pages[0].hits[0].message_id == "m1"
    assert sum(hit.message_id == "m1" for page in pages for hit in page.hits) == 1


async def test_each_conversation_whose_title_matches_is_shown_by_its_best_however_many_others_have(
    library: Library,
) -> None:
    """The conversations are searched together, unless one of them has very many."""
    details: dict[str, Any] = {"title": "Needle", "conversation": "local:few"}
    await library.put("needle in the hay", "needle needle", "a needle in much hay", **details)
    await library.put(*("needle" for _ in range(200)), title="Needle", conversation="local:many")
    await library.title("Needle")

    hits = (await library.search("needle")).hits[:3]

    assert {(hit.conversation_id, hit.message_id) for hit in hits} == {
        ("local:few", "m1"),
        ("local:many", "m202"),
        ("local:titled0", None),
    }


async def test_the_best_passage_of_each_conversation_comes_before_the_second_of_any(library: Library) -> None:
    """One long conversation about something does not push out the others."""
    await library.put("needle needle", "needle", "the needle", conversation="local:one")
    await library.put("a haystack with a needle somewhere in it", conversation="local:two")

    assert [hit.conversation_id for hit in (await library.search("needle")).hits][:2] == [
        "local:one",
        "local:two",
    ]


async def test_a_title_is_a_hit_without_a_message(library: Library) -> None:
    """It says which conversation, in what state, and when that last changed."""
    await library.title("Renewal of Acme")
    [hit] = (await library.search("renewal")).hits

    conversation = await library.store.read(
        partial(conversations.get, principal="local", conversation_id="local:titled0")
    )
    assert hit == SearchHit(
        conversation_id="local:titled0",
        conversation_title="Renewal of Acme",
        status=Status.OPEN,
        message_id=None,
        author=None,
        role=None,
        snippet="Renewal of Acme",
        at=conversation.updated_at or BEGINNING,
    )


async def test_a_hit_shows_its_message_and_conversation(library: Library) -> None:
    """It has what is needed to go on reading."""
    await library.put("the needle", title="Hay", conversation="local:hay")

    assert (await library.search("needle")).hits == [
        SearchHit(
            conversation_id="local:hay",
            conversation_title="Hay",
            status=Status.OPEN,
            message_id="m0",
            author="somebody",
            role=Role.USER,
            snippet="the needle",
            at=BEGINNING,
        )
    ]


async def test_a_changed_title_is_found_by_its_new_words_only(library: Library) -> None:
    """The old ones are gone from the index."""
    await library.title("Renewal")
    await library.store.write(
        lambda tx: conversations.change(tx, "local", "local:titled0", ConversationChanges(title="Invoice"))
    )

    assert await library.ids("invoice") == ["title"]
    assert await library.ids("renewal") == []


# Snippets


async def test_a_short_text_is_shown_whole_in_one_line(library: Library) -> None:
    """Line breaks and runs of spaces become one space."""
    await library.put("  the\n\n  needle\tin\r\nhay ")

    assert (await library.search("needle")).hits[0].snippet == "the needle in hay"


@pytest.mark.parametrize(
    ("before", "behind"), [(0, 400), (400, 0), (400, 400), (40, 400), (3_000, 3_000), (30_000, 30_000)]
)
@pytest.mark.parametrize("hay", ["hay ", "一二三四", "hay\n\n   hay in the\t", "haystack-without-a-space"])
async def test_a_long_text_is_shown_around_the_match(
    library: Library, hay: str, before: int, behind: int
) -> None:
    """At most 240 characters of it in one line, with ellipses where something was left out."""
    await library.put(hay * (before // len(hay)) + " needle " + hay * (behind // len(hay)))

    snippet = (await library.search("needle")).hits[0].snippet

    assert "needle" in snippet
    assert len(snippet) <= 240
    assert not set(snippet) & set("\n\t\r")
    assert snippet.startswith("…") == (before > 200)
    assert snippet.endswith("…") == (behind > 200)


@pytest.mark.parametrize(
    ("text", "query", "shown"),
    [
        ("a MÜLLER b", "muller", "MÜLLER"),
        ("a naïveté b", "naivete", "naïveté"),
        ("net,  thirty\ndays", '"thirty days"', "thirty days"),
        ("well known", "well-known", "well known"),
        ("smart start art", "art", "start art"),
        ("invoicing", "invoic*", "invoicing"),
        ("会议纪要", "纪要", "纪要"),
        ("İİİ needle", "needle", "needle"),
    ],
)
async def test_a_match_is_shown_however_it_is_spelt(
    library: Library, text: str, query: str, shown: str
) -> None:
    """The index knows accents, marks and spaces as little as the snippet minds them."""
    await library.put("hay " * 100 + text + " hay" * 100)

    assert shown in (await library.search(query)).hits[0].snippet


async def test_the_place_that_has_most_of_the_words_is_shown(library: Library) -> None:
    """A word that stands alone further up is not what was looked for."""
    await library.put("price " + "hay " * 200 + "acme renewal" + " hay" * 200)

    assert "acme renewal" in (await library.search("price acme renewal")).hits[0].snippet


async def test_a_match_at_the_end_of_a_megabyte_is_shown(library: Library) -> None:
    """Also where no one would split the whole text into words for it."""
    await library.put("hay " * 250_000 + "needle")

    assert (await library.search("needle")).hits[0].snippet.endswith("hay needle")


async def test_a_snippet_cuts_no_character_in_two(library: Library) -> None:
    """What people see as one character may be many code points."""
    family = "👨‍👩‍👧‍👦"
    await library.put(f"{family * 60} needle {family * 60}")

    snippet = (await library.search("needle")).hits[0].snippet

    assert not snippet.strip("…").replace(" needle ", "").replace(family, "")


# Suggestions


@pytest.mark.parametrize(
    ("query", "suggestion"),
    [
        ("quartrly report", "Quarterly report"),
        ("quarteerly report", "Quarterly report"),
        ("quarterli report", "Quarterly report"),
        ("quarteryl report", "Quarterly report"),
        ('-draft "quartrly report"', '-draft "Quarterly report"'),
        ("quartrly raport", "Quarterly report"),
        ("мюнхенн", "Мюнхен"),
        ("reprot", "report"),
        ("renewall", "Renewal"),
        ("quartely raport", "Quarterly report"),
        ("qarterli", "Quarterly"),
        ("quatrerly", "Quarterly"),
        ("quarterrrly", "Quarterly"),
        ("renewel quartrly", "Renewal Quarterly"),
        ("quartrl*", "Quarterly*"),
        ("quartrly xyzzy OR reprot", "Quarterly xyzzy OR report"),
    ],
)
async def test_a_misspelt_word_is_replaced_by_a_near_one(
    library: Library, query: str, suggestion: str
) -> None:
    """Letters too many, missing, wrong or exchanged, two in a long word; in messages or titles, of any script."""
    await library.title("Renewal")
    await library.put("The Quarterly report", "Мюнхен", title="Renewal Quarterly", conversation="local:two")

    found = await library.search(query)

    assert (found.hits, found.total, found.suggestion) == ([], 0, suggestion)
    assert await library.ids(suggestion)


@pytest.mark.parametrize("query", ["quarterly zebra", "xyzzyx", "quarterly -report", "qa", "quarter* zzz"])
async def test_nothing_is_suggested_where_nothing_is_near(library: Library, query: str) -> None:
    """Neither for words that are there, just not together, nor for those too short to be misspelt."""
    await library.put("quarterly report", "a zebra")

    found = await library.search(query)

    assert (found.hits, found.suggestion) == ([], None)


async def test_nothing_is_suggested_that_another_principal_wrote(library: Library) -> None:
    """Their words are theirs."""
    await library.of("another").put("confidential", title="secretive")
    await library.put("hay")

    assert (await library.search("confidentiol")).suggestion is None
    assert (await library.search("secretivo")).suggestion is None


@examples(40)
@given(
    vocabulary=st.lists(st.text("abÿ😀", min_size=1, max_size=4), max_size=12),
    asked=st.sets(st.text("abcÿ😀", min_size=1, max_size=4), max_size=12),
)
async def test_the_index_knows_which_of_many_words_there_are(vocabulary: list[str], asked: set[str]) -> None:
    """In what was said, what programs put in, and titles, of whichever principal."""
    there = {spelling for word in words(" ".join(vocabulary)) for spelling in word.spellings}

    async def work(library: Library) -> None:
        await library.put(" ".join(vocabulary[::3]))
        await library.of("another").put(" ".join(vocabulary[1::3]), conversation="local:two", role=Role.TOOL)
        await library.title(" ".join(vocabulary[2::3]))

        known = await library.store.read(lambda tx: set(tx.index.known(asked)))
        beginnings = await library.store.read(lambda tx: set(tx.index.known(asked, beginnings=True)))

        assert known == asked & there
        assert beginnings == {each for each in asked if any(word.startswith(each) for word in there)}

    await in_a_store(work)


async def test_nothing_is_suggested_that_the_filters_leave_out(library: Library) -> None:
    """A suggestion that finds nothing either is none."""
    await library.put("quarterly report", type="tool")

    assert (await library.search("quarterli", since=BEGINNING + MINUTE)).suggestion is None
    assert (await library.search("quarterli", exclude_types=frozenset({"tool"}))).suggestion is None
    assert (await library.search("quarterli")).suggestion == "quarterly"


async def test_a_word_that_few_texts_have_comes_with_a_near_one_that_many_have(library: Library) -> None:
    """A slip that somebody made before is one all the same; a name with figures in it is not."""
    await library.put("I recieve parcels", *["we receive mail"] * 4, "E0383", *["E0382"] * 9)

    slip, name = await library.search("recieve"), await library.search("E0383")

    assert ([hit.message_id for hit in slip.hits], slip.suggestion) == (["m0"], "receive")
    assert name.suggestion is None
    assert (await library.search("receive")).suggestion is None


async def test_no_spellings_are_looked_up_where_a_near_word_cannot_be_in_enough_texts(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lookup takes longer than all else of a search in a small store."""
    looked_up: list[str] = []
    known = Matches.known

    def noting(matches: Matches, words: Collection[str], *, beginnings: bool = False) -> Collection[str]:
        looked_up.append("spellings")
        return known(matches, words, beginnings=beginnings)

    monkeypatch.setattr(Matches, "known", noting)
    await library.put("I recieve parcels", *["we receive mail"] * 2)
    await library.put(*["find receive"] * 9, type="command")

    few = await library.search("recieve", exclude_types=frozenset({"command"}))
    assert (few.total, few.suggestion, looked_up) == (1, None, [])

    await library.put("and we receive guests", "who receive gifts")
    enough = await library.search("recieve", exclude_types=frozenset({"command"}))
    assert (enough.suggestion, looked_up) == ("receive", ["spellings"])


async def test_a_flag_is_text_where_nothing_else_is_looked_for(library: Library) -> None:
    """Beside other words it is left out, with a suggestion where that finds nothing."""
    await library.put("compile with -Wall -Werror", "the wall")

    assert await library.ids("-Werror") == ["m0"]
    beside = await library.search("compile -Werror")
    assert (beside.hits, beside.suggestion) == ([], 'compile "-Werror"')
    assert await library.ids('compile "-Werror"') == ["m0"]
