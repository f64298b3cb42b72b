"""Look-ups over many conversations: which of them have changed, and which of them a few typed letters may mean."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tertulia.store.database import Transaction, storable
from tertulia.store.index.base import Conditions, TitleMatch
from tertulia.store.terms import Expression, Phrase
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
    listed = Conditions.of(("c.instance = ?", instance)) + Conditions("c.gone_at IS NULL")
    typed = storable(text[:_LONGEST]).strip()

    def ids(sql: str, *more: Any) -> list[str]:
        return [
            row[0]
            for row in tx.all(
                sql.replace("{own}", f"c.principal = ? AND {listed.sql}"),
                principal,
                *listed.values,
                *more,
                limit,
            )
        ]

    if not typed:
        return ids(
            "SELECT c.id FROM conversations AS c WHERE {own} ORDER BY c.updated_at DESC, c.number DESC LIMIT ?",
        )
    found: list[str] = []
    for prefix in map(storable, prefixes):
        found += ids(
            "SELECT c.id FROM conversations AS c WHERE {own} AND c.id >= ? AND c.id < ? ORDER BY c.id LIMIT ?",
            prefix,
            prefix + _LAST,
        )
    if wanted := [Phrase((word.folded,)) for word in words(typed)]:
        wanted[-1] = replace(wanted[-1], prefix=True)
        titled = TitleMatch(
            principal=principal,
            expression=Expression([[phrase] for phrase in wanted]),
            of_conversation=listed,
        )
        found += tx.index.titles(titled, limit).values()
    return list(dict.fromkeys(found))[:limit]
