"""The full-text index in SQLite: FTS5, in one table for what people and agents said and one for program text.

A table walks its row ids, which are positions, from the newest on: of a million messages a page costs the same for any
word. It yields other principals' messages too. Where its newest `_PROBED` matches do not settle a page, it is asked
again for those in the caller's scope, so that nobody waits for another's million.

`tertulia.store.index.filling` says what `indexed_from` in `meta` is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tertulia.store.index.base import (
    COMMON,
    Conditions,
    Entry,
    MessageMatch,
    TextKind,
    TitleMatch,
    scope,
    selection,
)
from tertulia.store.sqlite import erasure
from tertulia.store.terms import Alternatives, Expression, Phrase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from tertulia.store.database import Transaction

INDEXED_FROM = "(SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'indexed_from')"
_INDEXED = f"text IS NOT NULL AND position >= coalesce({INDEXED_FROM}, -9223372036854775808)"
_LONG = 1 << 18
"""FTS5 reads a text of more bytes from the file, in pieces."""
_TEXT = f"CASE WHEN octet_length(text) > {_LONG} THEN text_reference(position) ELSE text END"
_PROBED = 100
_FEW = 64
"""So many conversations' titles are looked at one by one sooner than those of everybody."""
_MANY = 16
"""So many phrases take long to look up: not twice."""

TABLES = {TextKind.SAID: "message_index", TextKind.PROGRAM: "program_index"}
_VIEWS = {TextKind.SAID: "said_messages", TextKind.PROGRAM: "program_messages"}
"""Each has the messages that belong into the table."""

_NEWEST = "SELECT rowid FROM {0} WHERE {0} MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid DESC LIMIT ?"
_SPAN = "SELECT rowid FROM {0} WHERE {0} MATCH ? AND rowid BETWEEN ? AND ?"
_COUNTED = "SELECT count(*) FROM (SELECT 1 FROM {0} WHERE {0} MATCH ? LIMIT ?) AS found"
_RANKED = (
    "SELECT rowid FROM {0} WHERE {0} MATCH ? AND rowid BETWEEN ? AND ? AND +rowid IN (SELECT value FROM json_each(?))"
    " ORDER BY relevance({0}, ?) DESC, rowid DESC"
)
"""The plus keeps SQLite from asking FTS5 for one row after another."""
_VOCABULARIES = {f"temp.{table}_words": table for table in (*TABLES.values(), "title_index")}
"""Tables of FTS5's that have the words of another one, in order."""
_NEXT = ", ".join(
    f"coalesce((SELECT term FROM {words} WHERE term >= w.word LIMIT 1), x'ff')" for words in _VOCABULARIES
)
_KNOWN = f"""
WITH RECURSIVE
    wanted (place, word) AS MATERIALIZED (SELECT key, value FROM json_each(?)),
    walk (place, word, next) AS (
        SELECT -1, NULL, ''
        UNION ALL
        SELECT w.place, w.word, CASE WHEN w.word <= walk.next THEN walk.next ELSE min({_NEXT}) END
        FROM walk CROSS JOIN wanted AS w ON w.place = walk.place + 1
    )
SELECT word FROM walk WHERE """
"""Walks words, which are in order, along the vocabularies.

`next` is the first word there that does not come before `word`, or x'ff' after the last. It is looked up only where the
step before has not found it: once for all words with a beginning that no word has.
"""


