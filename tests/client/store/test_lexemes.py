"""The words of a text as PostgreSQL's full-text types have them: their limits, and what is found by them."""

import pytest

from tertulia.store.index.base import Entry, TextKind, scope
from tertulia.store.index.lexemes import marks, phrase_query, query, span_query, split
from tertulia.store.schema import POSITION_BITS
from tertulia.store.terms import Phrase, read

DAY = 86_400_000 << POSITION_BITS


def vector(text: str) -> str:
    """Return the tsvector of a text that has one part."""
    _, (part,) = split(text)
    return part.vector([])


def test_a_word_has_its_spellings_at_one_place() -> None:
    """So that a phrase of any of them counts as people do."""
    assert vector("Fetch getUserById") == "'fetch':1 'getuserbyid':2 'get':2 'user':2 'by':2 'id':2"


def test_short_neighbours_have_a_word_of_their_own() -> None:
    """Of a phrase of words that many messages have side by side and apart, few candidates are read."""
    here, there = vector("the end is near"), vector("near is the end")

    wanted = query(read('"the end"').expression)
    assert wanted.startswith("(('the' <-> 'end') & '&")
    pair = wanted.split(" & ")[1].rstrip(")")
    assert pair in here
    assert pair in there
    assert pair not in vector("the near end is")
    assert "&" not in query(read('"reasonable doubt"').expression)


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("acme", "'acme'"),
        ("acme renewal", "('acme' & 'renewal')"),
        ("acme OR initech", "('acme' | 'initech')"),
        ("acme -draft", "('acme' & !'draft')"),
        ('acme -"first draft" -old', "('acme' & !(('first' <-> 'draft') | 'old'))"),
        ("invoic*", "'invoic':*"),
        ('"terms of payment"', "('terms' <-> 'of' <-> 'payment')"),
        (
            "HTTPResponse",
            "('httpresponse' | (('http' <0> 'response' | 'http' <1> 'response')"
            " | ('response' <0> 'http' | 'response' <1> 'http')))",
        ),
    ],
)
def test_a_search_becomes_a_query(search: str, expected: str) -> None:
    """Each word as our index spells it, quoted: nothing in it is an operator."""
    assert query(read(search).expression) == expected


def test_a_word_that_is_too_long_for_a_lexeme_has_a_digest_at_its_end() -> None:
    """So that it is no other one which begins like it; in the text and in a search alike."""
    fitting = "é" * 900  # folded to one byte each
    words = ["ж" * 2_000, "ж" * 1_999 + "ш"]

    assert f"'{'e' * 900}':1" in vector(fitting)
    one, other = (vector(word).partition(":")[0] for word in words)
    assert one.startswith(f"'{'ж' * 1_015}")
    assert one[:1_016] == other[:1_016]
    assert one != other
    assert len(one.encode()) <= 2_048
    assert one == phrase_query(Phrase((words[0],)))
    assert phrase_query(Phrase((words[0],), prefix=True)) == f"'{'ж' * 1_015}':*"


def test_a_long_text_has_parts_of_which_the_first_has_all_words() -> None:
    """A part has as many places as a tsvector can; two neighbours share some words, so that a phrase stands in one."""
    length, parts = split(" ".join(f"word{number}" for number in range(40_000)))

    assert length == 40_000
    assert len(parts) == 3
    assert all(max(map(max, filter(None, part.places.values()))) <= 16_383 for part in parts)
    assert parts[0].places["word39999"] == []
    assert "word16382" in parts[0].places.keys() & parts[1].places.keys()
    assert parts[1].places["word16400"] == [parts[1].places["word16399"][0] + 1]


def test_a_part_ends_where_a_word_has_no_more_places() -> None:
    """Or else phrases with a word that is said all the time would not be found at the end."""
    _, parts = split("an error at line nine of the file which somebody wrote long ago " * 2_000)

    assert all(len(places) <= 255 for part in parts for places in part.places.values())


def test_one_word_over_and_over_does_not_make_a_part_each_time() -> None:
    """A part has some thousand words at least."""
    _, parts = split("x " * 100_000)

    assert len(parts) < 60


def test_a_part_has_no_more_bytes_than_a_tsvector() -> None:
    """Also where all words are different, and long."""
    _, parts = split(" ".join(f"{number:a>200}" for number in range(10_000)))

    assert all(len(part.vector([]).encode()) < 1_100_000 for part in parts)
    assert {word for part in parts for word in part.places} >= {f"{number:a>200}" for number in range(10_000)}


def test_a_message_is_found_by_its_scopes_and_stretches_of_time() -> None:
    """Those of its principal only; a span is covered by few of them."""
    entry = Entry(500 * DAY, "me", TextKind.SAID, f"{scope('me')} {scope('me', agent='a')}", "hello")
    mine = list(marks(entry))

    assert mine[:2] == [f"~{scope('me')}", f"~{scope('me', agent='a')}"]
    for days in (0, 3, 20, 200):
        covering = span_query("me", entry.position - days * DAY, entry.position + days * DAY)
        assert any(f"'{mark}'" in covering for mark in mine[2:])
        assert not any(f"'{mark}'" in span_query("you", entry.position, entry.position) for mark in mine)
    assert not any(
        f"'{mark}'" in span_query("me", entry.position + 900 * DAY, entry.position + 901 * DAY)
        for mark in mine
    )
    assert span_query("me", 0, entry.position * 100) == ""
