"""Notices of what other processes change, through PostgreSQL's LISTEN and NOTIFY, on one connection of the process.

A message has the process that sends it, whose own readers know already, and the conversation that was touched.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import psycopg
from psycopg import sql

from tertulia.store.postgres.connections import Connection, batch, connect

if TYPE_CHECKING:
    from tertulia.store.notices import Notices
    from tertulia.vocabulary.clock import Clock
    from tertulia.vocabulary.location import PostgresUrl

logger = logging.getLogger(__name__)

HEARD_SECONDS = 2.0
"""How long this process waits for the message that it sends to itself at the beginning."""
RECONNECT_SECONDS = 1.0
"""The pause before the process listens again, when it has lost the connection."""
_MOST = 100
"""Who touches more conversations in one transaction tells of all at once."""
_LONGEST = 2_000
"""An id of more bytes is told as all: PostgreSQL takes less than 8,000."""
CHANNEL = "tertulia"
_CHANNEL = sql.Identifier(CHANNEL)


class _DeafError(Exception):
    """Raised when the process does not hear its own message."""


class Listener:
    """What the process named `process` hears through `url`."""

    def __init__(self, url: PostgresUrl, process: str, clock: Clock) -> None:
        self._url = url
        self._process = process
        self._clock = clock

    def telling(self, connection: Connection, touched: Collection[str]) -> list[str]:
        """Return the statements that tell other processes what a transaction has touched."""
        ids = sorted(touched)
        if len(ids) > _MOST or any(len(each.encode()) > _LONGEST for each in ids):
            ids = [""]
        telling = sql.SQL("NOTIFY {}, {}")
        return [telling.format(_CHANNEL, f"{self._process} {each}").as_string(connection) for each in ids]

    async def listen(
        self,
        notices: Notices,
        version: Callable[[], Awaitable[object]],
        hello: Callable[[str], Awaitable[None]],
    ) -> None:
        """Wake readers of what others touch, until cancelled.

        `hello` sends a message as all transactions do. A process that does not hear it looks whether `version` changes.
        """
        while True:
            await notices.wanted()
            try:
                await self._listen(notices, hello)
            except _DeafError:
                logger.warning(
                    "The store %s is behind a pooler that delivers no notices (LISTEN): this process looks for changes "
                    "instead. Set store_listen_url to a URL that leads to the server itself.",
                    self._url,
                )
                await notices.poll(version)
            except psycopg.Error:  # a standby takes neither LISTEN nor NOTIFY
                notices.publish(None)  # whoever waits learns from the store itself what is the matter
                await self._clock.tick(RECONNECT_SECONDS)

    async def _listen(self, notices: Notices, hello: Callable[[str], Awaitable[None]]) -> None:
        connection = await anyio.to_thread.run_sync(connect, self._url)
        try:
            await anyio.to_thread.run_sync(batch, connection, f"LISTEN {CHANNEL}")
            await self._test(connection, hello)
            notices.publish(None)  # something may have happened before
            while True:
                messages = [each.split(" ", 1) for each in await _messages(connection)]
                touched = {rest[0] for process, *rest in messages if process != self._process and rest}
                notices.publish(None if "" in touched else touched)
        finally:
            connection.close()

    async def _test(self, connection: Connection, hello: Callable[[str], Awaitable[None]]) -> None:
        own = f"{self._process} "
        with anyio.move_on_after(HEARD_SECONDS):
            await hello(f"NOTIFY {CHANNEL}, '{own}'")
            while own not in await _messages(connection):
                pass
            return
        raise _DeafError


async def _messages(connection: Connection) -> list[str]:
    """Return the messages that have come; wait for one."""
    await anyio.wait_readable(connection.fileno())
    return [message.payload for message in connection.notifies(timeout=0)]
