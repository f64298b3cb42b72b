"""Extracts: a bounded part of the messages of one conversation, of a search's matches, or of a span of time.

The store reads no more messages than the caller asks for, and only the beginning of each text. A part that stands for
the whole is spread evenly over it.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tertulia.store import branches, terms
from tertulia.store.database import Transaction, from_datetime, to_datetime
from tertulia.store.index.base import FIRST, LAST, Conditions, MessageMatch, TextKind, TitleMatch, scope
from tertulia.store.messages import span
from tertulia.store.schema import POSITION_BITS
from tertulia.store.terms import Terms

LISTED = 20_000
"""How many messages are known of, by their positions alone, when some are chosen; the newest are."""
_TOGETHER = 4
"""How many messages that follow each other are read together: an answer is not parted from its question, and where two
speak by turns, both are heard."""


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
    begins, ends = span(since, until)
    conditions = Conditions.of(
        ("m.conversation_id = ?", reach.conversation_id),
        ("m.created_at >= ?", since),
        ("m.created_at < ?", until),
        *_without(reach.exclude_types),
    )
    if reach.conversation_id is not None:
        line = branches.segments(tx, reach.principal, reach.conversation_id)
        on_branch, of_branch = branches.condition(line)
        conditions = Conditions(conditions.sql + on_branch, [*conditions.values, *of_branch])
    match = MessageMatch(
        principal=reach.principal,
        expression=None if reach.terms is None else reach.terms.expression,
        first=max(first, begins),
        last=min(last, ends),
        of_message=conditions,
        oldest_first=not newest,
    )
    if reach.conversation_id is None:
        return _found(tx, match, most)
    if reach.terms is not None:
        within = scope(reach.principal, conversation_id=reach.conversation_id)
        return _found(tx, replace(match, scopes=[within], few=True), most)
    rows = tx.all(
        "SELECT m.position FROM messages AS m WHERE m.principal = ? AND m.position BETWEEN ? AND ?"
        f"{conditions.further} AND m.text IS NOT NULL ORDER BY m.position {'DESC' if newest else 'ASC'} LIMIT ?",
        reach.principal,
        match.first,
        match.last,
        *conditions.values,
        most,
    )
    return [row[0] for row in rows]


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
        " FROM json_each(?) AS f CROSS JOIN messages AS m ON m.position = CAST(f.value AS BIGINT) ORDER BY f.key",
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
    match = MessageMatch(
        principal=principal, outside=outside, of_message=Conditions.of(*_without(exclude_types))
    )
    return Background(principal, outside, frozenset(_found(tx, match, most)))


def frequency(tx: Transaction, word: str, among: Background) -> int:
    """Return how many of these messages have a word."""
    match = MessageMatch(principal=among.principal, outside=among.outside, expression=terms.having(word))
    return sum(tx.index.count_among(replace(match, kind=kind), among.positions) for kind in TextKind)


def having(
    tx: Transaction, principal: str, word: str, most: int, *, outside: str, exclude_types: frozenset[str]
) -> list[str]:
    """Return the conversation of each of the newest messages that have a word, without those in `outside`."""
    match = MessageMatch(
        principal=principal,
        outside=outside,
        expression=terms.having(word),
        of_message=Conditions.of(*_without(exclude_types)),
    )
    rows = tx.all(
        "SELECT m.conversation_id FROM json_each(?) AS f"
        " CROSS JOIN messages AS m ON m.position = CAST(f.value AS BIGINT) WHERE m.principal = ? ORDER BY f.key",
        json.dumps(_found(tx, match, most)),
        principal,
    )
    return [row[0] for row in rows]


def titled_with(tx: Transaction, principal: str, word: str, most: int) -> list[str]:
    """Return the newest of a principal's conversations that have a word in their titles."""
    match = TitleMatch(principal=principal, expression=terms.having(word))
    return list(tx.index.titles(match, most).values())


def time_of(position: int) -> datetime:
    """Return the moment that a position stands for, to the millisecond."""
    return to_datetime((position >> POSITION_BITS) * 1000)


def _found(tx: Transaction, match: MessageMatch, most: int) -> list[int]:
    """Return the newest (or oldest) of what people, agents and programs said."""
    found = [position for kind in TextKind for position in tx.index.newest(replace(match, kind=kind), most)]
    return sorted(found, reverse=not match.oldest_first)[:most]


def _without(types: Collection[str]) -> list[tuple[str, str]]:
    return [("m.type IS DISTINCT FROM ?", kind) for kind in sorted(types)]
