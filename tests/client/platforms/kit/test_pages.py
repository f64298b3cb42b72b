"""Pages of a history that comes whole."""

import pytest

from tertulia.platforms.kit.paging import Stretch, message_page, message_window
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.models import MessageQuery

HISTORY = ["m1", "m2", "m3", "m4", "m5"]


def pages(query: MessageQuery, found: list[str] | None = None) -> list[list[str]]:
    """Turn all the pages, while two messages come with each."""
    history, turned = [*(HISTORY if found is None else found)], list[list[str]]()
    while True:
        items, cursor = message_page(history, query, native_id="c1", id_of=str, platform="Somewhere")
        turned.append([*items])
        if cursor is None:
            return turned
        history += [f"n{len(history)}", f"n{len(history) + 1}"] if len(history) < 9 else []
        query = MessageQuery(cursor=cursor, limit=query.limit, newest_first=query.newest_first)


def test_every_message_is_on_one_page_whatever_comes_meanwhile() -> None:
    """In either order."""
    assert pages(MessageQuery(limit=2)) == [["m1", "m2"], ["m3", "m4"], ["m5", "n5"], ["n6", "n7"], ["n8"]]
    assert pages(MessageQuery(limit=2, newest_first=True)) == [["m5", "m4"], ["m3", "m2"], ["m1"]]
    assert pages(MessageQuery(limit=5)) == [HISTORY]
    assert pages(MessageQuery(), []) == [[]]


def test_a_cursor_belongs_to_its_query_and_its_message() -> None:
    """It cannot go on from nowhere."""
    _, cursor = message_page(HISTORY, MessageQuery(limit=2), native_id="c1", id_of=str, platform="Somewhere")
    query = MessageQuery(cursor=cursor, limit=2)
    with pytest.raises(InvalidInputError, match="not in the history any more at Somewhere"):
        message_page(["m1", "m3"], query, native_id="c1", id_of=str, platform="Somewhere")
    for native_id, other in (("c2", query), ("c1", MessageQuery(cursor=cursor, newest_first=True))):
        with pytest.raises(InvalidInputError):
            message_page(HISTORY, other, native_id=native_id, id_of=str, platform="Somewhere")
    for limit in (0, 101):
        with pytest.raises(InvalidInputError):
            message_page(HISTORY, MessageQuery(limit=limit), native_id="c1", id_of=str, platform="Somewhere")


@pytest.mark.anyio
@pytest.mark.parametrize("size", [0, 1, 4, 5])
@pytest.mark.parametrize("newest_first", [True, False])
async def test_a_history_that_is_read_by_number_comes_whole_in_both_directions(
    size: int, newest_first: bool
) -> None:
    """Each message once, though no page is longer than asked for; the number of the first is told."""
    history = [f"m{number}" for number in range(size)]

    async def count() -> int:
        return size

    async def read(start: int, limit: int) -> Stretch[str]:
        assert limit <= 2
        rows = history[start : start + limit]
        return Stretch(rows, size, more=start + len(rows) < size)

    found: list[str] = []
    cursor: str | None = None
    while True:
        query = MessageQuery(limit=2, newest_first=newest_first, cursor=cursor)
        stretch, first, cursor = await message_window(query, native_id="c1", count=count, read=read)
        assert stretch.total == size
        assert [*stretch.rows] == history[first : first + len(stretch.rows)]
        found = [*stretch.rows, *found] if newest_first else [*found, *stretch.rows]
        if cursor is None:
            break

    assert found == history
