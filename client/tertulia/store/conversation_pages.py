"""Lists of conversations: the filters of a query, and its pages.

However many conversations there are, a page reads little more than its own rows. Most filters have an index in the
order of the last update, and so has each order of a list; in SQLite, an index also has what the other filters look at.
Of several filters, the one with the fewest conversations is looked through, and what matches is sorted, if it is not
much. If it is much, it is soon met on the way through an index that has the order of the list.
"""

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tertulia.store import runs
from tertulia.store.conversations import COLUMNS, from_row
from tertulia.store.database import Row, Transaction, encode, from_datetime
from tertulia.vocabulary.identifiers import page_cursor, read_page_cursor
from tertulia.vocabulary.models import Conversation, ConversationQuery, Page, SortKey
from tertulia.vocabulary.ranges import END
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit

MAX_PAGE = 100
MAX_COUNT = 1_000
"""How many conversations that match a query are counted: a count looks at each of them, and nobody reads so many."""
MAX_SORTED = 10_000
"""Up to how many conversations that match are sorted, where no index has the order."""
_LARGE = 10**15
"""JSON may have larger numbers with an exponent."""
COMPARED = (1_000, 30_000)
"""Up to how many conversations filters are compared: most often one of them has few."""
MONTH = 30 * 86_400_000_000
"""The span of creation, in microseconds, of which `conversations_of_month` has each in the order of updates."""
_MONTH = f"created_at / {MONTH}"
_NONE = "NOT INDEXED"
_Place = tuple[Any, int]
"""Where a conversation stands in a list: what the list is sorted by, and the conversation's number."""


@dataclass(frozen=True, slots=True)
class _Order:
    """An order of lists: what a row is sorted by, and the indexes that have it; the first has all conversations."""

    key: str
    indexes: Sequence[str]


_ORDERS = {
    SortKey.UPDATED: _Order(
        "updated_at",
        (
            "conversations_listed",
            "conversations_of_source",
            "conversations_of_agent",
            "conversations_of_status",
            "conversations_of_instance",
            "conversations_of_type",
        ),
    ),
    SortKey.CREATED: _Order("created_at", ("conversations_created",)),
    SortKey.TITLE: _Order("coalesce(title, '')", ("conversations_titled",)),
}
_FILTERS: Mapping[str, frozenset[str]] = {
    "conversations_by_reference": frozenset({"source_ref"}),
    "conversations_created": frozenset({"created_after", "created_before"}),
    "conversations_of_source": frozenset({"source"}),
    "conversations_of_agent": frozenset({"agent"}),
    "conversations_of_status": frozenset({"statuses"}),
    "conversations_of_instance": frozenset({"instance"}),
    "conversations_of_type": frozenset({"entity_type"}),
    "conversations_listed": frozenset({"exclude_source"}),
}
"""The filters that an index serves; first the one that is best where several have very many conversations.

That is the span of creation: in the order of updates, all that are too old or too young follow each other.
"""


def page(tx: Transaction, principal: str, query: ConversationQuery) -> Page[Conversation]:
    """Return one page of the conversations that match, with the count of all that do, up to `MAX_COUNT`.

    Raises:
        InvalidInputError: the cursor is not one of this query, or the limit is out of range.
    """
    check_limit(query.limit, MAX_PAGE)
    where, values = filters(principal, query)
    identity = {
        "filters": [where, *values],
        "sort": query.sort,
        "descending": query.descending,
    }
    after: _Place | None = None
    if query.cursor is not None:
        kind = str if query.sort is SortKey.TITLE else int
        key, number = read_page_cursor(query.cursor, identity, [kind, int])
        after = (key, number)
    counted, rows = _rows(tx, principal, query, after)
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    mine = set[str]() if query.me is None else runs.addressed_to(tx, principal, query.me)
    return Page(
        items=[replace(found, awaiting=True) if found.id in mine else found for found in map(from_row, rows)],
        next_cursor=page_cursor(identity, list(rows[-1][-2:])) if more else None,
        total=counted if counted <= MAX_COUNT else None,
        more_than=MAX_COUNT if counted > MAX_COUNT else None,
    )


