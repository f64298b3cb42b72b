"""Branches: the lines of messages that one conversation has, from its beginning to one of its ends.

A conversation begins with one branch, `MAIN`. Replacing a message, or writing after a message that has a follower,
begins another: it shares its parent's messages up to that place and continues with its own. Positions in a conversation
only grow, so the shared messages are those of the parent up to one position.

The store keeps the row of a removed branch for as long as other branches share its messages.
"""

import json
from dataclasses import dataclass

from tertulia.store.database import Transaction, to_datetime
from tertulia.vocabulary.errors import ConflictError, NotFoundError
from tertulia.vocabulary.identifiers import new_id
from tertulia.vocabulary.models import Branch
from tertulia.vocabulary.untrusted import named

MAIN = "main"
"""The id of the branch that a conversation has from its beginning."""
_LAST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a branch: what was written on `branch`, up to the position `last`."""

    branch: str
    last: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message is written: on which branch, and after which message."""

    branch: str
    parent_id: str | None


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    parent: str
    shared: int
    parted_from: str | None
    created_at: int
    removed: bool


def all_of(tx: Transaction, principal: str, conversation_id: str) -> list[Branch]:
    """Return the branches of a conversation, oldest first."""
    rows = _rows(tx, principal, conversation_id)
    begun = tx.one(
        "SELECT created_at FROM conversations WHERE principal = ? AND id = ?", principal, conversation_id
    )
    assert begun is not None, "branches belong to a known conversation"
    main = _Row(MAIN, "", 0, None, begun[0], removed=False)
    return [
        Branch(
            id=row.id,
            conversation_id=conversation_id,
            parted_from=row.parted_from,
            created_at=to_datetime(row.created_at),
        )
        for row in {MAIN: main, **rows}.values()
        if not row.removed
    ]


def current(tx: Transaction, principal: str, conversation_id: str) -> str:
    """Return the branch with the newest message."""
    row = tx.one(
        "SELECT branch FROM messages WHERE principal = ? AND conversation_id = ? ORDER BY position DESC LIMIT 1",
        principal,
        conversation_id,
    )
    return MAIN if row is None else str(row[0])


def segments(
    tx: Transaction, principal: str, conversation_id: str, branch: str | None = None
) -> list[Segment] | None:
    """Return the segments of a branch (None: the one with the newest message); None where there is only one branch.

    Raises:
        NotFoundError: the conversation has no such branch; names those it has.
    """
    rows = _rows(tx, principal, conversation_id)
    if branch is not None and (rows[branch].removed if branch in rows else branch != MAIN):
        raise NotFoundError(
            f"The conversation {conversation_id} has no branch {named(branch)}.",
            valid=[known.id for known in all_of(tx, principal, conversation_id)],
            conversation_id=conversation_id,
        )
    if not rows:
        return None
    return _line(rows, current(tx, principal, conversation_id) if branch is None else branch)


def condition(segments: list[Segment] | None) -> tuple[str, list[object]]:
    """Return the SQL condition that selects a branch's messages among a conversation's, and its values."""
    if segments is None:
        return "", []
    lasts = json.dumps({each.branch: each.last for each in segments})
    return " AND position <= CAST(? ->> branch AS BIGINT)", [lasts]


def place(tx: Transaction, principal: str, conversation_id: str, parent_id: str | None) -> Place:
    """Return the place of a message after `parent_id`, or at the end of the branch with the newest message.

    If `parent_id` has a follower already, the place is on a new branch.

    Raises:
        NotFoundError: the conversation has no such message.
    """
    own = (principal, conversation_id)
    if parent_id is None:
        end = tx.one(
            "SELECT branch, id FROM messages WHERE principal = ? AND conversation_id = ?"
            " ORDER BY position DESC LIMIT 1",
            *own,
        )
        return Place(MAIN, None) if end is None else Place(*end)
    branch, position = _found(tx, *own, parent_id)
    follower = tx.one(
        "SELECT id FROM messages WHERE principal = ? AND conversation_id = ? AND branch = ? AND position > ?"
        " ORDER BY position LIMIT 1",
        *own,
        branch,
        position,
    )
    rows = _rows(tx, *own)
    removed = branch in rows and rows[branch].removed
    if follower is None and not removed:
        return Place(branch, parent_id)
    return Place(_begin(tx, *own, branch, position, None if follower is None else follower[0]), parent_id)


