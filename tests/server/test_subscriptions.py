"""Hosts are told when a conversation changes: by whichever process, in both eras, and not more often than they read."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated
from mcp_types import (
    INVALID_PARAMS,
    EmptyResult,
    ResourceUpdatedNotification,
    SubscribeRequest,
    SubscribeRequestParams,
    UnsubscribeRequest,
    UnsubscribeRequestParams,
)

from tertulia_server.app import Server, build
from tertulia_server.settings import Settings, load
from tertulia_server.subscriptions import PACE
from tertulia_tools.uris import conversation_uri
from tests.doubles.hosts import (
    CONFIG,
    ERAS,
    SECONDS,
    TRANSPORTS,
    Host,
    Setup,
    Transport,
    authorized,
    marks,
    served,
    stdio,
)
from tests.doubles.http_server import http
from tests.doubles.stage import ACTOR, register

pytestmark = pytest.mark.anyio

WAYS = [
    pytest.param((era, transport), id=f"{era}-{name}", marks=marks(name))
    for (name, transport), era in product({**TRANSPORTS, "http": http}.items(), ERAS)
]
EventListener = Callable[[], Awaitable[str]]
"""Waits for the next URI that a host is told."""


@dataclass(frozen=True)
class Listener:
    """A connected host that keeps what it is told."""

    host: Host
    era: str
    inbox: MemoryObjectReceiveStream[str]

    @asynccontextmanager
    async def subscribed(self, *uris: str) -> AsyncGenerator[EventListener]:
        """Be told about these resources inside."""
        if self.era == "legacy":
            for uri in uris:
                await self.subscribe(uri)
            yield self.inbox.receive
            for uri in uris:
                await self.unsubscribe(uri)
        else:
            async with self.host.client.listen(resource_subscriptions=uris) as stream:

                async def told() -> str:
                    event = await anext(stream)
                    assert isinstance(event, ResourceUpdated)
                    return event.uri

                yield told

    async def subscribe(self, uri: str) -> None:
        """Subscribe, as hosts do before 2026-07-28."""
        request = SubscribeRequest(params=SubscribeRequestParams(uri=uri))
        await self.host.client.session.send_request(request, EmptyResult)

    async def unsubscribe(self, uri: str) -> None:
        """Unsubscribe, as hosts do before 2026-07-28."""
        request = UnsubscribeRequest(params=UnsubscribeRequestParams(uri=uri))
        await self.host.client.session.send_request(request, EmptyResult)


@asynccontextmanager
async def listening(server: Any, era: str, setup: Setup) -> AsyncGenerator[Listener]:
    """Connect a host to a server that there is already."""
    send, receive = anyio.create_memory_object_stream[str](1_000)

    async def handle(message: object) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            send.send_nowait(message.params.uri)

    async with send, receive, Client(server, mode=ERAS[era], message_handler=handle) as client:
        yield Listener(Host(client, setup.store, setup.log), era, receive)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """Return how servers are set up."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    return Setup(tmp_path / "tertulia.db", config, tmp_path / "server.log", {})


@pytest.fixture(params=WAYS)
def connect(request: pytest.FixtureRequest, setup: Setup) -> Callable[[], Any]:
    """Return how to connect a listening host, over each transport and in both eras."""
    era: str
    transport: Transport
    era, transport = request.param

    @asynccontextmanager
    async def connected() -> AsyncGenerator[Listener]:
        async with transport(setup) as server, listening(server, era, setup) as listener:
            yield listener

    return connected


async def created(host: Host, title: str = "Renewals") -> str:
    """Create a conversation; return its id."""
    return str((await host.call("create_conversation", agent=ACTOR, title=title))["conversation_id"])


async def told_of(change: Callable[[], Awaitable[object]], told: EventListener) -> str:
    """Return what is told of a change. It is made until then: the stream that carries it may not be open yet."""
    with anyio.fail_after(SECONDS):
        while True:
            await change()
            with anyio.move_on_after(5 * PACE):
                return await told()


def settings_of(setup: Setup) -> Settings:
    """Return the settings of a server."""
    return load({"store": str(setup.store), "config": str(setup.config)}, {}).settings


def server_of(setup: Setup) -> Server:
    """Return a server in this process."""
    register()
    return build(settings_of(setup))


async def test_a_change_is_told_under_the_uri_that_was_subscribed(connect: Callable[[], Any]) -> None:
    """Its events and messages change with it, and a host that writes the id as it is reads its own URI again."""
    async with connect() as listener:
        own_id = await created(listener.host)
        for uri in (f"{conversation_uri(own_id)}/events", f"conversation://{own_id}"):
            async with listener.subscribed(uri) as told:
                say = partial(listener.host.call, "send_message", conversation_id=own_id, text="Hello.")
                assert await told_of(say, told) == uri


@pytest.mark.io
async def test_a_change_by_another_process_is_told(connect: Callable[[], Any], setup: Setup) -> None:
    """Every host has a process of its own, and all of them one store."""
    other = replace(setup, log=setup.log.with_name("other.log"))
    async with connect() as listener, stdio(other) as server, Client(server) as client:
        theirs = Host(client, other.store, other.log)
        own_id = await created(theirs)
        uri = conversation_uri(own_id)
        async with listener.subscribed(uri) as told:
            tag = partial(theirs.call, "update_conversation", conversation_id=own_id, metadata={"seen": True})
            assert await told_of(tag, told) == uri


