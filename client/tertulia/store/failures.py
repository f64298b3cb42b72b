"""Why a store cannot be used that another process has changed, moved, or keeps busy: the same on every engine."""

from pathlib import Path

from tertulia.store.engine import BUSY_SECONDS, OverdueError, ReplacedError, Row
from tertulia.vocabulary.errors import StoreError, StoreTimeoutError, StoreUnavailableError
from tertulia.vocabulary.location import StoreLocation

MOVED = 1_000_000
"""Is added to the version of the schema of a store that has moved elsewhere, so that no Tertulia uses it any more.

`meta` says under `moved_to` where it is.
"""


def version_error(store: StoreLocation, version: int, known: int, moved_to: Row | None) -> StoreError:
    """Return the error for a store of a version that this Tertulia does not know; `moved_to` is that row of `meta`."""
    if moved_to is not None:
        return StoreError(
            f"The store {store} has moved to {moved_to[0]}.",
            hint="Name that with --store, or as `store` in the configuration file.",
        )
    another = "file" if isinstance(store, Path) else "database"
    return StoreError(
        f"The store {store} was written by a newer Tertulia (schema {version}; this one knows {known}).",
        hint=f"Upgrade Tertulia, or name another {another} with --store.",
    )


def locked_error(store: StoreLocation) -> StoreUnavailableError:
    """Return the error for a store that others kept locked."""
    return StoreUnavailableError(
        f"The store {store} was locked by others for {BUSY_SECONDS} seconds.", hint="Call again."
    )


def told(store: StoreLocation, error: OverdueError | ReplacedError) -> StoreError:
    """Return what a caller is told of an error that an engine has raised about the store."""
    if isinstance(error, ReplacedError):
        return StoreError(
            f"The store {store} was deleted or replaced while this process had it open.",
            hint="Call again: what is there now is opened then.",
        )
    return StoreTimeoutError(
        f"Reading the store {store} took longer than {error.seconds:g} seconds, and was stopped.",
        hint="Call again: the store may be busy. If it takes as long again, ask for less: fewer or whole words, "
        "narrower filters, or a smaller page.",
    )
