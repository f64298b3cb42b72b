"""What became of a commit whose connection was lost.

The server tells it of each transaction by its number. But numbers can be given twice: a server that recovers from a
crash, or a standby that is promoted, knows nothing of those whose changes had not reached it. So a transaction also
notes the server's incarnation, which the table `incarnations` has. That is unlogged: PostgreSQL empties it in a
recovery, and the next transaction that writes begins another incarnation.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import psycopg.errors

from tertulia.store.postgres.connections import Connection, batch, connect, found
from tertulia.store.postgres.schema import SCHEMA
from tertulia.vocabulary.errors import StoreUncertainError

if TYPE_CHECKING:
    from tertulia.vocabulary.location import PostgresUrl

MARK = "CAST(pg_current_xact_id() AS text), (SELECT token FROM incarnations)"
"""What a transaction notes of itself, as it is selected."""
NUMBERING = "SELECT pg_current_xact_id()"
"""The statement before that: a standby refuses it as a write."""
_SECONDS = 15.0
"""How long the server is asked what became of a commit."""
_PAUSE = 0.1
_BEGIN = "INSERT INTO incarnations VALUES (1, CAST(gen_random_uuid() AS text)) ON CONFLICT DO NOTHING"
_OUTCOME = f"SELECT pg_xact_status(CAST($1 AS xid8)), (SELECT token FROM {SCHEMA}.incarnations)"


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells a transaction from all others: see `MARK`."""

    number: str
    incarnation: str | None


def begin_incarnation(connection: Connection) -> None:
    """Begin an incarnation, in a transaction that has found none; that one itself has none."""
    batch(connection, _BEGIN)


def was_committed(url: PostgresUrl, mark: Mark) -> bool:
    """Ask the server what became of a transaction.

    Raises:
        StoreUncertainError: it does not tell.
    """
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        with (
            suppress(psycopg.OperationalError, psycopg.errors.FeatureNotSupported),
            connect(url) as connection,
        ):
            try:  # a standby that is not yet promoted supports no unlogged table
                status, incarnation = found(connection.execute(_OUTCOME, (mark.number,)))
            except psycopg.errors.InvalidParameterValue:
                return False  # the number was not given yet: the server knows nothing of the transaction
            if status == "aborted":
                return False
            if status == "committed":
                if mark.incarnation is not None and incarnation == mark.incarnation:
                    return True
                break
        time.sleep(_PAUSE)
    raise StoreUncertainError(
        f"The connection to the store {url} was lost during a commit; it may or may not have happened.",
        hint="See what is there before you call again. A call with an idempotency key can be repeated as it is.",
    )
