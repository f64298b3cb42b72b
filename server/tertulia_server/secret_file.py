"""Secrets of a store: small files that only their owner may read. The first use makes them."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def stored_secret(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the contents of a file; if it does not exist, write what `make` returns first.

    Processes that do so at the same time all return the same. A file that others may read is closed to them.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _write(path, make())
    if os.name != "nt" and path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return path.read_bytes()


def _write(path: Path, secret: bytes) -> None:
    # The secret is written to another file and then linked: other processes see no secret or all of it, and the first
    # process to link its secret wins.
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secret)
    finally:
        os.close(descriptor)
    try:
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
