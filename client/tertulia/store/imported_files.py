"""The files that were followed: how each was when its conversations were last imported."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tertulia.store.database import Transaction


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells that a file has changed: its size in bytes, and the nanoseconds since 1970 of its last change."""

    size: int
    modified: int


def states(tx: Transaction, principal: str) -> Mapping[str, FileState]:
    """Return the state of each file at its last import, by path."""
    rows = tx.all("SELECT path, size, modified FROM imported_files WHERE principal = ?", principal)
    return {row[0]: FileState(row[1], row[2]) for row in rows}


def note(tx: Transaction, principal: str, imported: Mapping[str, FileState]) -> None:
    """Record the state in which files were imported."""
    for path, state in imported.items():
        tx.run(
            "INSERT INTO imported_files VALUES (?, ?, ?, ?) ON CONFLICT (principal, path) DO UPDATE"
            " SET size = excluded.size, modified = excluded.modified",
            principal,
            path,
            state.size,
            state.modified,
        )


def forget(tx: Transaction, principal: str, paths: Iterable[str]) -> None:
    """Remove files that are gone."""
    for path in paths:
        tx.run("DELETE FROM imported_files WHERE principal = ? AND path = ?", principal, path)