async def test_only_what_changed_is_told(connect: Callable[[], Any]) -> None:
    """Of two conversations, that one; also when it is deleted."""
    async with connect() as listener:
        ids = [await created(listener.host), await created(listener.host)]
        uris = list(map(conversation_uri, ids))
        async with listener.subscribed(*uris) as told:
            for own_id, uri in zip(ids, uris, strict=True):
                archive = partial(
                    listener.host.call, "update_conversation", conversation_id=own_id, archived=True
                )
                assert await told_of(archive, told) == uri
            with anyio.fail_after(SECONDS):
                await listener.host.call("delete_conversation", conversation_id=ids[0])
                assert await told() == uris[0]


async def test_quick_changes_are_told_together_and_the_last_is_not_missed(
    connect: Callable[[], Any],
) -> None:
    """A host that reads whenever it is told sees the end of it, and reads about once a second."""
    async with connect() as listener:
        host = listener.host
        own_id = await created(host)
        uri = conversation_uri(own_id)
        count = 0
        async with listener.subscribed(uri) as told:
            rename = partial(host.call, "update_conversation", conversation_id=own_id)
            await told_of(partial(rename, title="0"), told)
            began = anyio.current_time()
            async with anyio.create_task_group() as tasks:

                async def change() -> None:
                    for number in range(1, 51):
                        await rename(title=str(number))

                tasks.start_soon(change)
                read = ""
                with anyio.fail_after(SECONDS):
                    while ">50<" not in read:
                        assert await told() == uri
                        count += 1
                        read = str((await host.client.read_resource(uri)).contents)
            took = anyio.current_time() - began

    assert 1 <= count <= took / PACE + 2


async def test_a_subscription_is_declared_and_acknowledged_as_far_as_it_goes(setup: Setup) -> None:
    """Lists that never change are not promised, nor what is no conversation."""
    async with listening(server_of(setup), "2026-07-28", setup) as listener:
        uri = conversation_uri(await created(listener.host))
        client = listener.host.client
        assert client.server_capabilities.resources is not None
        assert client.server_capabilities.resources.subscribe
        async with client.listen(
            tools_list_changed=True, resource_subscriptions=[uri, "agents://"]
        ) as stream:
            honored = stream.honored

    assert honored.resource_subscriptions == [uri]
    assert not honored.tools_list_changed


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("conversation://stage/nothing", "There is no conversation stage:nothing."),
        ("agents://", "“agents://” is not the URI of a conversation"),
    ],
)
async def test_a_session_cannot_subscribe_to_what_is_no_conversation(
    setup: Setup, uri: str, said: str
) -> None:
    """It is told so, with the protocol's error for it."""
    async with listening(server_of(setup), "legacy", setup) as listener:
        assert listener.host.client.server_capabilities.resources is not None
        assert listener.host.client.server_capabilities.resources.subscribe
        with pytest.raises(MCPError) as caught:
            await listener.subscribe(uri)

    assert caught.value.error.code == INVALID_PARAMS
    assert caught.value.error.message.startswith(said)


async def test_a_session_that_unsubscribed_hears_no_more(setup: Setup) -> None:
    """Of that conversation; the others it still hears of."""
    async with listening(server_of(setup), "legacy", setup) as listener:
        ids = [await created(listener.host), await created(listener.host)]
        quiet, loud = map(conversation_uri, ids)
        await listener.subscribe(quiet)
        await listener.subscribe(quiet)
        await listener.subscribe(loud)
        await listener.unsubscribe(quiet)
        await listener.unsubscribe(quiet)
        with anyio.fail_after(SECONDS):
            for title in ("1", "2"):
                for own_id in ids:
                    await listener.host.call("update_conversation", conversation_id=own_id, title=title)
                assert await listener.inbox.receive() == loud
            await listener.subscribe(quiet)
            await listener.host.call("update_conversation", conversation_id=ids[0], title="3")
            assert await listener.inbox.receive() == quiet


async def test_listening_without_a_subscription_leaves_the_store_alone(setup: Setup) -> None:
    """Some hosts listen from their start to their end, whether or not anybody ever uses us."""
    async with (
        listening(server_of(setup), "2026-07-28", setup) as listener,
        listener.host.client.listen(tools_list_changed=True),
    ):
        pass

    assert not await anyio.Path(setup.store).exists()


@pytest.mark.parametrize("subscribes", [True, False])
async def test_a_server_that_stops_ends_its_streams_gracefully(setup: Setup, subscribes: bool) -> None:
    """The host knows that it was no failure; and who listens only then is told at once."""
    server = server_of(setup)
    async with listening(server, "2026-07-28", setup) as listener:
        client = listener.host.client
        uris = [conversation_uri(await created(listener.host))] if subscribes else []
        with anyio.fail_after(SECONDS):
            async with client.listen(resource_subscriptions=uris) as stream:
                server.end_waiting()
                assert [event async for event in stream] == []
            async with client.listen(resource_subscriptions=uris) as stream:
                assert [event async for event in stream] == []


async def until_told(sessions: int) -> None:
    """Wait until so many sessions have a task that tells them what changes."""
    with anyio.fail_after(SECONDS):
        while sessions != sum("_notify_session" in str(task.name) for task in anyio.get_running_tasks()):
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def host_at(url: str, setup: Setup) -> AsyncGenerator[Listener]:
    """Connect a host with a session to a server on HTTP."""
    async with authorized(url, setup.store) as server, listening(server, "legacy", setup) as listener:
        yield listener


@pytest.mark.io
async def test_a_session_that_ends_is_forgotten(setup: Setup) -> None:
    """However many hosts come and go while the server runs, and whatever they subscribed to."""
    async with served(server_of(setup), settings_of(setup)) as url, host_at(url, setup) as staying:
        uri = conversation_uri(await created(staying.host))
        await staying.subscribe(uri)
        async with host_at(url, setup) as leaving:
            await leaving.subscribe(uri)
            await until_told(2)
        await until_told(1)
