"""Two servers, of which one follows the other: the one that takes writes is lost, and the other takes its place."""

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg
import pytest
from anyio.abc import SocketAttribute, SocketStream
from psycopg.conninfo import conninfo_to_dict

from tertulia import StoreError, UncertainError
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.location import PostgresUrl
from tests.client.making import add_conversation
from tests.support.postgres import USER, Server, own_server, standby_of

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SECONDS = 60
_HELD = "SELECT backend_xid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_xid IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary server and its standby, which has what is acknowledged."""

    primary: Server
    standby: Server

    def url(self, *servers: Server) -> PostgresUrl:
        """Return the URL of a database in several servers."""
        return PostgresUrl(
            f"postgresql:///postgres?host={','.join(str(each.folder) for each in servers)}&user={USER}"
        )

    def fail_over(self) -> None:
        """Have the primary crash, and the standby take its place."""
        self.primary.stop()
        self.standby.promote()


@pytest.fixture
def pair() -> Generator[Pair]:
    """Return two servers: a commit is acknowledged when both have it."""
    with (
        own_server(synchronous_commit="remote_apply", synchronous_standby_names="*") as primary,
        standby_of(primary) as standby,
    ):
        yield Pair(primary, standby)


def ids(tx: Transaction) -> list[str]:
    """Return the conversations there are."""
    return [name for (name,) in tx.all("SELECT id FROM conversations ORDER BY id")]


async def test_stores_go_on_with_the_server_that_takes_over(pair: Pair) -> None:
    """Nothing acknowledged is lost, and who waits hears of what comes."""
    url = pair.url(pair.standby, pair.primary)  # whichever is named first: the one is used that takes writes
    acknowledged: set[str] = set()
    unknown: set[str] = set()
    over = anyio.Event()

    async def write(store: Store, principal: str) -> None:
        number = 0
        while not over.is_set():
            number += 1
            name = f"{principal}-{number:04}"
            add = partial(add_conversation, native_id=name, principal=principal)
            try:
                await store.write(add, principal=principal)
            except UncertainError:
                unknown.add(f"local:{name}")
            else:
                acknowledged.add(f"local:{name}")

    with anyio.fail_after(SECONDS):
        async with Store(url) as one, Store(url) as two:
            await one.write(lambda _: None)
            with one.watch("local:last") as watch:
                async with anyio.create_task_group() as tasks:
                    for number in range(4):
                        tasks.start_soon(write, (one, two)[number % 2], f"p{number}")
                    while len(acknowledged) < 12:
                        await anyio.lowlevel.checkpoint()
                    await anyio.to_thread.run_sync(pair.fail_over)
                    before = len(acknowledged)
                    while len(acknowledged) < before + 12:
                        await anyio.lowlevel.checkpoint()
                    over.set()
                await two.write(partial(add_conversation, native_id="last"))
                while "local:last" not in await one.read(ids):
                    await watch.changed()
            stored = set(await two.read(ids)) - {"local:last"}
            assert acknowledged <= stored <= acknowledged | unknown


async def test_a_commit_that_only_the_lost_server_has_is_not_taken_for_another_of_its_number(
    pair: Pair,
) -> None:
    """The server that takes over gives the number anew: the caller is told that nobody knows what became of it."""
    later = pair.standby.folder / "later"
    url = PostgresUrl(f"postgresql:///postgres?host={pair.primary.folder},{later}&user={USER}")
    with anyio.fail_after(SECONDS):
        async with Store(url) as store:
            await store.write(add_conversation)
            pair.standby.stop("fast")

            async def lose_the_primary() -> None:
                number = await held_commit(pair.primary)
                pair.primary.stop()
                pair.standby.start()
                pair.standby.promote()
                with psycopg.connect(pair.standby.url, autocommit=True) as connection:
                    for _ in range(number):
                        (given,) = connection.execute("SELECT pg_current_xact_id()").fetchone() or (0,)
                        if int(given) >= number:
                            break
                later.symlink_to(pair.standby.folder)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lose_the_primary)
                with pytest.raises(UncertainError, match="may or may not have happened"):
                    await store.write(partial(add_conversation, native_id="c2"))

            assert await store.read(ids) == ["local:c1"]


async def held_commit(server: Server) -> int:
    """Return the number of the transaction whose commit waits for the standby, once there is one."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        while not (row := connection.execute(_HELD).fetchone()):
            await anyio.lowlevel.checkpoint()
        return int(row[0])


async def test_a_server_that_is_no_use_is_not_tried_for_each_connection(database: PostgresUrl) -> None:
    """The one that was used last is tried first: one that is switched off would keep each connection waiting."""
    tried: list[object] = []

    async def refuse(stream: SocketStream) -> None:
        tried.append(stream)
        await stream.aclose()

    named = conninfo_to_dict(database.url)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, refuse)
        port = listener.extra(SocketAttribute.local_port)
        query = urlencode(
            {
                **named,
                "host": f"127.0.0.1,{named.get('host', 'localhost')}",
                "port": f"{port},{named.get('port', '')}",
            }
        )
        with anyio.fail_after(SECONDS):
            async with Store(PostgresUrl(f"postgresql:///?{query}")) as store:
                await store.write(add_conversation)
                for _ in range(3):
                    await store.read(LosingOnce())
        assert len(tried) == 1
        tasks.cancel_scope.cancel()


class LosingOnce:
    """Reads; has the server end the connection at the first attempt."""

    lost = False

    def __call__(self, tx: Transaction) -> None:
        """Read."""
        if not self.lost:
            self.lost = True
            tx.one("SELECT pg_terminate_backend(pg_backend_pid())")


async def test_a_standby_alone_is_read_and_told_to_take_no_writes(pair: Pair) -> None:
    """Waiting for changes does not end the process: it can be promoted at any time."""
    with anyio.fail_after(SECONDS):
        async with Store(pair.url(pair.primary)) as primary, Store(pair.url(pair.standby)) as store:
            await primary.write(add_conversation)
            assert await store.read(ids) == ["local:c1"]

            with pytest.raises(StoreError, match="takes no writes: its server is a standby") as raised:
                await store.write(partial(add_conversation, native_id="c2"))
            assert "target_session_attrs=read-write" in (raised.value.hint or "")

            with store.watch() as watch:
                for _ in range(2):
                    await watch.changed()
                await anyio.to_thread.run_sync(pair.fail_over)
                await store.write(partial(add_conversation, native_id="c2"))
            assert await store.read(ids) == ["local:c1", "local:c2"]
