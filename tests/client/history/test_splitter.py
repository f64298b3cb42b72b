"""Cutting files into records: each by itself, with its line, whatever else stands in the file."""

import json
from io import BufferedReader, BytesIO
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.history import splitter
from tertulia.history.splitter import RawRecord

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\[]{},:é\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('"\\{}[]a', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


class _Slow(BytesIO):
    """A file that is read in pieces of a size."""

    size = 1

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.size)


def elements(content: bytes, size: int = 1 << 20) -> list[RawRecord]:
    stream = _Slow(content)
    stream.size = size
    return [*splitter.split_array(cast(BufferedReader, stream))]


@given(
    values=st.lists(VALUES, max_size=5),
    indent=st.sampled_from([None, 0, 1]),
    ascii_only=st.booleans(),
    size=st.integers(1, 9),
)
def test_an_array_is_cut_into_its_elements_however_it_is_written_and_read(
    values: list[Any], indent: int | None, ascii_only: bool, size: int
) -> None:
    """In strings there may be anything, and a piece may end anywhere."""
    content = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()

    cut = elements(content, size)

    assert [splitter.parse(record.data or b"") for record in cut] == values


@given(values=st.lists(st.lists(st.integers(), max_size=3), min_size=1, max_size=5), size=st.integers(1, 9))
def test_each_element_has_the_line_where_it_begins(values: list[Any], size: int) -> None:
    """Whatever lines come before it."""
    content = b"\n[" + b",".join(b"\n\n" + json.dumps(value, indent=1).encode() for value in values) + b"\n]"
    text_lines = content.decode().split("\n")

    for record in elements(content, size):
        assert record.data is not None
        first = record.data.decode().splitlines()[0]
        assert text_lines[record.line - 1].startswith(first.rstrip())


def test_an_element_that_is_no_json_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as its brackets close."""
    first, broken, last = elements(b'[{"a": 1},\n {"b": oops},\n {"c": 3}]')

    assert (splitter.parse(first.data or b""), splitter.parse(last.data or b"")) == ({"a": 1}, {"c": 3})
    with pytest.raises(splitter.NotJSONError, match="it is not JSON: expecting value at column 7"):
        splitter.parse(broken.data or b"")
    assert broken.line == 2


def test_an_array_that_is_cut_off_yields_what_is_whole() -> None:
    """And then says that there should be more."""
    found: list[RawRecord] = []
    with pytest.raises(EOFError):
        found.extend(splitter.split_array(cast(BufferedReader, BytesIO(b'[{"a": 1}, {"b": [2'))))

    assert elements(b'[{"a": 1}]') == [RawRecord(1, b'{"a": 1}')]


def test_a_record_that_is_too_long_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in an array nor on a line; what follows is read."""
    monkeypatch.setattr(splitter, "LONGEST_RECORD", 20)
    long = b'"' + b"x" * 100 + b'"'

    in_array = elements(b"[1,\n" + long + b",\n2]", 7)
    in_lines = [*splitter.split_lines(BufferedReader(cast(Any, BytesIO(b"1\n" + long + b"\n2\n"))))]

    assert [(record.line, record.data and record.data.strip()) for record in in_array] == [
        (1, b"1"),
        (2, None),
        (3, b"2"),
    ]
    assert [(record.line, record.data and record.data.strip()) for record in in_lines] == [
        (1, b"1"),
        (2, None),
        (3, b"2"),
    ]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"a": NaN}', "it is not JSON: NaN is no number there"),
        (b'{"a": "\xff"}', "it is not UTF-8 text"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"9" * 5_000, "it is not JSON: Exceeds the limit"),
    ],
)
def test_what_is_no_json_is_told(raw: bytes, why: str) -> None:
    """In one sentence."""
    with pytest.raises(splitter.NotJSONError) as told:
        splitter.parse(raw)

    assert str(told.value).startswith(why)
