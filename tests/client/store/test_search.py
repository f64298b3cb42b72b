"""Full-text search: what is found, in which order, page by page, how it is shown, and what is offered instead."""

import json
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia.store import conversations, messages
from tertulia.store.database import Store, Transaction
from tertulia.store.matches import Matches
from tertulia.store.search import search
from tertulia.store.words import words
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.location import StoreLocation
from tertulia.vocabulary.models import (
    Conversation,
    ConversationChanges,
    ConversationDraft,
    Message,
    Role,
    SearchHit,
    SearchQuery,
    SearchResult,
)
from tertulia.vocabulary.states import Status
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio


BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class Library:
    """A store to search in, as one principal has it. Messages are a minute apart, named `m0`, `m1` and so on."""

    store: Store
    principal: str = "local"
    added: int = 0

    async def put(self, *texts: str, conversation: str = "local:one", **details: Any) -> None:
        """Add a message for each of the texts."""
        added, self.added = self.added, self.added + len(texts)

        agent, title = details.pop("agent", "local:archivist"), details.pop("title", None)

        def work(tx: Transaction) -> None:
            self._open(tx, conversation, agent, title)
            for number, text in enumerate(texts, added):
                given: dict[str, Any] = {
                    "created_at": BEGINNING + number * MINUTE,
                    "role": Role.USER,
                    **details,
                }
                message = Message(
                    id=f"m{number}",
                    conversation_id=conversation,
                    author="somebody",
                    text=text,
                    **given,
                )
                messages.add(tx, self.principal, message)

        await self.store.write(work)

    async def title(self, *titles: str, conversation: str = "local:titled") -> None:
        """Add a conversation without messages for each of the titles."""

        def work(tx: Transaction) -> None:
            for number, title in enumerate(titles):
                self._open(tx, f"{conversation}{number}", "local:archivist", title)

        await self.store.write(work)

    async def search(self, text: str, **details: Any) -> SearchResult:
        """Return the first page of what is found, or the one that a cursor leads to."""
        query = SearchQuery(text=text, **details)
        return await self.store.read(partial(search, principal=self.principal, query=query))

    async def ids(self, text: str, **details: Any) -> list[str]:
        """Return the messages of a page by their ids, and titles as such."""
        return [hit.message_id or "title" for hit in (await self.search(text, **details)).hits]

    async def pages(self, text: str, **details: Any) -> list[SearchResult]:
        """Return every page."""
        pages = [await self.search(text, **details)]
        while pages[-1].next_cursor is not None:
            pages.append(await self.search(text, **details, cursor=pages[-1].next_cursor))
        return pages

    def of(self, principal: str) -> "Library":
        """Return the same store as another principal has it."""
        return replace(self, principal=principal)

    def _open(self, tx: Transaction, conversation: str, agent: str, title: str | None) -> None:
        draft = ConversationDraft(agent=agent, native_id=conversation.partition(":")[2], title=title)
        conversations.insert(tx, self.principal, conversation, draft, Status.OPEN)


@pytest.fixture
def library(plain_store: Store) -> Library:
    """Return an empty store to search in."""
    return Library(plain_store)


async def in_a_store(work: Callable[[Library], Any]) -> None:
    """Await `work` with an empty store of its own: an example of a property may not see another's."""
    with tempfile.TemporaryDirectory() as folder:
        async with Store(Path(folder) / "store.db") as store:
            await work(Library(store))


def keys(hits: Sequence[SearchHit]) -> list[tuple[str, str | None]]:
    """Return what tells hits apart."""
    return [(hit.conversation_id, hit.message_id) for hit in hits]


# The language


@pytest.mark.parametrize(
    "query", ["acme renewal", "renewal acme", "ACME Renewal", "(acme) + [renewal]!", "àcmé renewal"]
)
async def test_words_are_found_in_any_order_case_and_accent(library: Library, query: str) -> None:
    """All the words must be there; nothing else about them matters."""
    await library.put("The renewal of the contract with Acme", "Acme called", "A renewal")

    assert await library.ids(query) == ["m0"]


async def test_a_quoted_phrase_is_found_only_side_by_side(library: Library) -> None:
    """The words of a phrase must follow one another."""
    await library.put("net thirty days", "thirty net days", "the net: thirty, days")

    assert sorted(await library.ids('"net thirty"')) == ["m0", "m2"]


