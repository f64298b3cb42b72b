"""Lists of conversations: the filters of a query, and its pages.

However many conversations there are, a page reads little more than its own rows. A filter by one thing, with the order
by the time of the last update, has an index, and so has every order by itself: then the page is read in the order of
its index. Of other filters, whatever matches is collected first, and sorted, if it is not much. If it is much, it is
soon met on the way through all conversations in the order of the list.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tertulia.store import runs
from tertulia.store.conversations import COLUMNS, from_row
from tertulia.store.database import Row, Transaction, encode, from_datetime
from tertulia.vocabulary.identifiers import page_cursor, read_page_cursor
from tertulia.vocabulary.models import Conversation, ConversationQuery, Page, SortKey
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit

MAX_PAGE = 100
MAX_COUNT = 10_000
"""How many conversations that match a query are counted: a count looks at each of them."""
_LARGE = 10**15
"""JSON may have larger numbers with an exponent."""
_METADATA_ONLY = frozenset({"metadata"})
_Place = tuple[Any, int]
"""Where a conversation stands in a list: what the list is sorted by, and the conversation's number."""


@dataclass(frozen=True, slots=True)
class _Order:
    """An order of lists: what a row is sorted by, and the index that has it for each set of filters that has one."""

    key: str
    indexes: Mapping[frozenset[str], str]

    @property
    def whole(self) -> str:
        """The index of all conversations."""
        return self.indexes[frozenset()]


_ORDERS = {
    SortKey.UPDATED: _Order(
        "updated_at",
        {
            frozenset[str](): "conversations_listed",
            frozenset({"exclude_source"}): "conversations_listed",
            frozenset({"agent"}): "conversations_of_agent",
            frozenset({"instance"}): "conversations_of_instance",
            frozenset({"status"}): "conversations_of_status",
            frozenset({"source"}): "conversations_of_source",
            frozenset({"source", "source_ref"}): "conversations_by_reference",
            frozenset({"entity_type"}): "conversations_of_type",
        },
    ),
    SortKey.CREATED: _Order(
        "created_at",
        {
            frozenset[str](): "conversations_created",
            frozenset({"created_after"}): "conversations_created",
            frozenset({"created_before"}): "conversations_created",
            frozenset({"created_after", "created_before"}): "conversations_created",
        },
    ),
    SortKey.TITLE: _Order("coalesce(title, '')", {frozenset[str](): "conversations_titled"}),
}
_COUNTING = {**_ORDERS[SortKey.CREATED].indexes, **_ORDERS[SortKey.UPDATED].indexes}
"""The index that alone tells, of a set of filters, how many conversations match."""


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
        items=[replace(found, awaiting=found.awaiting or found.id in mine) for found in map(from_row, rows)],
        next_cursor=page_cursor(identity, list(rows[-1][-2:])) if more else None,
        total=counted if counted <= MAX_COUNT else None,
        more_than=MAX_COUNT if counted > MAX_COUNT else None,
    )


def _rows(
    tx: Transaction, principal: str, query: ConversationQuery, after: _Place | None
) -> tuple[int, Sequence[Row]]:
    """Return how many conversations match, and the rows of a page and one more, each with its place at its end."""
    order, given = _ORDERS[query.sort], _given(query)
    where, values = filters(principal, query)
    matching = f"FROM conversations {_hint(query)} WHERE {where} LIMIT ?"
    index = order.indexes.get(given)
    if given in _COUNTING:
        counted = tx.all(f"SELECT count(*) FROM (SELECT 1 {matching}) AS found", *values, MAX_COUNT + 1)[0][0]
        if index is not None or counted > MAX_COUNT:
            return counted, _in_order_of(tx, principal, query, after, index or order.whole)
    places = tx.all(f"SELECT {order.key}, number {matching}", *values, MAX_COUNT + 1)
    if len(places) > MAX_COUNT:
        return len(places), _in_order_of(tx, principal, query, after, order.whole)
    places.sort(reverse=query.descending)
    start = 0
    if after is not None:
        start = sum(place >= after if query.descending else place <= after for place in places)
    return len(places), _at(tx, order, places[start : start + query.limit + 1])


def _in_order_of(
    tx: Transaction, principal: str, query: ConversationQuery, after: _Place | None, index: str
) -> Sequence[Row]:
    """Return the rows of a page and one more, as an index has them in order."""
    key = _ORDERS[query.sort].key
    before, direction = ("<", "DESC") if query.descending else (">", "ASC")
    found: list[Row] = []
    # Every index has what is archived after what is not.
    for archived in (False, True) if query.archived is None else (query.archived,):
        where, values = filters(principal, replace(query, archived=archived))
        if after is not None:
            # The first condition is for SQLite, which does not search an index of titles by two columns at once.
            where += f" AND {key} {before}= ? AND ({key}, number) {before} (?, ?)"
            values += [after[0], *after]
        found += tx.all(
            f"SELECT {COLUMNS}, {key}, number FROM conversations INDEXED BY {index} WHERE {where}"
            f" ORDER BY {key} {direction}, number {direction} LIMIT ?",
            *values,
            query.limit + 1,
        )
    return sorted(found, key=_place, reverse=query.descending)[: query.limit + 1]


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
    """Return which filters a query has, beside that by the archive; `status` is one by a single status."""
    given = {
        "instance": query.instance is not None,
        "ids": bool(query.ids),
        "agent": query.agent is not None,
        "status": len(query.statuses) == 1,
        "statuses": len(query.statuses) > 1,
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


def selection(principal: str, query: ConversationQuery, columns: str) -> tuple[str, list[Any]]:
    """Return a statement that selects columns of a query's conversations, and what is bound in it."""
    where, values = filters(principal, query)
    hint = _hint(query)
    if query.archived is None and not _given(query):
        # All of a principal's, but for those that are gone: one index has their ids, the other the table's order.
        hint = f"INDEXED BY conversations_{'known' if columns == 'id' else 'numbered'}"
    return f"SELECT {columns} FROM conversations {hint} WHERE {where}", values


def _hint(query: ConversationQuery) -> str:
    """Return what SQLite alone needs to be told: without statistics it takes every index for a selective one."""
    given = _given(query)
    if query.awaiting:
        return "NOT INDEXED"  # but found by their numbers, which are few
    if query.ids:
        return "INDEXED BY conversations_known"
    if given == _METADATA_ONLY:
        return "INDEXED BY conversations_numbered"  # all of a principal's, in the table's order
    return f"INDEXED BY {_COUNTING[given]}" if given in _COUNTING else ""


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
