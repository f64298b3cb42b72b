"""Untyped data, and what a person is asked about it."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tertulia.platforms.kit.fields import Fields, confirmation, read_arguments
from tertulia.platforms.kit.http.errors import read_detail
from tertulia.platforms.kit.http.values import parsed, read_json
from tests.support.drawing import examples


def test_each_field_is_taken_once_under_its_first_name_that_is_there() -> None:
    """What nobody takes is left over."""
    fields = Fields({"b": 1, "c": 2, "d": None, "e": 0})

    assert (fields.take("a", "b", "c"), fields.take("b", "d"), fields.take("e")) == (1, None, 0)
    assert fields.rest() == {"c": 2}
    assert Fields("alone").take("value") == "alone"
    assert Fields(None).rest() == {}


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        ({"a": 1}, {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        ("[1]", {"arguments": [1]}),
        ("all of them", {"arguments": "all of them"}),
        ("[" * 100_000, {"arguments": "[" * 100_000}),
        (7, {"arguments": 7}),
        ("", None),
        ("null", None),
        (None, None),
    ],
)
def test_arguments_come_as_an_object_or_as_json(value: Any, arguments: Any) -> None:
    """Whatever it is, a person sees it."""
    assert read_arguments(value) == arguments


def test_a_person_sees_all_that_came_with_a_question() -> None:
    """The platform's words only quoted."""
    bare = confirmation("Somewhere", None, None, rest={}, tool_call_id=None, upstream_id="1")
    full = confirmation(
        "Somewhere",
        "a\nb",
        {"x": 1},
        said="May\nI?",
        rest={"risk": "hoch"},
        tool_call_id="c",
        upstream_id="1",
    )

    assert (bare.prompt, bare.tool, bare.arguments) == ("Somewhere asks to run a tool.", None, {})
    assert full.prompt == (
        'Somewhere asks to run “a\\nb”. It says: “May\\nI?”. It came with: “{"risk": "hoch"}”.'
    )
    assert (full.tool, full.arguments, full.tool_call_id, full.upstream_id) == ("a\nb", {"x": 1}, "c", "1")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"detail": "No."}, "No."),
        ({"detail": {"message": "No."}}, "No."),
        ({"detail": {"msg": "No."}}, "No."),
        ({"detail": [{"loc": ["body", "a", 0], "msg": "missing", "input": "secret"}]}, "body.a.0: missing"),
        ({"detail": [{"loc": "a", "msg": "b"}, {"loc": ["c"], "msg": "d"}, 7]}, "a: b; c: d"),
        ({"detail": []}, None),
        ({"detail": 7}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_details_of_a_refusal_are_read_from_each_of_their_shapes(body: Any, words: str | None) -> None:
    """What it repeats of the call is left out."""
    assert read_detail(body) == words


def test_what_is_no_json_says_nothing() -> None:
    """Nor what nests too deep."""
    assert parsed('{"a": 1}') == {"a": 1}
    assert parsed("{") is parsed("[" * 100_000) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@examples(100, [HealthCheck.too_slow])
@given(value=JSON, ascii_only=st.booleans())
def test_json_says_what_was_written(value: Any, ascii_only: bool) -> None:
    """Whatever a platform's library does to characters beyond ASCII."""
    assert read_json(json.dumps(value, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize(
    "said",
    [r'"\ud83d"', "[" * 500 + "]" * 500, '{"a": 1, "a": 2}', "1e400", "-0.0", " 7 ", "9" * 40],
)
def test_json_is_read_as_python_reads_it(said: str) -> None:
    """Half of a surrogate pair, many levels, a key that comes twice, and numbers of any size."""
    assert read_json(said) == json.loads(said)


@pytest.mark.parametrize("said", ["", "01", "'a'", '{"a": 1,}', "nan", "\ufeff1", '"\t"', "9" * 5_000])
def test_what_python_does_not_take_for_json_is_none(said: str) -> None:
    """As little as a number of more digits than Python reads."""
    with pytest.raises(ValueError, match=r".*"):
        read_json(said)
