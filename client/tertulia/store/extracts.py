"""Extracts: a bounded part of the messages of one conversation, of a search's matches, or of a span of time.

The store reads no more messages than the caller asks for, and only the beginning of each text. A part that stands for
the whole is spread evenly over it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tertulia.store import branches
from tertulia.store.database import Row, Transaction, from_datetime, to_datetime
from tertulia.store.message_index import INDEXES
from tertulia.store.messages import position_at, scope
from tertulia.store.schema import POSITION_BITS
from tertulia.store.terms import Terms, phrase
from tertulia.store.words import words

LISTED = 20_000
"""How many messages are known of, by their positions alone, when some are chosen; the newest are."""
_TOGETHER = 4
"""How many messages that follow each other are read together: an answer is not parted from its question, and where two
speak by turns, both are heard."""
FIRST, LAST = -(1 << 63), (1 << 63) - 1
"""The smallest and the largest position."""


@dataclass(frozen=True, slots=True)
class Extract:
    """The beginning of a message."""

    position: int
    conversation_id: str
    message_id: str
    author: str
    at: datetime
    text: str
    cut: bool
    """Whether the text continues."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Which of a principal's messages: those of a conversation, that match a search, in a span of time.

    Of a conversation with several branches those of the one that was written on last count, as they are listed.
    """

    principal: str
    conversation_id: str | None = None
    terms: Terms | None = None
    since: datetime | None = None
    """From this moment on."""
    until: datetime | None = None
    """Before this moment."""
    exclude_types: frozenset[str] = frozenset()


def positions(
    tx: Transaction, reach: Reach, most: int, *, first: int = FIRST, last: int = LAST, newest: bool = True
) -> list[int]:
    """Return the positions of the newest (or the oldest) messages within reach that have a text, in that order.

    `first` and `last` narrow it down further: no position before the one or after the other.
    """
    since = None if reach.since is None else from_datetime(reach.since)
    until = None if reach.until is None else from_datetime(reach.until)
    # A position is never before its message's time, but may be after it (`tertulia.store.messages.add`).
    first = max(first, FIRST if since is None else _clamped(position_at(since)))
    last = min(last, LAST if until is None else _clamped(position_at(until - 1) + (1 << POSITION_BITS) - 1))
    # CROSS JOIN keeps the order: first what the index yields, then its row.
    if reach.conversation_id is not None and reach.terms is None:
        source, position, matching = "messages AS m", "m.position", None
    else:
        source, position = "{index} AS f CROSS JOIN messages AS m ON m.position = f.rowid", "f.rowid"
        matching = _matching(reach.terms, scope(reach.principal, conversation_id=reach.conversation_id))
    conditions: list[tuple[str, Any]] = [
        ("{index} MATCH ?", matching),
        (f"{position} >= ?", first),
        (f"{position} <= ?", last),
        ("m.principal = ?", reach.principal),
        ("m.conversation_id = ?", reach.conversation_id),
        ("m.created_at >= ?", since),
        ("m.created_at < ?", until),
        *(("m.type IS DISTINCT FROM ?", kind) for kind in sorted(reach.exclude_types)),
    ]
    given = [(sql, value) for sql, value in conditions if value is not None]
    on_branch, of_branch = "", list[object]()
    if reach.conversation_id is not None:
        on_branch, of_branch = branches.condition(
            branches.segments(tx, reach.principal, reach.conversation_id)
        )
    select = (
        f"SELECT {position} FROM {source} WHERE {' AND '.join(sql for sql, _ in given)} AND m.text IS NOT NULL"
        f"{on_branch} ORDER BY {position} {'DESC' if newest else 'ASC'} LIMIT ?"
    )
    values = (*(value for _, value in given), *of_branch, most)
    rows = tx.all(select, *values) if matching is None else _from_indexes(tx, select, *values)
    return sorted((row[0] for row in rows), reverse=newest)[:most]


def spread(found: Sequence[int], most: int) -> list[int]:
    """Return at most so many of these positions, in order: the first, the last, and evenly in between."""
    found = sorted(found)
    blocks = most // _TOGETHER
    if len(found) <= most or blocks < 2:
        return found[-most:]
    step = (len(found) - _TOGETHER) / (blocks - 1)
    starts = [round(block * step) for block in range(blocks)]
    return sorted({found[start + i] for start in starts for i in range(_TOGETHER)})


def texts(tx: Transaction, chosen: Sequence[int], longest: int) -> list[Extract]:
    """Return the messages at these positions, in order, each up to `longest` characters."""
    rows = tx.all(
        "SELECT m.position, m.conversation_id, m.id, m.author, m.created_at, substr(m.text, 1, ? + 1)"
        " FROM json_each(?) AS f CROSS JOIN messages AS m ON m.position = f.value ORDER BY f.key",
        longest,
        json.dumps(sorted(chosen)),
    )
    return [
        Extract(position, conversation, message, author, to_datetime(at), text[:longest], len(text) > longest)
        for position, conversation, message, author, at, text in rows
    ]


@dataclass(frozen=True, slots=True)
class Background:
    """The newest of a principal's messages outside one conversation: how common a word is, is counted among them."""

    principal: str
    outside: str | None
    positions: frozenset[int]