def _rows(
    tx: Transaction, principal: str, query: ConversationQuery, after: _Place | None
) -> tuple[int, Sequence[Row]]:
    """Return how many conversations match, and the rows of a page and one more, each with its place at its end."""
    order, given = _ORDERS[query.sort], _given(query)
    index = _index(tx, principal, query, order.indexes[0])
    in_order = index in order.indexes and (index != "conversations_of_status" or len(query.statuses) < 2)
    by_month = query.sort is SortKey.UPDATED and bool(given & _FILTERS["conversations_created"])
    if given <= _FILTERS.get(index, frozenset()) and (in_order or by_month):
        counted = _count(tx, principal, query, index, MAX_COUNT)
        if in_order:
            return counted, _in_order_of(tx, principal, query, after, index)
        if counted > MAX_COUNT:
            return counted, _by_month(tx, principal, query, after)
    where, values = filters(principal, query)
    places = tx.all(
        f"SELECT {order.key}, number FROM conversations {_hint(index)} WHERE {where} LIMIT ?",
        *values,
        MAX_SORTED + 1,
    )
    if len(places) <= MAX_SORTED:
        return len(places), _at(tx, order, _first(query, after, places))
    if by_month:
        return len(places), _by_month(tx, principal, query, after)
    return len(places), _in_order_of(tx, principal, query, after, index if in_order else order.indexes[0])


def _index(tx: Transaction, principal: str, query: ConversationQuery, whole: str) -> str:
    """Return the index to find what matches by: of those of the filters, the one with the fewest conversations.

    It is `whole` where there is no filter. SQLite must be told: without statistics it takes all indexes for alike.
    """
    given = _given(query)
    if query.awaiting:
        return _NONE  # but found by their numbers, which are few
    if query.ids:
        return "conversations_known"
    able = [index for index, names in _FILTERS.items() if given & names]
    if given <= (_FILTERS[able[0]] if able else frozenset()):
        return able[0] if able else whole
    counts: Mapping[str, int] = {}
    best = whole
    for most in COMPARED:
        counts = {index: _count(tx, principal, _of_one_index(query, index), index, most) for index in able}
        best = min(able, key=counts.__getitem__, default=whole)
        if counts.get(best, 0) <= most:
            break
    if query.metadata and counts.get(best, MAX_SORTED + 1) > MAX_SORTED:
        return "conversations_numbered"  # all of a principal's, in the table's order
    return best


def _of_one_index(query: ConversationQuery, index: str) -> ConversationQuery:
    """Return a query with the filters of an index alone."""
    none = ConversationQuery(archived=query.archived)
    return replace(none, **{name: getattr(query, name) for name in _FILTERS[index]})


def _hint(index: str) -> str:
    return index if index == _NONE else f"INDEXED BY {index}"


def _count(tx: Transaction, principal: str, query: ConversationQuery, index: str, most: int) -> int:
    """Return how many conversations match, up to one more than `most`."""
    where, values = filters(principal, query)
    matching = f"SELECT 1 FROM conversations {_hint(index)} WHERE {where} LIMIT ?"
    counted: int = tx.all(f"SELECT count(*) FROM ({matching}) AS found", *values, most + 1)[0][0]
    return counted


def _in_order_of(
    tx: Transaction, principal: str, query: ConversationQuery, after: _Place | None, index: str
) -> Sequence[Row]:
    """Return the rows of a page and one more, as an index has them in order."""
    found: list[Row] = []
    # Every index has what is archived after what is not.
    for archived in (False, True) if query.archived is None else (query.archived,):
        key, where, values, in_order = _beginning(principal, replace(query, archived=archived), after)
        found += tx.all(
            f"SELECT {COLUMNS}, {key}, number FROM conversations INDEXED BY {index} WHERE {where} {in_order}",
            *values,
            query.limit + 1,
        )
    return sorted(found, key=_place, reverse=query.descending)[: query.limit + 1]


