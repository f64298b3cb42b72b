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

Messages come newest first, in the order of their positions, because the index yields them so: of a million messages a
page costs the same for any word. What programs put in comes after all that people and agents said: its keys, by which
this module knows messages, are lower than those of any other.

Ranking costs more: bm25 counts every match of every word first. So only up to `_FEW` matches are ranked, and only by
words that are rare; of these, the best of each conversation come first.

A conversation whose title matches is shown by the best of its messages that match, or by its title if none does. The
newest `_LEADING` of them lead the first page; of the others, those with a title only follow after the last message.

The index yields other principals' messages too. Where its newest `_PROBED` matches do not settle a page, it is asked
again for those in the caller's scope (`tertulia.store.messages.scope`), so that nobody waits for another's million.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any

from tertulia.store import message_index
from tertulia.store.database import Row, Transaction, from_datetime, storable, to_datetime
from tertulia.store.message_index import INDEXES, PROGRAM_TEXT, SAID, MessageIndex
from tertulia.store.messages import position_at, scope
from tertulia.store.schema import POSITION_BITS
from tertulia.store.snippets import snippet
from tertulia.store.spelling import corrected
from tertulia.store.terms import Term, every, read
from tertulia.vocabulary.identifiers import Shape, page_cursor, read_page_cursor
from tertulia.vocabulary.models import Role, SearchHit, SearchQuery, SearchResult
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit

MAX_PAGE = 50
_FEW = 50
_LEADING = 3
_PROBED = 100
_COMMON = 2_000
"""A word with more matches says little about a message, and to rank by it costs a millisecond per thousand of them."""
SPARSE = 3
"""So few matches may be those of a slip, and come with a suggestion, if there is one that finds more."""
_SCOPES = 64
"""The most conversations that are looked for by name, where a filter admits no more."""
_WINDOW = 500
"""How many matches are looked at together for the first of each conversation."""
_FIRST, _LAST = -(1 << 63), (1 << 63) - 1
_BELOW = 1 << 64
"""How much lower than its position the key of a program's message is."""
_KEY: Shape = (NoneType, range(_FIRST - _BELOW, _LAST + 1))
_LED: tuple[list[Shape], ...] = ([], [_KEY], [_KEY] * 2, [_KEY] * _LEADING)
_PLACE: Shape = [_KEY, _KEY, int | None, _LED]
"""What a cursor holds: see `_Place`."""

_IN_INDEX = "SELECT rowid FROM {0} WHERE {0} MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid DESC LIMIT ?"
_COUNTED = "SELECT count(*) FROM (SELECT 1 FROM {0} WHERE {0} MATCH ? LIMIT ?) AS found"
_RANKED = "SELECT rowid FROM {0} WHERE {0} MATCH ? AND rowid BETWEEN ? AND ? ORDER BY bm25({0}), rowid DESC"
_OF_CONVERSATION = " CROSS JOIN conversations AS c ON c.principal = m.principal AND c.id = m.conversation_id"
# CROSS JOIN keeps the order: first what the index yields, then its row.
_AMONG = f"FROM json_each(?) AS f CROSS JOIN messages AS m ON m.position = f.value{_OF_CONVERSATION}"
_IN_SCOPE = f"FROM {{0}} AS f CROSS JOIN messages AS m ON m.position = f.rowid{_OF_CONVERSATION}"
_IN_TITLES = "FROM title_index AS f CROSS JOIN conversations AS c ON c.number = f.rowid"


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
class _Conditions:
    """Conditions on `messages AS m` and `conversations AS c`: fixed SQL, and the values for it."""

    sql: str
    values: Sequence[Any]

    @staticmethod
    def of(*conditions: tuple[str, Any]) -> "_Conditions":
        """Join the conditions that have a value."""
        given = [(sql, value) for sql, value in conditions if value is not None]
        return _Conditions(" AND ".join(sql for sql, _ in given), [value for _, value in given])


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
    return _Search(tx, principal, query).finds()


