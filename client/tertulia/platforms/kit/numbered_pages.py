"""Lists that a platform returns in numbered pages: read entry by entry from a place, or by an entry's number.

What a list holds may change between two pages. So a place also knows the last entry before it: where that has moved to,
reading continues from there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tertulia.vocabulary.identifiers import COUNT, read_page_cursor

Record = Mapping[str, Any]
"""An entry of a list, with its `id`."""

MOST_PAGES = 20
"""How many pages are read for one call."""


@dataclass(frozen=True, slots=True)
class NumberedPage:
    """One page of a list. `size` is how many entries a page holds; `total` is None where that is not told."""

    records: Sequence[Record]
    size: int
    total: int | None
    more: bool
    """Whether there is another page; where the platform does not tell that, there may be one."""


Fetch = Callable[[int], Awaitable[NumberedPage]]
"""Returns a page, by its number: the first is 1."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a list, after `skip` entries of a page."""

    page: int = 1
    skip: int = 0
    last: str | None = None
    """The id of the entry before it."""

    @property
    def position(self) -> list[Any]:
        """The place as a cursor carries it."""
        return [self.page, self.skip, self.last]

    @staticmethod
    def at(cursor: str, identity: Mapping[str, Any]) -> "Place":
        """Return the place that a cursor carries.

        Raises:
            InvalidInputError: it is malformed, or `identity` is not what it belongs to.
        """
        return Place(*read_page_cursor(cursor, identity, [COUNT, COUNT, str | None]))


class ListReader:
    """Reads a list entry by entry, at most `MOST_PAGES` pages of it."""

    def __init__(self, fetch: Fetch, place: Place | None = None) -> None:
        self.place = place or Place()
        """The place after the entry that was read last."""
        self.ended = False
        """Whether the list has come to its end; if not, there may be more after `place`."""
        self._fetch = fetch
        self._pages_left = MOST_PAGES
        self._page: NumberedPage | None = None
        self._first_id: str | None = None

    def __aiter__(self) -> AsyncIterator[Record]:
        return self

    async def __anext__(self) -> Record:
        while not self.ended:
            if self._page is None:
                if self._pages_left == 0:
                    break
                self._pages_left -= 1
                self._page = await self._turn()
            records = self._page.records
            if self.place.skip < len(records):
                record = records[self.place.skip]
                self.place = Place(self.place.page, self.place.skip + 1, str(record["id"]))
                return record
            self.ended = not self._page.more
            self._page = None
            self.place = Place(self.place.page + 1, 0, self.place.last)
        raise StopAsyncIteration

    async def _turn(self) -> NumberedPage:
        page = await self._fetch(self.place.page)
        ids = [str(record["id"]) for record in page.records]
        if ids and ids[0] == self._first_id:  # a server that knows no pages returns the same one for ever
            return NumberedPage((), page.size, page.total, more=False)
        self._first_id = ids[0] if ids else None
        if self.place.last in ids:
            self.place = Place(self.place.page, ids.index(self.place.last) + 1, self.place.last)
        return page


class NumberedList:
    """A list whose entries stay where they are, oldest first; every page is fetched once."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._pages: dict[int, NumberedPage] = {}

    async def total(self) -> int | None:
        """Return how many entries there are, if the platform tells that or one page holds them all."""
        first = await self._page(1)
        return first.total if first.more or first.total is not None else len(first.records)

    async def count(self) -> int:
        """Return how many entries there are; where the platform does not tell, the pages are turned to the last."""
        told = await self.total()
        if told is not None:
            return told
        number = count = 0
        more = True
        while more:
            number += 1
            page = await self._page(number)
            count += len(page.records)
            more = page.more
        return count

    async def records(self, start: int, end: int) -> Sequence[Record]:
        """Return the entries from number `start` up to `end`, as far as there are such; the first has number 0."""
        size = (await self._page(1)).size
        found: list[Record] = []
        number = start // size + 1
        while (number - 1) * size < end:
            page = await self._page(number)
            found += page.records
            if not page.more:
                break
            number += 1
        first = start // size * size
        return found[start - first : end - first]

    async def newest(self, back_to: Container[str], *, most: int) -> Sequence[Record]:
        """Return the newest entries, oldest first: from the newest that has one of these ids, or about `most`."""
        size = (await self._page(1)).size
        end = count = await self.count()
        found: list[Record] = []
        while end > 0 and count - end < most:
            start = max(0, end - size)
            found = [*await self.records(start, end), *found]
            known = [number for number, record in enumerate(found) if str(record["id"]) in back_to]
            if known:
                return found[known[-1] :]
            end = start
        return found

    async def _page(self, number: int) -> NumberedPage:
        if number not in self._pages:
            page = await self._fetch(number)
            before = self._pages.get(number - 1)
            if before is not None and page.records and page.records[0] == before.records[0]:
                page = NumberedPage((), page.size, page.total, more=False)
            self._pages[number] = page
        return self._pages[number]
