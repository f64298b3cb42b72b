"""Conversations that come in as a whole, with the times they had, and that go out again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from tertulia.store import conversations, messages, ratings
from tertulia.store.database import Transaction, from_datetime, storable, to_datetime
from tertulia.vocabulary.models import (
    Conversation,
    ConversationChanges,
    Message,
    Participant,
    Rating,
    Role,
)


class Admission(StrEnum):
    """How a conversation was received."""

    NEW = "new"
    KNOWN = "known"
    DELETED = "deleted"
    """It was deleted here before, and is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchRow:
    """A branch as another store can take it: `shared` is the id of its parent's last message that it has as well."""

    id: str
    parent: str
    shared: str | None
    parted_from: str | None
    created_at: datetime
    removed: bool = False


def receive(
    tx: Transaction,
    principal: str,
    conversation: Conversation,
    participants: Sequence[Participant],
    *,
    restore: bool = False,
) -> Admission:
    """Enter a conversation that is not here yet, without messages; one that is here stays as it is.

    `restore` brings one back that was deleted here.
    """
    if conversations.known(tx, principal, conversation.id):
        return Admission.KNOWN
    deleted = tx.one(
        "SELECT 1 FROM deleted_conversations WHERE principal = ? AND id = ?", principal, conversation.id
    )
    if deleted is not None:
        if not restore:
            return Admission.DELETED
        conversations.undelete(tx, principal, conversation.id)
    counted = conversation.message_count is not None
    conversations.remember(tx, principal, replace(conversation, message_count=0 if counted else None))
    for participant in participants:
        tx.run(
            "INSERT INTO participants VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            principal,
            conversation.id,
            storable(participant.address),
            participant.role,
            tx.at if participant.joined_at is None else from_datetime(participant.joined_at),
        )
    return Admission.NEW


def name(tx: Transaction, principal: str, conversation: Conversation) -> None:
    """Give a conversation the title and metadata that have become known of it."""
    at = tx.one(
        "SELECT updated_at FROM conversations WHERE principal = ? AND id = ?", principal, conversation.id
    )
    if at is None or not tx.keeps_content(conversation.id):
        return
    changes = ConversationChanges(title=conversation.title, metadata=conversation.metadata)
    conversations.change(tx, principal, conversation.id, changes)
    _date(tx, principal, conversation.id, at[0])


def add(tx: Transaction, principal: str, message: Message, *, timed: bool = True) -> bool:
    """Add a message behind the others, unless it is there; return whether it was new. `timed`: its time is its own."""
    if not messages.add(tx, principal, message):
        return False
    own = (principal, message.conversation_id, message.id)
    if message.rating is not None:
        ratings.rate_message(tx, *own, message.rating)
    if not timed:
        tx.run("UPDATE messages SET timed = 0 WHERE principal = ? AND conversation_id = ? AND id = ?", *own)
    return True


def add_branch(tx: Transaction, principal: str, conversation_id: str, branch: BranchRow) -> None:
    """Add a branch of a conversation whose messages are there; one that is there stays as it is."""
    shared = tx.one(
        "SELECT position FROM messages WHERE principal = ? AND conversation_id = ? AND id = ?",
        principal,
        conversation_id,
        branch.shared,
    )
    tx.run(
        "INSERT INTO branches (principal, conversation_id, id, parent, shared, parted_from, created_at, removed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        principal,
        conversation_id,
        branch.id,
        branch.parent,
        0 if shared is None else shared[0],
        branch.parted_from,
        from_datetime(branch.created_at),
        int(branch.removed),
    )


def settle(tx: Transaction, principal: str, conversation: Conversation, *, counted: bool) -> None:
    """Set what entering messages has moved: when it was updated and, unless it is `counted` here, how many it has."""
    if conversation.updated_at is not None:
        _date(tx, principal, conversation.id, from_datetime(conversation.updated_at))
    if not counted:
        tx.run(
            "UPDATE conversations SET message_count = ? WHERE principal = ? AND id = ?",
            conversation.message_count,
            principal,
            conversation.id,
        )


def written(
    tx: Transaction, principal: str, conversation_id: str, *, after: int | None, limit: int
) -> Sequence[tuple[int, Message, bool]]:
    """Return the next messages of all branches in the order of their arrival, each with its position.

    And with whether its time is its own, rather than that of its arrival.
    """
    found = tx.all(
        "SELECT position, timed, id, author, role, text, data, type, parent_id, metadata, created_at, rating,"
        " feedback, branch FROM messages WHERE principal = ? AND conversation_id = ? AND position > ?"
        " ORDER BY position LIMIT ?",
        principal,
        conversation_id,
        -(1 << 63) if after is None else after,
        limit,
    )
    return [
        (
            row[0],
            Message(
                id=row[2],
                conversation_id=conversation_id,
                author=row[3],
                role=Role(row[4]),
                text=row[5],
                data=None if row[6] is None else json.loads(row[6]),
                type=row[7],
                parent_id=row[8],
                metadata=json.loads(row[9]),
                created_at=to_datetime(row[10]),
                rating=None if row[11] is None else Rating(value=row[11], feedback=row[12]),
                branch=row[13],
            ),
            bool(row[1]),
        )
        for row in found
    ]


def branches(tx: Transaction, principal: str, conversation_id: str) -> Sequence[BranchRow]:
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


def _date(tx: Transaction, principal: str, conversation_id: str, at: int) -> None:
    tx.run(
        "UPDATE conversations SET updated_at = ? WHERE principal = ? AND id = ?",
        at,
        principal,
        conversation_id,
    )