def titled_with(tx: Transaction, principal: str, query: SearchQuery) -> list[str]:
    """Return the ids of the newest conversations whose titles match."""
    return _Search(tx, principal, query).titled()


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
    """A search, ready to be carried out.

    Messages are known by their keys here, titles by the numbers of their conversations.
    """

    def __init__(self, tx: Transaction, principal: str, query: SearchQuery) -> None:
        self._tx = tx
        self._principal = principal
        self._query = query
        self._terms = read(query.text)
        since = None if query.since is None else from_datetime(query.since)
        until = None if query.until is None else from_datetime(query.until)
        # A position is never before its message's time, but may be after it (`messages.add`).
        self._first = _FIRST if since is None else _clamped(position_at(since))
        self._last = _LAST if until is None else _clamped(position_at(until - 1) + (1 << POSITION_BITS) - 1)
        owner = (
            ("c.principal = ? AND c.gone_at IS NULL", principal),
            ("c.instance = ?", query.instance),
            ("c.agent = ?", query.agent),
            ("c.id = ?", query.conversation_id),
            ("c.source = ?", None if query.source is None else storable(query.source)),
            _in_folder(query.folder),
        )
        self._indexes = _indexes(query)
        self._scope = self._narrowest_scope(_Conditions.of(*owner))
        self._of_messages = _Conditions.of(
            *owner,
            ("m.created_at >= ?", since),
            ("m.created_at < ?", until),
            ("m.role = ?", query.role),
            (
                "m.type IN (SELECT value FROM json_each(?))",
                json.dumps(sorted(query.types)) if query.types else None,
            ),
            *(("m.type IS DISTINCT FROM ?", kind) for kind in sorted(query.exclude_types)),
        )
        self._of_titles = _Conditions.of(*owner, ("c.updated_at >= ?", since), ("c.updated_at < ?", until))
        self.places: list[_Place] = []
        """Where each hit of the page ends."""
        self.identity = {
            "search": query.text,
            "principal": principal,
            "filters": [
                query.instance,
                query.agent,
                query.conversation_id,
                since,
                until,
                sorted(query.exclude_types),
                query.role,
                sorted(query.types),
                query.program_text,
                query.source,
                query.folder,
                query.per_conversation,
            ],
        }

    def _narrowest_scope(self, owner: _Conditions) -> str:
        """Return what the index finds the conversations by that the filters admit, and perhaps others."""
        query = self._query
        if query.conversation_id is None and (query.source is not None or query.folder is not None):
            rows = self._tx.all(
                f"SELECT c.id FROM conversations AS c WHERE {owner.sql} LIMIT ?", *owner.values, _SCOPES + 1
            )
            if len(rows) <= _SCOPES:
                admitted = [scope(self._principal, conversation_id=row[0]) for row in rows]
                return (
                    f"({' OR '.join(admitted)})" if admitted else scope(self._principal, conversation_id="")
                )
        return scope(
            self._principal,
            conversation_id=query.conversation_id,
            agent=query.agent,
            instance=query.instance,
        )

    def page(self) -> SearchResult:
        if self._query.cursor is None:
            return self._first_page()
        place = self._read(self._query.cursor)
        if place.top is None:
            last = self._last if place.after is None else place.after - 1
            most = self._query.limit + 1 + len(place.led)
            by_conversation = self._query.per_conversation
            messages = self._first_of_each(last, most) if by_conversation else self._messages(last, most)
            return self._result(place, [], _without(place.led, messages))
        messages = self._messages(place.top, _FEW)
        few = self._few(self._best_of_each_first(self._by_rank(messages) or messages))
        return self._result(place, [], _without(place.led, few)[place.after or 0 :])

    def finds(self) -> bool:
        """Whether there is anything at all."""
        return bool(self._messages(self._last, 1) or self._titles(_LAST, 1))

    def titled(self) -> list[str]:
        """Return the ids of the newest conversations whose titles match."""
        titles = self._titles(_LAST, self._query.limit)
        ids = self._ids_of(titles)
        return [ids[title] for title in titles]

    def best(self) -> int | None:
        """Return the best message that matches; the newest, where there are too many to rank."""
        messages = self._messages(self._last, _FEW)
        return next(iter(self._by_rank(messages) or messages), None)

    def _first_page(self) -> SearchResult:
        messages, titles = self._messages(self._last, _FEW + 1), self._titles(_LAST, _FEW + 1)
        top, total = None, None
        if len(messages) > _FEW:
            if self._query.per_conversation:
                messages = self._first_of_each(self._last, self._query.limit + 1)
        else:
            ranked = self._by_rank(messages)
            # In the order of their positions, they are shown from the first on as ranked ones are: see `page`.
            top, messages = (
                (messages[0], self._few(self._best_of_each_first(ranked)))
                if ranked
                else (None, self._few(messages))
            )
            total = self._total(messages, titles) if len(titles) <= _FEW else None
        leads = self._leads(titles[: min(_LEADING, self._query.limit)])
        led = [lead.message for lead in leads if lead.message is not None]
        result = self._result(_Place(top=top), leads, _without(led, messages))
        suggestion = self._suggestion(total) if total is not None and total <= SPARSE else None
        return replace(
            result, total=total, suggestion=suggestion, indexing=not message_index.is_complete(self._tx)
        )

    def _total(self, messages: Sequence[int], titles: Sequence[int]) -> int:
        """Return how many messages and titles are shown in all."""
        shown = set(self._conversations(messages).values())
        return len(messages) + sum(
            conversation_id not in shown for conversation_id in self._ids_of(titles).values()
        )

    def _few(self, messages: list[int]) -> list[int]:
        """Return the first message of each conversation, if each is to be shown once; else all."""
        if not self._query.per_conversation or not messages:
            return messages
        owners = self._conversations(messages)
        titled = self._titled(owners.values())
        first = {owners[key]: key for key in reversed(messages)}
        return [key for key in messages if first[owners[key]] == key and owners[key] not in titled]

    def _best_of_each_first(self, ranked: Sequence[int]) -> list[int]:
        """Return ranked messages: the best of each conversation, then the others, each in their order."""
        best, others, seen = list[int](), list[int](), set[str]()
        owners = self._conversations(ranked)
        for key in ranked:
            (others if owners[key] in seen else best).append(key)
            seen.add(owners[key])
        return [*best, *others]

    def _first_of_each(self, last: int, most: int) -> list[int]:
        """Return messages up to the key `last`, of each conversation the first that matches, if its title does not."""
        found: list[int] = []
        seen = set[str]()
        newest = last == self._last
        while len(found) < most:
            window = self._messages(last, _WINDOW)
            owners = self._conversations(window)
            titled = self._titled(owners.values())
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
        query = replace(self._query, conversation_id=conversation_id, cursor=None)
        return _Search(self._tx, self._principal, query)._messages(self._last, 1) == [key]

    def _conversations(self, messages: Sequence[int]) -> dict[int, str]:
        """Return the conversation of each message."""
        positions = {_position(key): key for key in messages}
        rows = self._tx.all(f"SELECT m.position, c.id {_AMONG}", json.dumps(list(positions)))
        return {positions[row[0]]: row[1] for row in rows}

    def _titled(self, conversation_ids: Iterable[str]) -> set[str]:
        """Return those of these conversations whose titles are found."""
        if not self._has_titles:
            return set()
        rows = self._tx.all(
            f"SELECT c.id {_IN_TITLES} WHERE title_index MATCH ? AND {self._of_titles.sql}"
            " AND c.id IN (SELECT value FROM json_each(?))",
            self._terms.expression,
            *self._of_titles.values,
            json.dumps(list(set(conversation_ids))),
        )
        return set(_firsts(rows))

    def _result(self, place: _Place, leads: Sequence[_Lead], messages: list[int]) -> SearchResult:
        """Return a page: `leads`, then of `messages` as many as fit, then the titles that are left."""
        room = self._query.limit - len(leads)
        more = len(messages) > room
        messages = messages[:room]
        hits = [*self._lead_hits(leads), *self._message_hits(messages)]
        ends = self._pass_messages(self._pass_leads(place, leads), messages)
        if not more and ends.title is not None:
            room -= len(messages)
            left = self._left(_clamped(ends.title - 1), room + 1)
            more = len(left) > room
            hits += self._lead_hits(left[:room])
            self.places += [replace(ends, title=lead.title) for lead in left[:room]]
            ends = self.places[-1] if left[:room] else ends
        return SearchResult(
            hits=hits, next_cursor=ends.cursor(self.identity) if more else None, ranked=place.top is not None
        )

    def _leads(self, titles: Sequence[int]) -> list[_Lead]:
        ids = self._ids_of(titles)
        return [_Lead(title, self._within(ids[title]).best()) for title in titles]

    def _left(self, last: int, most: int) -> list[_Lead]:
        """Return conversations up to the number `last` whose titles match: those that no message has shown."""
        if self._query.per_conversation:
            return self._leads(self._titles(last, most))
        found: list[_Lead] = []
        while len(found) < most and (titles := self._titles(last, _FEW)):
            found += [lead for lead in self._leads(titles) if lead.message is None]
            last = titles[-1] - 1
        return found[:most]

    def _within(self, conversation_id: str) -> "_Search":
        """Return the same search in one conversation."""
        return _Search(
            self._tx, self._principal, replace(self._query, conversation_id=conversation_id, cursor=None)
        )

    def _ids_of(self, titles: Sequence[int]) -> Mapping[int, str]:
        rows = self._tx.all(
            "SELECT c.number, c.id FROM json_each(?) AS f CROSS JOIN conversations AS c ON c.number = f.value",
            json.dumps(titles),
        )
        return {row[0]: row[1] for row in rows}

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

    def _messages(self, last: int, most: int) -> list[int]:
        """Return the first messages that match, up to the key `last`: the newest, and those of programs after all."""
        found: list[int] = []
        for index in self._indexes:
            below = _below(index)
            up_to = min(self._last, last + below)
            if up_to >= self._first and len(found) < most:
                found += [position - below for position in self._in_index(index, up_to, most - len(found))]
        return found

    def _in_index(self, index: MessageIndex, last: int, most: int) -> list[int]:
        """Return the positions of the newest messages of an index that match, up to the position `last`."""
        expression = _in_text(self._terms.expression)
        span = (self._first, last)
        newest = _firsts(self._tx.all(_IN_INDEX.format(index.table), expression, *span, _PROBED))
        own = (*self._of_messages.values, most)
        among = f"SELECT f.value {_AMONG} WHERE {self._of_messages.sql} ORDER BY f.key LIMIT ?"
        found = _firsts(self._tx.all(among, json.dumps(newest), *own)) if newest else []
        if len(newest) < _PROBED or len(found) == most:
            return found
        scoped = _in_scope(expression, self._scope)
        matching = f"{index.table} MATCH ? AND f.rowid BETWEEN ? AND ? AND {self._of_messages.sql}"
        in_scope = (
            f"SELECT f.rowid {_IN_SCOPE.format(index.table)} WHERE {matching} ORDER BY f.rowid DESC LIMIT ?"
        )
        return _firsts(self._tx.all(in_scope, scoped, *span, *own))

    @property
    def _has_titles(self) -> bool:
        """Whether titles are among what is looked for: they have no role and no type."""
        return self._query.role is None and not self._query.types

    def _titles(self, last: int, most: int) -> list[int]:
        """Return the newest conversations whose titles match, up to the number `last`."""
        if not self._has_titles:
            return []
        return _firsts(
            self._tx.all(
                f"SELECT c.number {_IN_TITLES} WHERE title_index MATCH ? AND f.rowid <= ? AND {self._of_titles.sql}"
                " ORDER BY f.rowid DESC LIMIT ?",
                self._terms.expression,
                last,
                *self._of_titles.values,
                most,
            )
        )

    def _by_rank(self, messages: list[int]) -> list[int]:
        """Return the messages, the best first, programs' after all; nothing if no word sets them apart cheaply."""
        if len(messages) < 2:
            return messages
        wanted = self._terms.wanted
        telling = [group for group in wanted if len(wanted) == 1 or not any(term.prefix for term in group)]
        ranked: list[int] = []
        for index in self._indexes:
            below = _below(index)
            chosen = {key + below for key in messages if _is_of(index, key)}
            if len(chosen) > 1:
                groups = [group for group in telling if self._tells(index, group)]
                if not groups:
                    return []
                span = (min(chosen), max(chosen))
                rows = self._tx.all(_RANKED.format(index.table), _in_text(every(groups)), *span)
                ranked += [position - below for position in _firsts(rows) if position in chosen]
            else:
                ranked += [position - below for position in chosen]
        return ranked

    def _tells(self, index: MessageIndex, group: Sequence[Term]) -> bool:
        # Of the caller's own messages: how often others use a word must not show.
        counted, own = _COUNTED.format(index.table), scope(self._principal)
        return all(
            self._tx.all(counted, _in_scope(_in_text(term.expression), own), _COMMON)[0][0] < _COMMON
            for term in group
        )

    def _message_hits(self, messages: Sequence[int]) -> list[SearchHit]:
        rows = self._tx.all(
            "SELECT c.id, c.title, c.status, m.id, m.author, m.role, m.created_at, m.text"
            f" {_AMONG} ORDER BY f.key",
            json.dumps(list(map(_position, messages))),
        )
        return [
            SearchHit(
                conversation_id=row[0],
                conversation_title=row[1],
                status=Status(row[2]),
                message_id=row[3],
                author=row[4],
                role=Role(row[5]),
                at=to_datetime(row[6]),
                snippet=snippet(row[7], self._terms.wanted),
            )
            for row in rows
        ]

    def _lead_hits(self, leads: Sequence[_Lead]) -> list[SearchHit]:
        messages = [lead.message for lead in leads if lead.message is not None]
        of_message = dict(zip(messages, self._message_hits(messages), strict=True))
        titles = [lead.title for lead in leads if lead.message is None]
        of_title = dict(zip(titles, self._title_hits(titles), strict=True))
        return [of_title[lead.title] if lead.message is None else of_message[lead.message] for lead in leads]

    def _title_hits(self, titles: Sequence[int]) -> list[SearchHit]:
        if not titles:
            return []
        rows = self._tx.all(
            "SELECT c.id, c.title, c.status, c.updated_at"
            " FROM json_each(?) AS f CROSS JOIN conversations AS c ON c.number = f.value ORDER BY f.key",
            json.dumps(titles),
        )
        return [
            SearchHit(
                conversation_id=row[0],
                conversation_title=row[1],
                status=Status(row[2]),
                message_id=None,
                author=None,
                role=None,
                at=to_datetime(row[3]),
                snippet=snippet(row[1], self._terms.wanted),
            )
            for row in rows
        ]

    def _suggestion(self, found: int) -> str | None:
        """Return a search that finds more than the `found` matches of this one, and may have been meant."""
        if not found and self._terms.flags and self._finds_flags():
            return self._terms.with_flags
        text = corrected(self._terms, self._own_texts, found=found)
        return text if text is not None and self._finds_more(text, found) else None

    def _finds_flags(self) -> bool:
        """Whether a message has what this search leaves out, written as a flag."""
        other = _Search(
            self._tx, self._principal, replace(self._query, text=self._terms.with_flags, cursor=None)
        )
        positions = list(map(_position, other._messages(self._last, _FEW)))
        texts = _firsts(self._tx.all(f"SELECT m.text {_AMONG}", json.dumps(positions)))
        flags = [re.compile(rf"(?<![\w-])-{re.escape(term.text)}(?!\w)") for term in self._terms.flags]
        return any(flag.search(text) for text in texts for flag in flags)

    def _finds_more(self, text: str, found: int) -> bool:
        other = _Search(self._tx, self._principal, replace(self._query, text=text, per_conversation=False))
        return len(other._messages(self._last, found + 1)) + len(other._titles(_LAST, found + 1)) > found

    def _own_texts(self, expression: str, most: int) -> list[str]:
        """Return the newest of the caller's texts, and titles, that match an expression."""
        scoped = _in_scope(_in_text(expression), scope(self._principal))
        left_out = sorted(self._query.exclude_types)
        rows: list[Row] = []
        for index in self._indexes:
            rows += self._tx.all(
                f"SELECT m.text {_IN_SCOPE.format(index.table)} WHERE {index.table} MATCH ? AND m.principal = ?"
                f"{' AND m.type IS DISTINCT FROM ?' * len(left_out)} ORDER BY f.rowid DESC LIMIT ?",
                scoped,
                self._principal,
                *left_out,
                most - len(rows),
            )
            if len(rows) == most:
                break
        rows = rows or self._tx.all(
            f"SELECT c.title {_IN_TITLES} WHERE title_index MATCH ? AND c.principal = ? ORDER BY f.rowid DESC LIMIT ?",
            expression,
            self._principal,
            most,
        )
        return _firsts(rows)


