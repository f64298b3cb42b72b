"""Looking into a store, and changing what only time or an accident changes."""

from pathlib import Path
from typing import Any

from tertulia.store.database import Store, Transaction
from tertulia.store.index.fts5 import Fts5
from tertulia.vocabulary.location import StoreLocation


async def rows(store: StoreLocation, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Return what a query finds in the store."""
    async with Store(store) as opened:
        return await opened.read(lambda tx: tx.all(sql, *values))


async def change(store: StoreLocation, sql: str, *values: Any) -> int:
    """Change the store behind everybody's back; return how many rows that were."""
    async with Store(store) as opened:
        return await opened.write(lambda tx: tx.changed(sql, *values))


async def leases_run_out(store: StoreLocation) -> None:
    """Let the time pass after which a lease that nobody renewed is free."""
    assert await change(store, "UPDATE leases SET expires_at = 0 WHERE owner IS NOT NULL")


def everything(tx: Transaction) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, those behind the full-text index too."""
    named = (
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
        if isinstance(tx.index, Fts5)
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'tertulia' ORDER BY tablename"
    )
    return {name: tx.all(f"SELECT * FROM {name}") for (name,) in tx.all(named)}


async def contents(store: StoreLocation) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table of the store."""
    async with Store(store) as opened:
        return await opened.read(everything)


def raw(path: Path) -> bytes:
    """Return the file as it is."""
    return path.read_bytes()


def names(path: Path) -> set[str]:
    """Return what is in the folder of the file, if there is one."""
    return {each.name for each in path.parent.iterdir()} if path.parent.exists() else set()
