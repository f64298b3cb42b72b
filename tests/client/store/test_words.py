"""What the index takes for a word, and by what spellings a word is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.store.words import fold, words
from tests.support.drawing import examples


def spellings(text: str) -> list[tuple[str, ...]]:
    """Return what each word of a text is found by, the whole word first."""
    return [word.spellings for word in words(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Acme's", [("acmes", "acme")]),
        ("O’Brien's", [("obriens", "obrien", "brien")]),
        ("l'API", [("lapi", "api")]),
        ("don't", [("dont", "don")]),
        ("getUserById", [("getuserbyid", "get", "user", "by", "id")]),
        ("parseHTTPResponse", [("parsehttpresponse", "parse", "http", "response")]),
        ("APIs HTTP Word", [("apis", "api"), ("http",), ("word",)]),
        ("my_config.py", [("my",), ("config",), ("py",)]),
        ("U.S.A.", [("usa",)]),
        ("v3.2.0", [("3.2.0", "3.2", "v3.2", "v3.2.0", "v3", "2", "0", "3")]),
        ("2.10", [("2.10", "2", "10")]),
        ("python3.11", [("python3.11", "3.11", "python3", "11", "3", "python")]),
        ("1,234.56", [("1234.56", "1234", "56")]),
        ("libssl.so.3.2", [("libssl",), ("so",), ("3.2", "3", "2")]),
        (
            "C++, C# and F#; C: a+b",
            [("c++", "c"), ("c#", "c"), ("and",), ("f#", "f"), ("c",), ("a",), ("b",)],
        ),
        ("한국의 API를", [("한",), ("국",), ("의",), ("api",), ("를",)]),
        ('צה"ל', [("צהל",)]),
        ("👍🏽", [("👍",)]),
    ],
)
def test_a_word_has_these_spellings(text: str, expected: list[tuple[str, ...]]) -> None:
    """At one place, so that phrases count the words as people do."""
    assert spellings(text) == expected


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("Đà Nẵng dữ liệu", "da nang du lieu"),
        ("Łódź zażółć", "lodz zazolc"),
        ("Ærø smørrebrød œuf", "aero smorrebrod oeuf"),
        ("Straße GROẞ", "strasse gross"),
        ("İstanbul DİYARBAKIR ışık", "istanbul diyarbakir isik"),
        ("Þórður Seyðisfjörður", "thordur seydisfjordur"),
        ("ёлка λόγος", "елка λογος"),
        ("ﬁrst ＡＢＣ１２３", "first abc123"),
        ("Cafe\u0301", "café"),
        ("كِتَاب בְּרֵאשִׁית", "كتاب בראשית"),
    ],
)
def test_accents_and_marks_make_no_difference(written: str, typed: str) -> None:
    """Stacked ones neither, nor letters with a stroke, nor ligatures."""
    assert [word.folded for word in words(written)] == [word.folded for word in words(typed)]


@pytest.mark.parametrize(("one", "other"), [("दिन", "दान"), ("ガイ", "カイ"), ("ดี", "ดู")])
def test_what_makes_another_word_is_no_accent(one: str, other: str) -> None:
    """The vowels of Indic and Thai scripts, and the voicing of Japanese."""
    assert fold(one) != fold(other)


@examples(100)
@given(st.text())
def test_a_spelling_is_read_as_it_is_written(text: str) -> None:
    """No spelling has a blank in it, and each word stands where it says that it does."""
    end = 0
    for word in words(text):
        assert end <= word.start < word.end <= len(text)
        end = word.end
        assert all(spelling and spelling.split() == [spelling] for spelling in word.spellings)
