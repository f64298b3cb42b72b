"""Cursors: opaque, and good for one conversation of one store, or for one list."""

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import InvalidInputError
from tertulia.vocabulary.identifiers import COUNT, Cursor, Shape, page_cursor, read_page_cursor

HERE = {"epoch": "5f2c", "conversation_id": "local:abc"}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
shapes: dict[str, tuple[Shape, st.SearchStrategy[object]]] = {
    "number": (int, st.integers(-(1 << 63), (1 << 63) - 1)),
    "count": (COUNT, st.integers(0, (1 << 53) - 1)),
    "title": ([str, int], st.tuples(st.text(), st.integers(0, 9)).map(list)),
    "places": (
        [str | None, {str: [str | None, COUNT]}],
        st.tuples(
            st.none() | st.text(),
            st.dictionaries(st.text(), st.tuples(st.none() | st.text(), st.integers(0, 9)).map(list)),
        ).map(list),
    ),
}
"""Shapes of positions, each with positions that have it."""


@given(
    epoch=st.text(),
    conversation_id=st.text(),
    seq=st.integers(0, (1 << 40) - 1),
    stamp=st.integers(0, 1 << 62),
)
def test_a_cursor_comes_back_as_it_was_handed_out(
    epoch: str, conversation_id: str, seq: int, stamp: int
) -> None:
    """All of the position, and the lower 32 bits of the time of the entry that it stands behind."""
    cursor = Cursor(
        epoch.encode("utf-8", "replace").decode(),
        conversation_id.encode("utf-8", "replace").decode(),
        seq,
        stamp,
    )

    read = Cursor.parse(str(cursor), epoch=cursor.epoch, conversation_id=cursor.conversation_id)

    assert (read.seq, read.stamp) == (seq, stamp & 0xFFFFFFFF)
    assert len(str(cursor)) == 24


@pytest.mark.parametrize("text", ["", "x", "7", "🙂", "\ud800", "a" * 24, "=" * 24, "A" * 3_000_000])
def test_what_is_no_cursor_is_refused_with_the_way_out(text: str) -> None:
    """A caller can always start from the beginning."""
    with pytest.raises(InvalidInputError, match="is not a cursor") as raised:
        Cursor.parse(text, **HERE)

    assert "from the beginning" in (raised.value.hint or "")
    assert raised.value.ids == {"conversation_id": "local:abc"}
    assert len(str(raised.value)) < 200


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_no_made_up_text_is_taken_for_a_cursor(text: str) -> None:
    """Any text is refused politely."""
    with pytest.raises(InvalidInputError):
        Cursor.parse(text, **HERE)
    with pytest.raises(InvalidInputError):
        read_page_cursor(text, {"list": "conversations"}, object)


def test_a_mistyped_cursor_is_noticed() -> None:
    """Whichever character it is."""
    cursor = str(Cursor(seq=42, stamp=1_700_000_000_000_000, **HERE))

    for at, character in enumerate(cursor):
        mistyped = cursor[:at] + ("B" if character != "B" else "C") + cursor[at + 1 :]
        with pytest.raises(InvalidInputError):
            Cursor.parse(mistyped, **HERE)


def test_a_cursor_of_another_conversation_is_refused_by_name() -> None:
    """It would silently skip what happened here."""
    cursor = str(Cursor(seq=3, stamp=1, **HERE))

    with pytest.raises(InvalidInputError, match="another conversation than local:xyz"):
        Cursor.parse(cursor, epoch="5f2c", conversation_id="local:xyz")


def test_a_cursor_of_another_store_is_refused() -> None:
    """The same conversation has other entries there."""
    cursor = str(Cursor(seq=3, stamp=1, **HERE))

    with pytest.raises(InvalidInputError, match="another store"):
        Cursor.parse(cursor, epoch="77aa", conversation_id="local:abc")


@pytest.mark.parametrize("name", shapes)
@given(data=st.data())
def test_the_position_in_a_list_comes_back(name: str, data: st.DataObject) -> None:
    """Whichever order the filters are named in."""
    shape, positions = shapes[name]
    position = data.draw(positions)
    cursor = page_cursor({"sort": "title", "agent": None}, position)

    assert read_page_cursor(cursor, {"agent": None, "sort": "title"}, shape) == position


@given(position=json_values)
def test_a_forged_position_has_the_shape_that_its_reader_needs_or_is_refused(position: object) -> None:
    """A number that is none, one that no store can have, a part too many: the check sum is no secret."""
    cursor = page_cursor({"list": 1}, position)

    match position:
        case [str() | None, int() as number] if type(number) is int and 0 <= number < 1 << 53:
            assert read_page_cursor(cursor, {"list": 1}, [str | None, COUNT]) == position
        case _:
            with pytest.raises(InvalidInputError, match="is not a cursor"):
                read_page_cursor(cursor, {"list": 1}, [str | None, COUNT])


def test_the_cursor_of_one_list_does_not_fit_another() -> None:
    """Its position means nothing under other filters."""
    cursor = page_cursor({"sort": "title"}, ["Acme", 7])

    with pytest.raises(InvalidInputError, match="other filters"):
        read_page_cursor(cursor, {"sort": "updated_at"}, [str, int])


def test_the_cursor_of_a_list_and_that_of_a_journal_are_not_mistaken_for_each_other() -> None:
    """A caller has both in hand."""
    journal, page = str(Cursor(seq=3, stamp=1, **HERE)), page_cursor({"list": 1}, [1])

    with pytest.raises(InvalidInputError):
        read_page_cursor(journal, {"list": 1}, [int])
    with pytest.raises(InvalidInputError):
        Cursor.parse(page, **HERE)


def test_a_forged_position_that_is_no_json_is_refused() -> None:
    """The check sum is no secret."""
    body = base64.urlsafe_b64decode(page_cursor({"list": 1}, 1) + "==")[:4] + b"\xff{"
    forged = base64.urlsafe_b64encode(body + (zlib.crc32(body) & 0xFFFF).to_bytes(2, "big")).decode()

    with pytest.raises(InvalidInputError, match="is not a cursor"):
        read_page_cursor(forged, {"list": 1}, int)
