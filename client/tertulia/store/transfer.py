"""Import and export of whole conversations, with the times that they had."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from tertulia.store import branches, conversations, messages, ratings
from tertulia.store.database import Transaction, from_datetime, storable, to_datetime
from tertulia.vocabulary.entry import safe_message, safe_participant, safe_record
from tertulia.vocabulary.models import (
    Conversation,
    ConversationChanges,
    Message,
    Participant,
)
from tertulia.vocabulary.untrusted import safe_id

_BATCH = 200


class ImportOutcome(StrEnum):
    """What became of a conversation that was imported."""

    NEW = "new"
    KNOWN = "known"
    DELETED = "deleted"
    """It was deleted from the store before, and was not added again."""
    ELSEWHERE = "elsewhere"
    """It is the same as a conversation of another instance, which reads it from the program itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchRow:
    """A branch as another store can take it: `shared` is the id of its parent's last message that it has as well."""

    id: str
    parent: str
    shared: str | None
    parted_from: str | None
    created_at: datetime
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Follows:
    """Where a message stands in a conversation that branches: after `message_id`, or at the beginning (None)."""

    message_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message as the store has it. `timed`: its time is known, rather than only that of its arrival."""

    message: Message
    position: int
    timed: bool


def receive(
    tx: Transaction,
    principal: str,
    conversation: Conversation,
    participants: Sequence[Participant],
    *,
    restore: bool = False,
) -> ImportOutcome:
    """Add a conversation without its messages; one that the store has stays as it is.

    `restore` adds it even if it was deleted from the store before.
    """
    if conversations.known(tx, principal, conversation.id):
        return ImportOutcome.KNOWN
    deleted = tx.one(
        "SELECT 1 FROM deleted_conversations WHERE principal = ? AND id = ?", principal, conversation.id
    )
    if deleted is not None:
        if not restore:
            return ImportOutcome.DELETED
        conversations.undelete(tx, principal, conversation.id)
    counted = conversation.message_count is not None
    conversations.remember(tx, principal, replace(conversation, message_count=0 if counted else None))
    _note_title(tx, principal, conversation.id, conversation.title)
    for participant in map(safe_participant, participants):
        tx.run(
            "INSERT INTO participants VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            principal,
            conversation.id,
            participant.address,
            participant.role,
            tx.at if participant.joined_at is None else from_datetime(participant.joined_at),
        )
    return ImportOutcome.NEW


def name(tx: Transaction, principal: str, conversation: Conversation) -> None:
    """Write the title and metadata of a conversation that an import has found later."""
    at = tx.one(
        "SELECT updated_at FROM conversations WHERE principal = ? AND id = ?", principal, conversation.id
    )
    if at is None or not tx.keeps_content(conversation.id):
        return
    changes = ConversationChanges(title=conversation.title, metadata=conversation.metadata)
    conversations.change(tx, principal, conversation.id, changes)
    _date(tx, principal, conversation.id, at[0])
    _note_title(tx, principal, conversation.id, conversation.title)


def refresh(tx: Transaction, principal: str, conversation: Conversation) -> bool:
    """Write what became known of a conversation where it comes from; return whether it got another title.

    A title that it got in the store stays, and so does each key of the metadata that the store has.
    """
    row = tx.one(
        "SELECT metadata, updated_at FROM conversations WHERE principal = ? AND id = ?",
        principal,
        conversation.id,
    )
    if row is None or not tx.keeps_content(conversation.id):
        return False
    stored = json.loads(row[0])
    found = {key: value for key, value in conversation.metadata.items() if key not in stored}
    if found:
        conversations.change(tx, principal, conversation.id, ConversationChanges(metadata=found))
        _date(tx, principal, conversation.id, row[1])
    return conversation.title is not None and _rename(tx, principal, conversation.id, conversation.title)


def _rename(tx: Transaction, principal: str, conversation_id: str, title: str) -> bool:
    row = tx.one(
        "SELECT i.title, c.title, c.updated_at FROM conversations AS c LEFT JOIN imported_titles AS i"
        " ON i.principal = c.principal AND i.conversation_id = c.id WHERE c.principal = ? AND c.id = ?",
        principal,
        conversation_id,
    )
    title = storable(title)
    if row is None or row[0] != row[1] or row[0] == title:
        return False
    conversations.change(tx, principal, conversation_id, ConversationChanges(title=title))
    _date(tx, principal, conversation_id, row[2])
    _note_title(tx, principal, conversation_id, title)
    return True


def add(
    tx: Transaction, principal: str, message: Message, *, timed: bool = True, follows: Follows | None = None
) -> int | None:
    """Add a message, after the newest one or on the branch on which it follows; return its time, or None if known.

    `timed`: its time is known. The caller counts what it added (`messages.count_added`).
    """
    message = safe_message(message)
    if follows is not None:
        if messages.known(tx, principal, message.conversation_id, message.id):
            return None
        branch = _branch_after(tx, principal, message.conversation_id, follows.message_id)
        message = replace(message, branch=branch)
    at = messages.add_uncounted(tx, principal, message)
    if at is None:
        return None
    own = (principal, message.conversation_id, message.id)
    if message.rating is not None:
        ratings.rate_message(tx, *own, message.rating)
    if not timed:
        tx.run("UPDATE messages SET timed = 0 WHERE principal = ? AND conversation_id = ? AND id = ?", *own)
    return at


def add_branch(tx: Transaction, principal: str, conversation_id: str, branch: BranchRow) -> None:
    """Add a branch of a conversation whose messages the store has; a known branch stays as it is."""
    shared = tx.one(
        "SELECT position FROM messages WHERE principal = ? AND conversation_id = ? AND id = ?",
        principal,
        conversation_id,
        None if branch.shared is None else safe_id(branch.shared),
    )
    tx.run(
        "INSERT INTO branches (principal, conversation_id, id, parent, shared, parted_from, created_at, removed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        principal,
        conversation_id,
        safe_id(branch.id),
        safe_id(branch.parent) if branch.parent else branch.parent,
        0 if shared is None else shared[0],
        None if branch.parted_from is None else safe_id(branch.parted_from),
        from_datetime(branch.created_at),
        int(branch.removed),
    )


def settle(tx: Transaction, principal: str, conversation: Conversation, *, counted: bool) -> None:
    """Write the time of the last update and, unless the store counted them, the number of messages."""
    conversation = safe_record(conversation)
    if conversation.updated_at is not None:
        _date(tx, principal, conversation.id, from_datetime(conversation.updated_at))
    if not counted:
        tx.run(
            "UPDATE conversations SET message_count = ? WHERE principal = ? AND id = ?",
            conversation.message_count,
            principal,
            conversation.id,
        )


def sources(tx: Transaction, principal: str, instance: str) -> dict[str, str]:
    """Return the ids of an instance's conversations that have a `source_ref`, by that."""
    rows = tx.all(
        "SELECT source_ref, id FROM conversations WHERE principal = ? AND instance = ? AND source_ref IS NOT NULL",
        principal,
        instance,
    )
    return {row[0]: row[1] for row in rows}