def _by_month(
    tx: Transaction, principal: str, query: ConversationQuery, after: _Place | None
) -> Sequence[Row]:
    """Return the rows of a page and one more, in the order of updates: the first of each month of creation, merged."""
    places: list[_Place] = []
    for archived in (False, True) if query.archived is None else (query.archived,):
        _, where, values, in_order = _beginning(principal, replace(query, archived=archived), after)
        for month in _months(tx, principal, query, archived=archived):
            places += tx.all(
                "SELECT updated_at, number FROM conversations INDEXED BY conversations_of_month"
                f" WHERE {where} AND {_MONTH} = ? {in_order}",
                *values,
                month,
                query.limit + 1,
            )
    return _at(tx, _ORDERS[SortKey.UPDATED], _first(query, None, places))


def _months(tx: Transaction, principal: str, query: ConversationQuery, *, archived: bool) -> Sequence[int]:
    """Return the months in which conversations were created, from the first to the last that a query allows."""
    first = 0 if query.created_after is None else from_datetime(query.created_after) // MONTH
    last = from_datetime(query.created_before or END) // MONTH
    of_month = (
        f"(SELECT min({_MONTH}) FROM conversations INDEXED BY conversations_of_month"
        f" WHERE principal = ? AND gone_at IS NULL AND archived = {int(archived)} AND {_MONTH}"
    )
    found = tx.all(
        f"WITH RECURSIVE months (month) AS (SELECT {of_month} >= ?) UNION ALL"
        f" SELECT {of_month} > month) FROM months WHERE month < ?) SELECT month FROM months WHERE month IS NOT NULL",
        principal,
        first,
        principal,
        last,
    )
    return [month for (month,) in found]


def _beginning(
    principal: str, query: ConversationQuery, after: _Place | None
) -> tuple[str, str, list[Any], str]:
    """Return the key, the condition, its values, and the end of a statement that selects from one part of an index."""
    key = _ORDERS[query.sort].key
    before, direction = ("<", "DESC") if query.descending else (">", "ASC")
    where, values = filters(principal, query)
    if after is not None:
        # The first condition is for SQLite, which does not search an index of titles by two columns at once.
        where += f" AND {key} {before}= ? AND ({key}, number) {before} (?, ?)"
        values += [after[0], *after]
    return key, where, values, f"ORDER BY {key} {direction}, number {direction} LIMIT ?"


def _first(query: ConversationQuery, after: _Place | None, places: Sequence[_Place]) -> Sequence[_Place]:
    """Return the first places of a page and one more, in the order of a query."""
    if query.descending:
        return heapq.nlargest(query.limit + 1, (place for place in places if after is None or place < after))
    return heapq.nsmallest(query.limit + 1, (place for place in places if after is None or place > after))


def _at(tx: Transaction, order: _Order, places: Sequence[_Place]) -> Sequence[Row]:
    """Return the rows at some places of the principal's, in the order of these."""
    if not places:
        return []
    numbers = [number for _, number in places]
    found = tx.all(
        f"SELECT {COLUMNS}, {order.key}, number FROM conversations WHERE number IN ({', '.join('?' * len(numbers))})",
        *numbers,
    )
    rows = {row[-1]: row for row in found}
    return [rows[number] for number in numbers]


def _place(row: Row) -> _Place:
    return row[-2:]


def _given(query: ConversationQuery) -> frozenset[str]:
    """Return which filters a query has, beside that by the archive."""
    given = {
        "instance": query.instance is not None,
        "ids": bool(query.ids),
        "agent": query.agent is not None,
        "statuses": bool(query.statuses),
        "source": query.source is not None,
        "exclude_source": query.exclude_source is not None,
        "source_ref": query.source_ref is not None,
        "entity_type": query.entity_type is not None,
        "metadata": bool(query.metadata),
        "created_after": query.created_after is not None,
        "created_before": query.created_before is not None,
        "awaiting": query.awaiting,
    }
    return frozenset(name for name, is_given in given.items() if is_given)