class Fts5:
    """See `tertulia.store.index.base.Index`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._rendered: tuple[Expression, str] | None = None
        """The last expression, of perhaps a thousand words, which is looked for in several tables."""
        self._counts: dict[tuple[str, TextKind, Phrase], int] = {}
        """See `_count`."""

    def add(self, entry: Entry) -> None:
        """Add a new message."""
        self.enter("position = ?", [entry.position], [entry.kind])

    def add_again(self, principal: str, conversation_id: str, message_id: str | None = None) -> None:
        """Add messages as the store has them now."""
        self.enter(*selection(principal, conversation_id, message_id))

    def enter(self, where: str, values: Sequence[Any], kinds: Iterable[TextKind] = TextKind) -> None:
        """Add the messages that fulfil a condition."""
        for kind in kinds:
            self._tx.run(
                f"INSERT INTO {TABLES[kind]} (rowid, text, scope)"
                f" SELECT position, {_TEXT}, scope FROM {_VIEWS[kind]} WHERE {where} AND {_INDEXED}",
                *values,
            )

    def remove(
        self, principal: str, conversation_id: str, message_id: str | None = None, *, forget: bool = True
    ) -> None:
        """Remove messages before the store changes or deletes them: as they were when they were added."""
        self._withdraw(*selection(principal, conversation_id, message_id), lambda size: size if forget else 0)

    def remove_from(self, principal: str, conversation_id: str, first: int) -> None:
        """Remove the messages from a position on; `erasure` takes their words out together, later."""
        where, own = selection(principal, conversation_id, None)
        self._withdraw(f"{where} AND position >= ?", [*own, first], lambda size: max(size, erasure.LATER))

    def _withdraw(self, where: str, values: Sequence[Any], erased: Callable[[int], int]) -> None:
        """Delete the entries of messages; of texts of so many bytes, `erased` are to be erased."""
        for kind in TextKind:
            found = f"FROM {_VIEWS[kind]} WHERE {where} AND {_INDEXED}"
            size = self._tx.all(f"SELECT coalesce(sum(octet_length(text)), 0) {found}", *values)[0][0]
            if not size:
                continue
            with erasure.deleting(self._tx, TABLES[kind], erased(size)):
                self._tx.run(
                    f"INSERT INTO {TABLES[kind]} ({TABLES[kind]}, rowid, text, scope)"
                    f" SELECT 'delete', position, {_TEXT}, scope {found}",
                    *values,
                )

    def set_title(self, principal: str, conversation_id: str, before: str | None, after: str | None) -> None:
        """Replace a conversation's title."""
        number = "number, ? FROM conversations WHERE principal = ? AND id = ?"
        own = (principal, conversation_id)
        if before is not None:
            deleted = f"INSERT INTO title_index (title_index, rowid, title) SELECT 'delete', {number}"
            self._tx.run(deleted, before, *own)
        if after is not None:
            self._tx.run(f"INSERT INTO title_index (rowid, title) SELECT {number}", after, *own)

    def is_complete(self) -> bool:
        """Whether no message is left to be indexed again."""
        return self._tx.one("SELECT 1 FROM meta WHERE name = 'indexed_from'") is None

    def newest(self, match: MessageMatch, most: int) -> list[int]:
        """Return the positions of the newest messages that match."""
        if match.expression is not None and not match.oldest_first and not match.few and 1 < most <= _PROBED:
            found = self._among_newest(match, match.expression, most)
            if found is not None:
                return found
        table, rows = TABLES[match.kind], _conditions(match)
        matching = (
            f"SELECT f.rowid FROM {table} AS f {_joined(match, 'f.rowid')}"
            f" WHERE {table} MATCH ? AND f.rowid BETWEEN ? AND ? AND m.principal = ?{rows.further}"
            f" ORDER BY f.rowid {'ASC' if match.oldest_first else 'DESC'} LIMIT ?"
        )
        return _firsts(
            self._tx.all(
                matching,
                self._in_scope(match),
                match.first,
                match.last,
                match.principal,
                *rows.values,
                most,
            )
        )

    def _among_newest(self, match: MessageMatch, expression: Expression, most: int) -> list[int] | None:
        """Return what `newest` does, if the newest matches of all principals settle it; else None."""
        if _size(expression) > _MANY:
            return None
        span = (match.first, match.last)
        newest = self._tx.all(_NEWEST.format(TABLES[match.kind]), self._in_text(expression), *span, _PROBED)
        if not newest:
            return []
        rows = _conditions(match)
        found = self._tx.all(
            f"SELECT f.value FROM json_each(?) AS f {_joined(match, 'f.value')}"
            f" WHERE m.principal = ?{rows.further} ORDER BY f.key LIMIT ?",
            json.dumps(_firsts(newest)),
            match.principal,
            *rows.values,
            most,
        )
        return _firsts(found) if len(newest) < _PROBED or len(found) == most else None

    def count_among(self, match: MessageMatch, positions: Collection[int]) -> int:
        """Return how many of these messages have the expression."""
        if not positions:
            return 0
        among = frozenset(positions)
        span = (min(among), max(among))
        rows = self._tx.all(_SPAN.format(TABLES[match.kind]), self._in_scope(match), *span)
        return sum(row[0] in among for row in rows)

    def ranked(
        self,
        principal: str,
        kind: TextKind,
        groups: Sequence[Alternatives],
        positions: Collection[int],
        scopes: Sequence[str] = (),
    ) -> list[int]:
        """Return these positions, the best matches first: see `tertulia.store.sqlite.ranking`."""
        telling: list[Alternatives] = []
        counts: list[int] = []
        alone = [len(group) for group in groups] == [1]  # how rare it is makes no difference
        for group in groups:
            found = [0 if alone else self._count(principal, kind, phrase) for phrase in group]
            if max(found) < COMMON:
                telling.append(group)
                # To FTS5, words that stand close to each other are a phrase each.
                counts += [
                    count
                    for count, phrase in zip(found, group, strict=True)
                    for _ in (phrase.words if phrase.close else [phrase])
                ]
        if not telling or not positions:
            return []
        match = MessageMatch(principal=principal, kind=kind, expression=Expression(telling), scopes=scopes)
        rows = self._tx.all(
            _RANKED.format(TABLES[kind]),
            self._in_scope(match),
            min(positions),
            max(positions),
            json.dumps(list(positions)),
            json.dumps(counts),
        )
        return _firsts(rows)

    def _count(self, principal: str, kind: TextKind, phrase: Phrase) -> int:
        """Return how many of the principal's messages have a phrase, up to `COMMON`."""
        counted = (principal, kind, phrase)
        if counted not in self._counts:
            match = MessageMatch(principal=principal, kind=kind, expression=Expression([[phrase]]))
            rows = self._tx.all(_COUNTED.format(TABLES[kind]), self._in_scope(match), COMMON)
            self._counts[counted] = rows[0][0]
        return self._counts[counted]

    def known(self, words: Collection[str], *, beginnings: bool = False) -> Collection[str]:
        """Return those of these words that the vocabularies have."""
        for vocabulary, table in _VOCABULARIES.items():
            self._tx.run(
                f"CREATE VIRTUAL TABLE IF NOT EXISTS {vocabulary} USING fts5vocab (main, {table}, instance)"
            )
        condition = "substr(next, 1, length(word)) = word" if beginnings else "next = word"
        return _firsts(self._tx.all(f"{_KNOWN}{condition}", json.dumps(sorted(words))))

    def titles(self, match: TitleMatch, most: int) -> Mapping[int, str]:
        """Return the newest conversations whose titles match."""
        found = None if match.few else self._titles_among_newest(match, most)
        if found is not None:
            return found
        # The one that comes first is read as far as it is not settled.
        tables = "title_index AS f CROSS JOIN conversations AS c"
        if match.few or self._has_few_conversations(match.principal):
            tables = "conversations AS c CROSS JOIN title_index AS f"
        rows = self._tx.all(
            f"SELECT c.number, c.id FROM {tables} ON c.number = f.rowid"
            f" WHERE title_index MATCH ? AND f.rowid <= ? AND c.principal = ?{match.of_conversation.further}"
            " ORDER BY f.rowid DESC LIMIT ?",
            self._render(match.expression),
            match.last,
            match.principal,
            *match.of_conversation.values,
            most,
        )
        return dict(rows)

    def _titles_among_newest(self, match: TitleMatch, most: int) -> Mapping[int, str] | None:
        """Return what `titles` does, if the newest titles of all principals that match settle it; else None."""
        rows = self._tx.all(
            f"SELECT c.number, c.id, c.principal = ?{match.of_conversation.further}"
            " FROM (SELECT rowid FROM title_index WHERE title_index MATCH ? AND rowid <= ? ORDER BY rowid DESC LIMIT ?)"
            " AS f CROSS JOIN conversations AS c ON c.number = f.rowid ORDER BY f.rowid DESC",
            match.principal,
            *match.of_conversation.values,
            self._render(match.expression),
            match.last,
            _PROBED,
        )
        found = [(number, known) for number, known, fits in rows if fits]
        return dict(found[:most]) if len(rows) < _PROBED or len(found) >= most else None

    def _has_few_conversations(self, principal: str) -> bool:
        rows = self._tx.all("SELECT 1 FROM conversations WHERE principal = ? LIMIT ?", principal, _FEW + 1)
        return len(rows) <= _FEW

    def _in_text(self, expression: Expression) -> str:
        return f"{{text}} : ({self._render(expression)})"

    def _in_scope(self, match: MessageMatch) -> str:
        scopes = f"{{scope}} : ({' OR '.join(match.scopes or [scope(match.principal)])})"
        found = scopes if match.expression is None else f"({self._in_text(match.expression)}) AND {scopes}"
        if match.outside is None:
            return found
        return f"({found}) NOT {{scope}} : {scope(match.principal, conversation_id=match.outside)}"

    def _render(self, expression: Expression) -> str:
        if self._rendered is None or self._rendered[0] is not expression:
            self._rendered = expression, rendered(expression)
        return self._rendered[1]


