"""What the store asks of the full-text index, whichever engine keeps it.

The index has an entry for each message with a text, under the message's position, and one for each title, under the
number of its conversation. It has the words of all principals; what it returns are one principal's. `Transaction.index`
is the index of the store at hand.

Messages are in two parts, each of which is searched by itself: what people and agents said, and what programs put in.
Program text (results of tools, the context that an editor adds, notices) is most of what coding agents write down, and
seldom what somebody looks for. In a part of its own it comes last without a price.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol

from tertulia.store.terms import Alternatives, Expression
from tertulia.vocabulary.message_types import PROGRAM_TYPES
from tertulia.vocabulary.models import Role

FIRST, LAST = -(1 << 63), (1 << 63) - 1
"""The smallest and the largest position, and number."""
COMMON = 2_000
"""A word with more matches says little about a message, and ranking by it would read them all."""


class TextKind(StrEnum):
    """The parts of the index, in the order in which a search shows what it finds in them."""

    SAID = "said"
    PROGRAM = "program"


def kind_of(role: Role, message_type: str | None) -> TextKind:
    """Return the part of the index that messages of a role and type are in."""
    return TextKind.PROGRAM if role is Role.TOOL or message_type in PROGRAM_TYPES else TextKind.SAID


def scope(
    principal: str,
    *,
    conversation_id: str | None = None,
    agent: str | None = None,
    instance: str | None = None,
) -> str:
    """Return the word under which the index finds a principal's messages, or those of the narrowest scope given.

    Two scopes may have the same word, so an index also checks each row that it finds by one.
    """
    narrowed = (("conversation", conversation_id), ("agent", agent), ("instance", instance))
    named = json.dumps([principal, *next((pair for pair in narrowed if pair[1] is not None), ())])
    return "s" + hashlib.sha256(named.encode()).hexdigest()[:8]


@lru_cache(64)  # messages come conversation by conversation
def scopes_of(principal: str, conversation_id: str, agent: str | None) -> str:
    """Return all the words under which the index finds the messages of a conversation, with blanks between them."""
    scopes = [
        scope(principal),
        scope(principal, instance=conversation_id.partition(":")[0]),
        scope(principal, conversation_id=conversation_id),
    ]
    return " ".join(scopes if agent is None else [*scopes, scope(principal, agent=agent)])


def selection(principal: str, conversation_id: str, message_id: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the condition on `messages` for one of them, or for all of a conversation, and the values for it."""
    where, own = "principal = ? AND conversation_id = ?", (principal, conversation_id)
    return (where, own) if message_id is None else (f"{where} AND id = ?", (*own, message_id))


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions on rows, as fixed SQL, and the values for it."""

    sql: str = ""
    values: Sequence[Any] = ()

    @staticmethod
    def of(*conditions: tuple[str, Any]) -> "Conditions":
        """Join the conditions that have a value."""
        given = [(sql, value) for sql, value in conditions if value is not None]
        return Conditions(" AND ".join(sql for sql, _ in given), [value for _, value in given])

    @property
    def further(self) -> str:
        """They, to follow other conditions; nothing if there is none."""
        return self.sql and f" AND {self.sql}"

    def __add__(self, other: "Conditions") -> "Conditions":
        sql = " AND ".join(filter(None, (self.sql, other.sql)))
        return Conditions(sql, [*self.values, *other.values])


@dataclass(frozen=True, slots=True)
class Entry:
    """A message to be indexed, whose row has been written."""

    position: int
    principal: str
    kind: TextKind
    scopes: str
    """See `scopes_of`."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageMatch:
    """Which of a principal's messages are looked for, in one part of the index."""

    principal: str
    kind: TextKind = TextKind.SAID
    expression: Expression | None = None
    """None: whatever it says."""
    scopes: Sequence[str] = ()
    """Words of `scope`, one of which the message must have; none: all of the principal's."""
    few: bool = False
    """The scopes are those of single conversations, which few of the newest messages have."""
    outside: str | None = None
    """The conversation of which the message may not be."""
    first: int = FIRST
    last: int = LAST
    of_message: Conditions = Conditions()
    """On `messages AS m`."""
    of_conversation: Conditions = Conditions()
    """On `conversations AS c`."""
    oldest_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleMatch:
    """Which of a principal's conversations are looked for by their titles."""

    principal: str
    expression: Expression
    last: int = LAST
    """The largest number."""
    few: bool = False
    """The conditions admit few conversations, which are found without the expression."""
    of_conversation: Conditions = Conditions()
    """On `conversations AS c`."""


class Index(Protocol):
    """The index, within a transaction."""

    def add(self, entry: Entry) -> None:
        """Add a new message."""
        ...

    def add_again(self, principal: str, conversation_id: str, message_id: str | None = None) -> None:
        """Add a message that was removed, or all of a conversation, as the store has them now."""
        ...

    def remove(
        self, principal: str, conversation_id: str, message_id: str | None = None, *, forget: bool = True
    ) -> None:
        """Remove a message, or all of a conversation, before the store changes or deletes them.

        `forget`: their words are to leave the store's pages too, where the engine can see to that.
        """
        ...

    def remove_from(self, principal: str, conversation_id: str, first: int) -> None:
        """Remove the messages of a conversation from a position on, before the store deletes them.

        The rest of it follows in other transactions: their words leave the store's pages later.
        """
        ...

    def set_title(self, principal: str, conversation_id: str, before: str | None, after: str | None) -> None:
        """Replace a conversation's title; None is none."""
        ...

    def is_complete(self) -> bool:
        """Whether the index has all messages."""
        ...

    def newest(self, match: MessageMatch, most: int) -> list[int]:
        """Return the positions of the newest messages that match (or the oldest), in that order."""
        ...

    def count_among(self, match: MessageMatch, positions: Collection[int]) -> int:
        """Return how many of the messages at these positions have the expression; conditions are not looked at."""
        ...

    def ranked(
        self,
        principal: str,
        kind: TextKind,
        groups: Sequence[Alternatives],
        positions: Collection[int],
        scopes: Sequence[str] = (),
    ) -> list[int]:
        """Return these positions, the best matches first; nothing, if no group sets them apart cheaply.

        A group does if it is a single phrase and the only one, or has less than `COMMON` matches among the principal's
        messages: how often others use a word must not show. The messages have one of `scopes`, if any is given.
        """
        ...

    def known(self, words: Collection[str], *, beginnings: bool = False) -> Collection[str]:
        """Return those of these words, or beginnings of words, that any message or title has; perhaps others too.

        Whosesoever it is: this spares looking for most of a thousand words, and nobody may be told of it.
        """
        ...

    def titles(self, match: TitleMatch, most: int) -> Mapping[int, str]:
        """Return the newest conversations whose titles match: their ids, by their numbers, the newest first."""
        ...