async def test_typographic_quotes_are_quotes(library: Library) -> None:
    """A telephone's keyboard replaces plain quotes by these."""
    await library.put("net thirty days", "thirty net days")

    assert await library.ids("“net thirty”") == ["m0"]


async def test_a_star_finds_every_word_that_begins_so(library: Library) -> None:
    """A prefix is the beginning of a word, not a part of its middle."""
    await library.put("invoice", "Invoicing", "reinvoiced", "invoke")

    assert sorted(await library.ids("invoic*")) == ["m0", "m1"]


async def test_a_star_behind_one_or_two_letters_means_the_word_alone(library: Library) -> None:
    """Looking up the prefix `a` would read a tenth of the whole index."""
    await library.put("plan a", "another plan")

    assert await library.ids("a*") == ["m0"]


async def test_a_star_behind_a_korean_syllable_finds_its_words(library: Library) -> None:
    """One syllable says as much as three Latin letters, and particles hang on the word."""
    await library.put("회의를 시작합니다", "회사")

    assert await library.ids("회의*") == ["m0"]


async def test_stars_around_a_word_are_emphasis(library: Library) -> None:
    """Text pasted from Markdown is no prefix."""
    await library.put("bold", "boldly")

    assert await library.ids("**bold**") == ["m0"]


@pytest.mark.parametrize(
    "query", ["price -draft", "-draft price", 'price -"draft two"', "price -dráft -nothing"]
)
async def test_a_minus_leaves_out_what_has_the_word(library: Library, query: str) -> None:
    """An exclusion takes away from what the other words find."""
    await library.put("the price", "the price in draft two")

    assert await library.ids(query) == ["m0"]


@pytest.mark.parametrize("query", ["well-known", "- well known", "--known", "a -> well known"])
async def test_a_minus_that_stands_before_no_word_is_text(library: Library, query: str) -> None:
    """Hyphens, dashes, arrows and options of commands leave nothing out."""
    await library.put("a well-known place")

    assert await library.ids(query) == ["m0"]


async def test_or_binds_closer_than_the_space(library: Library) -> None:
    """`price acme OR initech` wants the price from one of two."""
    await library.put("price of acme", "price of initech", "acme and initech", "price of globex")

    assert sorted(await library.ids("price acme OR initech")) == ["m0", "m1"]
    assert sorted(await library.ids('acme OR initech OR "of globex" price')) == ["m0", "m1", "m3"]


@pytest.mark.parametrize("query", ["OR acme", "acme OR", "acme or", "acme -x OR"])
async def test_an_or_that_joins_nothing_is_a_word(library: Library, query: str) -> None:
    """It is looked for like any other."""
    await library.put("either acme or initech", "acme")

    assert await library.ids(query) == ["m0"]


@pytest.mark.parametrize(
    "query",
    [
        'acme "renewal',
        'acme" renewal',
        "acme AND renewal",
        "acme NOT renewal",
        "NEAR(acme renewal, 2)",
        "text : acme",
        "{scope} : acme",
        "^acme",
        "acme + renewal",
        "'; DROP TABLE messages; --",
        "acme\0renewal",
        "acme \ud800 renewal",
        "(" * 300 + "acme",
        " OR ".join(["acme"] * 120),
        "acme " * 200,
    ],
)
async def test_what_is_no_operator_is_text(library: Library, query: str) -> None:
    """Whatever the index would take for syntax is looked for, or ignored where it is no word."""
    await library.put("Text and scope: acme, not near acme renewal 2; drop table messages")

    assert await library.ids(query) == ["m0"]


@pytest.mark.parametrize("query", ["", "   ", '-"acme"', '-"acme renewal" -x', "?!", '"..." ***', "\0"])
async def test_a_query_without_a_word_is_refused_with_a_hint(library: Library, query: str) -> None:
    """There is nothing to look for; the hint says what is missing."""
    with pytest.raises(InvalidInputError, match="no word to look for") as caught:
        await library.search(query)

    assert "at least one word" in (caught.value.hint or "")


async def test_a_query_of_more_than_a_thousand_characters_is_refused(library: Library) -> None:
    """The longest that is allowed works, and one more does not."""
    await library.put("word " * 10)

    assert await library.ids("word " * 200) == ["m0"]
    with pytest.raises(InvalidInputError, match="1,001 characters"):
        await library.search("word " * 200 + "x")


