"""Which lines are told: splitting, judging and choosing them, whatever the text."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia.platforms.local.archivist.tools.cue_words import DECISION, FIGURE, PROMISE, QUESTION
from tertulia.platforms.local.archivist.tools.salience import (
    Line,
    contains,
    scores,
    select,
    spellings,
    split_lines,
    term_weights,
    terms_in,
    text_counts,
)
from tertulia.store.terms import read
from tertulia.vocabulary.errors import InvalidInputError

TEXTS = {
    "One thing. Another thing! A third thing?": ["One thing.", "Another thing!", "A third thing?"],
    "We met Dr. Meyer at 5 p.m. on Friday. He agreed.": [
        "We met Dr. Meyer at 5 p.m. on Friday.",
        "He agreed.",
    ],
    "Bis zum 10. September. Danach nicht. Es waren 10. Na gut.": [
        "Bis zum 10. September.",
        "Danach nicht.",
        "Es waren 10.",
        "Na gut.",
    ],
    "Plan:\n1. Offer 8 % off\n2. Send it\n* **Call** Dana": ["Offer 8 % off", "Send it", "Call Dana"],
    "This line was wrapped\nby a mail program. Not this one.\nNew paragraph": [
        "This line was wrapped by a mail program.",
        "Not this one.",
        "New paragraph",
    ],
    "Before\n```python\nprint('We decided')\n```\nBehind it.": ["Behind it."],
    "Unclosed fence:\n~~~\nWe decided.": ["Unclosed fence:"],
    "> You wrote that it was decided.\nI did not.": ["I did not."],
    "# A heading of words\n| a table | of words |\n---\nWhat was said.": ["What was said."],
    "会议讨论了三件事。最后决定了！": ["会议讨论了三件事。", "最后决定了！"],
    "Ok.": [],
    "": [],
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items())
def test_a_text_is_split_into_what_was_said(text: str, expected: list[str]) -> None:
    """Sentences and entries of lists; no code, quoted mail, headings, tables, nor single words."""
    assert [line.text for line in split_lines(text, 0)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We'll meet Acme in 2026, at 9", {"meet": "meet", "acme": "Acme", "2026": "2026"}),
        ("Café CAFE", {"cafe": "Café"}),
        ("市场预算", {"市场": "市场", "场预": "场预", "预算": "预算"}),
        ("der Umzug und das Büro", {"umzug": "Umzug", "buro": "Büro"}),
        ("да, бюджет", {"бюджет": "бюджет"}),
    ],
)
def test_what_may_tell_something_is_no_function_word(text: str, expected: dict[str, str]) -> None:
    """Words as the index spells them; where no spaces part them, pairs of characters."""
    assert terms_in(text) == expected


def test_a_word_tells_more_the_rarer_it_is_elsewhere_and_the_more_frequent_here() -> None:
    """One that is as frequent elsewhere tells nothing."""
    found = term_weights(
        {"acme": 5, "offer": 5, "thing": 5, "once": 1}, 10, {"offer": 100, "thing": 600}, 1_000
    )

    assert found["acme"] > found["offer"] > 0
    assert found["acme"] > found["once"]
    assert "thing" not in found


@pytest.mark.parametrize(
    ("cue", "texts"),
    [
        (
            DECISION,
            [
                "We agreed on it.",
                "Es wurde beschlossen.",
                "C'est décidé.",
                "Está aprobado.",
                "договорились",
                "最后决定",
            ],
        ),
        (
            PROMISE,
            [
                "I'll send it.",
                "We will call.",
                "It is due.",
                "Er hat zugesagt.",
                "Lo promete.",
                "обещаю",
                "我们承诺",
            ],
        ),
        (
            FIGURE,
            [
                "on 2026-03-01",
                "by 15 April",
                "8 % off",
                "€ 40",
                "48,000 seats",
                "in 3 weeks",
                "十二月15日",
                "on Monday",
            ],
        ),
        (QUESTION, ["Really?", "真的吗？", "حقا؟", 'He said "why?"']),
    ],
)
def test_cues_are_known_in_several_languages(cue: re.Pattern[str], texts: list[str]) -> None:
    """What a sentence is, apart from what it is about."""
    for text in texts:
        assert cue.search(text), text
    assert not cue.search("The cormorant dives.")


def test_what_was_said_already_is_not_chosen_again() -> None:
    """Of many lines that say the same one is told, and room is left for another, however modest."""
    texts = ["The cormorant dives at the pier."] * 50 + ["Bob paints boats."]
    found = [line for source, text in enumerate(texts) for line in split_lines(text, source)]
    here, size = text_counts(found)

    told = select(found, scores(found, term_weights(here, size, {}, 1_000)), 10)

    assert [line.text for line in told] == [texts[0], texts[-1]]


def test_words_of_a_script_without_spaces_are_put_together_again() -> None:
    """Pairs of characters that only ever stand together are one word, and what straddles two words is none."""
    found = [
        line
        for text in ("新办公室的租金", "市场预算", "预算会议", "办公室很大")
        for line in split_lines(text, 0)
    ]

    assert spellings(found, ["预算", "算会", "办公", "公室", "租金"]) == ["预算", "办公室", "租金"]


anything = st.text(st.characters(exclude_categories=["Cs"]))
mixed = st.lists(
    st.one_of(
        anything,
        st.sampled_from(
            ["We decided. ", "会议决定", "```", "> ", "1. ", "\n", "a\n", "…", "e.g. ", "5 %", "\u202e", "**"]
        ),
    )
).map("".join)


@given(st.lists(mixed, max_size=8), st.integers(1, 10), mixed)
@example(["z. B. " * 50], 3, "z")
@example(["```" * 99, "\n\n>" * 99], 3, "x")
def test_any_texts_can_be_summarised(texts: list[str], most: int, query: str) -> None:
    """The selected lines are in order, no more than were asked for, and parts of the texts."""
    found = [line for source, text in enumerate(texts) for line in split_lines(text, source)]
    here, size = text_counts(found)
    weight = term_weights(here, size, {}, 10)
    try:
        terms = [term for group in read(query).wanted for term in group]
    except InvalidInputError:
        terms = []

    told = select(found, scores(found, weight, terms), most)

    assert len(told) <= most
    assert bool(told) == bool(found)
    assert [(line.source, line.number) for line in told] == sorted(
        (line.source, line.number) for line in told
    )
    assert all(_bare(line.text) in _bare(texts[line.source]) for line in told)
    assert all(isinstance(contains(line, term), bool) for line in told for term in terms)
    assert len(spellings(found, list(weight))) <= len(weight)


def _bare(text: str) -> str:
    return "".join(text.replace("**", "").replace("__", "").split())


def test_judging_nothing_is_nothing() -> None:
    """No line, no mark."""
    none: list[Line] = []

    assert scores(none, {}) == []
    assert select(none, [], 3) == []
