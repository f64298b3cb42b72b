"""A whole store is copied to another place, in one engine or from one to the other.

One transaction reads the source, in which nobody else writes meanwhile; another one writes the target, which has no
conversations. Every row is then read again from the target: numbers and digests must be those of the source, or nothing
is copied. Each engine makes its own full-text index.

A store that moves keeps its epoch, so cursors and idempotency keys stay good; the source is closed. One that both go on
with is a store of its own from then on (`tertulia.store.separation`).

Leases are left out: the processes that have them use the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from tertulia.store.database import Transaction, bindable, needing_psycopg, without_escaped_nul
from tertulia.store.engine import Row
from tertulia.store.separation import COPIED, REOPENED, RESTORED, separate
from tertulia.vocabulary.errors import InvalidInputError, StoreError
from tertulia.vocabulary.location import StoreLocation

_JSON = frozenset({"approved_arguments", "arguments", "checkpoint", "context", "data", "effect", "metadata"})
"""The columns, of whichever table, that hold JSON."""
_LEFT_OUT = frozenset({"leases", "meta"})
_SHARED = "name = 'epoch' OR name LIKE 'secret:%'"
"""What is copied of `meta`: the rest is of the one engine, or of the one place."""
_MODULUS = 1 << 128


class Opening(Enum):
    """What a store is opened for."""

    SOURCE = "source"
    TARGET = "target"
    """It is made where there is none."""
    REOPENING = "reopening"
    """It has moved elsewhere, and shall be used again."""
    RESTORED = "restored"
    """It was restored from a backup by other programs."""


class CopyEnd(Protocol):
    """A store in one transaction, in which nobody else writes. Closing it without a commit leaves it as it was."""

    tx: Transaction
    columns: Mapping[str, Sequence[str]]
    """The columns of each table, but for those of the full-text index."""

    def errors(self) -> AbstractContextManager[None]:
        """Raise what the engine raises in the context as errors that a caller understands."""
        ...

    def rows(self, table: str) -> Iterator[Row]:
        """Yield the rows of a table, the columns in the order of `columns`; messages in that of their positions."""
        ...

    def fill(self, table: str, rows: Iterable[Row]) -> None:
        """Put rows into a table."""
        ...

    def finish(self) -> None:
        """Index what the tables were filled with."""
        ...

    def mark_moved(self, where: str) -> None:
        """Close the store to all who use it; they are told where it is."""
        ...

    def commit(self) -> None:
        """Commit the transaction."""
        ...

    def close(self) -> None:
        """Close the store."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyListener:
    """Is told how far a copy is. Each row counts twice: it is copied, and compared."""

    on_size: Callable[[int], object] = lambda _: None
    """Is given the number of all rows."""
    on_rows: Callable[[int], object] = lambda _: None
    """Is given how many more were done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReport:
    """What was copied, and compared."""

    rows: Mapping[str, int]
    """By table."""
    repeated: bool = False
    """The target had it all already."""
    interrupted: int = 0
    """How many runs of the copy were ended, since the source goes on with them."""


@dataclass(slots=True)
class _Digest:
    """Tells sets of rows apart, whatever their order."""

    count: int = 0
    total: int = 0

    def add(self, row: Row) -> None:
        """Take a row into account."""
        digest = hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self.count += 1
        self.total = (self.total + int.from_bytes(digest)) % _MODULUS


def copy_store(
    source: StoreLocation,
    target: StoreLocation,
    *,
    keep: bool = False,
    secrets: Mapping[str, str] | None = None,
    listener: CopyListener | None = None,
) -> CopyReport:
    """Copy a store to where there is none, or one without conversations, and close the source unless it is to `keep`.

    `secrets` are those that the source has elsewhere than in its tables; the target has them there.

    Whatever fails, the target stays as it was, and the source in use. A copy whose source could not be closed, because
    the process died in between, is found complete when the call is repeated.

    Raises:
        NotFoundError: there is no store to be copied.
        InvalidInputError: the target has conversations of its own, or is the source.
        NotConfiguredError: one is a database, and psycopg is not installed.
        StoreError: one is damaged, not ours or of a newer version, or cannot be read or written.
        UnavailableError: one cannot be reached, or others kept it locked.
    """
    if _resolved(source) == _resolved(target):
        raise InvalidInputError(f"{source} cannot be copied to itself.", hint="Name another place.")
    with _opened(source, Opening.SOURCE) as origin, _opened(target, Opening.TARGET) as copy:
        copying = _Copying(origin, copy, listener or CopyListener())
        repeated = copying.is_done()
        if not (repeated or copying.target_is_empty()):
            raise InvalidInputError(
                f"The store {target} has conversations of its own.",
                hint="Name a database without a store, or a file that is not there yet.",
            )
        interrupted = 0
        if repeated:
            copying.read_source()
            copying.compare(target)
        else:
            copying.fill_target()
            copying.compare(target)
            interrupted = copying.complete(secrets or {}, keep=keep)
        if not keep:
            origin.mark_moved(str(target))
    return CopyReport(rows=copying.counts(), repeated=repeated, interrupted=interrupted)


def reopen_store(store: StoreLocation, *, restored: bool = False) -> int:
    """Open a store again that has moved, or was `restored` by other programs; return how many runs that ends.

    Nobody knows what became of these runs since. It is a store of its own from then on (`tertulia.store.separation`).

    Raises:
        InvalidInputError: the store has not moved.
        NotFoundError, NotConfiguredError, StoreError, UnavailableError: as `copy_store`.
    """
    with _opened(store, Opening.RESTORED if restored else Opening.REOPENING) as end, end.errors():
        return separate(end.tx, RESTORED if restored else REOPENED)


@contextmanager
def _opened(location: StoreLocation, opening: Opening) -> Generator[CopyEnd]:
    end = _open(location, opening)
    try:
        yield end
        end.commit()
    finally:
        end.close()


def _open(location: StoreLocation, opening: Opening) -> CopyEnd:
    if isinstance(location, Path):
        from tertulia.store.sqlite.copy import FileEnd

        return FileEnd(location, opening)
    with needing_psycopg(location):
        from tertulia.store.postgres.copy import DatabaseEnd
    return DatabaseEnd(location, opening)


def _resolved(location: StoreLocation) -> StoreLocation:
    return location.resolve() if isinstance(location, Path) else location


def _count(tx: Transaction, table: str) -> int:
    return tx.all(f"SELECT count(*) FROM {table}")[0][0]


class _Copying:
    """A copy that is being made, or is looked at again."""

    def __init__(self, origin: CopyEnd, copy: CopyEnd, listener: CopyListener) -> None:
        self._origin = origin
        self._copy = copy
        self._listener = listener
        self._digests = {table: _Digest() for table in sorted(origin.columns) if table not in _LEFT_OUT}
        with origin.errors():
            self._shared = dict(origin.tx.all(f"SELECT name, value FROM meta WHERE {_SHARED}"))
            listener.on_size(2 * sum(_count(origin.tx, table) for table in self._digests))

    def is_done(self) -> bool:
        """Whether the target is a copy of the source, or was one."""
        with self._copy.errors():
            return self._shared["epoch"] in {
                value for (value,) in self._copy.tx.all("SELECT value FROM meta WHERE name = 'epoch'")
            }

    def target_is_empty(self) -> bool:
        """Whether it never had a conversation: a server that was only started is in `meta` and the like."""
        with self._copy.errors():
            return not any(
                self._copy.tx.all(f"SELECT 1 FROM {table} LIMIT 1")
                for table in ("conversations", "deleted_conversations")
            )

    def read_source(self) -> None:
        """Read all rows of the source."""
        for table in self._digests:
            for _ in self._read(table):
                pass

    def fill_target(self) -> None:
        """Put all rows of the source into the target."""
        with self._copy.errors():
            for table in [*self._digests, "leases"]:
                self._copy.tx.run(f"DELETE FROM {table}")
        for table in self._digests:
            self._copy.fill(table, self._read(table))

    def compare(self, target: StoreLocation) -> None:
        """Read all rows of the target.

        Raises:
            StoreError: they are not what was read from the source.
        """
        for table, expected in self._digests.items():
            digest = _Digest()
            for row in self._copy.rows(table):
                digest.add(row)
                self._listener.on_rows(1)
            if digest != expected:
                raise StoreError(
                    f"The store {target} has other rows than the source in the table {table} ({digest.count:,} and "
                    f"{expected.count:,}), and was left as it was.",
                    hint="If it was used since it was copied, name an empty one.",
                )

    def complete(self, secrets: Mapping[str, str], *, keep: bool) -> int:
        """Make the target usable, beside the source if that is to `keep`; return how many runs that ends."""
        self._copy.finish()
        known = {f"secret:{name}": value for name, value in secrets.items()}
        with self._copy.errors():
            for name, value in {**self._shared, **known}.items():
                self._copy.tx.run(
                    "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    name,
                    value,
                )
            return separate(self._copy.tx, COPIED) if keep else 0

    def counts(self) -> Mapping[str, int]:
        """Return the number of rows by table."""
        return {table: digest.count for table, digest in self._digests.items()}

    def _read(self, table: str) -> Iterator[Row]:
        """Yield the rows of the source as they would be written today: an earlier version kept U+0000."""
        digest = self._digests[table]
        holds_json = [column in _JSON for column in self._origin.columns[table]]
        for row in self._origin.rows(table):
            clean = bindable(
                tuple(
                    without_escaped_nul(value) if is_json and isinstance(value, str) else value
                    for value, is_json in zip(row, holds_json, strict=True)
                )
            )
            digest.add(clean)
            self._listener.on_rows(1)
            yield clean
