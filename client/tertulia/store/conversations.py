"""Conversations: those of the embedded platform, and the store's copies of every other platform's."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, islice
from typing import Any, TypeVar

from tertulia.store import leases, messages, runs, sync_state
from tertulia.store.database import Row, Store, Transaction, encode, from_datetime, storable, to_datetime
from tertulia.vocabulary.entry import safe_record
from tertulia.vocabulary.errors import NotFoundError
from tertulia.vocabulary.models import (
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationRecord,
    Rating,
    Run,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.unknown import UNKNOWN, known_or

R = TypeVar("R", bound=ConversationRecord)

COLUMNS = (
    "id, agent, status, title, metadata, context, entity_type, source, source_ref, archived, message_count, "
    "created_at, updated_at, last_seq, rating, feedback, awaiting"
)
"""The columns of which `from_row` makes a conversation."""
_WRITTEN = (
    "agent",
    "status",
    "metadata",
    "context",
    "entity_type",
    "source",
    "source_ref",
    "archived",
    "message_count",
    "created_at",
    "updated_at",
    "rating",
    "feedback",
    "awaiting",
)
"""The columns that `_insert` and `_update` write alike; a title is indexed besides."""
_PART, _PART_BYTES = 300, 1 << 16
"""The most rows, and about the most bytes of texts, that `clear_next` removes at once."""
CLEARING_PAUSE = 0.01
"""How long others may write before the next part of a long conversation is removed."""
_OF_A_CONVERSATION = (
    "messages",
    "branches",
    "imported_titles",
    "participants",
    "journal",
    "requests",
    "sent_messages",
    "runs",
)


def insert(
    tx: Transaction, principal: str, conversation_id: str, draft: ConversationDraft, status: Status
) -> Conversation:
    """Insert a new conversation and return it; an existing one of that id stays as it is and is returned."""
    new = Conversation(
        id=conversation_id,
        agent=draft.agent,
        status=status,
        title=draft.title,
        metadata=draft.metadata,
        context=draft.context,
        entity_type=draft.entity_type,
        source=draft.source,
        source_ref=draft.source_ref,
        message_count=0,
    )
    _insert(tx, principal, safe_record(new))
    return get(tx, principal, conversation_id)


def remember(
    tx: Transaction, principal: str, said: ConversationRecord, *, has_states: bool = False
) -> Conversation:
    """Store what a platform says of a conversation; return it merged with what the store knew.

    A field that the platform leaves UNKNOWN keeps its stored value. While a run is active, the store decides the
    status, unless the platform has states itself (`has_states`) or has ended the conversation. An instance whose
    contents are not kept gets them back in the result, and the store does not write them.
    """
    said = safe_record(said)
    tx.run(
        "UPDATE conversations SET gone_at = NULL WHERE principal = ? AND id = ? AND gone_at IS NOT NULL",
        principal,
        said.id,
    )
    storable_part = said if tx.keeps_content(said.id) else _without_contents(said)
    first = Conversation(id=said.id, agent=said.agent, status=said.status)
    _insert(tx, principal, _merged(first, storable_part))
    known = get(tx, principal, said.id)
    merged = _merged(known, storable_part)
    platform_decides = has_states or said.status.terminal
    if not platform_decides and runs.active(tx, principal, said.id) is not None:
        merged = replace(merged, status=known.status)
    if merged != known:
        _update(tx, principal, known, merged)
    return replace(
        merged,
        title=known_or(said.title, merged.title),
        metadata=known_or(said.metadata, merged.metadata),
        context=known_or(said.context, merged.context),
    )


def _without_contents(said: ConversationRecord) -> ConversationRecord:
    rating = said.rating
    if rating is not UNKNOWN and rating is not None:
        rating = Rating(value=rating.value)
    return replace(said, title=None, metadata={}, context=None, rating=rating)


def _merged(known: Conversation, said: ConversationRecord) -> Conversation:
    return replace(
        known,
        agent=said.agent or known.agent,
        status=said.status,
        title=known_or(said.title, known.title),
        metadata=known_or(said.metadata, known.metadata),
        context=known_or(said.context, known.context),
        entity_type=known_or(said.entity_type, known.entity_type),
        source=known_or(said.source, known.source),
        source_ref=known_or(said.source_ref, known.source_ref),
        archived=known_or(said.archived, known.archived),
        rating=known_or(said.rating, known.rating),
        awaiting=known_or(said.awaiting, known.awaiting),
        message_count=known.message_count if said.message_count is None else said.message_count,
        created_at=said.created_at or known.created_at,
        updated_at=said.updated_at or known.updated_at,
    )


def get(tx: Transaction, principal: str, conversation_id: str) -> Conversation:
    """Return a conversation.

    Raises:
        NotFoundError: this principal has none of that id, or has deleted it.
    """
    row = tx.one(
        f"SELECT {COLUMNS} FROM conversations WHERE principal = ? AND id = ?", principal, conversation_id
    )
    if row is not None:
        return from_row(row)
    deleted = tx.one(
        "SELECT deleted_at FROM deleted_conversations WHERE principal = ? AND id = ?",
        principal,
        conversation_id,
    )
    if deleted is not None:
        raise NotFoundError(
            f"The conversation {conversation_id} was deleted on {to_datetime(deleted[0]):%Y-%m-%d at %H:%M} UTC.",
            hint="Create a new one with create_conversation.",
            conversation_id=conversation_id,
        )
    raise NotFoundError(
        f"There is no conversation {conversation_id}.",
        hint="Find it with list_conversations or search_conversations.",
        conversation_id=conversation_id,
    )


def run_now(tx: Transaction, principal: str, run: Run) -> Run:
    """Return a run as it is now.

    Raises:
        NotFoundError: it was deleted with its conversation, which the error tells.
    """
    found = runs.find(tx, principal, run.id)
    if found is None:
        get(tx, principal, run.conversation_id)
        found = runs.get(tx, principal, run.id)
    return found


def known(tx: Transaction, principal: str, conversation_id: str) -> bool:
    """Whether this principal has a conversation of that id."""
    row = tx.one("SELECT 1 FROM conversations WHERE principal = ? AND id = ?", principal, conversation_id)
    return row is not None


def mark_gone(tx: Transaction, principal: str, conversation_id: str) -> bool:
    """Record that the platform of a conversation does not have it any more; return whether the store has it.

    Lists and searches leave it out until its platform shows it again, or until it is deleted here.
    """
    marked = tx.changed(
        "UPDATE conversations SET gone_at = coalesce(gone_at, ?) WHERE principal = ? AND id = ?",
        tx.at,
        principal,
        conversation_id,
    )
    tx.touched.add(conversation_id)
    return bool(marked)


def is_gone(tx: Transaction, principal: str, conversation_id: str) -> bool:
    """Whether a conversation is marked as gone from its platform."""
    row = tx.one(
        "SELECT gone_at IS NOT NULL FROM conversations WHERE principal = ? AND id = ?",
        principal,
        conversation_id,
    )
    return row is not None and bool(row[0])


def unknown(tx: Transaction, principal: str, found: Sequence[R]) -> list[R]:
    """Return those of some conversations that the store does not have for this principal."""
    return [one for one in found if not known(tx, principal, one.id)]


def nobodys(tx: Transaction, found: Sequence[R]) -> list[R]:
    """Return those of some conversations that the store has for no principal at all."""
    return [one for one in found if tx.one("SELECT 1 FROM conversations WHERE id = ?", one.id) is None]


def titled(tx: Transaction, principal: str, title: str, *, limit: int) -> list[Conversation]:
    """Return the conversations of exactly this title (but for the case of Latin letters), the last used first."""
    rows = tx.all(
        f"SELECT {COLUMNS} FROM conversations WHERE principal = ? AND lower(title) = lower(?)"
        " ORDER BY updated_at DESC, number DESC LIMIT ?",
        principal,
        title,
        limit,
    )
    return [from_row(row) for row in rows]


def change(
    tx: Transaction, principal: str, conversation_id: str, changes: ConversationChanges
) -> Conversation:
    """Apply `changes` and return the conversation as it is then.

    Raises:
        NotFoundError: as `get`.
    """
    before = get(tx, principal, conversation_id)
    if changes.title is not None:
        _set_title(tx, principal, before, changes.title)
    for name, known, given in (
        ("metadata", before.metadata, changes.metadata),
        ("context", before.context or {}, changes.context),
    ):
        if given is not None:
            merged = {key: value for key, value in {**known, **given}.items() if value is not None}
            _set(tx, principal, conversation_id, name, encode(merged))
    if changes.archived is not None:
        _set(tx, principal, conversation_id, "archived", int(changes.archived))
    return get(tx, principal, conversation_id)


def set_awaiting(tx: Transaction, principal: str, conversation_id: str, awaiting: bool) -> None:
    """Write whether the other side waits for a message of the caller's."""
    if get(tx, principal, conversation_id).awaiting != awaiting:
        _set(tx, principal, conversation_id, "awaiting", int(awaiting))


