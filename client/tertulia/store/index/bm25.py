"""Ranking by bm25, as FTS5 has it, where the engine has no notion of rare words: PostgreSQL's index."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NamedTuple

from tertulia.store.index.base import COMMON, scope
from tertulia.store.index.lexemes import all_of, any_of, cut, phrase_query, scope_query

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tertulia.store.database import Transaction
    from tertulia.store.terms import Alternatives, Phrase

_SAMPLE, _FREQUENT = 300, 0.05
"""How many messages tell which words are too frequent to be counted, and at what share they are."""
_K1, _B = 1.2, 0.75
"""The parameters of bm25."""


class _Weights(NamedTuple):
    """How many words a message has on average, and how much each phrase tells."""

    length: float
    phrases: Mapping[Phrase, float]
    """Without those that are too frequent to be counted, or to tell anything."""


class _Found(NamedTuple):
    """How many words a message has, and the parts and places of those that are looked for."""

    length: int
    places: dict[str, set[tuple[int, int]]]


class Ranking:
    """The ranking of some of a principal's messages, in one table of the index."""

    def __init__(self, tx: Transaction, table: str, principal: str) -> None:
        self._tx = tx
        self._table = table
        self._principal = principal
        self._weights: dict[tuple[tuple[Phrase, ...], ...], _Weights] = {}
        """What was found out: the same words are looked for in several conversations."""

    def ranked(self, groups: Sequence[Alternatives], positions: Collection[int]) -> list[int]:
        """Return positions, the best matches first; nothing, if no group sets them apart cheaply."""
        key = tuple(map(tuple, groups))
        if key not in self._weights:
            self._weights[key] = self._weighed(groups)
        length, phrases = self._weights[key]
        if not phrases:
            return []
        scores = {
            position: sum(
                weight * _saturated(_times(phrase, found.places), found.length / length)
                for phrase, weight in phrases.items()
            )
            for position, found in self._occurrences(phrases, positions).items()
        }
        return sorted(scores, key=lambda position: (scores[position], position), reverse=True)

    def _weighed(self, groups: Sequence[Alternatives]) -> _Weights:
        """Weigh the phrases of groups, by the newest messages and by how many there are."""
        queries = [any_of(map(phrase_query, group)) for group in groups]
        sampled = ", count(*) FILTER (WHERE s.words @@ CAST(? AS tsquery))" * len(queries)
        row = self._tx.one(
            f"SELECT count(*), avg(s.length), (SELECT reltuples FROM pg_class WHERE oid = '{self._table}'::regclass)"
            f"{sampled} FROM (SELECT length, words FROM {self._table} WHERE principal = ? AND part = 0"
            " ORDER BY position DESC LIMIT ?) AS s",
            *queries,
            self._principal,
            _SAMPLE,
        )
        assert row is not None
        size, length, total, *found = row
        phrases: dict[Phrase, float] = {}
        for group, times in zip(groups, found, strict=True):
            if times >= size * _FREQUENT and self._has(math.ceil(COMMON * size / times)):
                continue
            counts = self._counts(group)
            if max(counts) < COMMON:
                rows = max(int(total), size, *counts)
                phrases |= {phrase: _weight(count, rows) for phrase, count in zip(group, counts, strict=True)}
        return _Weights(float(length or 1), phrases)

    def _has(self, count: int) -> bool:
        """Whether a principal has at least so many messages."""
        row = self._tx.one(
            f"SELECT 1 FROM {self._table} WHERE principal = ? ORDER BY position DESC LIMIT 1 OFFSET ?",
            self._principal,
            count - 1,
        )
        return row is not None

    def _counts(self, group: Alternatives) -> Sequence[int]:
        """Return how many of the principal's messages have each of these phrases, up to `COMMON`."""
        own = scope_query([scope(self._principal)])
        counted = (
            f"(SELECT count(*) FROM (SELECT 1 FROM {self._table} WHERE words @@ CAST(? AS tsquery)"
            " AND principal = ? LIMIT ?) AS f)"
        )
        values = [
            value for each in group for value in (all_of(phrase_query(each), own), self._principal, COMMON)
        ]
        row = self._tx.one(f"SELECT {', '.join([counted] * len(group))}", *values)
        assert row is not None
        return row

    def _occurrences(self, phrases: Iterable[Phrase], positions: Collection[int]) -> Mapping[int, _Found]:
        """Return of each message its length, and where the words of the phrases stand."""
        phrases = list(phrases)
        whole = sorted({word for each in phrases for word in each.words[: -1 if each.prefix else None]})
        begun = sorted({each.words[-1] for each in phrases if each.prefix})
        begins = " OR starts_with(u.lexeme, ?)" * len(begun)
        rows = self._tx.all(
            f"SELECT f.position, f.part, f.length, u.lexeme, u.positions FROM {self._table} AS f"
            " LEFT JOIN LATERAL (SELECT * FROM unnest(f.words) AS u WHERE u.lexeme IN"
            f" (SELECT value FROM json_array_elements_text(CAST(? AS json)) AS w (value)){begins}) AS u ON true"
            " WHERE f.principal = ? AND f.position IN"
            " (SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST(? AS json)) AS p (value))",
            json.dumps([cut(word) for word in whole]),
            *map(cut, begun),
            self._principal,
            json.dumps(sorted(positions)),
        )
        found: dict[int, _Found] = {}
        for position, part, length, word, places in rows:
            of_message = found.setdefault(position, _Found(length, {}))
            if word is not None:
                of_message.places.setdefault(word, set()).update((part, place) for place in places or ())
        return found


def _times(phrase: Phrase, places: Mapping[str, set[tuple[int, int]]]) -> int:
    """Return how often a phrase stands in a message."""
    last = len(phrase.words) - 1
    of_words = [
        {
            each
            for word, found in places.items()
            if (word.startswith(wanted) if phrase.prefix and number == last else word == wanted)
            for each in found
        }
        for number, wanted in enumerate(map(cut, phrase.words))
    ]
    if phrase.close:
        return min(map(len, of_words))
    return sum(
        all((part, place + offset) in found for offset, found in enumerate(of_words[1:], 1))
        for part, place in of_words[0]
    )


def _weight(count: int, total: int) -> float:
    """Return how much a phrase tells that so many messages have."""
    return math.log(max((total - count + 0.5) / (count + 0.5), 1 + 1e-6))


def _saturated(times: int, length: float) -> float:
    return times * (_K1 + 1) / (times + _K1 * (1 - _B + _B * length))
