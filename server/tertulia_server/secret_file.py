"""Secrets of a store: small files that only their owner may read. The first use makes them."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

from tertulia.store.private_files import close_to_others, dangling, make_folder

logger = logging.getLogger(__name__)


def stored_secret(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the contents of a file; if it does not exist, write what `make` returns first.

    Processes that do so at the same time all return the same. A file that others may read is closed to them, and that
    is logged.

    Raises:
        StoreError: at the path is a link to a file that is not there.
    """
    make_folder(path.parent)
    if not path.exists():
        _write(path, make())
    sentence = close_to_others(path)
    if sentence is not None:
        logger.warning("%s", sentence)
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise dangling(path) from error


def _write(path: Path, secret: bytes) -> None:
    # The secret is written to another file and then linked: other processes see no secret or all of it, and the first
    # process to link its secret wins.
    descriptor, fresh = mkstemp(prefix=f"{path.name}.", dir=path.parent)  # it is its owner's alone
    try:
        try:
            os.write(descriptor, secret)
        finally:
            os.close(descriptor)
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        Path(fresh).unlink()
