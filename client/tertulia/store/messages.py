"""Messages, in the order of their positions, each with its entry in the full-text index."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tertulia.store import branches, ratings
from tertulia.store.database import Row, Transaction, encode, from_datetime, storable, to_datetime
from tertulia.store.index.base import FIRST, LAST, Entry, kind_of, scopes_of
from tertulia.store.schema import POSITION_BITS
from tertulia.vocabulary.entry import safe_message
from tertulia.vocabulary.errors import NotFoundError
from tertulia.vocabulary.events import EventKind
from tertulia.vocabulary.identifiers import page_cursor, read_page_cursor
from tertulia.vocabulary.models import Message, MessageQuery, MessageRecord, Page, Rating, Role
from tertulia.vocabulary.text import check_limit
from tertulia.vocabulary.unknown import known_or

COLUMNS = (
    "id, conversation_id, author, role, coalesce(text, unindexed), data, type, parent_id, metadata, created_at,"
    " rating, feedback, branch"
)
"""The columns of which `from_row` makes a message."""
MAX_PAGE = 100
_ONE = "principal = ? AND conversation_id = ? AND id = ?"
OWN_ID = "m_"
"""The prefix of the ids that the store gives messages until it knows the platform's own id."""


def position_at(at: int) -> int:
    """Return the first position of messages written at `at` (microseconds) or later."""
    return (at // 1000) << POSITION_BITS


def span(since: int | None, until: int | None) -> tuple[int, int]:
    """Return the first and the last position of messages written at `since` or later, and before `until`.

    A position is never before its message's time, but may be after it (`add`).
    """
    first = FIRST if since is None else position_at(since)
    last = LAST if until is None else position_at(until - 1) + (1 << POSITION_BITS) - 1
    return min(max(first, FIRST), LAST), min(max(last, FIRST), LAST)


def add(tx: Transaction, principal: str, message: Message) -> bool:
    """Add a message as `add_uncounted` does, and count it. Return whether the message was new."""
    message = safe_message(message)
    at = add_uncounted(tx, principal, message)
    if at is None:
        return False
    count_added(tx, principal, message.conversation_id, 1, at)
    return True


def add_uncounted(tx: Transaction, principal: str, message: Message) -> int | None:
    """Add a harmless message after its conversation's last; a known id stays as it is.

    It goes onto the branch that it names, or else the one with the newest message. Where contents are not kept, it is
    added without them.

    Return its time, or None if the store has it. The caller counts it in the same transaction: by `count_added`, once
    for all that it adds to a conversation, or with what it appends to the journal.
    """
    at = _at(tx, message)
    end = _end(tx, principal, message.conversation_id, message.id, at)
    if end.has_message:
        return None
    if end.position is not None and end.position >= position_at(at):
        # The clock went back, or a millisecond holds both: the order of a conversation is the order of arrival.
        position = _free_position_after(tx, end.position)
    else:
        position = _free_position(tx, end, at)
    if not tx.keeps_content(message.conversation_id):
        message = replace(message, text=None, data=None, metadata={})
    _enter(tx, principal, message, end, position, at)
    return at


def count_added(tx: Transaction, principal: str, conversation_id: str, count: int, at: int) -> None:
    """Count messages that were added to a conversation, the latest of which has the time `at`."""
    tx.run(
        "UPDATE conversations SET message_count = message_count + ?,"
        " updated_at = CASE WHEN updated_at < ? THEN ? ELSE updated_at END"
        " WHERE principal = ? AND id = ?",
        count,
        at,
        at,
        principal,
        conversation_id,
    )


def remember(
    tx: Transaction, principal: str, conversation_id: str, found: Sequence[MessageRecord], *, settled: bool
) -> None:
    """Store messages as the platform returned them, oldest first, at the times that it gives.

    A message without a time stands at the earliest that it can have: that of the one before it, or the conversation's.

    A message that the store added when it was sent or answered gets the platform's id, once the conversation is
    `settled` (no answer is being produced). Where contents are not kept, nothing is stored.
    """
    if not tx.keeps_content(conversation_id):
        return
    own = (principal, conversation_id)
    unnamed = tx.all(
        "SELECT id, role, text FROM messages WHERE principal = ? AND conversation_id = ? AND substr(id, 1, ?) = ?"
        " ORDER BY position",
        *own,
        len(OWN_ID),
        OWN_ID,
    )
    for message in map(safe_message, found):
        text = None if message.text is None else storable(message.text)
        known = _text(tx, *own, message.id)
        if known is not None:
            if known[0] != text:
                _reword(tx, *own, message.id, text)
            ratings.note(tx, *own, message, new=False)
            continue
        stored = next((row for row in unnamed if row[1:] == (message.role, text)), None)
        if stored is None and any(_is_part(text, row[2]) for row in unnamed if row[1] == message.role):
            continue  # a part of an answer that the store has as a whole
        if stored is None:
            at = _oldest_time(tx, *own) if message.created_at is None else from_datetime(message.created_at)
            end = _end(tx, *own, message.id, at)
            _enter(tx, principal, message, end, _free_position(tx, end, at), at)
            count_added(tx, *own, 1, at)
            ratings.note(tx, *own, message, new=True)
        else:
            unnamed.remove(stored)
            if settled:
                _rename(tx, *own, stored[0], message.id)
                ratings.note(tx, *own, message, new=False)


def _oldest_time(tx: Transaction, principal: str, conversation_id: str) -> int:
    """Return the earliest time that a conversation's next message can have."""
    row = tx.one(
        "SELECT c.created_at, (SELECT max(m.created_at) FROM messages AS m"
        " WHERE m.principal = c.principal AND m.conversation_id = c.id)"
        " FROM conversations AS c WHERE c.principal = ? AND c.id = ?",
        principal,
        conversation_id,
    )
    assert row is not None, "a message belongs to a known conversation"
    return max(int(at) for at in row if at is not None)


def _is_part(text: str | None, whole: str | None) -> bool:
    return None not in {text, whole} and f"\n\n{text}\n\n" in f"\n\n{whole}\n\n"


@dataclass(frozen=True, slots=True)
class _End:
    """Where a conversation ends: the position of its newest message, if any, the branch, and the scopes of the next."""

    has_message: bool
    """Whether the conversation has the message that is to be added."""
    position: int | None
    branch: str
    scopes: str
    taken: int | None
    """The last position of the next message's millisecond that any message has."""


def _end(tx: Transaction, principal: str, conversation_id: str, message_id: str, at: int) -> _End:
    own = (principal, conversation_id)
    row = tx.one(
        f"SELECT (SELECT 1 FROM messages WHERE {_ONE}), newest.position, m.branch, c.agent,"
        " (SELECT max(position) FROM messages WHERE position BETWEEN ? AND ?)"
        " FROM (SELECT max(position) AS position FROM messages WHERE principal = ? AND conversation_id = ?) AS newest"
        " LEFT JOIN messages AS m ON m.position = newest.position"
        " LEFT JOIN conversations AS c ON c.principal = ? AND c.id = ?",
        *own,
        message_id,
        *span(at, at + 1),
        *own,
        *own,
    )
    assert row is not None
    has_message, position, branch, agent, taken = row
    return _End(has_message is not None, position, branch or branches.MAIN, scopes_of(*own, agent), taken)


def _enter(
    tx: Transaction, principal: str, message: MessageRecord, end: _End, position: int, at: int
) -> None:
    own = (principal, message.conversation_id)
    text = None if message.text is None else storable(message.text)
    tx.run(
        "INSERT INTO messages (position, principal, conversation_id, id, scope, author, role, text, data, type,"
        " parent_id, metadata, created_at, branch) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        position,
        *own,
        message.id,
        end.scopes,
        message.author,
        message.role,
        text,
        None if message.data is None else encode(message.data),
        message.type,
        message.parent_id,
        encode(known_or(message.metadata, {})),
        at,
        message.branch or end.branch,
    )
    if text is not None:
        kind = kind_of(message.role, message.type)
        tx.index.add(Entry(position, principal, kind, end.scopes, text))
    tx.touched.add(message.conversation_id)


def get(tx: Transaction, principal: str, conversation_id: str, message_id: str) -> Message:
    """Return a message.

    Raises:
        NotFoundError: the conversation has none of that id.
    """
    row = tx.one(
        f"SELECT {COLUMNS} FROM messages WHERE principal = ? AND conversation_id = ? AND id = ?",
        principal,
        conversation_id,
        message_id,
    )
    if row is None:
        raise NotFoundError(
            f"The conversation {conversation_id} has no message {message_id}.",
            hint="list_messages shows its messages.",
            conversation_id=conversation_id,
            message_id=message_id,
        )
    return from_row(row)


def from_row(row: Row) -> Message:
    """Return the message in a row that begins with `COLUMNS`."""
    return Message(
        id=row[0],
        conversation_id=row[1],
        author=row[2],
        role=Role(row[3]),
        text=row[4],
        data=None if row[5] is None else json.loads(row[5]),
        type=row[6],
        parent_id=row[7],
        metadata=json.loads(row[8]),
        created_at=to_datetime(row[9]),
        rating=None if row[10] is None else Rating(value=row[10], feedback=row[11]),
        branch=row[12],
    )


def merged(tx: Transaction, principal: str, said: MessageRecord) -> Message:
    """Return what a platform says of a message, merged with what the store has of it."""
    row = tx.one(
        f"SELECT {COLUMNS} FROM messages WHERE principal = ? AND conversation_id = ? AND id = ?",
        principal,
        said.conversation_id,
        said.id,
    )
    stored = None if row is None else from_row(row)
    values: dict[str, Any] = {each.name: getattr(said, each.name) for each in fields(said)}
    values["metadata"] = known_or(said.metadata, {} if stored is None else stored.metadata)
    values["rating"] = known_or(said.rating, None if stored is None else stored.rating)
    return Message(**values)


def known(tx: Transaction, principal: str, conversation_id: str, message_id: str) -> bool:
    """Whether a conversation has a message of that id."""
    return _text(tx, principal, conversation_id, message_id) is not None


def count(tx: Transaction, principal: str, conversation_id: str) -> int:
    """Return how many messages of a conversation the store has."""
    row = tx.one(
        "SELECT count(*) FROM messages WHERE principal = ? AND conversation_id = ?",
        principal,
        conversation_id,
    )
    return 0 if row is None else int(row[0])


def stored_bytes(tx: Transaction, principal: str) -> int:
    """Return how many bytes the texts and data of a principal's messages have. It reads the row of each."""
    row = tx.one(
        "SELECT coalesce(sum(coalesce(octet_length(text), 0) + coalesce(octet_length(data), 0)"
        " + octet_length(metadata)), 0) FROM messages WHERE principal = ?",
        principal,
    )
    assert row is not None
    return int(row[0])


def page(tx: Transaction, principal: str, conversation_id: str, query: MessageQuery) -> Page[Message]:
    """Return one page of the messages of a branch (None: the one with the newest message).

    Raises:
        InvalidInputError: the cursor is not one of this list, or the limit is out of range.
        NotFoundError: the conversation has no such branch.
    """
    check_limit(query.limit, MAX_PAGE)
    line = branches.segments(tx, principal, conversation_id, query.branch)
    identity: dict[str, Any] = {"messages": conversation_id, "newest_first": query.newest_first}
    if line is not None:
        identity["branch"] = line[0].branch
    comparison, direction = ("<", "DESC") if query.newest_first else (">", "ASC")
    on_branch, of_branch = branches.condition(line)
    start, values = on_branch, [principal, conversation_id, *of_branch]
    if query.cursor is not None:
        start += f" AND position {comparison} ?"
        values.append(read_page_cursor(query.cursor, identity, int))
    rows = tx.all(
        f"SELECT {COLUMNS}, position FROM messages WHERE principal = ? AND conversation_id = ?{start}"
        f" ORDER BY position {direction} LIMIT ?",
        *values,
        query.limit + 1,
    )
    if line is None:
        counted = tx.one(
            "SELECT message_count FROM conversations WHERE principal = ? AND id = ?",
            principal,
            conversation_id,
        )
    else:
        counted = tx.one(
            f"SELECT count(*) FROM messages WHERE principal = ? AND conversation_id = ?{on_branch}",
            principal,
            conversation_id,
            *of_branch,
        )
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return Page(
        items=[from_row(row) for row in rows],
        next_cursor=page_cursor(identity, rows[-1][-1]) if more else None,
        total=None if counted is None else counted[0],
        branched=line is not None,
    )


def change_metadata(
    tx: Transaction, principal: str, conversation_id: str, message_id: str, metadata: Mapping[str, Any]
) -> Message:
    """Merge metadata into a message's, key by key (None removes a key); return it as it is then.

    Raises:
        NotFoundError: as `get`.
    """
    before = get(tx, principal, conversation_id, message_id)
    merged = {key: value for key, value in {**before.metadata, **metadata}.items() if value is not None}
    tx.run(
        "UPDATE messages SET metadata = ? WHERE principal = ? AND conversation_id = ? AND id = ?",
        encode(merged),
        principal,
        conversation_id,
        message_id,
    )
    tx.touched.add(conversation_id)
    return get(tx, principal, conversation_id, message_id)


def texts_beside_answers(
    tx: Transaction, principal: str, conversation_id: str, message_ids: Sequence[str]
) -> dict[str, str]:
    """Return the texts of those of some messages that are no answer of a run, by their ids."""
    if not message_ids:
        return {}
    rows = tx.all(
        "SELECT id, coalesce(text, unindexed) FROM messages WHERE principal = ? AND conversation_id = ?"
        " AND id IN (SELECT value FROM json_each(?)) AND coalesce(text, unindexed) IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.principal = messages.principal"
        " AND runs.conversation_id = messages.conversation_id AND runs.reply_id = messages.id)",
        principal,
        conversation_id,
        json.dumps(message_ids),
    )
    return dict(rows)


def naming(tx: Transaction, principal: str, agent: str, kind: str, name: str) -> list[Message]:
    """Return the messages of a type, in the conversations with an agent, whose text contains `name`."""
    rows = tx.all(
        f"SELECT {COLUMNS} FROM messages WHERE principal = ?"
        " AND conversation_id IN (SELECT id FROM conversations WHERE principal = ? AND agent = ?)"
        " AND type = ? AND instr(coalesce(text, unindexed), ?) > 0",
        principal,
        principal,
        agent,
        kind,
        name,
    )
    return list(map(from_row, rows))


def withdraw(tx: Transaction, principal: str, conversation_id: str, message_id: str, text: str) -> None:
    """Replace a message's text by one that is shown, and that no search finds."""
    own = (principal, conversation_id, message_id)
    tx.index.remove(*own)
    tx.run(f"UPDATE messages SET text = NULL, unindexed = ? WHERE {_ONE}", storable(text), *own)
    tx.touched.add(conversation_id)


def remove(tx: Transaction, principal: str, conversation_id: str, message_id: str) -> None:
    """Remove a message, if the store has it."""
    own = (principal, conversation_id, message_id)
    if _text(tx, *own) is None:
        return
    tx.index.remove(*own)
    tx.run(f"DELETE FROM messages WHERE {_ONE}", *own)
    tx.run(
        "UPDATE conversations SET message_count = message_count - 1, updated_at = ? WHERE principal = ? AND id = ?",
        tx.at,
        principal,
        conversation_id,
    )
    tx.touched.add(conversation_id)


def rescope(tx: Transaction, principal: str, conversation_id: str) -> None:
    """Index a conversation's messages under its present agent."""
    own = (principal, conversation_id)
    tx.index.remove(*own, forget=False)
    tx.run(
        "UPDATE messages SET scope = ? WHERE principal = ? AND conversation_id = ?", _scopes(tx, *own), *own
    )
    tx.index.add_again(*own)


def _scopes(tx: Transaction, principal: str, conversation_id: str) -> str:
    row = tx.one("SELECT agent FROM conversations WHERE principal = ? AND id = ?", principal, conversation_id)
    return scopes_of(principal, conversation_id, None if row is None else row[0])


def _at(tx: Transaction, message: Message) -> int:
    return tx.at if message.created_at is None else from_datetime(message.created_at)


def _text(tx: Transaction, principal: str, conversation_id: str, message_id: str) -> Row | None:
    return tx.one(
        "SELECT text FROM messages WHERE principal = ? AND conversation_id = ? AND id = ?",
        principal,
        conversation_id,
        message_id,
    )


def _reword(tx: Transaction, principal: str, conversation_id: str, message_id: str, new: str | None) -> None:
    own = (principal, conversation_id, message_id)
    tx.index.remove(*own)
    tx.run(f"UPDATE messages SET text = ? WHERE {_ONE}", new, *own)
    tx.index.add_again(*own)
    tx.touched.add(conversation_id)


def own_id(tx: Transaction, principal: str, conversation_id: str, message_id: str) -> str | None:
    """Return the id that a platform has for a message which the store named until it knew that; None as long."""
    if _text(tx, principal, conversation_id, message_id) is not None:
        return None
    row = tx.one(
        "SELECT CASE j.data ->> 'role' WHEN ? THEN r.reply_id ELSE r.message_id END"
        " FROM journal AS j JOIN runs AS r ON r.id = j.run_id WHERE j.principal = ? AND j.conversation_id = ?"
        " AND j.kind = ? AND j.data ->> 'message_id' = ?",
        Role.ASSISTANT,
        principal,
        conversation_id,
        EventKind.MESSAGE_ADDED,
        message_id,
    )
    return None if row is None else row[0]


def identify(tx: Transaction, principal: str, conversation_id: str, *, stored: str, own: str) -> None:
    """Give a stored message its platform's own id; a message that was stored under that already stays beside it."""
    if _text(tx, principal, conversation_id, own) is None:
        _rename(tx, principal, conversation_id, stored, own)


def _rename(tx: Transaction, principal: str, conversation_id: str, old: str, new: str) -> None:
    for table, column in (
        ("messages", "id"),
        ("messages", "parent_id"),
        ("runs", "message_id"),
        ("runs", "reply_id"),
    ):
        tx.run(
            f"UPDATE {table} SET {column} = ? WHERE principal = ? AND conversation_id = ? AND {column} = ?",
            new,
            principal,
            conversation_id,
            old,
        )
    tx.touched.add(conversation_id)


def _free_position(tx: Transaction, end: _End, at: int) -> int:
    return position_at(at) if end.taken is None else _free_position_after(tx, end.taken)


def _free_position_after(tx: Transaction, position: int) -> int:
    candidate = position + 1
    while tx.one("SELECT 1 FROM messages WHERE position = ?", candidate):
        candidate += 1
    return candidate
