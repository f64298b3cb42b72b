"""Full-text search over the messages and titles that the store holds.

The language of `SearchQuery.text`:

- `acme renewal` finds what has both words, anywhere. Case and accents make no difference, punctuation is not searched.
- `"net thirty days"` finds the words side by side. So does what is written without a space: `well-known`, `会议纪要`.
- `invoic*` finds every word that begins so. (Three Latin letters at least: `a*` is the word `a`.) So does what looks
  like the beginning of a commit's name: `9f8e7d6`.
- `-draft` and `-"first draft"` leave out what has that. Where nothing else is looked for, they are text: `-Wall`.
- `acme OR initech` finds what has one of them; it binds closer than the space.

Everything else is text. There is no wrong syntax: a quote without its partner, a bracket, an `AND` mean themselves.

`tertulia.store.words` says what a word is and how it is spelt.

Messages come newest first, in the order of their positions: of a million messages a page costs the same for any word.
What programs put in comes after all that people and agents said.

Ranking costs more. So only up to `FEW` matches are ranked, and only by words that are rare; of these, the best of each
conversation come first.

A conversation whose title matches is shown by the best of its messages that match, or by its title if none does. The
newest `_LEADING` of them lead the first page; of the others, those with a title only follow after the last message.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import NoneType
from typing import Any

from tertulia.store import hits
from tertulia.store.database import Transaction
from tertulia.store.index.base import FIRST, LAST
from tertulia.store.matches import FEW, KEYS, Matches, position_of
from tertulia.store.spelling import corrected
from tertulia.vocabulary.identifiers import Shape, page_cursor, read_page_cursor
from tertulia.vocabulary.models import SearchHit, SearchQuery, SearchResult
from tertulia.vocabulary.text import check_limit

MAX_PAGE = 50
_LEADING = 3
SPARSE = 3
"""So few matches may be those of a slip, and come with a suggestion, if there is one that finds more."""
_WINDOW = 500
"""How many matches are looked at together for the first of each conversation."""
_KEY: Shape = (NoneType, KEYS)
_LED: tuple[list[Shape], ...] = ([], [_KEY], [_KEY] * 2, [_KEY] * _LEADING)
_PLACE: Shape = [_KEY, _KEY, int | None, _LED]
"""What a cursor holds: see `_Place`."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page ends: at the title `title` and the message `after`; `led` has the messages that led the first page.

    Where messages are ranked, those up to the key `top` are, and `after` is how many of them were shown beside those
    that led.
    """

    after: int | None = None
    top: int | None = None
    title: int | None = None
    led: Sequence[int] = ()

    def cursor(self, identity: Mapping[str, Any]) -> str:
        """Return it as a cursor of the search that `identity` describes."""
        return page_cursor(identity, [self.after, self.top, self.title, list(self.led)])


@dataclass(frozen=True, slots=True)
class _Lead:
    """A conversation whose title matches: its number, and the best of its messages that match, if one does."""

    title: int
    message: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of what was found, which can be cut short."""

    result: SearchResult
    _begins: str | None
    _places: Sequence[_Place]
    _identity: Mapping[str, Any]

    def cursor_after(self, count: int) -> str | None:
        """Return the cursor after the first `count` hits: "" at the beginning of all, None at their end."""
        if count == len(self.result.hits):
            return self.result.next_cursor
        if count == 0:
            return self._begins or ""
        return self._places[count - 1].cursor(self._identity)

    def cut(self, count: int) -> SearchResult:
        """Return the page with no more than its first `count` hits (one at least)."""
        count = max(1, count)
        if count >= len(self.result.hits):
            return self.result
        return replace(self.result, hits=self.result.hits[:count], next_cursor=self.cursor_after(count))


def search(tx: Transaction, principal: str, query: SearchQuery) -> SearchResult:
    """Return one page of what matches `query`: see `found`."""
    return found(tx, principal, query).result


def finds(tx: Transaction, principal: str, query: SearchQuery) -> bool:
    """Whether anything matches."""
    matches = Matches(tx, principal, query)
    return bool(matches.messages(matches.last, 1) or matches.titles(LAST, 1))


def titled_with(tx: Transaction, principal: str, query: SearchQuery) -> list[str]:
    """Return the ids of the newest conversations whose titles match."""
    return list(Matches(tx, principal, query).titles(LAST, query.limit).values())


