"""Conversations: those of the embedded platform, and the store's copies of every other platform's."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tertulia.store import leases, messages, runs, sync_state
from tertulia.store.database import Row, Transaction, encode, from_datetime, storable, to_datetime
from tertulia.vocabulary.entry import safe_record
from tertulia.vocabulary.errors import NotFoundError
from tertulia.vocabulary.identifiers import page_cursor, read_page_cursor
from tertulia.vocabulary.models import (
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    Page,
    Rating,
    SortKey,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit
from tertulia.vocabulary.unknown import UNKNOWN, known_or

R = TypeVar("R", bound=ConversationRecord)

_COLUMNS = (
    "id, agent, status, title, metadata, context, entity_type, source, source_ref, archived, message_count, "
    "created_at, updated_at, last_seq, rating, feedback, awaiting"
)
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
MAX_PAGE = 100
MAX_COUNT = 10_000
"""How many conversations that match a query are counted: a count looks at each of them."""
_LARGE = 10**15
"""JSON may have larger numbers with an exponent."""
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
        f"SELECT {_COLUMNS} FROM conversations WHERE principal = ? AND id = ?", principal, conversation_id
    )
    if row is not None:
        return _conversation(row)
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


def known(tx: Transaction, principal: str, conversation_id: str) -> bool:
    """Whether this principal has a conversation of that id."""
    row = tx.one("SELECT 1 FROM conversations WHERE principal = ? AND id = ?", principal, conversation_id)
    return row is not None


def mark_gone(tx: Transaction, principal: str, conversation_id: str) -> bool:
    """Record that the platform of a conversation does not have it any more; return whether the store has it.

    Lists and searches leave it out until its platform shows it again, or until it is deleted here.
    """
    marked = tx.run(
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


def page(tx: Transaction, principal: str, query: ConversationQuery) -> Page[Conversation]:
    """Return one page of the conversations that match, with the count of all that do, up to `MAX_COUNT`.

    Raises:
        InvalidInputError: the cursor is not one of this query, or the limit is out of range.
    """
    check_limit(query.limit, MAX_PAGE)
    mine = set[str]() if query.me is None else runs.addressed_to(tx, principal, query.me)
    where, values = filters(principal, query)
    matching, bound = selection(principal, query, "1")
    counted = tx.all(f"SELECT count(*) FROM ({matching} LIMIT ?) AS found", *bound, MAX_COUNT + 1)[0][0]
    column = {
        SortKey.UPDATED: "updated_at",
        SortKey.CREATED: "created_at",
        SortKey.TITLE: "coalesce(title, '')",
    }[query.sort]
    identity = {
        "filters": [where, *values],
        "sort": query.sort,
        "descending": query.descending,
    }
    before = ">" if not query.descending else "<"
    if query.cursor is not None:
        kind = str if query.sort is SortKey.TITLE else int
        key, number = read_page_cursor(query.cursor, identity, [kind, int])
        where += f" AND ({column}, number) {before} (?, ?)"
        values = [*values, key, number]
    direction = "DESC" if query.descending else "ASC"
    hint = "NOT INDEXED" if query.awaiting else ""
    rows = tx.all(
        f"SELECT {_COLUMNS}, {column}, number FROM conversations {hint} WHERE {where}"
        f" ORDER BY {column} {direction}, number {direction} LIMIT ?",
        *values,
        query.limit + 1,
    )
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return Page(
        items=[
            replace(found, awaiting=found.awaiting or found.id in mine) for found in map(_conversation, rows)
        ],
        next_cursor=page_cursor(identity, list(rows[-1][-2:])) if more else None,
        total=counted if counted <= MAX_COUNT else None,
        more_than=MAX_COUNT if counted > MAX_COUNT else None,
    )


def titled(tx: Transaction, principal: str, title: str, *, limit: int) -> list[Conversation]:
    """Return the conversations of exactly this title (but for the case of Latin letters), the last used first."""
    rows = tx.all(
        f"SELECT {_COLUMNS} FROM conversations WHERE principal = ? AND lower(title) = lower(?)"
        " ORDER BY updated_at DESC, number DESC LIMIT ?",
        principal,
        title,
        limit,
    )
    return [_conversation(row) for row in rows]


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


def set_status(tx: Transaction, principal: str, conversation_id: str, status: Status) -> None:
    """Write the status; whether the transition is allowed was decided before."""
    _set(tx, principal, conversation_id, "status", status)


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
    added = tx.run(
        f"INSERT INTO conversations (number, principal, id, instance, title, {', '.join(_WRITTEN)})"
        " VALUES ((SELECT CASE WHEN max(number) >= ? THEN max(number) + 1 ELSE ? END FROM conversations), ?, ?, ?, ?,"
        f" {', '.join('?' * len(_WRITTEN))}) ON CONFLICT DO NOTHING",
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


def filters(principal: str, query: ConversationQuery) -> tuple[str, list[Any]]:
    """Return the condition that a row of `conversations` must meet to be one of a query's, and what is bound in it.

    It selects the same conversations as `tertulia.platforms.kit.paging.fits`.
    """
    clauses: list[str] = ["principal = ?", "gone_at IS NULL"]
    values: list[Any] = [principal]
    for condition, value in (
        ("instance = ?", query.instance),
        ("agent = ?", query.agent),
        ("source = ?", query.source),
        ("source IS DISTINCT FROM ?", query.exclude_source),
        ("source_ref = ?", query.source_ref),
        ("entity_type = ?", query.entity_type),
        ("created_at >= ?", None if query.created_after is None else from_datetime(query.created_after)),
        ("created_at < ?", None if query.created_before is None else from_datetime(query.created_before)),
    ):
        if value is not None:
            clauses.append(condition)
            values.append(value)
    if query.ids:
        clauses.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(query.ids)))
    if query.statuses:
        clauses.append(f"status IN ({', '.join('?' * len(query.statuses))})")
        values.extend(sorted(query.statuses))
    if query.archived is not None:
        clauses.append("archived = 1" if query.archived else "archived = 0")
    if query.awaiting:
        ids = (
            "SELECT conversation_id FROM requests WHERE principal = ? AND status = 'pending' UNION"
            f" SELECT conversation_id FROM runs WHERE principal = ? AND status IN ({runs.ACTIVE}) AND agent = ?"
        )
        clauses.append(
            "number IN (SELECT number FROM conversations WHERE principal = ? AND awaiting = 1 UNION"
            f" SELECT number FROM conversations WHERE principal = ? AND status = '{Status.INPUT_REQUIRED}' UNION"
            f" SELECT number FROM conversations WHERE principal = ? AND id IN ({ids}))"
        )
        values += [principal] * 5 + [query.me]
    for key, value in sorted(query.metadata.items()):
        clauses.append("CASE WHEN instr(metadata, ?) THEN json_has(metadata, ?, ?) ELSE 0 END = 1")
        values += [_fragment(key, value), key, encode(value, in_order=True)]
    return " AND ".join(clauses), values


def selection(principal: str, query: ConversationQuery, columns: str) -> tuple[str, list[Any]]:
    """Return a statement that selects columns of a query's conversations, and what is bound in it."""
    where, values = filters(principal, query)
    return f"SELECT {columns} FROM conversations {_hint(query, columns, values)} WHERE {where}", values


def _hint(query: ConversationQuery, columns: str, values: Sequence[Any]) -> str:
    """Return what SQLite alone needs to be told: without statistics it takes every index for a selective one."""
    if query.awaiting:
        return "NOT INDEXED"  # but found by their numbers, which are few
    if query.archived is not None or len(values) > 1:
        return ""
    # All of a principal's, but for those that are gone: one index has their ids, the other nearly the table's order.
    return f"INDEXED BY conversations_{'known' if columns in {'1', 'id'} else 'by_update'}"


def _fragment(key: str, value: Any) -> str:
    """Return a fragment that the JSON text of metadata with this value contains, perhaps at another key.

    A whole number may be stored with `.0` behind it; a very large one, and zero, in more ways than that.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, list | dict) or (is_number and (value == 0 or abs(value) >= _LARGE)):
        return f"{encode(key)}:"
    return encode({key: value})[1:-1]


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


def _conversation(row: Row) -> Conversation:
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
