"""Look-ups over many conversations: which of them have changed, and which of them a few typed letters may mean."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tertulia.store.database import Transaction, storable
from tertulia.store.terms import quoted
from tertulia.store.words import words

ChangeMarks = Mapping[str, tuple[int, int] | None]
"""For each conversation a mark of its present state, to compare with a later one; None while it does not exist."""
_LONGEST = 200
"""How many of the typed characters count: a title has no more."""
_LAST = "\U0010ffff"


def change_marks(tx: Transaction, principal: str, conversation_ids: Collection[str]) -> ChangeMarks:
    """Return a mark of each of these conversations."""
    rows = tx.all(
        "SELECT id, last_seq, updated_at FROM conversations"
        " WHERE principal = ? AND id IN (SELECT value FROM json_each(?))",
        principal,
        json.dumps(list(conversation_ids)),
    )
    return dict.fromkeys(conversation_ids) | {row[0]: (row[1], row[2]) for row in rows}


def suggested(
    tx: Transaction,
    principal: str,
    text: str,
    *,
    prefixes: Sequence[str],
    instance: str | None = None,
    limit: int,
) -> list[str]:
    """Return the ids that begin with one of `prefixes`, then those of titles that have the words of `text`.

    The last word may be unfinished. An empty `text` suggests the conversations that were used last.
    """
    only, values = ("", [principal]) if instance is None else (" AND c.instance = ?", [principal, instance])
    typed = storable(text[:_LONGEST]).strip()

    def ids(sql: str, *more: Any) -> list[str]:
        return [
            row[0]
            for row in tx.all(
                sql.replace("{own}", f"c.principal = ? AND c.gone_at IS NULL{only}"), *more, limit
            )
        ]

    if not typed:
        return ids(
            "SELECT c.id FROM conversations AS c WHERE {own} ORDER BY c.updated_at DESC, c.number DESC LIMIT ?",
            *values,
        )
    found: list[str] = []
    for prefix in map(storable, prefixes):
        found += ids(
            "SELECT c.id FROM conversations AS c WHERE {own} AND c.id >= ? AND c.id < ? ORDER BY c.id LIMIT ?",
            *values,
            prefix,
            prefix + _LAST,
        )
    if wanted := [quoted(word.folded) for word in words(typed)]:
        found += ids(
            "SELECT c.id FROM title_index AS f CROSS JOIN conversations AS c ON c.number = f.rowid"
            " WHERE {own} AND title_index MATCH ? ORDER BY f.rowid DESC LIMIT ?",
            *values,
            " ".join(wanted) + "*",
        )
    return list(dict.fromkeys(found))[:limit]
