"""New stores in files that begin as copies of one: to execute every step of the schema takes longer than most tests.

Only stores that the tests' own process creates are copies. Each has an epoch of its own.
"""

import os
import secrets
import tempfile
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import apsw
import pytest

from tertulia.store import private_files
from tertulia.store.sqlite import engine
from tertulia.store.sqlite.connections import configure
from tertulia.store.sqlite.schema import STEPS
from tertulia.store.sqlite.upgrade import upgrade

_EPOCH_BYTES = 8


@dataclass(frozen=True)
class Template:
    """What a new store's file holds."""

    content: bytes
    epoch: bytes

    def another(self) -> bytes:
        """Return the content of another new store."""
        return self.content.replace(self.epoch, secrets.token_bytes(_EPOCH_BYTES).hex().encode())


@contextmanager
def copied_stores() -> Generator[None]:
    """Let every store that is created in the context be a copy."""
    with pytest.MonkeyPatch.context() as patch:
        # The engine's own name alone: others create other files, and keep what they import meanwhile.
        patch.setattr(
            engine, "private_files", SimpleNamespace(**{**vars(private_files), "create_file": _create})
        )
        yield


@cache
def template() -> Template:
    """Make a store as a server does, once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        with closing(apsw.Connection(str(path))) as connection:
            configure(connection)
            epoch = upgrade(connection, STEPS, path).encode()
        content = path.read_bytes()
    assert content.count(epoch) == 1
    return Template(content, epoch)


def _create(path: Path, *, empty: Callable[[Path], None] = private_files.create_file) -> None:
    """Create a store's file, unless there is one; another process sees nothing of it or all."""
    if not path.exists():
        beside = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(template().another())
        try:
            os.link(beside, path)
        except FileExistsError:
            empty(path)
        finally:
            beside.unlink()