def imported(tx: Transaction, principal: str, source: str) -> list[Conversation]:
    """Return the conversations that were imported from a source: nobody answers in them."""
    rows = tx.all(
        "SELECT id FROM conversations WHERE principal = ? AND source = ? AND source_ref IS NOT NULL"
        " AND agent IS NULL",
        principal,
        source,
    )
    return [conversations.get(tx, principal, row[0]) for row in rows]


def adopt(tx: Transaction, principal: str, conversation_id: str, source: tuple[str, str]) -> None:
    """Move what was imported of a source (its name, and the `source_ref`) into the conversation that it is one with.

    The conversation gets the title, the metadata and the messages, unless it has messages already: it has all that
    was said then. The imported one is deleted, and another import does not bring it back.
    """
    row = tx.one(
        "SELECT id FROM conversations WHERE principal = ? AND source = ? AND source_ref = ? AND agent IS NULL",
        principal,
        *source,
    )
    if row is None:
        return
    before, now = conversations.get(tx, principal, row[0]), conversations.get(tx, principal, conversation_id)
    if not messages.count(tx, principal, conversation_id):
        changed = ConversationChanges(
            title=before.title or now.title,
            metadata={**before.metadata, **now.metadata},
            archived=before.archived or now.archived,
        )
        conversations.change(tx, principal, conversation_id, changed)
        after: int | None = None
        while rows := written(tx, principal, before.id, after=after, limit=_BATCH):
            for stored in rows:
                after = stored.position
                message = replace(stored.message, conversation_id=conversation_id)
                add(tx, principal, message, timed=stored.timed)
        for branch in branch_rows(tx, principal, before.id):
            add_branch(tx, principal, conversation_id, branch)
        if before.updated_at is not None:
            _date(tx, principal, conversation_id, from_datetime(before.updated_at))
    conversations.delete(tx, principal, before.id)


