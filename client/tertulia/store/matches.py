"""What matches a search: messages and titles, the newest first.

A message is known by its key here: its position, and for what programs put in a lower number than that of any other,
so that it comes after all that people and agents said. A title is known by the number of its conversation.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from tertulia.store.database import Transaction, from_datetime, storable
from tertulia.store.index.base import FIRST, LAST, Conditions, MessageMatch, TextKind, TitleMatch, scope
from tertulia.store.messages import span
from tertulia.store.terms import Alternatives, Expression, Terms, read
from tertulia.vocabulary.models import Role, SearchQuery

FEW = 50
"""Up to so many matches are ranked."""
_SCOPES = 64
"""The most conversations that are looked for by name, where a filter admits no more."""
_LOOKED_THROUGH = 100
"""How many messages are looked through to see whether somebody has few texts."""
_BELOW = 1 << 64
"""How much lower than its position the key of a program's message is."""
KEYS = range(FIRST - _BELOW, LAST + 1)
"""All keys."""
_AMONG = (
    "FROM json_each(?) AS f CROSS JOIN messages AS m ON m.position = CAST(f.value AS BIGINT)"
    " CROSS JOIN conversations AS c ON c.principal = m.principal AND c.id = m.conversation_id WHERE m.principal = ?"
)


class Matches:
    """What of a principal's messages and titles matches a query; its `cursor` and `limit` are the caller's to heed.

    `terms` are those of the query, where they have been read before; `among` are ids of the only conversations that
    come into question.

    Raises:
        InvalidInputError: there is no word to look for.
    """

    def __init__(
        self,
        tx: Transaction,
        principal: str,
        query: SearchQuery,
        *,
        terms: Terms | None = None,
        among: Collection[str] | None = None,
    ) -> None:
        self._tx = tx
        self._principal = principal
        self.query = query
        self._among = among
        self.terms = read(query.text) if terms is None else terms
        self._expression = self.terms.expression
        self._since = None if query.since is None else from_datetime(query.since)
        self._until = None if query.until is None else from_datetime(query.until)
        self._first, self.last = span(self._since, self._until)
        self._of_conversation = Conditions.of(
            ("c.instance = ?", query.instance),
            ("c.agent = ?", query.agent),
            ("c.id = ?", query.conversation_id),
            ("c.id IN (SELECT value FROM json_each(?))", None if among is None else json.dumps(list(among))),
            ("c.source = ?", None if query.source is None else storable(query.source)),
            _in_folder(query.folder),
        ) + Conditions("c.gone_at IS NULL")

    @property
    def identity(self) -> Mapping[str, Any]:
        """What tells the query from others, but for its cursor and limit."""
        query = self.query
        return {
            "search": query.text,
            "principal": self._principal,
            "filters": [
                query.instance,
                query.agent,
                query.conversation_id,
                self._since,
                self._until,
                sorted(query.exclude_types),
                query.role,
                sorted(query.types),
                query.program_text,
                query.source,
                query.folder,
                query.per_conversation,
            ],
        }

    def within(self, conversation_ids: Collection[str]) -> "Matches":
        """Return what matches in a few conversations."""
        return Matches(self._tx, self._principal, self.query, terms=self.terms, among=conversation_ids)

    def of_text(self, text: str) -> "Matches":
        """Return what matches another text."""
        return Matches(self._tx, self._principal, replace(self.query, cursor=None, text=text))

    def messages(self, last: int, most: int) -> list[int]:
        """Return the first messages up to the key `last`: the newest, and those of programs after all."""
        found: list[int] = []
        for kind in self._kinds:
            below = _below(kind)
            up_to = min(self.last, last + below)
            if up_to >= self._first and len(found) < most:
                match = replace(self._match, kind=kind, last=up_to)
                found += [position - below for position in self._tx.index.newest(match, most - len(found))]
        return found

    def first_of_each(self, conversation_ids: Collection[str]) -> dict[str, list[int]]:
        """Return the first messages of each of these conversations that has any, up to `FEW`."""
        if not conversation_ids:
            return {}
        most = FEW * len(conversation_ids)
        messages = self.within(conversation_ids).messages(self.last, most)
        if len(messages) == most and len(conversation_ids) > 1:  # perhaps all of the same one
            each_by_itself = [self.first_of_each([each]) for each in conversation_ids]
            return {known: keys for found in each_by_itself for known, keys in found.items()}
        owners = self.conversations(messages)
        found: dict[str, list[int]] = {}
        for key in messages:
            found.setdefault(owners[key], []).append(key)
        return {known: keys[:FEW] for known, keys in found.items()}

    def best_of_each(self, conversation_ids: Collection[str]) -> dict[str, int]:
        """Return the best message of each of these conversations that has any; the newest, if none is any better.

        None is if only the beginnings of words are looked for.
        """
        found = self.first_of_each(conversation_ids)
        best = {known: keys[0] for known, keys in found.items()}
        if all(phrase.prefix for group in self._expression.every for phrase in group):
            return best
        owners = {key: known for known, keys in found.items() for key in keys if len(keys) > 1}
        ranked = self.within(set(owners.values())).by_rank(list(owners)) if owners else []
        return best | {owners[key]: key for key in reversed(ranked)}

    def by_rank(self, messages: list[int]) -> list[int]:
        """Return the messages, the best first, programs' after all; nothing if no word sets them apart cheaply."""
        if len(messages) < 2:
            return messages
        wanted = self._expression.every
        telling = [group for group in wanted if len(wanted) == 1 or not any(each.prefix for each in group)]
        ranked: list[int] = []
        for kind in self._kinds:
            below = _below(kind)
            chosen = [key + below for key in messages if (key < FIRST) == (below > 0)]
            if len(chosen) > 1:
                chosen = self._tx.index.ranked(self._principal, kind, telling, chosen, self._match.scopes)
                if not chosen:
                    return []
            ranked += [position - below for position in chosen]
        return ranked

    def conversations(self, messages: Sequence[int]) -> dict[int, str]:
        """Return the conversation of each message."""
        if not messages:
            return {}
        keys = {position_of(key): key for key in messages}
        among = json.dumps(list(keys))
        rows = self._tx.all(f"SELECT m.position, c.id {_AMONG}", among, self._principal)
        return {keys[row[0]]: row[1] for row in rows}

    def titles(self, last: int, most: int) -> Mapping[int, str]:
        """Return the newest conversations whose titles match, up to the number `last`: their ids by their numbers."""
        if not self._has_titles:
            return {}
        return self._tx.index.titles(replace(self._title_match, last=last), most)

    def titled(self, conversation_ids: Iterable[str]) -> set[str]:
        """Return those of these conversations whose titles match."""
        if not self._has_titles:
            return set()
        among = sorted(set(conversation_ids))
        condition = Conditions("c.id IN (SELECT value FROM json_each(?))", [json.dumps(among)])
        match = replace(self._title_match, of_conversation=self._title_match.of_conversation + condition)
        return set(self._tx.index.titles(match, len(among)).values())

    def own_count(self, phrases: Alternatives, most: int) -> int:
        """Return how many of the principal's texts, or else titles, have one of these phrases, at most so many."""
        return len(self._own_messages(phrases, most) or self._own_titles(phrases, most))

    def owns(self, least: int) -> bool:
        """Whether the principal has so many texts, or titles, at least; of somebody who has many, it may be wrong."""
        types = json.dumps(sorted(self.query.exclude_types))
        seen, texts = self._tx.all(
            "SELECT count(*), coalesce(sum(CASE WHEN type IN (SELECT value FROM json_each(?)) THEN 0 ELSE 1 END), 0)"
            " FROM (SELECT type FROM messages WHERE principal = ? LIMIT ?) AS m",
            types,
            self._principal,
            _LOOKED_THROUGH,
        )[0]
        if seen == _LOOKED_THROUGH or texts >= least:
            return True
        titled = "SELECT 1 FROM conversations WHERE principal = ? AND title IS NOT NULL LIMIT ?"
        return len(self._tx.all(titled, self._principal, least)) >= least

    def own_texts(self, phrases: Alternatives, most: int) -> list[str]:
        """Return the newest of the principal's texts, or else titles, that have one of these phrases."""
        if found := self._own_messages(phrases, most):
            return self.texts(found)
        if not (titles := self._own_titles(phrases, most)):
            return []
        rows = self._tx.all(
            "SELECT c.title FROM json_each(?) AS f"
            " CROSS JOIN conversations AS c ON c.number = CAST(f.value AS BIGINT) WHERE c.principal = ? ORDER BY f.key",
            json.dumps(titles),
            self._principal,
        )
        return [row[0] for row in rows]

    def _own_messages(self, phrases: Alternatives, most: int) -> list[int]:
        types = [("m.type IS DISTINCT FROM ?", kind) for kind in sorted(self.query.exclude_types)]
        match = MessageMatch(
            principal=self._principal, expression=Expression([phrases]), of_message=Conditions.of(*types)
        )
        found: list[int] = []
        for kind in self._kinds:
            if len(found) < most:
                found += self._tx.index.newest(replace(match, kind=kind), most - len(found))
        return found

    def _own_titles(self, phrases: Alternatives, most: int) -> list[int]:
        match = TitleMatch(principal=self._principal, expression=Expression([phrases]))
        return list(self._tx.index.titles(match, most))

    def known(self, words: Collection[str], *, beginnings: bool = False) -> Collection[str]:
        """Return those of these words (or beginnings of words) that anybody's texts and titles have."""
        return self._tx.index.known(words, beginnings=beginnings)

    def texts(self, messages: Sequence[int]) -> list[str]:
        """Return the texts of messages."""
        among = json.dumps(list(map(position_of, messages)))
        rows = self._tx.all(f"SELECT m.text {_AMONG} ORDER BY f.key", among, self._principal)
        return [row[0] for row in rows]

    @cached_property
    def _match(self) -> MessageMatch:
        query = self.query
        types = json.dumps(sorted(query.types)) if query.types else None
        conversations = self._conversation_scopes()
        return MessageMatch(
            principal=self._principal,
            expression=self._expression,
            scopes=self._wider_scopes() if conversations is None else conversations,
            few=conversations is not None,
            first=self._first,
            of_message=Conditions.of(
                ("m.created_at >= ?", self._since),
                ("m.created_at < ?", self._until),
                ("m.role = ?", query.role),
                ("m.type IN (SELECT value FROM json_each(?))", types),
                *(("m.type IS DISTINCT FROM ?", kind) for kind in sorted(query.exclude_types)),
            ),
            of_conversation=self._of_conversation,
        )

    @cached_property
    def _title_match(self) -> TitleMatch:
        updated = Conditions.of(("c.updated_at >= ?", self._since), ("c.updated_at < ?", self._until))
        return TitleMatch(
            principal=self._principal,
            expression=self._expression,
            few=self.query.conversation_id is not None,
            of_conversation=self._of_conversation + updated,
        )

    @property
    def _kinds(self) -> Sequence[TextKind]:
        if not self.query.program_text:
            return (TextKind.SAID,)
        return (TextKind.PROGRAM,) if self.query.role is Role.TOOL else tuple(TextKind)

    @property
    def _has_titles(self) -> bool:
        """Whether titles are among what is looked for: they have no role and no type."""
        return self.query.role is None and not self.query.types

    def _conversation_scopes(self) -> Sequence[str] | None:
        """Return what the index finds the conversations by that the filters admit, if these are few."""
        query, own = self.query, self._principal
        if query.conversation_id is not None:
            return [scope(own, conversation_id=query.conversation_id)]
        if self._among is not None:
            return [scope(own, conversation_id=each) for each in self._among]
        if query.source is None and query.folder is None:
            return None
        rows = self._tx.all(
            f"SELECT c.id FROM conversations AS c WHERE c.principal = ? AND {self._of_conversation.sql} LIMIT ?",
            own,
            *self._of_conversation.values,
            _SCOPES + 1,
        )
        if len(rows) > _SCOPES:
            return None
        return [scope(own, conversation_id=row[0]) for row in rows] or [scope(own, conversation_id="")]

    def _wider_scopes(self) -> Sequence[str]:
        """Return what the index finds the conversations by that the filters admit, and perhaps others."""
        agent, instance = self.query.agent, self.query.instance
        if agent is None and instance is None:
            return ()
        return [scope(self._principal, agent=agent, instance=instance)]


def position_of(key: int) -> int:
    """Return the position of a message."""
    return key + _BELOW if key < FIRST else key


def _in_folder(folder: str | None) -> tuple[str, str | None]:
    """Return the condition that a conversation belongs to a folder (its path, or its name alone) or one in it."""
    if folder is None:
        return "", None
    name = storable(folder).replace("\\", "/").rstrip("/") + "/"
    kept = r"replace(c.metadata ->> 'folder', '\', '/') || '/'"
    if name.count("/") == 1:
        return f"instr('/' || {kept}, ?) > 0", f"/{name}"
    return f"instr({kept}, ?) = 1", name


def _below(kind: TextKind) -> int:
    return _BELOW if kind is TextKind.PROGRAM else 0
