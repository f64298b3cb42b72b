"""Several people at once, on one server and on two: nobody sees, counts, finds or is told what is another's."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import ClientSession
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolResult,
    ElicitRequestFormParams,
    ElicitResult,
    EmptyResult,
    InputRequiredResult,
    SubscribeRequest,
    SubscribeRequestParams,
)
from starlette.datastructures import Headers

from tertulia_server.app import build
from tertulia_server.callers import Caller
from tertulia_server.settings import load
from tertulia_tools.uris import conversation_uri
from tests.doubles.hosts import CONFIG, SECONDS, Reply, http_host, served
from tests.doubles.people import ASK, STEPS, UNKNOWN, WORDS, Person, World, begin, rename
from tests.doubles.stage import ACTOR, register, script
from tests.support.drawing import examples

pytestmark = pytest.mark.io


async def _by_name(headers: Headers) -> Caller:
    return Caller(headers["x-name"])


@asynccontextmanager
async def _everybody(servers: int, era: str) -> AsyncGenerator[World]:
    """Serve on so many servers of one store, each of which everybody is connected to."""
    register()
    with TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        config.write_text(CONFIG)
        flags = {"store": str(Path(folder) / "tertulia.db"), "config": str(config), "wait_seconds": 10}
        settings = load(flags, {}).settings
        async with AsyncExitStack() as stack:
            urls = [
                await stack.enter_async_context(served(build(settings), settings, authenticate=_by_name))
                for _ in range(servers)
            ]
            people: dict[str, Person] = {}
            for name in WORDS:
                hosts = [
                    await stack.enter_async_context(http_host(url, era, {"x-name": name})) for url in urls
                ]
                people[name] = Person(name, hosts)
            yield World(people, urls)


async def _play(servers: int, era: str, plan: Sequence[tuple[str, int, int]]) -> None:
    """Let everybody do what the plan says: who, which step, and a number; each has begun something before."""
    async with _everybody(servers, era) as world:
        for person in world.people.values():
            await begin(world, person, person.hosts[0], 0)
        async with anyio.create_task_group() as tasks:
            for name, person in world.people.items():
                own = [(step, number) for who, step, number in plan if who == name]
                tasks.start_soon(partial(_live, world, person, own))


async def _live(world: World, person: Person, steps: Sequence[tuple[int, int]]) -> None:
    for step, number in steps:
        host = person.hosts[number % len(person.hosts)]
        await STEPS[step](world, person, host, number)


PLANS = st.lists(
    st.tuples(st.sampled_from(sorted(WORDS)), st.integers(0, len(STEPS) - 1), st.integers(0, 3)),
    min_size=8,
    max_size=14,
)


@pytest.mark.parametrize(("servers", "era"), [(1, "legacy"), (2, "2026-07-28")])
@examples(2)
@given(plan=PLANS)
def test_whatever_others_do_each_has_a_world_of_their_own(
    servers: int, era: str, plan: list[tuple[str, int, int]]
) -> None:
    """Whoever does what, in whatever order, at the same time, on one server or in turn on two of one store."""
    anyio.run(_play, servers, era, plan)


def test_everything_in_one_go() -> None:
    """Every step by everybody: what is drawn above may leave some out."""
    plan = [(name, step, number) for number, step in enumerate(range(len(STEPS))) for name in WORDS]
    anyio.run(_play, 2, "2026-07-28", plan)


@pytest.mark.anyio
async def test_what_a_host_carries_for_one_is_nothing_for_another() -> None:
    """The state of a call that asks its person decides nothing in the hands of somebody else."""
    text = script(ASK, {"say": "Done."})
    arguments = {"agent": ACTOR, "text": text}

    async def cancels(_: ElicitRequestFormParams) -> ElicitResult:
        return ElicitResult(action="cancel")

    async with _everybody(1, "2026-07-28") as world:
        url = world.urls[0]
        async with (
            http_host(url, "2026-07-28", {"x-name": "alice"}, person=cancels) as alice,
            http_host(url, "2026-07-28", {"x-name": "bob"}, person=cancels) as bob,
        ):
            asked = await alice.client.session.call_tool("send_message", arguments, allow_input_required=True)
            assert isinstance(asked, InputRequiredResult)
            (request_id,) = asked.input_requests or {}
            repeated = partial(
                ClientSession.call_tool,
                name="send_message",
                arguments=arguments,
                input_responses={request_id: ElicitResult(action="accept", content={"decision": "approve"})},
                request_state=asked.request_state,
                allow_input_required=True,
            )
            with pytest.raises(MCPError):
                await repeated(bob.client.session)
            assert (await bob.call("list_conversations"))["total"] == 0
            waiting = await alice.call("list_conversations", awaiting_me=True)
            assert waiting["total"] == 1
            result = await repeated(alice.client.session)
            assert isinstance(result, CallToolResult)
            assert Reply(result)["status"] == "completed"


@pytest.mark.anyio
async def test_nobody_hears_of_what_happens_to_others() -> None:
    """A subscription to what is another's is acknowledged as one to nothing is, and stays silent."""
    async with _everybody(2, "2026-07-28") as world:
        alice, bob = world.people["alice"], world.people["bob"]
        for person in (alice, bob):
            await begin(world, person, person.hosts[0], 0)
        (hers,), (his,) = alice.conversations, bob.conversations
        uris = [conversation_uri(each) for each in (hers, UNKNOWN["conversation"], his)]
        async with bob.hosts[0].client.listen(resource_subscriptions=uris) as stream:
            await rename(world, alice, alice.hosts[1], 1)
            await rename(world, bob, bob.hosts[1], 1)
            with anyio.fail_after(SECONDS):
                event = await anext(stream)
    assert isinstance(event, ResourceUpdated)
    assert event.uri == conversation_uri(his)


@pytest.mark.anyio
async def test_nobody_subscribes_to_what_is_anothers() -> None:
    """Before 2026-07-28: the refusal is that for an id which does not exist."""
    async with _everybody(1, "legacy") as world:
        alice, bob = world.people["alice"], world.people["bob"]
        await begin(world, alice, alice.hosts[0], 0)
        refusals: list[str] = []
        for conversation_id in (alice.conversations[0], UNKNOWN["conversation"]):
            params = SubscribeRequestParams(uri=conversation_uri(conversation_id))
            with pytest.raises(MCPError) as raised:
                await bob.hosts[0].client.session.send_request(SubscribeRequest(params=params), EmptyResult)
            refusals.append(str(raised.value).replace(conversation_id, "ID"))
    assert refusals[0] == refusals[1]