def set_message_count(tx: Transaction, principal: str, conversation_id: str, count: int | None) -> None:
    """Write the number of messages."""
    tx.run(
        "UPDATE conversations SET message_count = ? WHERE principal = ? AND id = ?",
        count,
        principal,
        conversation_id,
    )


def deleted_since(tx: Transaction, principal: str, conversation_id: str, at: int) -> bool:
    """Whether a conversation was deleted from the store at `at` (microseconds) or later."""
    row = tx.one(
        "SELECT 1 FROM deleted_conversations WHERE principal = ? AND id = ? AND deleted_at >= ?",
        principal,
        conversation_id,
        at,
    )
    return row is not None


def clear_next(tx: Transaction, principal: str, conversation_id: str) -> bool:
    """Remove the newest part of what makes a conversation long that is to be deleted; return False if it is short.

    Then `delete` takes no longer than such a part does, and holds up nobody who writes meanwhile.
    """
    own = (principal, conversation_id)
    rows = tx.all(
        "SELECT position, octet_length(text) FROM messages WHERE principal = ? AND conversation_id = ?"
        " ORDER BY position DESC LIMIT ?",
        *own,
        _PART + 1,
    )
    sizes = accumulate(length or 0 for _, length in rows)
    taken = rows[: 1 + sum(size < _PART_BYTES for size in islice(sizes, _PART - 1))]
    if len(taken) < len(rows):
        tx.index.remove_from(*own, taken[-1][0])
        tx.run(
            "DELETE FROM messages WHERE principal = ? AND conversation_id = ? AND position >= ?",
            *own,
            taken[-1][0],
        )
        tx.run(
            "UPDATE conversations SET message_count = message_count - ? WHERE principal = ? AND id = ?",
            len(taken),
            *own,
        )
        return True
    ended = f" AND status NOT IN ({runs.ACTIVE})"
    for table, column, only in (("journal", "seq", ""), ("runs", "first_seq", ended)):
        last = tx.all(
            f"SELECT {column} FROM {table} WHERE principal = ? AND conversation_id = ?{only}"
            f" ORDER BY {column} DESC LIMIT 2 OFFSET ?",
            *own,
            _PART - 1,
        )
        if len(last) > 1:
            where = f"principal = ? AND conversation_id = ?{only} AND {column} >= ?"
            tx.run(f"DELETE FROM {table} WHERE {where}", *own, last[0][0])
            return True
    return False


