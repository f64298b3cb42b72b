"""The full-text index over messages, in two tables: what people and agents said, and what programs put in.

Program text (results of tools, the context that an editor adds, notices) is most of what coding agents write down, and
seldom what somebody looks for. In a table of its own it comes last without a price.

A schema step that changes how the index reads words empties it. What is stored then is indexed by and by, the newest
first (`index_next`): messages before the position in `meta`, under `indexed_from`, are not in the index yet. Whoever
writes or removes an entry leaves those alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tertulia.store.database import Transaction
from tertulia.store.sqlite import erasure
from tertulia.vocabulary.message_types import PROGRAM_TYPES
from tertulia.vocabulary.models import Role

_BATCH, _BATCH_BYTES = 500, 1 << 19
"""The most messages, and about the most bytes of their texts, that are indexed in one transaction."""
_LONG = 1 << 18
"""The index reads a text of more bytes from the file, in pieces."""
_TEXT = f"CASE WHEN octet_length(text) > {_LONG} THEN text_reference(position) ELSE text END"
_INDEXED_FROM = "(SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'indexed_from')"
_INDEXED = f"text IS NOT NULL AND position >= coalesce({_INDEXED_FROM}, -9223372036854775808)"


@dataclass(frozen=True, slots=True)
class MessageIndex:
    """One of the two tables, and the view with the messages that belong to it."""

    table: str
    messages: str


SAID = MessageIndex("message_index", "said_messages")
PROGRAM_TEXT = MessageIndex("program_index", "program_messages")
INDEXES = (SAID, PROGRAM_TEXT)
"""In the order in which a search shows what it finds in them."""


def index_of(role: Role, kind: str | None) -> MessageIndex:
    """Return the index of messages of a role and type."""
    return PROGRAM_TEXT if role is Role.TOOL or kind in PROGRAM_TYPES else SAID


def enter(
    tx: Transaction, where: str, values: Sequence[Any], indexes: Sequence[MessageIndex] = INDEXES
) -> None:
    """Add the messages that fulfil a condition to the index."""
    for index in indexes:
        tx.run(
            f"INSERT INTO {index.table} (rowid, text, scope)"
            f" SELECT position, {_TEXT}, scope FROM {index.messages} WHERE {where} AND {_INDEXED}",
            *values,
        )


def withdraw(tx: Transaction, where: str, values: Sequence[Any], *, forget: bool = True) -> None:
    """Remove the messages that fulfil a condition from the index; they must be as they were when they were added.

    `forget`: their words are to leave the pages of the index (see `tertulia.store.sqlite.erasure`).
    """
    for index in INDEXES:
        found = f"FROM {index.messages} WHERE {where} AND {_INDEXED}"
        size = tx.all(f"SELECT coalesce(sum(octet_length(text)), 0) {found}", *values)[0][0]
        if not size:
            continue
        with erasure.deleting(tx, index.table, size if forget else 0):
            tx.run(
                f"INSERT INTO {index.table} ({index.table}, rowid, text, scope)"
                f" SELECT 'delete', position, {_TEXT}, scope {found}",
                *values,
            )


def is_complete(tx: Transaction) -> bool:
    """Whether the index has all messages."""
    return tx.one("SELECT 1 FROM meta WHERE name = 'indexed_from'") is None


def index_next(tx: Transaction) -> bool:
    """Index the newest messages that the index lacks, some of them; return whether it lacks more."""
    if is_complete(tx):
        return False
    before = tx.all(f"SELECT {_INDEXED_FROM}")[0][0]
    rows = tx.all(
        "SELECT position, octet_length(text) FROM messages WHERE position < ? ORDER BY position DESC LIMIT ?",
        before,
        _BATCH,
    )
    size, taken = 0, list[int]()
    for position, length in rows:
        taken.append(position)
        size += length or 0
        if size >= _BATCH_BYTES:
            break
    if not taken:
        tx.run("DELETE FROM meta WHERE name = 'indexed_from'")
        return False
    tx.run("UPDATE meta SET value = ? WHERE name = 'indexed_from'", str(taken[-1]))
    enter(tx, "position IN (SELECT value FROM json_each(?))", [json.dumps(taken)])
    return True