def filters(principal: str, query: ConversationQuery) -> tuple[str, list[Any]]:
    """Return the condition that a row of `conversations` must meet to be one of a query's, and what is bound in it.

    It selects the same conversations as `tertulia.platforms.kit.paging.fits`.
    """
    clauses: list[str] = ["principal = ?", "gone_at IS NULL"]
    values: list[Any] = [principal]
    for condition, value in (
        ("instance = ?", query.instance),
        ("agent = ?", query.agent),
        ("source = ?", query.source),
        ("source IS DISTINCT FROM ?", query.exclude_source),
        ("source_ref = ?", query.source_ref),
        ("entity_type = ?", query.entity_type),
        ("created_at >= ?", None if query.created_after is None else from_datetime(query.created_after)),
        ("created_at < ?", None if query.created_before is None else from_datetime(query.created_before)),
    ):
        if value is not None:
            clauses.append(condition)
            values.append(value)
    if query.ids:
        clauses.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(query.ids)))
    if query.statuses:
        clauses.append(f"status IN ({', '.join('?' * len(query.statuses))})")
        values.extend(sorted(query.statuses))
    if query.archived is not None:
        clauses.append("archived = 1" if query.archived else "archived = 0")
    elif _given(query):
        clauses.append("archived IN (0, 1)")  # all, as the indexes have them
    if query.awaiting:
        ids = (
            "SELECT conversation_id FROM requests WHERE principal = ? AND status = 'pending' UNION"
            f" SELECT conversation_id FROM runs WHERE principal = ? AND status IN ({runs.ACTIVE}) AND agent = ?"
        )
        clauses.append(
            "number IN (SELECT number FROM conversations WHERE principal = ? AND awaiting = 1 UNION"
            f" SELECT number FROM conversations WHERE principal = ? AND status = '{Status.INPUT_REQUIRED}' UNION"
            f" SELECT number FROM conversations WHERE principal = ? AND id IN ({ids}))"
        )
        values += [principal] * 5 + [query.me]
    for key, value in sorted(query.metadata.items()):
        fragment, is_enough = _fragment(key, value)
        found = "CASE WHEN instr(substr(metadata, 2), '{') = 0 THEN 1 ELSE json_has(metadata, ?, ?) END"
        has = found if is_enough else "json_has(metadata, ?, ?)"
        clauses.append(f"CASE WHEN instr(metadata, ?) = 0 THEN 0 ELSE {has} END = 1")
        values += [fragment, key, encode(value, in_order=True)]
    return " AND ".join(clauses), values


def selection(
    tx: Transaction, principal: str, query: ConversationQuery, columns: str
) -> tuple[str, list[Any]]:
    """Return a statement that selects columns of a query's conversations, and what is bound in it."""
    where, values = filters(principal, query)
    if query.archived is None and not _given(query):
        # All of a principal's, but for those that are gone: one index has their ids, the other the table's order.
        index = "conversations_known" if columns == "id" else "conversations_numbered"
    else:
        index = _index(tx, principal, query, "conversations_listed")
    return f"SELECT {columns} FROM conversations {_hint(index)} WHERE {where}", values


def _fragment(key: str, value: Any) -> tuple[str, bool]:
    """Return a fragment that the JSON text of metadata with this value contains, perhaps at another key.

    And whether it tells that the value is there, if the text has no object in the object. A whole number may be stored
    with `.0` behind it; a very large one, and zero, in more ways than that.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, list | dict) or (is_number and (value == 0 or abs(value) >= _LARGE)):
        return f"{encode(key)}:", False
    is_enough = isinstance(value, str) and key.isidentifier()  # others could be met across two texts
    return encode({key: value})[1:-1], is_enough
