"""The full-text index in PostgreSQL: our own words as tsvectors, in tables of their own, with GIN over them.

GIN yields all that matches, in no order, and knows no places. So a search looks at the newest `_WALKED` messages one by
one, where common words are found soon, and then in GIN, in one stretch of time after the other
(`tertulia.store.index.lexemes`).
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tertulia.store.index.base import (
    Conditions,
    Entry,
    MessageMatch,
    TextKind,
    TitleMatch,
    kind_of,
    scope,
    selection,
)
from tertulia.store.index.bm25 import Ranking
from tertulia.store.index.lexemes import (
    LEVELS,
    all_of,
    any_of,
    marks,
    phrase_query,
    query,
    scope_query,
    shift,
    span_query,
    split,
    stretch_query,
)
from tertulia.store.terms import Alternatives, Expression, Phrase
from tertulia.vocabulary.models import Role

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tertulia.store.database import Transaction
    from tertulia.store.engine import Row

TABLES = {TextKind.SAID: "said_words", TextKind.PROGRAM: "program_words"}
WORD_COLUMNS = "position, part, principal, length, words"
_WALKED, _WALKED_FOR_BEGINNINGS = 300, 4_000
_OF_FEW = 600
"""Messages of single conversations are looked at one by one if they are fewer."""
_TITLES_WALKED = 1_000
_STRETCH, _MARGIN = 8_192, 1.5
"""About how many messages the first stretch of time has at most; `_MARGIN` times as many as should be enough are."""

_BY_WORDS = "SELECT principal, {} FROM {} WHERE words @@ CAST(? AS tsquery)"
"""With no other condition, so that the planner has no other index to take for it."""

_TRIED, _ALL = "1000", "0"
_KNOWN = "SELECT f.value FROM json_array_elements_text(CAST(? AS json)) AS f (value) WHERE " + " OR ".join(
    f"EXISTS (SELECT 1 FROM {table} WHERE words @@ CAST(f.value AS tsquery) OFFSET 0)"
    for table in (*TABLES.values(), "title_words")
)
_LOOKING_UP = "SELECT set_config('enable_seqscan', ?, true), set_config('gin_fuzzy_search_limit', ?, true)"


def word_rows(entry: Entry) -> Iterator[Row]:
    """Yield the rows that a message has in its table, as `WORD_COLUMNS` names their columns."""
    count, parts = split(entry.text)
    own = list(marks(entry))
    # FTS5's ranking counts scopes among a message's words; so the order is the same.
    length = count + len(entry.scopes.split())
    for number, part in enumerate(parts):
        yield entry.position, number, entry.principal, length, part.vector(own)


def title_vector(principal: str, title: str) -> str:
    """Return the words of a title, of which only the first part is indexed, as the text of a tsvector."""
    _, (first, *_) = split(title)
    return first.vector([f"~{scope(principal)}"])


class TsVector:
    """See `tertulia.store.index.base.Index`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._rankings: dict[tuple[str, TextKind], Ranking] = {}

    def add(self, entry: Entry) -> None:
        """Add a new message."""
        for row in word_rows(entry):
            self._tx.run(
                f"INSERT INTO {TABLES[entry.kind]} ({WORD_COLUMNS}) VALUES (?, ?, ?, ?, CAST(? AS tsvector))",
                *row,
            )

    def add_again(self, principal: str, conversation_id: str, message_id: str | None = None) -> None:
        """Add messages as the store has them now."""
        where, own = selection(principal, conversation_id, message_id)
        rows = self._tx.all(
            f"SELECT position, role, type, scope, text FROM messages WHERE {where} AND text IS NOT NULL", *own
        )
        for position, role, message_type, scopes, text in rows:
            self.add(Entry(position, principal, kind_of(Role(role), message_type), scopes, text))

    def remove(
        self, principal: str, conversation_id: str, message_id: str | None = None, *, forget: bool = True
    ) -> None:
        """Remove messages. What PostgreSQL deletes stays in its pages until they are vacuumed."""
        self._withdraw(principal, *selection(principal, conversation_id, message_id))

    def remove_from(self, principal: str, conversation_id: str, first: int) -> None:
        """Remove the messages of a conversation from a position on."""
        where, own = selection(principal, conversation_id, None)
        self._withdraw(principal, f"{where} AND position >= ?", [*own, first])

    def _withdraw(self, principal: str, where: str, values: Sequence[Any]) -> None:
        for table in TABLES.values():
            self._tx.run(
                f"DELETE FROM {table} WHERE principal = ?"
                f" AND position IN (SELECT m.position FROM messages AS m WHERE {where})",
                principal,
                *values,
            )

    def set_title(self, principal: str, conversation_id: str, before: str | None, after: str | None) -> None:
        """Replace a conversation's title."""
        number = "(SELECT number FROM conversations WHERE principal = ? AND id = ?)"
        if before is not None:
            self._tx.run(
                f"DELETE FROM title_words WHERE principal = ? AND number = {number}",
                principal,
                principal,
                conversation_id,
            )
        if after is not None:
            self._tx.run(
                f"INSERT INTO title_words (number, principal, words) VALUES ({number}, ?, CAST(? AS tsvector))",
                principal,
                conversation_id,
                principal,
                title_vector(principal, after),
            )

    def is_complete(self) -> bool:
        """Whether the index has all messages: it always has."""
        return True

    def newest(self, match: MessageMatch, most: int) -> list[int]:
        """Return the positions of the newest messages that match, or of the oldest."""
        if match.first > match.last:
            return []
        if match.expression is None:
            return self._any(match, most)
        looking = _Looking(match, match.expression, self._scopes(match))
        if match.few or match.oldest_first:
            found = self._within_few(looking, most) if match.few and looking.has_beginnings else None
            if found is None:
                return self._found(looking, looking.everything, match.first, match.last, most)
            return found
        walked = self._walk(looking, match.last, _WALKED, most)
        found, last = walked.found, walked.oldest
        if last is None or len(found) >= most:
            return found
        probably = round(_MARGIN * _WALKED * (most - len(found)) / len(found)) if found else _STRETCH
        if looking.has_beginnings and probably <= _WALKED_FOR_BEGINNINGS:
            further = self._walk(looking, last, probably, most)
            found, last = _joined(found, further.found)[:most], further.oldest
            if last is None or len(found) >= most:
                return found
        for wanted, first in looking.stretches(walked, last, min(probably, _STRETCH)):
            more = self._found(looking, wanted, max(first, match.first), last, most)
            found, last = _joined(found, more), first - 1
            if len(found) >= most or last < match.first:
                return found[:most]
            if not found:  # there are not many further on either
                break
        more = self._found(looking, looking.everything, match.first, last, most)
        return _joined(found, more)[:most]

    def _any(self, match: MessageMatch, most: int) -> list[int]:
        """Return the newest messages, or the oldest, whatever they say."""
        admitted = _admitted(match, "f.position")
        rows = self._tx.all(
            f"SELECT f.position FROM {TABLES[match.kind]} AS f"
            f" WHERE f.principal = ? AND f.part = 0 AND f.position BETWEEN ? AND ?{admitted.further}"
            f" ORDER BY f.position {_order(match)} LIMIT ?",
            match.principal,
            match.first,
            match.last,
            *admitted.values,
            most,
        )
        return [row[0] for row in rows]

    def _walk(self, looking: _Looking, last: int, count: int, most: int) -> _Walked:
        """Look at the newest messages up to a position one by one, so many of them."""
        match, rest = looking.match, looking.rest("f")
        row = self._tx.one(
            "WITH walked AS MATERIALIZED (SELECT position, part, words"
            f" FROM {TABLES[match.kind]} WHERE principal = ? AND position BETWEEN ? AND ?"
            " ORDER BY position DESC LIMIT ?)"
            " SELECT count(*), max(position), min(position), ARRAY(SELECT f.position FROM walked AS f"
            f" WHERE f.words @@ CAST(? AS tsquery){rest.further} ORDER BY f.position DESC LIMIT ?) FROM walked",
            match.principal,
            match.first,
            last,
            count,
            looking.query,
            *rest.values,
            most,
        )
        assert row is not None
        looked_at, newest, oldest, found = row
        # What is left of the oldest one's parts is looked at again.
        return _Walked(newest, oldest if looked_at == count else None, list(dict.fromkeys(found)))

    def _within_few(self, looking: _Looking, most: int) -> list[int] | None:
        """Look at the messages of few conversations one by one; None if they are many.

        GIN reads all that begins so, whosesoever it is.
        """
        match, rest = looking.match, looking.rest("f")
        row = self._tx.one(
            "WITH own AS MATERIALIZED (SELECT principal, position, part, words"
            f" FROM {TABLES[match.kind]} WHERE words @@ CAST(? AS tsquery) LIMIT ?)"
            " SELECT count(*), ARRAY(SELECT f.position FROM own AS f"
            " WHERE f.principal = ? AND f.position BETWEEN ? AND ? AND f.words @@ CAST(? AS tsquery)"
            f"{rest.further} ORDER BY f.position {_order(match)}) FROM own",
            self._scopes(match),
            _OF_FEW,
            match.principal,
            match.first,
            match.last,
            looking.query,
            *rest.values,
        )
        assert row is not None
        count, found = row
        return list(dict.fromkeys(found))[:most] if count < _OF_FEW else None

    def _found(self, looking: _Looking, wanted: str, first: int, last: int, most: int) -> list[int]:
        """Return the newest (or oldest) messages between two positions that GIN finds."""
        match, rest = looking.match, looking.rest("f")
        rows = self._tx.all(
            f"WITH matching AS MATERIALIZED ({_BY_WORDS.format('position, part', TABLES[match.kind])})"
            " SELECT f.position FROM (SELECT position, min(part) AS part FROM matching"
            " WHERE principal = ? AND position BETWEEN ? AND ?"
            f" GROUP BY position ORDER BY position {_order(match)}) AS f"
            f" WHERE true{rest.further} ORDER BY f.position {_order(match)} LIMIT ?",
            wanted,
            match.principal,
            first,
            last,
            *rest.values,
            most,
        )
        return [row[0] for row in rows]

    def _scopes(self, match: MessageMatch) -> str:
        return scope_query(match.scopes or [scope(match.principal)])

    def count_among(self, match: MessageMatch, positions: Collection[int]) -> int:
        """Return how many of these messages have the expression."""
        if not positions or match.expression is None:
            return 0
        among = frozenset(positions)
        span = replace(match, first=min(among), last=max(among))
        looking = _Looking(span, match.expression, self._scopes(match))
        rows = self._tx.all(
            f"WITH matching AS MATERIALIZED ({_BY_WORDS.format('position', TABLES[match.kind])})"
            " SELECT position FROM matching WHERE principal = ?",
            looking.everything,
            match.principal,
        )
        return len({row[0] for row in rows} & among)

    def ranked(
        self,
        principal: str,
        kind: TextKind,
        groups: Sequence[Alternatives],
        positions: Collection[int],
        scopes: Sequence[str] = (),
    ) -> list[int]:
        """Return these positions, the best matches first, by bm25; looking them up needs no scope."""
        ranking = self._rankings.setdefault((principal, kind), Ranking(self._tx, TABLES[kind], principal))
        return ranking.ranked(groups, positions)

    def known(self, words: Collection[str], *, beginnings: bool = False) -> Collection[str]:
        """Return those of these words that GIN has."""
        by_query = {phrase_query(Phrase((word,), prefix=beginnings)): word for word in words}
        # One row is wanted of each. The planner would look for it in the whole table, and GIN read all that there are:
        # it takes some at random. They may all be deleted, and wait for a vacuum: what has none is looked up once more.
        found: set[str] = set()
        for tried in (_TRIED, _ALL):
            self._tx.one(_LOOKING_UP, "off", tried)
            found |= {row[0] for row in self._tx.all(_KNOWN, json.dumps(list(by_query.keys() - found)))}
        self._tx.one(_LOOKING_UP, "on", _ALL)
        return [word for query, word in by_query.items() if query in found]

    def titles(self, match: TitleMatch, most: int) -> Mapping[int, str]:
        """Return the newest conversations whose titles match."""
        wanted = query(match.expression)
        if match.few:
            return self._titles_of_few(match, wanted, most)
        row = self._tx.one(
            "WITH walked AS MATERIALIZED (SELECT number, words FROM title_words WHERE principal = ? AND number <= ?"
            " ORDER BY number DESC LIMIT ?) SELECT count(*), min(number), ARRAY(SELECT number FROM walked"
            " WHERE words @@ CAST(? AS tsquery) ORDER BY number DESC) FROM walked",
            match.principal,
            match.last,
            _TITLES_WALKED,
            wanted,
        )
        assert row is not None
        count, oldest, numbers = row
        found: Mapping[int, str] = {}
        if numbers:
            walked = "SELECT CAST(value AS bigint) AS number FROM json_each(?)"
            found = self._titled(match, walked, [json.dumps(numbers)], most)
        if count == _TITLES_WALKED and len(found) < most:
            own = all_of(wanted, scope_query([scope(match.principal)]))
            by_words = _BY_WORDS.format("number", "title_words")
            matching = f"SELECT number FROM ({by_words} OFFSET 0) AS w WHERE number < ? AND principal = ?"
            more = self._titled(match, matching, [own, oldest, match.principal], most - len(found))
            found = {**found, **more}
        return found

    def _titled(self, match: TitleMatch, numbers: str, values: Sequence[Any], most: int) -> Mapping[int, str]:
        """Return the newest of the conversations with these numbers that fulfil the conditions."""
        # One after the other, until there are enough.
        rows = self._tx.all(
            f"SELECT f.number, c.id FROM (SELECT number FROM ({numbers}) AS n ORDER BY number DESC OFFSET 0) AS f"
            " JOIN LATERAL (SELECT c.id FROM conversations AS c WHERE c.number = f.number"
            f" AND c.principal = ?{match.of_conversation.further} OFFSET 0) AS c ON true"
            " ORDER BY f.number DESC LIMIT ?",
            *values,
            match.principal,
            *match.of_conversation.values,
            most,
        )
        return dict(rows)

    def _titles_of_few(self, match: TitleMatch, wanted: str, most: int) -> Mapping[int, str]:
        rows = self._tx.all(
            "SELECT c.number, c.id FROM conversations AS c JOIN LATERAL (SELECT 1 FROM title_words AS f"
            " WHERE f.principal = c.principal AND f.number = c.number AND f.words @@ CAST(? AS tsquery) OFFSET 0)"
            f" AS f ON true WHERE c.principal = ?{match.of_conversation.further} AND c.number <= ?"
            " ORDER BY c.number DESC LIMIT ?",
            wanted,
            match.principal,
            *match.of_conversation.values,
            match.last,
            most,
        )
        return dict(rows)