def replace(tx: Transaction, principal: str, conversation_id: str, message_id: str) -> Place:
    """Begin a branch on which a message is written anew; return where.

    Raises:
        NotFoundError: the conversation has no such message.
    """
    own = (principal, conversation_id)
    branch, position = _found(tx, *own, message_id)
    where, values = condition(_line(_rows(tx, *own), branch))
    before = tx.one(
        f"SELECT id, branch, position FROM messages WHERE principal = ? AND conversation_id = ?{where}"
        " AND position < ? ORDER BY position DESC LIMIT 1",
        *own,
        *values,
        position,
    )
    parent_id, parent, shared = (None, MAIN, 0) if before is None else before
    return Place(_begin(tx, *own, parent, shared, message_id), parent_id)


def remove(tx: Transaction, principal: str, conversation_id: str, branch: str) -> list[str]:
    """Remove a branch; return the ids of the messages that no other branch has: they are to be removed as well.

    Raises:
        NotFoundError: the conversation has no such branch.
        ConflictError: it is the only one.
    """
    own = (principal, conversation_id)
    left = [known.id for known in all_of(tx, *own) if known.id != branch]
    segments(tx, *own, branch)
    if not left:
        raise ConflictError(
            f"{named(branch)} is the only branch of {conversation_id}.",
            hint="delete_conversation deletes the whole conversation.",
            conversation_id=conversation_id,
        )
    tx.run(
        "INSERT INTO branches (principal, conversation_id, id, parent, shared, created_at, removed)"
        " VALUES (?, ?, ?, '', 0, ?, 1) ON CONFLICT (principal, conversation_id, id) DO UPDATE SET removed = 1",
        *own,
        branch,
        tx.at,
    )
    rows = _rows(tx, *own)
    kept: dict[str, int] = {}
    for known in left:
        for segment in _line(rows, known):
            kept[segment.branch] = max(kept.get(segment.branch, 0), segment.last)
    written = tx.all(
        "SELECT id, branch, position FROM messages WHERE principal = ? AND conversation_id = ? ORDER BY position",
        *own,
    )
    return [message_id for message_id, on, position in written if position > kept.get(on, 0)]


def _rows(tx: Transaction, principal: str, conversation_id: str) -> dict[str, _Row]:
    rows = tx.all(
        "SELECT id, parent, shared, parted_from, created_at, removed FROM branches"
        " WHERE principal = ? AND conversation_id = ? ORDER BY number",
        principal,
        conversation_id,
    )
    return {row[0]: _Row(*row[:5], removed=bool(row[5])) for row in rows}


def _line(rows: dict[str, _Row], branch: str) -> list[Segment]:
    """Return the segments of a branch; one that is its own ancestor, as an import could once add, has each once."""
    line: list[Segment] = []
    last = _LAST
    seen: set[str] = set()
    while branch not in seen:
        seen.add(branch)
        row = rows.get(branch)
        shared = 0 if row is None else row.shared
        if last > shared:  # else nothing that was written on it is shared
            line.append(Segment(branch, last))
        if row is None or branch == MAIN:
            return line
        branch, last = row.parent, min(last, shared)
    return line


def _found(tx: Transaction, principal: str, conversation_id: str, message_id: str) -> tuple[str, int]:
    row = tx.one(
        "SELECT branch, position FROM messages WHERE principal = ? AND conversation_id = ? AND id = ?",
        principal,
        conversation_id,
        message_id,
    )
    if row is None:
        raise NotFoundError(
            f"The conversation {conversation_id} has no message {named(message_id)}.",
            hint="list_messages shows its messages.",
            conversation_id=conversation_id,
            message_id=message_id,
        )
    return row[0], row[1]


def _begin(
    tx: Transaction, principal: str, conversation_id: str, parent: str, shared: int, parted_from: str | None
) -> str:
    branch = new_id("b_", 8)
    tx.run(
        "INSERT INTO branches (principal, conversation_id, id, parent, shared, parted_from, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        principal,
        conversation_id,
        branch,
        parent,
        shared,
        parted_from,
        tx.at,
    )
    return branch
