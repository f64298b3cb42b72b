"""What text may come in, and how what may not is told."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import InvalidInputError
from tertulia.store.database import encode
from tertulia.vocabulary.text import MAX_JSON, MAX_TEXT, MAX_TITLE, checked_json, checked_line, checked_text

CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]


@pytest.mark.parametrize(
    "value", ["", " ", "\n\t\r ", "\u3000\u2003", "\u200b", "\u2060\ufeff", "\u202e\u202c"]
)
def test_a_text_without_anything_to_see_is_empty(value: str) -> None:
    """Spaces of every kind, and characters that show nothing, are nothing to answer."""
    with pytest.raises(InvalidInputError, match="`text` is empty"):
        checked_text("text", value)
    with pytest.raises(InvalidInputError, match="`text` is empty"):
        checked_line("text", value.strip("\n\t\r "))


@pytest.mark.parametrize("value", ["a", "🙂", "  a\n\tb\r\n", "é", "\u202eabc\u202c", "👩‍👩‍👧", "क्‍ष"])
def test_a_text_is_taken_as_it_is(value: str) -> None:
    """Indentation, line breaks and joiners belong to what a person wrote."""
    assert checked_text("text", value) == value


@pytest.mark.parametrize("character", CONTROLS, ids=lambda each: f"U+{ord(each):04X}")
def test_a_control_character_is_refused_where_it_stands(character: str) -> None:
    """Tab and line breaks are the only ones that a text has; a line has none."""
    if character not in "\t\n\r":
        with pytest.raises(
            InvalidInputError, match=rf"control character \(U\+{ord(character):04X}\) at position 2"
        ):
            checked_text("text", f"ab{character}c")
    with pytest.raises(InvalidInputError, match=rf"U\+{ord(character):04X}"):
        checked_line("title", f"ab{character}c")


@pytest.mark.parametrize("character", ["\u2028", "\u2029"])
def test_a_line_has_no_line_break_of_any_script(character: str) -> None:
    """Unicode has two more, which a text may have."""
    assert checked_text("text", f"ab{character}c")
    with pytest.raises(InvalidInputError, match="at position 2"):
        checked_line("title", f"ab{character}c")


@pytest.mark.parametrize("value", ["ab\ud800", "\udc00ab", "a\udfff\ud800b"])
def test_a_lone_surrogate_is_refused_by_its_name(value: str) -> None:
    """No store and no JSON can keep it."""
    with pytest.raises(InvalidInputError, match="lone surrogate"):
        checked_text("text", value)
    with pytest.raises(InvalidInputError, match="lone surrogate"):
        checked_line("title", value)
    with pytest.raises(InvalidInputError, match="lone surrogate"):
        checked_json("metadata", {"key": [value]})


def test_a_text_is_measured_in_bytes_and_refused_with_both_numbers() -> None:
    """The limit itself is possible; one byte more is not."""
    assert checked_text("text", "é" * (MAX_TEXT // 2))
    with pytest.raises(InvalidInputError, match="has 1,048,577 bytes; at most 1,048,576"):
        checked_text("text", "é" * (MAX_TEXT // 2) + "a")


def test_a_line_is_stripped_and_measured_in_characters() -> None:
    """A title of 200 emoji is a title."""
    assert checked_line("title", "  " + "🙂" * MAX_TITLE + " ") == "🙂" * MAX_TITLE
    with pytest.raises(InvalidInputError, match="has 201 characters; at most 200"):
        checked_line("title", "a" * (MAX_TITLE + 1))


def _circular() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    "value",
    [
        {"a": float("nan")},
        {"a": [float("inf")]},
        {"a": -float("inf")},
        {"a": {1, 2}},
        {"a": object()},
        {"a": b"bytes"},
        {"a": 1 + 2j},
        {1: "a", "b": 2},
        {("a",): 1},
        MappingProxyType({"a": 1}),
        _circular(),
        _nested(100_000),
    ],
    ids=[
        *(
            "nan",
            "infinity",
            "minus-infinity",
            "set",
            "object",
            "bytes",
            "complex",
            "mixed-keys",
            "tuple-key",
        ),
        *("no-dict", "circular", "bottomless"),
    ],
)
def test_what_is_no_json_is_refused(value: Mapping[Any, Any]) -> None:
    """It says so by the name of the argument."""
    with pytest.raises(InvalidInputError, match="`metadata` is not JSON") as raised:
        checked_json("metadata", value)

    assert raised.value.hint


def test_json_is_measured_in_bytes_and_refused_with_both_numbers() -> None:
    """The limit itself is possible; one byte more is not."""
    around = len('{"a": ""}')
    assert checked_json("metadata", {"a": "x" * (MAX_JSON - around)})
    with pytest.raises(InvalidInputError, match="has 262,145 bytes of JSON; at most 262,144"):
        checked_json("metadata", {"a": "x" * (MAX_JSON - around + 1)})


def without_nul(node: Any) -> Any:
    """Return JSON with U+FFFD in place of U+0000."""
    if isinstance(node, str):
        return node.replace("\0", "\ufffd")
    if isinstance(node, list):
        return [without_nul(each) for each in cast("list[Any]", node)]
    if isinstance(node, dict):
        return {without_nul(name): without_nul(each) for name, each in cast("dict[str, Any]", node).items()}
    return node


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(exclude_categories=["Cs"])),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=6,
        ),
        max_size=4,
    )
)
def test_any_json_is_taken_and_comes_back_from_the_store(value: dict[str, Any]) -> None:
    """Line separators in its strings too; zero bytes, which no text can hold, are replaced."""
    assert json.loads(encode(checked_json("metadata", value))) == without_nul(value)
