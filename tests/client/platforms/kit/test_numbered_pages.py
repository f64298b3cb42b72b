"""Reading lists that come in numbered pages, while they change, and from servers that tell little."""

from collections.abc import Sequence

import pytest

from tertulia.platforms.kit.numbered_pages import (
    MOST_PAGES,
    Fetch,
    ListReader,
    NumberedList,
    NumberedPage,
    Place,
)
from tertulia.vocabulary.identifiers import page_cursor

pytestmark = pytest.mark.anyio


class Pages:
    """A list as a server pages it. `fetched` are the numbers of the pages that were asked for."""

    def __init__(self, ids: Sequence[str], size: int = 3, *, tells_total: bool = True) -> None:
        self.ids = [*ids]
        self.size = size
        self.tells_total = tells_total
        self.fetched: list[int] = []

    async def fetch(self, number: int) -> NumberedPage:
        """Return a page."""
        self.fetched.append(number)
        shown = self.ids[(number - 1) * self.size : number * self.size]
        total = len(self.ids) if self.tells_total else None
        more = number * self.size < len(self.ids) if self.tells_total else bool(shown)
        return NumberedPage([{"id": one} for one in shown], self.size, total, more)


def same_page(ids: Sequence[str]) -> Fetch:
    """Return a server that knows no pages: whatever is asked for, it returns all."""

    async def fetch(_: int) -> NumberedPage:
        return NumberedPage([{"id": one} for one in ids], len(ids), None, more=True)

    return fetch


async def read(reader: ListReader) -> str:
    """Return the ids that a reader reads."""
    return "".join([str(record["id"]) async for record in reader])


@pytest.mark.parametrize("tells_total", [True, False])
async def test_a_list_is_read_to_its_end(tells_total: bool) -> None:
    """Each entry once, whether the server tells where the end is or shows it by an empty page."""
    reader = ListReader(Pages("abcdefg", tells_total=tells_total).fetch)
    assert await read(reader) == "abcdefg"
    assert reader.ended


async def test_reading_continues_from_a_place_that_has_moved() -> None:
    """Entries that came meanwhile push the rest further down."""
    pages = Pages("abcdefg")
    reader = ListReader(pages.fetch)
    for expected in "abcd":
        assert (await anext(reader))["id"] == expected
    pages.ids.insert(0, "new")
    assert await read(ListReader(pages.fetch, Place.at(page_cursor({}, reader.place.position), {}))) == "efg"


async def test_only_so_many_pages_are_read_for_one_call() -> None:
    """The place after them is where the next call begins."""
    ids = [chr(ord("a") + number) for number in range(MOST_PAGES + 1)]
    reader = ListReader(Pages(ids, size=1).fetch)
    assert await read(reader) == "".join(ids[:-1])
    assert not reader.ended
    assert reader.place.last == ids[-2]


async def test_a_server_without_pages_is_not_read_for_ever() -> None:
    """It returns the same list for every page."""
    reader = ListReader(same_page("abc"))
    assert await read(reader) == "abc"
    assert reader.ended
    assert await NumberedList(same_page("abc")).count() == 3


@pytest.mark.parametrize("tells_total", [True, False])
async def test_entries_are_read_by_their_numbers_and_each_page_once(tells_total: bool) -> None:
    """However they lie across the pages."""
    pages = Pages("abcdefg", tells_total=tells_total)
    entries = NumberedList(pages.fetch)
    assert await entries.count() == 7
    assert [record["id"] for record in await entries.records(2, 5)] == ["c", "d", "e"]
    assert [record["id"] for record in await entries.records(5, 99)] == ["f", "g"]
    assert len(pages.fetched) == len(set(pages.fetched))


@pytest.mark.parametrize(
    ("back_to", "most", "found"),
    [
        ({"e"}, 99, "efg"),
        ({"b", "a"}, 99, "bcdefg"),
        ({"x"}, 99, "abcdefg"),
        ({"a"}, 3, "efg"),
        ({"g"}, 3, "g"),
    ],
)
async def test_the_newest_entries_are_read_back_to_a_known_one(
    back_to: set[str], most: int, found: str
) -> None:
    """Or as far back as the caller wants to read."""
    newest = await NumberedList(Pages("abcdefg").fetch).newest(back_to, most=most)
    assert "".join(str(record["id"]) for record in newest) == found
