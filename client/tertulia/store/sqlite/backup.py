"""Backups of a store: SQLite copies it while processes use it, and restores a copy under them in one transaction.

Copying the file with other tools is not safe while a process has it open: what was written last stands beside it, in
the write-ahead log.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tertulia.store.database import Transaction
from tertulia.store.index.filling import index_next
from tertulia.store.index.fts5 import Fts5
from tertulia.store.private_files import create_file, make_folder
from tertulia.store.separation import RESTORED, separate
from tertulia.store.sqlite.connections import SIDE_FILES, Connection, configure, transaction, translated
from tertulia.store.sqlite.schema import STEPS
from tertulia.store.sqlite.upgrade import check_version, upgrade
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, StoreError


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup or a restoration copied."""

    conversations: int
    messages: int
    interrupted: int = 0
    """How many runs were ended since nobody knows what became of them after the backup."""


def back_up(store: Path, target: Path) -> Copied:
    """Write a copy of the store, as it is at one moment, to a file that does not exist yet.

    Raises:
        NotFoundError: there is no store.
        InvalidInputError: the target exists, or its folder does not.
        StoreError: the store is damaged or not ours, or the copy cannot be written.
    """
    _check_exists(store)
    if target.exists():
        raise InvalidInputError(f"The file {target} exists already.", hint="Name a new file.")
    if not target.parent.is_dir():
        raise InvalidInputError(f"There is no folder {target.parent}.")
    with translated(store), closing(_open(store)) as source:
        check_version(source, STEPS, store)
        with _scratch(target, ".partial") as partial:
            with translated(target), closing(_open(partial)) as copy:
                _copy(source, copy)
                copied = _checked(copy, store)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file that is complete by itself
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
            partial.replace(target)
    return copied


def restore(backup: Path, store: Path, *, clock: Clock = SYSTEM_CLOCK) -> Copied:
    """Make the store what it was at a backup, for all processes that have it open, in one transaction.

    What was sent to other platforms after the backup is not known any more. Runs that were unanswered at the backup are
    interrupted, so that no message is sent again; those of the embedded platform continue. Cursors from before are
    refused.

    Raises:
        NotFoundError: there is no such backup.
        StoreError: one of the files is damaged, not ours or of a newer version, or cannot be written.
    """
    _check_exists(backup)
    with _scratch(store, ".restoring") as scratch:
        with translated(backup), closing(_open(backup)) as source, closing(_open(scratch)) as copy:
            if not check_version(source, STEPS, backup):
                raise StoreError(f"The file {backup} is no backup of a store: it is empty.")
            _copy(source, copy)
            copied = _checked(copy, backup)
            configure(copy)
            upgrade(copy, STEPS, backup)
            more = True
            while more:
                with transaction(copy, "BEGIN IMMEDIATE"):
                    more = index_next(Transaction(copy, clock.time(), index=Fts5))
            with transaction(copy, "BEGIN IMMEDIATE"):
                interrupted = separate(Transaction(copy, clock.time(), index=Fts5), RESTORED)
        with translated(store), closing(_open(scratch)) as copy, closing(_open(store, create=True)) as live:
            check_version(live, STEPS, store)
            live.execute("PRAGMA journal_mode = WAL")
            _copy(copy, live)
    return Copied(copied.conversations, copied.messages, interrupted)


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")


def _open(path: Path, *, create: bool = False) -> Any:
    import apsw

    if create:
        create_file(path)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(10_000)
    return connection


@contextmanager
def _scratch(beside: Path, suffix: str) -> Generator[Path]:
    """Yield a new file in the same folder, which only its owner can read; it is gone at the end."""
    make_folder(beside.parent)
    scratch = beside.with_name(f"{beside.name}{suffix}")
    with translated(beside):
        scratch.unlink(missing_ok=True)
        create_file(scratch)
    try:
        yield scratch
    finally:
        for name in ("", *SIDE_FILES):
            with suppress(FileNotFoundError):
                scratch.with_name(scratch.name + name).unlink()


def _copy(source: Any, target: Any) -> None:
    """Copy everything in one step: a writer meanwhile waits, or is not in the copy."""
    with target.backup("main", source, "main") as copying:
        while not copying.done:
            copying.step(-1)


def _checked(copy: Connection, path: Path) -> Copied:
    """Return what a copy holds; a damaged one is found out before it replaces anything."""
    if copy.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise StoreError(f"The file {path} is damaged.", hint="Restore an earlier backup.")

    def count(table: str) -> int:
        row = copy.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        return int(row[0])

    return Copied(count("conversations"), count("messages"))