async def shorten(store: Store, principal: str, conversation_id: str) -> None:
    """Remove, a part at a time, what makes a conversation long that is to be deleted: see `clear_next`."""
    clear = partial(clear_next, principal=principal, conversation_id=conversation_id)
    while await store.write(clear, principal=principal):
        await store.clock.tick(CLEARING_PAUSE)


def delete(tx: Transaction, principal: str, conversation_id: str) -> None:
    """Delete a conversation with everything that belongs to it, and record when it was deleted.

    Raises:
        NotFoundError: as `get`.
    """
    before = get(tx, principal, conversation_id)
    own = (principal, conversation_id)
    tx.index.set_title(*own, before.title, None)
    sync_state.forget(tx, principal, conversation_id)
    tx.index.remove(*own)
    for table in _OF_A_CONVERSATION:
        tx.run(f"DELETE FROM {table} WHERE principal = ? AND conversation_id = ?", *own)
    leases.end(tx, *own)
    tx.run("DELETE FROM conversations WHERE principal = ? AND id = ?", *own)
    tx.run("INSERT INTO deleted_conversations VALUES (?, ?, ?) ON CONFLICT DO NOTHING", *own, tx.at)
    tx.touched.add(conversation_id)


def undelete(tx: Transaction, principal: str, conversation_id: str) -> None:
    """Remove the record of a deletion: the platform has brought the conversation back."""
    tx.run("DELETE FROM deleted_conversations WHERE principal = ? AND id = ?", principal, conversation_id)