class _Walked(NamedTuple):
    """What was found among the newest messages, from the position `newest` to `oldest`; None if there are no more."""

    newest: int
    oldest: int | None
    found: list[int]


class _Looking:
    """A search in progress: `scopes` is what GIN finds the conversations by."""

    def __init__(self, match: MessageMatch, expression: Expression, scopes: str) -> None:
        self.match = match
        self.query = query(expression)
        self._expression = expression
        self._unwanted = any_of(map(phrase_query, expression.unwanted))
        self._scopes = scopes

    @property
    def everything(self) -> str:
        """The search in all that the scopes and the span of time have."""
        match = self.match
        covering = span_query(match.principal, match.first, match.last)
        return all_of(self.query, self._scopes, covering)

    @property
    def has_beginnings(self) -> bool:
        """Whether it looks for words that begin so: GIN reads all that do, at whatever time."""
        return any(phrase.prefix for group in self._expression.every for phrase in group)

    def stretches(self, walked: _Walked, last: int, size: int) -> Iterator[tuple[str, int]]:
        """Yield searches in longer and longer stretches of time before `last`, each with the first position there.

        The first has about so many messages, as far as those tell that were walked.
        """
        principal = self.match.principal
        oldest = last if walked.oldest is None else walked.oldest
        rate = _WALKED / (walked.newest - oldest + 1)
        shortest = min(LEVELS, key=lambda each: abs(math.log(rate * (1 << shift(each)) / size)))
        narrower = self._scopes if self.match.scopes else ""
        for level in LEVELS[shortest:]:
            number = last >> shift(level)
            stretches = stretch_query(principal, level, (number, number - 1))
            first = (number - 1) << shift(level)
            yield all_of(self.query, narrower, stretches), first
            last = first - 1

    def rest(self, row: str) -> Conditions:
        """Return what a row of the index must also fulfil."""
        conditions = _admitted(self.match, f"{row}.position")
        if self._unwanted:
            conditions += Conditions(
                f"NOT EXISTS (SELECT 1 FROM {TABLES[self.match.kind]} AS o WHERE o.principal = ?"
                f" AND o.position = {row}.position AND o.part <> {row}.part AND o.words @@ CAST(? AS tsquery))",
                [self.match.principal, self._unwanted],
            )
        return conditions


def _joined(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Return positions once each, in their order."""
    return list(dict.fromkeys([*one, *other]))


def _order(match: MessageMatch) -> str:
    return "ASC" if match.oldest_first else "DESC"


def _admitted(match: MessageMatch, position: str) -> Conditions:
    """Return the condition that the message at a position fulfils those of a search."""
    outside = Conditions.of(("m.conversation_id <> ?", match.outside))
    rows = outside + match.of_message + match.of_conversation
    if not rows.sql:
        return Conditions()
    conversation = " JOIN conversations AS c ON c.principal = m.principal AND c.id = m.conversation_id"
    joined = conversation if match.of_conversation.sql else ""
    # OFFSET keeps it what it is: looked at for one message after the other, until there are enough.
    return Conditions(
        f"EXISTS (SELECT 1 FROM messages AS m{joined} WHERE m.position = {position} AND m.principal = ?"
        f"{rows.further} OFFSET 0)",
        [match.principal, *rows.values],
    )