def found(tx: Transaction, principal: str, query: SearchQuery) -> Found:
    """Return one page of what matches `query`: see the top of this module.

    Raises:
        InvalidInputError: there is no word to look for, the cursor is not one of this query, or the limit is out of
            range.
    """
    check_limit(query.limit, MAX_PAGE)
    looking = _Search(tx, principal, query)
    return Found(looking.page(), query.cursor, looking.places, looking.identity)


class _Search:
    """A search, ready to be carried out."""

    def __init__(self, tx: Transaction, principal: str, query: SearchQuery) -> None:
        self._tx = tx
        self._principal = principal
        self._query = query
        self._matches = Matches(tx, principal, query)
        self.places: list[_Place] = []
        """Where each hit of the page ends."""
        self.identity = self._matches.identity

    def page(self) -> SearchResult:
        if self._query.cursor is None:
            return self._first_page()
        place = self._read(self._query.cursor)
        if place.top is None:
            last = self._matches.last if place.after is None else place.after - 1
            most = self._query.limit + 1 + len(place.led)
            by_conversation = self._query.per_conversation
            messages = (
                self._first_of_each(last, most) if by_conversation else self._matches.messages(last, most)
            )
            return self._result(place, [], _without(place.led, messages))
        messages = self._matches.messages(place.top, FEW)
        few = self._few(self._best_of_each_first(self._matches.by_rank(messages) or messages))
        return self._result(place, [], _without(place.led, few)[place.after or 0 :])

    def _first_page(self) -> SearchResult:
        messages = self._matches.messages(self._matches.last, FEW + 1)
        # Behind many messages, the other titles are on later pages.
        titles = self._matches.titles(LAST, _LEADING if len(messages) > FEW else FEW + 1)
        top, total = None, None
        if len(messages) > FEW:
            if self._query.per_conversation:
                messages = self._first_of_each(self._matches.last, self._query.limit + 1)
        else:
            ranked = self._matches.by_rank(messages)
            # In the order of their positions, they are shown from the first on as ranked ones are: see `page`.
            top, messages = (
                (messages[0], self._few(self._best_of_each_first(ranked)))
                if ranked
                else (None, self._few(messages))
            )
            total = self._total(messages, titles) if len(titles) <= FEW else None
        leads = self._leads(dict(islice(titles.items(), min(_LEADING, self._query.limit))))
        led = [lead.message for lead in leads if lead.message is not None]
        result = self._result(_Place(top=top), leads, _without(led, messages))
        suggestion = self._suggestion(total) if total is not None and total <= SPARSE else None
        return replace(result, total=total, suggestion=suggestion, indexing=not self._tx.index.is_complete())

    def _total(self, messages: Sequence[int], titles: Mapping[int, str]) -> int:
        """Return how many messages and titles are shown in all."""
        shown = set(self._matches.conversations(messages).values()) if titles else ()
        return len(messages) + sum(conversation_id not in shown for conversation_id in titles.values())

    def _few(self, messages: list[int]) -> list[int]:
        """Return the first message of each conversation, if each is to be shown once; else all."""
        if not self._query.per_conversation or not messages:
            return messages
        owners = self._matches.conversations(messages)
        titled = self._matches.titled(owners.values())
        first = {owners[key]: key for key in reversed(messages)}
        return [key for key in messages if first[owners[key]] == key and owners[key] not in titled]

    def _best_of_each_first(self, ranked: Sequence[int]) -> list[int]:
        """Return ranked messages: the best of each conversation, then the others, each in their order."""
        if len(ranked) < 2:
            return list(ranked)
        best, others, seen = list[int](), list[int](), set[str]()
        owners = self._matches.conversations(ranked)
        for key in ranked:
            (others if owners[key] in seen else best).append(key)
            seen.add(owners[key])
        return [*best, *others]

    def _first_of_each(self, last: int, most: int) -> list[int]:
        """Return messages up to the key `last`, of each conversation the first that matches, if its title does not."""
        found: list[int] = []
        seen = set[str]()
        newest = last == self._matches.last
        while len(found) < most:
            window = self._matches.messages(last, _WINDOW)
            owners = self._matches.conversations(window)
            titled = self._matches.titled(owners.values())
            for key in window:
                owner = owners[key]
                if owner not in seen and owner not in titled and (newest or self._is_first(key, owner)):
                    found.append(key)
                seen.add(owner)
            if len(window) < _WINDOW:
                break
            last = window[-1] - 1
        return found[:most]

    def _is_first(self, key: int, conversation_id: str) -> bool:
        return self._matches.within([conversation_id]).messages(self._matches.last, 1) == [key]

    def _result(self, place: _Place, leads: Sequence[_Lead], messages: list[int]) -> SearchResult:
        """Return a page: `leads`, then of `messages` as many as fit, then the titles that are left."""
        room = self._query.limit - len(leads)
        more = len(messages) > room
        messages = messages[:room]
        shown = [*self._lead_hits(leads), *self._message_hits(messages)]
        ends = self._pass_messages(self._pass_leads(place, leads), messages)
        if not more and ends.title is not None:
            room -= len(messages)
            left = self._left(_clamped(ends.title - 1), room + 1)
            more = len(left) > room
            shown += self._lead_hits(left[:room])
            self.places += [replace(ends, title=lead.title) for lead in left[:room]]
            ends = self.places[-1] if left[:room] else ends
        return SearchResult(
            hits=shown, next_cursor=ends.cursor(self.identity) if more else None, ranked=place.top is not None
        )

    def _leads(self, titles: Mapping[int, str]) -> list[_Lead]:
        best = self._matches.best_of_each(titles.values())
        return [_Lead(title, best.get(known)) for title, known in titles.items()]

    def _left(self, last: int, most: int) -> list[_Lead]:
        """Return conversations up to the number `last` whose titles match: those that no message has shown."""
        if self._query.per_conversation:
            return self._leads(self._matches.titles(last, most))
        found: list[_Lead] = []
        while len(found) < most and (titles := self._matches.titles(last, FEW)):
            shown = self._matches.first_of_each(titles.values())
            found += [_Lead(title, None) for title, known in titles.items() if known not in shown]
            last = min(titles) - 1
        return found[:most]

    def _pass_leads(self, place: _Place, leads: Sequence[_Lead]) -> _Place:
        """Add the places after each of these leads, and return the last."""
        for lead in leads:
            led = place.led if lead.message is None else [*place.led, lead.message]
            place = replace(place, title=lead.title, led=led)
            self.places.append(place)
        return place

    def _pass_messages(self, place: _Place, messages: Sequence[int]) -> _Place:
        """Add the places after each of these messages, and return the last."""
        before = place.after or 0
        for number, key in enumerate(messages, start=1):
            place = replace(place, after=key if place.top is None else before + number)
            self.places.append(place)
        return place

    def _read(self, cursor: str) -> _Place:
        return _Place(*read_page_cursor(cursor, self.identity, _PLACE))

    def _message_hits(self, messages: Sequence[int]) -> list[SearchHit]:
        positions = list(map(position_of, messages))
        return hits.of_messages(self._tx, self._principal, positions, self._matches.terms)

    def _lead_hits(self, leads: Sequence[_Lead]) -> list[SearchHit]:
        messages = [lead.message for lead in leads if lead.message is not None]
        of_message = dict(zip(messages, self._message_hits(messages), strict=True))
        titles = [lead.title for lead in leads if lead.message is None]
        title_hits = hits.of_titles(self._tx, self._principal, titles, self._matches.terms)
        of_title = dict(zip(titles, title_hits, strict=True))
        return [of_title[lead.title] if lead.message is None else of_message[lead.message] for lead in leads]

    def _suggestion(self, found: int) -> str | None:
        """Return a search that finds more than the `found` matches of this one, and may have been meant."""
        terms = self._matches.terms
        if not found and terms.flags and self._finds_flags():
            return terms.with_flags
        text = corrected(terms, self._matches, found=found)
        return text if text is not None and self._finds_more(text, found) else None

    def _finds_flags(self) -> bool:
        """Whether a message has what this search leaves out, written as a flag."""
        terms = self._matches.terms
        other = self._matches.of_text(terms.with_flags)
        texts = other.texts(other.messages(other.last, FEW))
        flags = [re.compile(rf"(?<![\w-])-{re.escape(term.text)}(?!\w)") for term in terms.flags]
        return any(flag.search(text) for text in texts for flag in flags)

    def _finds_more(self, text: str, found: int) -> bool:
        other = self._matches.of_text(text)
        return len(other.messages(other.last, found + 1)) + len(other.titles(LAST, found + 1)) > found


def _without(led: Sequence[int], messages: Sequence[int]) -> list[int]:
    """Return the messages that did not lead."""
    return [key for key in messages if key not in led]


def _clamped(position: int) -> int:
    return max(FIRST, min(position, LAST))