def _indexes(query: SearchQuery) -> Sequence[MessageIndex]:
    if not query.program_text:
        return (SAID,)
    return (PROGRAM_TEXT,) if query.role is Role.TOOL else INDEXES


def _in_folder(folder: str | None) -> tuple[str, str | None]:
    """Return the condition that a conversation belongs to a folder (its path, or its name alone) or one in it."""
    if folder is None:
        return "", None
    name = storable(folder).replace("\\", "/").rstrip("/") + "/"
    kept = r"replace(c.metadata ->> '$.folder', '\', '/') || '/'"
    if name.count("/") == 1:
        return f"instr('/' || {kept}, ?) > 0", f"/{name}"
    return f"instr({kept}, ?) = 1", name


def _below(index: MessageIndex) -> int:
    return _BELOW if index is PROGRAM_TEXT else 0


def _is_of(index: MessageIndex, key: int) -> bool:
    return (key < _FIRST) == (index is PROGRAM_TEXT)


def _position(key: int) -> int:
    return key + _BELOW if key < _FIRST else key


def _without(led: Sequence[int], messages: Sequence[int]) -> list[int]:
    """Return the messages that did not lead."""
    return [key for key in messages if key not in led]


def _in_text(expression: str) -> str:
    return f"{{text}} : ({expression})"


def _in_scope(expression: str, word: str) -> str:
    return f"({expression}) AND {{scope}} : {word}"


def _firsts(rows: Sequence[Row]) -> list[Any]:
    return [row[0] for row in rows]


def _clamped(position: int) -> int:
    return max(_FIRST, min(position, _LAST))
