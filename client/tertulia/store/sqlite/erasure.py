"""The erasure of deleted words from the pages of the full-text index.

FTS5 deletes by adding a mark. The words themselves stay in older segments of the index until these are merged, with
their places, so that a text could be put together again. FTS5's option `secure-delete`, which all our indexes have,
takes them out at once. It costs four milliseconds a message (`benchmarks/deleting.py`), and locks the store: a
minute for a conversation of fifteen thousand. So what is long is deleted without the option, and a note says that there
is something to erase. When nobody writes, a process merges all segments into one, in steps of some milliseconds.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tertulia.vocabulary.identifiers import new_id

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from tertulia.store.database import Transaction

AT_ONCE = 16_384
"""The most bytes of text whose words are taken out at once: a few hundred milliseconds' worth."""
LATER = AT_ONCE + 1
_PAGES = 500
"""How many pages of the index one step writes."""
_NOTHING = ""


@contextmanager
def deleting(tx: Transaction, index: str, size: int) -> Generator[None]:
    """Delete texts of `size` bytes from an index in the context; 0, if their words may stay in its pages."""
    if 0 < size <= AT_ONCE:
        yield
        return
    _set_secure(tx, index, on=False)
    yield
    _set_secure(tx, index, on=True)
    if size:
        _set(tx, index, new_id())


def due(tx: Transaction) -> Mapping[str, str | None]:
    """Return the indexes from which words are to be erased, each with its note; None where none was ever made."""
    indexes = tx.all("SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL TABLE % USING fts5%'")
    notes = dict(tx.all("SELECT name, value FROM meta"))
    found = {index: notes.get(_name(index)) for (index,) in indexes}
    return {index: noted for index, noted in found.items() if noted != _NOTHING}


def begin(tx: Transaction, index: str) -> bool:
    """Begin to merge all segments of an index; return whether `go_on` is to be called."""
    return _merge(tx, index, -_PAGES)


def go_on(tx: Transaction, index: str) -> bool:
    """Merge the next part; return whether there is more."""
    return _merge(tx, index, _PAGES)


def finish(tx: Transaction, index: str, noted: str | None) -> None:
    """Note that there is nothing to erase, unless something was deleted since `noted`."""
    if due(tx).get(index, _NOTHING) == noted:
        _set(tx, index, _NOTHING)


def _merge(tx: Transaction, index: str, pages: int) -> bool:
    before = _changes(tx)
    tx.run(f"INSERT INTO {index} ({index}, rank) VALUES ('merge', ?)", pages)
    return _changes(tx) - before > 1  # as FTS5 documents it: the statement itself counts for one


def _set_secure(tx: Transaction, index: str, *, on: bool) -> None:
    # FTS5 first carries out what it was told before, under the old setting.
    tx.run(f"INSERT INTO {index} ({index}, rank) VALUES ('secure-delete', ?)", int(on))


def _changes(tx: Transaction) -> int:
    row = tx.one("SELECT total_changes()")
    assert row is not None
    return int(row[0])


def _set(tx: Transaction, index: str, value: str) -> None:
    tx.run(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        _name(index),
        value,
    )


def _name(index: str) -> str:
    return f"deleted from {index}"
