"""Connections to SQLite, each with the thread in which it is used."""

from __future__ import annotations

import asyncio
import json
import queue
import secrets
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast

import anyio

from tertulia.store.engine import BUSY_SECONDS, Cursor, Deadline, OverdueError, ReplacedError
from tertulia.store.failures import locked_error, told
from tertulia.store.sqlite.ranking import relevance
from tertulia.store.words import ReadableBytes, tokenizer_of
from tertulia.vocabulary.errors import StoreError
from tertulia.vocabulary.values import same_json

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

_LONGEST_REFERENCE = 64
SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite writes beside a file, by the end of its name."""
_STEPS = 10_000
"""How many steps SQLite makes, in about a millisecond, before it looks whether it must stop."""


class Connection(Protocol):
    """What we use of a connection: APSW's own stubs leave its types half unknown."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Cursor:
        """Execute a statement."""
        ...

    def changes(self) -> int:
        """Return how many rows the last statement changed."""
        ...

    def set_progress_handler(self, callback: Callable[[], bool] | None, steps: int = ..., /) -> None:
        """Set what is asked after every so many steps of a statement whether it is to be interrupted."""
        ...

    def set_busy_timeout(self, milliseconds: int, /) -> None:
        """Set how long a statement waits for a lock."""
        ...

    def register_fts5_tokenizer(self, name: str, factory: Any, /) -> None:
        """Make a tokenizer known to the full-text index."""
        ...

    def register_fts5_function(self, name: str, function: Callable[..., Any], /) -> None:
        """Make a function of a match known to SQL."""
        ...

    def create_scalar_function(
        self, name: str, function: Callable[..., Any], arguments: int, /, *, deterministic: bool
    ) -> None:
        """Make a function known to SQL."""
        ...

    def blob_open(
        self, database: str, table: str, column: str, rowid: int, writable: bool, /
    ) -> AbstractContextManager[ReadableBytes]:
        """Open a value to read it in pieces."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class AsyncConnection(Protocol):
    """A connection as the event loop uses it."""

    async def async_run(self, call: Callable[..., T], /, *arguments: Any) -> T:
        """Make a call in the connection's thread."""
        ...

    async def aclose(self) -> None:
        """Close the connection, after the calls that were made before."""
        ...


class Worker(NamedTuple):
    """A connection with its worker thread: `sync` may be used in that thread only."""

    asynchronous: AsyncConnection
    sync: Connection


async def connect(path: Path) -> Worker:
    """Connect to the file, and prepare the connection for our statements."""
    import apsw
    import apsw.aio

    class Controller(apsw.aio.AsyncIO):
        """Left to itself, APSW chooses by who started the event loop; one choice makes a caller's deadline an error.

        APSW's own thread keeps the process alive for as long as a connection is open; this one never does.
        """

        def __init__(self) -> None:
            self.queue = queue.SimpleQueue()
            self.loop = asyncio.get_running_loop()
            threading.Thread(name="store", target=self._serve, daemon=True).start()

        def _serve(self) -> None:
            try:
                self.worker_thread_run()
            except RuntimeError:
                if not self.loop.is_closed():  # else nobody waits for the call any more
                    raise

    with cast(Any, apsw.aio).contextvar_set(apsw.async_controller, Controller):
        connection: Any = await apsw.Connection.as_async(str(path))
    worker = Worker(connection, connection)
    try:
        await worker.asynchronous.async_run(configure, worker.sync)
    except BaseException:  # whatever it was: the connection's thread must end
        with anyio.CancelScope(shield=True):
            await worker.asynchronous.aclose()
        raise
    return worker


def configure(connection: Connection) -> None:
    """Prepare a connection for our statements."""
    connection.set_busy_timeout(BUSY_SECONDS * 1000)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten in the file
    _register_tokenizer(connection)
    connection.register_fts5_function("relevance", relevance)
    connection.create_scalar_function("json_has", _json_has, 3, deterministic=True)


def _register_tokenizer(connection: Connection) -> None:
    """Register our tokenizer, and the SQL function `text_reference`.

    That returns what the index takes in place of the text of the message at a position: the tokenizer then reads the
    text from the file in pieces, and a long one takes no memory. Nobody else can make such a reference.
    """
    secret = secrets.token_bytes(16).hex()

    def reference(position: int) -> str:
        return f"{secret} {position}"

    def stored(utf8: bytes) -> AbstractContextManager[ReadableBytes] | None:
        known, _, position = utf8[:_LONGEST_REFERENCE].partition(b" ")
        if known.decode(errors="replace") != secret:
            return None
        return connection.blob_open("main", "messages", "text", int(position), False)

    def make(_connection: object, _arguments: list[str]) -> Any:
        return tokenizer_of(stored)

    connection.create_scalar_function("text_reference", reference, 1, deterministic=True)
    connection.register_fts5_tokenizer("words", make)


@contextmanager
def transaction(connection: Connection, begin: str) -> Generator[None]:
    """Commit what is done in the context, or nothing of it if that raises."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # a cancelled caller's too: the transaction must not stay open
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def interrupting(connection: Connection, deadline: Deadline) -> Generator[None]:
    """Interrupt the statement that the connection executes in the context once the deadline has passed."""
    import apsw

    connection.set_progress_handler(deadline.passed, _STEPS)
    try:
        yield
    except apsw.InterruptError as error:
        raise OverdueError(deadline.seconds) from error
    finally:
        connection.set_progress_handler(None)


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Raise SQLite's errors about the file as errors that a caller understands."""
    import apsw

    try:
        yield
    except (apsw.BusyError, apsw.LockedError) as error:
        raise locked_error(path) from error
    except (OverdueError, ReplacedError) as error:
        raise told(path, error) from error
    except apsw.FullError as error:
        raise StoreError(
            f"There is no room left for the store {path}.", hint="Free some disk space."
        ) from error
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StoreError(
            f"The file {path} is not a store of ours, or is damaged.",
            hint="Move it away, with the files -wal and -shm beside it, or name another with --store.",
        ) from error
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.IOError, OSError) as error:
        raise StoreError(
            f"The store {path} cannot be opened for writing.",
            hint="Check the folder and its permissions, or name another file with --store.",
        ) from error


def pragma(connection: Connection, name: str) -> int:
    """Return the number that a pragma tells."""
    row = connection.execute(f"PRAGMA {name}").fetchone()
    assert row is not None
    return int(row[0])


def _json_has(text: str, key: str, value: str) -> bool:
    """Tell SQL whether an object has this value (JSON text) under a key: SQLite's own paths cannot name every key."""
    found: dict[str, Any] = json.loads(text)
    return key in found and same_json(found[key], json.loads(value))
