"""Filling the FTS5 index again after a step of the schema that changed how it reads words.

Such a step empties the index. What is stored then is indexed by and by, the newest first: messages before the position
in `meta`, under `indexed_from`, are not in the index yet. Whoever writes or removes an entry leaves those alone.
"""

import json

from tertulia.store.database import Transaction
from tertulia.store.index.fts5 import INDEXED_FROM, Fts5

_BATCH, _BATCH_BYTES = 500, 1 << 19
"""The most messages, and about the most bytes of their texts, that are indexed in one transaction."""


def index_next(tx: Transaction) -> bool:
    """Index the newest messages that the index lacks, some of them; return whether it lacks more."""
    index = Fts5(tx)
    if index.is_complete():
        return False
    before = tx.all(f"SELECT {INDEXED_FROM}")[0][0]
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
    index.enter("position IN (SELECT value FROM json_each(?))", [json.dumps(taken)])
    return True