def written(
    tx: Transaction, principal: str, conversation_id: str, *, after: int | None, limit: int
) -> Sequence[StoredMessage]:
    """Return the next messages of all branches in the order of their arrival: those after a position."""
    rows = tx.all(
        f"SELECT {messages.COLUMNS}, position, timed FROM messages"
        " WHERE principal = ? AND conversation_id = ? AND position > ? ORDER BY position LIMIT ?",
        principal,
        conversation_id,
        -(1 << 63) if after is None else after,
        limit,
    )
    return [
        StoredMessage(message=messages.from_row(row), position=row[-2], timed=bool(row[-1])) for row in rows
    ]


def kin(tx: Transaction, principal: str) -> Sequence[tuple[str, str | None, Mapping[str, Any]]]:
    """Return the id, the title and the metadata of all imported conversations that name another one they belong to."""
    rows = tx.all(
        "SELECT id, title, metadata FROM conversations WHERE principal = ? AND source IS NOT NULL"
        " AND (metadata LIKE '%\"subagent_of\"%' OR metadata LIKE '%\"forked_from\"%') ORDER BY created_at, number",
        principal,
    )
    return [(row[0], row[1], json.loads(row[2])) for row in rows]


def titles(tx: Transaction, principal: str, ids: Collection[str]) -> Mapping[str, str | None]:
    """Return the titles of those of these conversations that the store has."""
    rows = tx.all(
        "SELECT id, title FROM conversations WHERE principal = ? AND id IN (SELECT value FROM json_each(?))",
        principal,
        json.dumps([*ids]),
    )
    return {row[0]: row[1] for row in rows}


def branch_rows(tx: Transaction, principal: str, conversation_id: str) -> Sequence[BranchRow]:
    """Return the branches of a conversation beside the first, oldest first, the removed ones among them."""
    rows = tx.all(
        "SELECT id, parent, (SELECT m.id FROM messages AS m WHERE m.principal = b.principal"
        " AND m.conversation_id = b.conversation_id AND m.position <= b.shared ORDER BY m.position DESC LIMIT 1),"
        " parted_from, created_at, removed FROM branches AS b WHERE principal = ? AND conversation_id = ?"
        " ORDER BY number",
        principal,
        conversation_id,
    )
    return [
        BranchRow(
            id=row[0],
            parent=row[1],
            shared=row[2],
            parted_from=row[3],
            created_at=to_datetime(row[4]),
            removed=bool(row[5]),
        )
        for row in rows
    ]


def _branch_after(
    tx: Transaction, principal: str, conversation_id: str, message_id: str | None
) -> str | None:
    """Return the branch of a message that follows `message_id` (None: that begins the conversation)."""
    newest = tx.one(
        "SELECT id, branch FROM messages WHERE principal = ? AND conversation_id = ?"
        " ORDER BY position DESC LIMIT 1",
        principal,
        conversation_id,
    )
    if newest is None or newest[0] == message_id:  # as nearly always
        return branches.MAIN if newest is None else newest[1]
    if message_id is None:
        first = tx.one(
            "SELECT id FROM messages WHERE principal = ? AND conversation_id = ? AND branch = ?"
            " ORDER BY position LIMIT 1",
            principal,
            conversation_id,
            branches.MAIN,
        )
        if first is None:
            return branches.MAIN
        return branches.replace(tx, principal, conversation_id, first[0]).branch
    if not messages.known(tx, principal, conversation_id, message_id):
        return None
    return branches.place(tx, principal, conversation_id, message_id).branch


def _note_title(tx: Transaction, principal: str, conversation_id: str, title: str | None) -> None:
    """Record the title that an import gave a conversation, to tell it from one that it gets in the store."""
    if title is not None and tx.keeps_content(conversation_id):
        tx.run(
            "INSERT INTO imported_titles VALUES (?, ?, ?) ON CONFLICT (principal, conversation_id)"
            " DO UPDATE SET title = excluded.title",
            principal,
            conversation_id,
            storable(title),
        )


def _date(tx: Transaction, principal: str, conversation_id: str, at: int) -> None:
    tx.run(
        "UPDATE conversations SET updated_at = ? WHERE principal = ? AND id = ?",
        at,
        principal,
        conversation_id,
    )
