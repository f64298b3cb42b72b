"""What is shown of the messages and titles that a search finds."""

import json
from collections.abc import Sequence

from tertulia.store.database import Transaction, to_datetime
from tertulia.store.snippets import snippet
from tertulia.store.terms import Terms
from tertulia.vocabulary.models import Role, SearchHit
from tertulia.vocabulary.states import Status


def of_messages(tx: Transaction, principal: str, positions: Sequence[int], terms: Terms) -> list[SearchHit]:
    """Return a hit for each message, in this order, with the part of its text that shows why it was found."""
    if not positions:
        return []
    rows = tx.all(
        "SELECT c.id, c.title, c.status, m.id, m.author, m.role, m.created_at, m.text"
        " FROM json_each(?) AS f CROSS JOIN messages AS m ON m.position = CAST(f.value AS BIGINT)"
        " CROSS JOIN conversations AS c ON c.principal = m.principal AND c.id = m.conversation_id"
        " WHERE m.principal = ? ORDER BY f.key",
        json.dumps(positions),
        principal,
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
            snippet=snippet(row[7], terms.wanted),
        )
        for row in rows
    ]


def of_titles(tx: Transaction, principal: str, numbers: Sequence[int], terms: Terms) -> list[SearchHit]:
    """Return a hit for each conversation whose title was found, in this order."""
    if not numbers:
        return []
    rows = tx.all(
        "SELECT c.id, c.title, c.status, c.updated_at"
        " FROM json_each(?) AS f CROSS JOIN conversations AS c ON c.number = CAST(f.value AS BIGINT)"
        " WHERE c.principal = ? ORDER BY f.key",
        json.dumps(numbers),
        principal,
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
            snippet=snippet(row[1], terms.wanted),
        )
        for row in rows
    ]
