"""Full-text search: what the query language finds, in any script."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia.store.words import words
from tertulia.vocabulary.errors import InvalidInputError
from tests.client.store.library import Library, in_a_store
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio


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
