"""What can be said of a store in a database without changing it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tertulia.store.database import to_datetime
from tertulia.store.postgres.connections import (
    batch,
    connect,
    found,
    prepare_threshold,
    read_only_error,
    translated,
)
from tertulia.store.postgres.schema import SCHEMA, STEPS
from tertulia.store.postgres.upgrade import check_version, schema_version
from tertulia.vocabulary.errors import StoreError

if TYPE_CHECKING:
    from datetime import datetime

    from tertulia.vocabulary.location import PostgresUrl

OLDEST_SERVER = 14
"""The oldest version of PostgreSQL that has all that we use."""
_ABOUT_SERVER = """
SELECT current_setting('server_version'), CAST(current_setting('server_version_num') AS integer) / 10000,
    current_setting('transaction_read_only') = 'on',
    CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint),
    has_database_privilege(current_database(), 'CREATE')
"""
_ABOUT_STORE = f"""
SELECT (SELECT count(*) FROM conversations), (SELECT count(*) FROM messages),
    (SELECT CAST(sum(pg_total_relation_size(c.oid)) AS bigint) FROM pg_class AS c
    WHERE c.relnamespace = CAST('{SCHEMA}' AS regnamespace) AND c.relkind = 'r')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseHealth:
    """A store's database, as it was found."""

    version: int
    """Of its schema; 0 if it has no store yet."""
    newest_version: int = len(STEPS)
    conversations: int = 0
    messages: int = 0
    size: int = 0
    """Bytes, with the indexes."""
    server: str
    """The version of PostgreSQL."""
    pooled: bool
    """Whether a pooler stands in between."""
    at: datetime
    """The time by the server's clock."""


def examine(url: PostgresUrl) -> DatabaseHealth:
    """Return what a store's database is.

    Raises:
        StoreError: it cannot be used as a store.
        UnavailableError: it cannot be reached.
    """
    with translated(url), closing(connect(url)) as connection:
        server, release, is_read_only, at, may_create = found(connection.execute(_ABOUT_SERVER))
        if release < OLDEST_SERVER:
            raise StoreError(
                f"The store {url} is in PostgreSQL {server}; {OLDEST_SERVER} or newer is needed.",
                hint="Upgrade the server.",
            )
        if is_read_only:
            raise read_only_error(url)
        pooled = prepare_threshold(connection) is None
        batch(connection, f"BEGIN READ ONLY; SET LOCAL search_path = {SCHEMA}")
        version = schema_version(connection)
        check_version(connection, version, STEPS, url)
        counts = found(connection.execute(_ABOUT_STORE)) if version else (0, 0, 0)
        if not (version or may_create):
            raise StoreError(
                f"The user of the store {url} may not create it.",
                hint="Allow that: GRANT CREATE ON DATABASE … TO …; or let a schema `tertulia` be the user's.",
            )
        return DatabaseHealth(
            version=version,
            conversations=counts[0],
            messages=counts[1],
            size=counts[2],
            server=server,
            pooled=pooled,
            at=to_datetime(at),
        )
