"""The connections of one process to its database, for one transaction after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import psycopg
from psycopg.pq import TransactionStatus

from tertulia.store.postgres.connections import Connection

PATIENCE_SECONDS = 10.0
"""How long a transaction waits for a server that cannot be reached: a restart takes no longer."""
IDLE_SECONDS = 60.0
"""After this time a connection is closed that nobody has used: other processes may need its place at the server."""
_PAUSE = 0.1


class Pool:
    """Connections that `connect` makes: as many as transactions are open at a time. It is used in worker threads.

    Once the server could not be reached for `PATIENCE_SECONDS`, nobody waits for it until it can.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Connection]] = []
        """With the time of their last use, the most recent one last."""
        self._lost_at: float | None = None
        """Since when the server cannot be reached."""
        self._closed = False

    @contextmanager
    def connection(self) -> Generator[Connection]:
        """Have a connection that nobody else uses meanwhile; one that is left in a transaction is closed.

        Raises:
            psycopg.OperationalError: the server cannot be reached.
        """
        connection = self._taken() or self._connected()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def lost(self) -> None:
        """Close all connections that nobody uses: one was lost, and after a restart of the server all are."""
        self._close_idle(time.monotonic())

    def close_unused(self) -> None:
        """Close the connections that nobody has used for a while."""
        self._close_idle(time.monotonic() - IDLE_SECONDS)

    def close(self) -> None:
        """Close all connections, those that are in use after their transactions."""
        self._closed = True
        self.lost()

    def _taken(self) -> Connection | None:
        with self._lock:
            return self._idle.pop()[1] if self._idle else None

    def _connected(self) -> Connection:
        begun = time.monotonic()
        while True:
            try:
                connection = self._connect()
            except psycopg.OperationalError:
                now = time.monotonic()
                self._lost_at = self._lost_at or begun
                if now - self._lost_at > PATIENCE_SECONDS:
                    raise
                time.sleep(_PAUSE)
            else:
                self._lost_at = None
                return connection

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and connection.info.transaction_status is TransactionStatus.IDLE:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def _close_idle(self, until: float) -> None:
        """Close the connections that were not used after a time."""
        with self._lock:
            closing = [connection for at, connection in self._idle if at <= until]
            self._idle = [(at, connection) for at, connection in self._idle if at > until]
        for connection in closing:
            connection.close()