def _insert(tx: Transaction, principal: str, new: Conversation) -> None:
    title = None if new.title is None else storable(new.title)
    # A number is a time, and later than all before it. One that counts would tell, in cursors, how many others have.
    added = tx.changed(
        f"INSERT INTO conversations (number, principal, id, instance, title, {', '.join(_WRITTEN)})"
        " VALUES ((SELECT CASE WHEN max(number) >= ? THEN max(number) + 1 ELSE ? END FROM conversations), ?, ?, ?, ?,"
        f" {', '.join('?' * len(_WRITTEN))}) ON CONFLICT (principal, id) DO NOTHING",
        tx.at,
        tx.at,
        principal,
        new.id,
        new.id.partition(":")[0],
        title,
        *_written(tx, new),
    )
    if added:
        tx.index.set_title(principal, new.id, None, title)
        tx.touched.add(new.id)


def _update(tx: Transaction, principal: str, known: Conversation, now: Conversation) -> None:
    _set_title(tx, principal, known, now.title)
    tx.run(
        f"UPDATE conversations SET {' = ?, '.join(_WRITTEN)} = ? WHERE principal = ? AND id = ?",
        *_written(tx, now),
        principal,
        now.id,
    )
    if now.agent != known.agent:
        messages.rescope(tx, principal, now.id)
    tx.touched.add(now.id)


def _written(tx: Transaction, conversation: Conversation) -> tuple[Any, ...]:
    """Return the values of the columns `_WRITTEN`. What its platform does not date is as old as the conversation."""
    changed_at = conversation.updated_at or conversation.created_at
    return (
        conversation.agent,
        conversation.status,
        encode(conversation.metadata),
        None if conversation.context is None else encode(conversation.context),
        conversation.entity_type,
        conversation.source,
        conversation.source_ref,
        int(conversation.archived),
        conversation.message_count,
        tx.at if conversation.created_at is None else from_datetime(conversation.created_at),
        tx.at if changed_at is None else from_datetime(changed_at),
        *_rating(conversation),
        int(conversation.awaiting),
    )


def _rating(conversation: Conversation) -> tuple[int | None, str | None]:
    rating = conversation.rating
    feedback = None if rating is None or rating.feedback is None else storable(rating.feedback)
    return None if rating is None else rating.value, feedback


def _set(tx: Transaction, principal: str, conversation_id: str, column: str, value: Any) -> None:
    tx.run(
        f"UPDATE conversations SET {column} = ?, updated_at = ? WHERE principal = ? AND id = ?",
        value,
        tx.at,
        principal,
        conversation_id,
    )
    tx.touched.add(conversation_id)


def _set_title(tx: Transaction, principal: str, before: Conversation, title: str | None) -> None:
    title = None if title is None else storable(title)
    if title != before.title:
        tx.index.set_title(principal, before.id, before.title, title)
        _set(tx, principal, before.id, "title", title)


def from_row(row: Row) -> Conversation:
    """Return the conversation in a row that begins with `COLUMNS`."""
    return Conversation(
        id=row[0],
        agent=row[1],
        status=Status(row[2]),
        title=row[3],
        metadata=json.loads(row[4]),
        context=None if row[5] is None else json.loads(row[5]),
        entity_type=row[6],
        source=row[7],
        source_ref=row[8],
        archived=bool(row[9]),
        message_count=row[10],
        created_at=to_datetime(row[11]),
        updated_at=to_datetime(row[12]),
        last_seq=row[13],
        rating=None if row[14] is None else Rating(value=row[14], feedback=row[15]),
        awaiting=bool(row[16]),
    )
