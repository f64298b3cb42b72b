"""`tertulia store`: move the store to another place, or copy it, and open again what was closed."""

import sys
from pathlib import Path
from typing import Any

from tertulia.store.copy import CopyListener, copy_store, reopen_store
from tertulia.vocabulary.location import StoreLocation, store_location
from tertulia_server.progress_bar import progress_bar
from tertulia_server.store_token import SECRET, existing_token, keep_token

INTERRUPTED = 130
"""The exit code that a shell gives a program which Ctrl-C has ended."""


def copy(source: str, target: str, *, keep: bool) -> int:
    """Copy a store and print what it holds; return the exit code.

    Raises:
        InvalidInputError: one is no place for a store, or `copy_store` refuses it.
        TertuliaError: as `copy_store`.
    """
    origin, place = _location(source), _location(target)
    token = None if keep else existing_token(origin)
    with _CopyReport() as bar:
        try:
            report = copy_store(
                origin,
                place,
                keep=keep,
                secrets={} if token is None else {SECRET: token},
                listener=CopyListener(on_size=bar.begin, on_rows=bar.update),
            )
        except KeyboardInterrupt:
            print("Stopped; the command can be repeated.", file=sys.stderr)
            return INTERRUPTED
    if token is not None and isinstance(place, Path):
        keep_token(place, token)
    rows = report.rows
    done = "It was copied before, and was compared" if report.repeated else "Copied, and compared"
    print(
        f"{place}: {rows['conversations']:,} conversations, {rows['messages']:,} messages. {done} row by row."
    )
    if keep:
        print("It is a store of its own: it refuses cursors of the other one.")
    else:
        print(f"{origin} is closed: whoever uses it is told where the store is.")
    if report.interrupted:
        print(
            f"Of the messages that are unanswered, {report.interrupted:,} may have been sent to platforms; "
            "their runs are interrupted in the copy."
        )
    return 0


def reopen(store: str, *, restored: bool) -> int:
    """Open a store again that has moved, or that was restored by PostgreSQL's own programs; return the exit code.

    Raises:
        InvalidInputError: it is no place for a store, or has not moved.
        TertuliaError: as `reopen_store`.
    """
    place = _location(store)
    interrupted = reopen_store(place, restored=restored)
    print(f"{place} can be used. It is a store of its own: it refuses cursors from before.")
    if interrupted:
        print(
            f"Of the messages that were unanswered, {interrupted:,} may have been sent since; "
            "their runs are interrupted."
        )
    return 0


def _location(named: str) -> StoreLocation:
    location = store_location(named)
    return location.expanduser().absolute() if isinstance(location, Path) else location


class _CopyReport:
    """Shows on a terminal how far a copy is."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> "_CopyReport":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, rows: int) -> None:
        """Show a progress bar, if stderr is a terminal."""
        self._bar = progress_bar(total=rows, unit=" rows", unit_scale=True, desc="copying")

    def update(self, rows: int) -> None:
        """Advance the progress bar."""
        if self._bar is not None:
            self._bar.update(rows)
