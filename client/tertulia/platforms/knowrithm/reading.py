"""Reading lists that come in pages: on from a place, or by how far an entry is from the beginning.

A page is asked for by its number. What a list holds may change between two pages, so that a place also knows the last
entry that was passed: where that has moved on, so does the place.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tertulia.platforms.knowrithm.records import Part, Record

Fetch = Callable[[int], Awaitable[Part]]
"""Returns a page, by its number: the first is 1."""

PAGE_SIZE = 100
"""How many entries are asked for at once."""
MOST_PAGES = 20
"""How many pages are read for one call."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a list, behind `skip` entries of a page."""

    page: int = 1
    skip: int = 0
    last: str | None = None
    """The id of the entry before it."""

    @property
    def position(self) -> list[Any]:
        """Return it as a cursor carries it."""
        return [self.page, self.skip, self.last]

    @staticmethod
    def at(position: Any) -> "Place":
        """Return the place that a cursor carries."""
        page, skip, last = position
        return Place(int(page), int(skip), last)


class Walk:
    """Reads a list entry by entry, a bounded way."""

    def __init__(self, fetch: Fetch, place: Place | None = None) -> None:
        self.place = place or Place()
        """Behind the entry that was read last."""
        self.ended = False
        """Whether the list has come to its end; if not, there may be more behind `place`."""
        self._fetch = fetch
        self._pages_left = MOST_PAGES
        self._part: Part | None = None
        self._before: str | None = None

    async def next(self) -> Record | None:
        """Return the next entry; None at the end, and when enough was read."""
        while not self.ended:
            if self._part is None:
                if self._pages_left == 0:
                    return None
                self._pages_left -= 1
                self._part = await self._turn()
            records = self._part.records
            if self.place.skip < len(records):
                record = records[self.place.skip]
                self.place = Place(self.place.page, self.place.skip + 1, str(record["id"]))
                return record
            self.ended = not self._part.more
            self._part = None
            self.place = Place(self.place.page + 1, 0, self.place.last)
        return None

    async def _turn(self) -> Part:
        part = await self._fetch(self.place.page)
        ids = [str(record["id"]) for record in part.records]
        first = ids[0] if ids else None
        if (
            first is not None and first == self._before
        ):  # a server that knows no pages returns the same one for ever
            return Part((), part.size, part.total, more=False)
        self._before = first
        if self.place.last in ids:
            self.place = Place(self.place.page, ids.index(self.place.last) + 1, self.place.last)
        return part


class History:
    """A list whose entries stay where they are, oldest first; every page is read once."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._parts: dict[int, Part] = {}

    async def total(self) -> int | None:
        """Return how many entries there are, if that is told or needs no other page."""
        first = await self._page(1)
        return first.total if first.more or first.total is not None else len(first.records)

    async def count(self) -> int:
        """Return how many entries there are; where that is not told, the pages are turned to the last."""
        told = await self.total()
        if told is not None:
            return told
        page, size = 1, (await self._page(1)).size
        while (part := await self._page(page)).more:
            page += 1
        return (page - 1) * size + len(part.records)

    async def rows(self, start: int, end: int) -> Sequence[Record]:
        """Return the entries from number `start` up to `end`, as far as there are such; the first has number 0."""
        size = (await self._page(1)).size
        found: list[Record] = []
        page = start // size + 1
        while (page - 1) * size < end:
            part = await self._page(page)
            found += part.records
            if not part.more:
                break
            page += 1
        first = start // size * size
        return found[start - first : end - first]

    async def find(self, entry_id: str) -> Record | None:
        """Return an entry, looked for from the end, a bounded way; None where it is not there."""
        end = count = await self.count()
        while end > 0 and count - end < MOST_PAGES * PAGE_SIZE:
            start = max(0, end - PAGE_SIZE)
            for row in await self.rows(start, end):
                if str(row["id"]) == entry_id:
                    return row
            end = start
        return None

    async def _page(self, page: int) -> Part:
        if page not in self._parts:
            part = await self._fetch(page)
            before = self._parts.get(page - 1)
            if before is not None and part.records and part.records[0] == before.records[0]:
                part = Part((), part.size, part.total, more=False)
            self._parts[page] = part
        return self._parts[page]
