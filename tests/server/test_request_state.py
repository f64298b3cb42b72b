"""The key that seals what a host carries is the store's: all its processes share it, and nobody else has it."""

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest
from mcp.server.mcpserver import InvalidRequestState

from tertulia.client import Client
from tertulia.settings import ClientSettings
from tertulia.store.sqlite.backup import back_up, restore
from tertulia.vocabulary.errors import StoreError
from tertulia_server.request_state import KEY_BYTES, SealingKey

pytestmark = pytest.mark.anyio

Opened = Callable[[], AbstractAsyncContextManager[tuple[SealingKey, Client]]]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Return what opens a client of the store, and yields it with the key as its process has it."""

    @asynccontextmanager
    async def open_client() -> AsyncGenerator[tuple[SealingKey, Client]]:
        async with Client.open(ClientSettings(store=tmp_path / "store.db")) as client:
            yield SealingKey(lambda _: client, tmp_path / "request-state.key"), client

    return open_client


async def test_another_process_opens_what_was_sealed(opened: Opened) -> None:
    """Also one that has made a key at the same time: the first one to store it wins."""
    async with opened() as (mine, one), opened() as (others, two), anyio.create_task_group() as tasks:
        tasks.start_soon(mine.load, one)
        tasks.start_soon(others.load, two)

    assert others.unseal(mine.seal(b"state")) == b"state"


async def test_an_earlier_key_file_is_taken_over(opened: Opened, tmp_path: Path) -> None:
    """Forms that were open when the servers were upgraded can still be answered."""
    file = tmp_path / "request-state.key"
    file.write_bytes(b"k" * KEY_BYTES)
    file.chmod(0o600)
    async with opened() as (key, client):
        await key.load(client)

    assert key.key == b"k" * KEY_BYTES


@pytest.mark.parametrize(("content", "mode"), [(b"k" * KEY_BYTES, 0o644), (b"short", 0o600)])
async def test_a_key_file_that_is_no_secret_is_not(
    opened: Opened, tmp_path: Path, content: bytes, mode: int
) -> None:
    """Others could have read it, or it holds no key."""
    file = tmp_path / "request-state.key"
    file.write_bytes(content)
    file.chmod(mode)
    async with opened() as (key, client):
        await key.load(client)

    assert key.key != content
    assert len(key.key) == KEY_BYTES


async def test_a_restored_store_has_the_key_of_its_backup(opened: Opened, tmp_path: Path) -> None:
    """A process that has read another one before reads it again, as all others do."""
    store, backup = tmp_path / "store.db", tmp_path / "backup.db"
    async with opened() as (key, client):
        await key.load(client)
        back_up(store, backup)
        earlier = key.key
        with closing(sqlite3.connect(backup)) as copy, copy:
            copy.execute("UPDATE meta SET value = ? WHERE name = 'secret:request_state'", ("ab" * KEY_BYTES,))
        restore(backup, store)
        await client.check_store()
        await key.load(client)

    assert key.key == b"\xab" * KEY_BYTES != earlier


async def test_without_a_store_nothing_is_sealed(opened: Opened) -> None:
    """Who needs the key then is told what is the matter."""
    async with opened() as (key, _):
        with pytest.raises(StoreError, match="could not be read"):
            key.seal(b"state")


@pytest.mark.parametrize("token", ["", "nonsense", "v1.AAAA"])
async def test_what_was_not_sealed_is_refused(opened: Opened, token: str) -> None:
    """Whoever made it up."""
    async with opened() as (key, client):
        await key.load(client)
        with pytest.raises(InvalidRequestState):
            key.unseal(token)


async def test_what_was_sealed_under_another_key_is_refused(opened: Opened, tmp_path: Path) -> None:
    """A state of another store decides nothing here."""
    async with (
        opened() as (key, client),
        Client.open(ClientSettings(store=tmp_path / "other.db")) as other_client,
    ):
        other = SealingKey(lambda _: other_client)
        await key.load(client)
        await other.load(other_client)
        with pytest.raises(InvalidRequestState):
            other.unseal(key.seal(b"state"))