def _joined(match: MessageMatch, position: str) -> str:
    # CROSS JOIN keeps the order: first what the index yields, then its row.
    conversation = " CROSS JOIN conversations AS c ON c.principal = m.principal AND c.id = m.conversation_id"
    message = f"CROSS JOIN messages AS m ON m.position = {position}"
    return message + conversation if match.of_conversation.sql else message


def _conditions(match: MessageMatch) -> Conditions:
    outside = Conditions.of(("m.conversation_id <> ?", match.outside))
    return outside + match.of_message + match.of_conversation


def rendered(expression: Expression) -> str:
    """Return an expression in FTS5's syntax."""
    every = " AND ".join(f"({_either(group)})" for group in expression.every)
    return f"({every}) NOT ({_either(expression.unwanted)})" if expression.unwanted else every


def _either(phrases: Alternatives) -> str:
    return " OR ".join(map(_phrase, phrases))


def _phrase(phrase: Phrase) -> str:
    if phrase.close:
        return f"NEAR({' '.join(map(_quoted, phrase.words))}, {len(phrase.words) - 2})"
    return _quoted(" ".join(phrase.words)) + ("*" if phrase.prefix else "")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _size(expression: Expression) -> int:
    return len(expression.unwanted) + sum(map(len, expression.every))


def _firsts(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [row[0] for row in rows]
