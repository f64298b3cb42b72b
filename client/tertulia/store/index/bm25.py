"""Ranking by bm25, as FTS5 has it, where the engine has no notion of rare words: PostgreSQL's index."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from tertulia.store.index.base import COMMON, scope
from tertulia.store.index.lexemes import OVERLAP, all_of, any_of, lexemes, phrase_query, scope_query
from tertulia.store.index.scoring import score, weight

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tertulia.store.database import Transaction
    from tertulia.store.terms import Alternatives, Phrase

_SAMPLE, _TELLING, _SURELY = 300, 4, 2
"""So many of the newest messages tell which words need no counting: what so many of them have, if it should then be so
many times `COMMON`."""
_PAGES = 40
"""How many pages of a table tell how many messages somebody has."""
_MOST = 0.5


class _Weights(NamedTuple):
    """How many words a message has on average, and how much each phrase tells."""

    length: float
    phrases: Sequence[tuple[Phrase, float]]
    """Without those that are too frequent to be counted, or to tell anything."""


_Place = tuple[int, int]
"""The number of a part of a text, and a place in it."""


class _Found(NamedTuple):
    """How many words a message has, and the places of those that are looked for."""

    length: int
    places: dict[str, set[_Place]]


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
            position: score(
                found.length,
                length,
                [(tells, times) for phrase, tells in phrases for times in _times(phrase, found.places)],
            )
            for position, found in self._occurrences([each for each, _ in phrases], positions).items()
        }
        return sorted(scores, key=lambda position: (scores[position], position), reverse=True)

    def _weighed(self, groups: Sequence[Alternatives]) -> _Weights:
        """Weigh the phrases of groups, by the newest messages and by how many there are."""
        queries = [any_of(map(phrase_query, group)) for group in groups]
        sampled = ", count(*) FILTER (WHERE s.words @@ CAST(? AS tsquery))" * len(queries)
        row = self._tx.one(
            f"SELECT count(*), sum(s.length){sampled} FROM (SELECT length, words FROM {self._table}"
            " WHERE principal = ? AND part = 0 ORDER BY position DESC LIMIT ?) AS s",
            *queries,
            self._principal,
            _SAMPLE,
        )
        assert row is not None
        size, length, *found = row
        average = length / size if size else 1
        if [len(group) for group in groups] == [1]:  # how rare it is makes no difference
            return _Weights(average, [(groups[0][0], weight(0, size))])
        # Of somebody with few messages, that is all of them.
        total, share = (size, 0.0) if size < _SAMPLE else self._total()
        rare = [
            group
            for group, times in zip(groups, found, strict=True)
            if times < _TELLING or times * total < _SURELY * COMMON * size
        ]
        counts = iter(self._counts([each for group in rare for each in group], scoped=share < _MOST))
        phrases: list[tuple[Phrase, float]] = []
        for group in rare:
            of_group = list(islice(counts, len(group)))
            if max(of_group) < COMMON:
                rows = max(total, *of_group)
                phrases += [
                    (phrase, weight(count, rows)) for phrase, count in zip(group, of_group, strict=True)
                ]
        return _Weights(average, phrases)

    def _total(self) -> tuple[int, float]:
        """Return about how many messages the principal has, and what share of everybody's that is.

        The same pages tell it each time, so that a later page of a result has the same order.
        """
        size = f"greatest(pg_relation_size('{self._table}'::regclass), 1)"
        percent = f"least(100, 100.0 * {_PAGES} * current_setting('block_size')::integer / {size})"
        row = self._tx.one(
            f"SELECT {percent}, count(*), count(*) FILTER (WHERE principal = ? AND part = 0)"
            f" FROM {self._table} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (0)",
            self._principal,
        )
        assert row is not None
        sampled, everybodys, own = row
        return max(_SAMPLE, round(own * 100 / float(sampled))), own / max(everybodys, 1)

    def _counts(self, phrases: Sequence[Phrase], *, scoped: bool) -> Sequence[int]:
        """Return how many of the principal's messages have each of these phrases, up to `COMMON`.

        `scoped`: GIN finds those of the principal; where most are, it is quicker without.
        """
        if not phrases:
            return []
        own = scope_query([scope(self._principal)]) if scoped else ""
        counted = (
            f"(SELECT count(DISTINCT position) FROM (SELECT position FROM {self._table}"
            " WHERE words @@ CAST(? AS tsquery) AND principal = ? LIMIT ?) AS f)"
        )
        values = [
            value for each in phrases for value in (all_of(phrase_query(each), own), self._principal, COMMON)
        ]
        row = self._tx.one(f"SELECT {', '.join([counted] * len(phrases))}", *values)
        assert row is not None
        return row

    def _occurrences(self, phrases: Sequence[Phrase], positions: Collection[int]) -> Mapping[int, _Found]:
        """Return of each message its length, and where the words of the phrases stand."""
        whole = sorted({word for each in phrases for word in lexemes(each)[: -1 if each.prefix else None]})
        begun = sorted({lexemes(each)[-1] for each in phrases if each.prefix})
        begins = " OR starts_with(u.lexeme, ?)" * len(begun)
        rows = self._tx.all(
            f"SELECT f.position, f.part, f.length, u.lexeme, u.positions FROM {self._table} AS f"
            " LEFT JOIN LATERAL (SELECT * FROM unnest(f.words) AS u WHERE u.lexeme IN"
            f" (SELECT value FROM json_array_elements_text(CAST(? AS json)) AS w (value)){begins}) AS u ON true"
            " WHERE f.principal = ? AND f.position IN"
            " (SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST(? AS json)) AS p (value))",
            json.dumps(whole),
            *begun,
            self._principal,
            json.dumps(sorted(positions)),
        )
        found: dict[int, _Found] = {}
        for position, part, length, word, places in rows:
            of_message = found.setdefault(position, _Found(length, {}))
            if word is not None:
                of_message.places.setdefault(word, set()).update((part, place) for place in places or ())
        return found


def _times(phrase: Phrase, places: Mapping[str, set[_Place]]) -> Sequence[int]:
    """Return how often a phrase stands in a message; how often each of its words does, if these stand close."""
    last = len(phrase.words) - 1
    of_words = [
        {
            each
            for word, found in places.items()
            if (word.startswith(wanted) if phrase.prefix and number == last else word == wanted)
            for each in found
        }
        for number, wanted in enumerate(lexemes(phrase))
    ]
    if phrase.close:
        return _times_close(of_words)
    ends = (
        place + last
        for part, place in of_words[0]
        if all((part, place + offset) in found for offset, found in enumerate(of_words[1:], 1))
        and (part == 0 or place + last > OVERLAP)  # not counted in the part before
    )
    return [sum(1 for _ in ends)]


def _times_close(of_words: Sequence[set[_Place]]) -> Sequence[int]:
    """Return how often each of some words stands so close to all others that they fill as many places as they are."""
    near = len(of_words) - 1
    kept = [set[_Place]() for _ in of_words]
    for part, last in set[_Place]().union(*of_words):
        window = [{(part, place) for place in range(last - near, last + 1)} & found for found in of_words]
        if all(window):
            for all_found, found in zip(kept, window, strict=True):
                all_found.update(found)
    return list(map(len, kept))