# Languages


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("我们昨天在上海开会讨论了续约的价格。", "上海"),
        ("我们昨天在上海开会讨论了续约的价格。", "续约 开会"),
        ("我们昨天在上海开会讨论了续约的价格。", "价格"),
        ("請查看iPhone手機的發票", "手機"),
        ("請查看iPhone手機的發票", "iphone"),
        ("昨日、東京で会議をしました", "会議"),
        ("昨日、東京で会議をしました", "しました"),
        ("データベースの設計", "データベース"),
        ("ｶﾀｶﾅ と ＡＢＣ", "カタカナ abc"),
        ("เราประชุมกันที่กรุงเทพเมื่อวานนี้", "กรุงเทพ"),
        ("เราประชุมกันที่กรุงเทพเมื่อวานนี้", "ประชุม"),
        ("ព្រះរាជាណាចក្រកម្ពុជា", "កម្ពុជា"),
        ("안녕하세요 세계", "세계"),
        ("Die Straße nach München", "strasse munchen"),
        ("Die Straße nach München", "STRAẞE MÜNCHEN"),
        ("Le café de l’été", "cafe"),
        ("cafe\u0301", "café"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
        ("Договор подписан", "договор"),
        ("नमस्ते दुनिया", "दुनिया"),
        ("مَرْحَبًا بالعالم", "مرحبا"),
        ('דו"ח של צה"ל', 'צה"ל'),
        ('דו"ח של צה"ל', '"של צה"ל"'),
        ("İstanbul'da", "istanbul'da"),
        ("Chapter Ⅲ, ﬁnal", "iii final"),
        ("ship it 🚀 now", "🚀"),
        ("thumbs 👍🏽 up", "👍"),
        ("in 🇵🇹 and 🇪🇸", "🇪🇸"),
        ("version 3.14 costs 1,000", "3.14 1,000"),
        ("don't", "don’t"),
        ("see client/settings.py", "settings"),
        ("see client/settings.py", "py"),
        ("see client/settings.py", "settings.py"),
        ("anna@example.com wrote", "example"),
        ("the field user_name", "user_name"),
        ("the field user_name", "name"),
        ("std::sort", "sort"),
        ("in the U.S.A. and e.g. here", "usa eg"),
    ],
)
async def test_the_words_of_any_language_are_found(library: Library, text: str, query: str) -> None:
    """With or without spaces between words, and however a keyboard composes its letters."""
    await library.put("something else", text)

    assert await library.ids(query) == ["m1"]


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


# Properties

SYNTAX = [
    '"',
    "-",
    "*",
    " ",
    "OR",
    " OR ",
    "AND",
    "NOT",
    "NEAR(",
    "(",
    ")",
    "{text} :",
    "^",
    "+",
    "'",
    "\0",
    "\ud800",
    "“",
    ",",
]
TYPED = st.lists(st.one_of(st.sampled_from(SYNTAX), st.text(max_size=8)), max_size=20).map("".join)


@examples(150)
@given(queries=st.lists(TYPED, min_size=1, max_size=20), text=st.text(max_size=60))
async def test_any_query_finds_something_or_nothing_or_has_no_word(queries: list[str], text: str) -> None:
    """Nothing that can be typed is a syntax error, nor any other."""

    async def work(library: Library) -> None:
        await library.put(text, "acme or initech")
        for query in queries:
            try:
                await library.search(query)
            except InvalidInputError as error:
                assert error.hint  # noqa: PT017 - whether it is raised is not what is asked

    await in_a_store(work)


@examples(60)
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=6))
@example(texts=["我们在上海", "กรุงเทพ", 'צה"ל', "OR", "don't", "½", "🇵🇹🇪🇸", "👍🏽", "a_b.c:d"])
async def test_every_message_is_found_by_each_of_its_own_words(texts: list[str]) -> None:
    """Of any script, and unless a word that it has is excluded."""

    async def work(library: Library) -> None:
        await library.put(*texts)
        for number, text in enumerate(texts):
            for word in {text[word.start : word.end] for word in words(text)}:
                assert f"m{number}" in await library.ids(word, limit=50)
                assert f"m{number}" not in await library.ids(f'{word} -"{word}"', limit=50)

    await in_a_store(work)