def background(
    tx: Transaction,
    principal: str,
    most: int,
    *,
    outside: str | None = None,
    exclude_types: frozenset[str] = frozenset(),
) -> Background:
    """Return the newest messages, at most `most` of them, without those of the conversation `outside`."""
    rows = _from_indexes(
        tx,
        "SELECT f.rowid FROM {index} AS f CROSS JOIN messages AS m ON m.position = f.rowid"
        f" WHERE {{index}} MATCH ? AND m.principal = ?{' AND m.type IS DISTINCT FROM ?' * len(exclude_types)}"
        " ORDER BY f.rowid DESC LIMIT ?",
        _apart(f"{{scope}} : {scope(principal)}", principal, outside),
        principal,
        *sorted(exclude_types),
        most,
    )
    newest = sorted((row[0] for row in rows), reverse=True)[:most]
    return Background(principal, outside, frozenset(newest))


def frequency(tx: Transaction, word: str, among: Background) -> int:
    """Return how many of these messages have a word."""
    if not among.positions:
        return 0
    expression = f"({{text}} : {phrase(words(word))}) AND {{scope}} : {scope(among.principal)}"
    rows = _from_indexes(
        tx,
        "SELECT rowid FROM {index} WHERE {index} MATCH ? AND rowid BETWEEN ? AND ?",
        _apart(expression, among.principal, among.outside),
        min(among.positions),
        max(among.positions),
    )
    return sum(row[0] in among.positions for row in rows)


def having(
    tx: Transaction, principal: str, word: str, most: int, *, outside: str, exclude_types: frozenset[str]
) -> list[str]:
    """Return the conversation of each of the newest messages that have a word, without those in `outside`."""
    expression = f"({{text}} : {phrase(words(word))}) AND {{scope}} : {scope(principal)}"
    rows = _from_indexes(
        tx,
        "SELECT m.position, m.conversation_id FROM {index} AS f CROSS JOIN messages AS m ON m.position = f.rowid"
        " WHERE {index} MATCH ? AND m.principal = ? AND m.conversation_id <> ?"
        f"{' AND m.type IS DISTINCT FROM ?' * len(exclude_types)} ORDER BY f.rowid DESC LIMIT ?",
        _apart(expression, principal, outside),
        principal,
        outside,
        *sorted(exclude_types),
        most,
    )
    return [row[1] for row in sorted(rows, reverse=True)[:most]]


def titled_with(tx: Transaction, principal: str, word: str, most: int) -> list[str]:
    """Return the newest of a principal's conversations that have a word in their titles."""
    rows = tx.all(
        "SELECT c.id FROM title_index AS f CROSS JOIN conversations AS c ON c.number = f.rowid"
        " WHERE title_index MATCH ? AND c.principal = ? ORDER BY f.rowid DESC LIMIT ?",
        phrase(words(word)),
        principal,
        most,
    )
    return [row[0] for row in rows]


def time_of(position: int) -> datetime:
    """Return the moment that a position stands for, to the millisecond."""
    return to_datetime((position >> POSITION_BITS) * 1000)


def _from_indexes(tx: Transaction, select: str, *values: Any) -> list[Row]:
    return [row for index in INDEXES for row in tx.all(select.replace("{index}", index.table), *values)]


def _apart(expression: str, principal: str, outside: str | None) -> str:
    if outside is None:
        return expression
    return f"({expression}) NOT {{scope}} : {scope(principal, conversation_id=outside)}"


def _matching(terms: Terms | None, within: str) -> str:
    return (
        f"{{scope}} : {within}"
        if terms is None
        else f"({{text}} : ({terms.expression})) AND {{scope}} : {within}"
    )


def _clamped(position: int) -> int:
    return max(FIRST, min(position, LAST))
