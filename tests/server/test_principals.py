"""Several people at once, on one server and on two: nobody sees, counts, finds or is told what is another's."""

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given
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
    PromptReference,
    ResourceTemplateReference,
    SubscribeRequest,
    SubscribeRequestParams,
)
from starlette.datastructures import Headers

from tertulia_server.app import build
from tertulia_server.callers import Caller
from tertulia_server.settings import load
from tertulia_tools.uris import TRANSCRIPT, conversation_uri
from tests.doubles.hosts import CONFIG, SECONDS, Host, Reply, http_host, served
from tests.doubles.stage import ACTOR, register, script
from tests.support.drawing import examples

pytestmark = pytest.mark.io

WORDS = {"alice": "zanzibar", "bob": "quetzal", "carol": "obsidian"}
"""What each of them writes about, and nobody else does. Everybody writes about invoices, too."""
SLIPS = {"alice": "zanzibra", "bob": "quetzla", "carol": "obsidain"}
ASK = {"ask": "delete_file", "arguments": {"path": "/tmp/x"}, "prompt": "May I?"}
UNKNOWN = {"conversation": "stage:c0000000000000000", "request": "req_0000000000000000"}


@dataclass
class Person:
    """One of them: where they are connected, what they have, and what they were shown."""

    name: str
    hosts: Sequence[Host]
    conversations: list[str] = field(default_factory=list[str])
    requests: list[str] = field(default_factory=list[str])


@dataclass
class World:
    """All of them."""

    people: Mapping[str, Person]
    urls: Sequence[str]

    def foreign(self, person: Person, kind: str) -> list[str]:
        """Return the ids of what others have."""
        return [one for other in self.people.values() if other is not person for one in getattr(other, kind)]

    def check(self, person: Person, text: str, given_ids: Sequence[str] = ()) -> None:
        """See that a person was shown nothing of others', beside the ids that they gave themselves."""
        for other, word in WORDS.items():
            assert other == person.name or word not in text, f"{person.name} was shown {word}: {text}"
        for kind in ("conversations", "requests"):
            for each in self.foreign(person, kind):
                assert each in given_ids or each not in text, f"{person.name} was shown {each}: {text}"


Step = Callable[[World, Person, Host, int], Awaitable[None]]


async def _begin(world: World, person: Person, host: Host, number: int) -> None:
    text = script({"say": f"About the invoice of {WORDS[person.name]}. "}, ASK, {"say": "Done."})
    key = f"key-{number % 3}"  # everybody uses the same ones
    title = f"Invoice {WORDS[person.name]} {number % 3}"
    reply = await host.try_call(
        "create_conversation", agent=ACTOR, title=title, message=text, idempotency_key=key
    )
    world.check(person, reply.text + reply.json)
    assert not reply.failed, reply.text
    if reply["conversation_id"] not in person.conversations:
        person.conversations.append(reply["conversation_id"])
        person.requests += [request["request_id"] for request in reply["pending"]]


async def _search(world: World, person: Person, host: Host, number: int) -> None:
    found = await host.call("search_conversations", query="invoice")
    world.check(person, found.text + found.json)
    for other, word in WORDS.items():
        for query in (word, word[:5] + "*", SLIPS[other]):
            reply = await host.call("search_conversations", query=query)
            if other != person.name:
                assert reply["matches"] == [], reply.text
                world.check(
                    person, (reply.text + reply.json).replace(word, "") if query == word else reply.text
                )


async def _look_around(world: World, person: Person, host: Host, number: int) -> None:
    listed = await host.call("list_conversations")
    assert {one["conversation_id"] for one in listed["conversations"]} == set(person.conversations)
    assert listed["total"] == len(person.conversations)
    waiting = await host.call("list_conversations", awaiting_me=True)
    counted = await host.call("get_analytics")
    shown = [str(resource.uri) for resource in (await host.client.list_resources()).resources]
    for text in (listed.json, waiting.json, counted.json, counted.text, json.dumps(shown)):
        world.check(person, text)


async def _complete(world: World, person: Person, host: Host, number: int) -> None:
    for ref, name in (
        (PromptReference(name="catch_up"), "conversation"),
        (ResourceTemplateReference(uri=TRANSCRIPT), "conversation"),
    ):
        for typed in ("", "Inv", *WORDS.values(), *world.foreign(person, "conversations")[:2]):
            argument = {"name": name, "value": typed}
            found = (
                await host.client.complete(ref, argument, context_arguments={"instance": "stage"})
            ).completion
            world.check(person, json.dumps(found.values))
            if typed and typed != "Inv" and typed != WORDS[person.name]:
                assert found.values == []


FOREIGN: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "get_conversation": ("conversation", {"include": ["messages", "events", "requests"]}),
    "send_message": ("conversation", {"text": "Hello"}),
    "stream_conversation": ("conversation", {"wait_seconds": 0}),
    "list_messages": ("conversation", {}),
    "update_conversation": ("conversation", {"title": "Mine"}),
    "update_status": ("conversation", {"status": "completed"}),
    "add_message": ("conversation", {"text": "Hello", "role": "user"}),
    "get_analytics": ("conversation", {}),
    "cancel_run": ("conversation", {}),
    "delete_conversation": ("conversation", {}),
    "confirm_tool": ("request", {"decision": "approve"}),
}


def _without(reply: Reply, given: str) -> str:
    """Return what a reply says, but for the id that was given and the marks, which are random."""
    return re.sub(r"[a-z0-9]{16,}", "…", (reply.text + reply.json).replace(given, "ID"))


async def _reach_for_others(world: World, person: Person, host: Host, number: int) -> None:
    for tool, (kind, arguments) in FOREIGN.items():
        for theirs in world.foreign(person, f"{kind}s")[-1:]:
            name = f"{kind}_id"
            refused = await host.fail(tool, **{name: theirs}, **arguments)
            unknown = await host.fail(tool, **{name: UNKNOWN[kind]}, **arguments)
            world.check(person, refused.text + refused.json, [theirs])
            assert _without(refused, theirs) == _without(unknown, UNKNOWN[kind])
    for theirs in world.foreign(person, "conversations")[-1:]:
        errors: list[str] = []
        for conversation_id in (theirs, UNKNOWN["conversation"]):
            with pytest.raises(MCPError) as raised:
                await host.client.read_resource(conversation_uri(conversation_id))
            errors.append(str(raised.value).replace(conversation_id, "ID"))
        assert errors[0] == errors[1]


async def _decide(world: World, person: Person, host: Host, number: int) -> None:
    if person.requests:
        request_id = person.requests.pop()
        reply = await host.call("confirm_tool", request_id=request_id, decision="approve")
        world.check(person, reply.text + reply.json)


async def _rename(world: World, person: Person, host: Host, number: int) -> None:
    if person.conversations:
        own = person.conversations[number % len(person.conversations)]
        title = f"Invoice {WORDS[person.name]} {number}"
        reply = await host.call("update_conversation", conversation_id=own, title=title)
        world.check(person, reply.text + reply.json)


async def _read(world: World, person: Person, host: Host, number: int) -> None:
    for own in person.conversations[-2:]:
        for reply in (
            await host.call(
                "get_conversation", conversation_id=own, include=["messages", "events", "requests"]
            ),
            await host.call("stream_conversation", conversation_id=own, wait_seconds=0),
        ):
            world.check(person, reply.text + reply.json)
        for content in (await host.client.read_resource(conversation_uri(own))).contents:
            world.check(person, content.model_dump_json())


STEPS: Sequence[Step] = (_begin, _search, _look_around, _complete, _reach_for_others, _decide, _rename, _read)


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
            yield World(
                {
                    name: Person(
                        name,
                        [
                            await stack.enter_async_context(http_host(url, era, {"x-name": name}))
                            for url in urls
                        ],
                    )
                    for name in WORDS
                },
                urls,
            )


async def _play(servers: int, era: str, plan: Sequence[tuple[str, int, int]]) -> None:
    """Let everybody do what the plan says: who, which step, and a number; each has begun something before."""
    async with _everybody(servers, era) as world:
        for person in world.people.values():
            await _begin(world, person, person.hosts[0], 0)
        async with anyio.create_task_group() as tasks:
            for name, person in world.people.items():
                own = [(step, number) for who, step, number in plan if who == name]
                tasks.start_soon(partial(_live, world, person, own))


async def _live(world: World, person: Person, steps: Sequence[tuple[int, int]]) -> None:
    for step, number in steps:
        host = person.hosts[number % len(person.hosts)]
        await STEPS[step](world, person, host, number)


PLANS = st.lists(
    st.tuples(st.sampled_from(sorted(WORDS)), st.integers(0, len(STEPS) - 1), st.integers(0, 9)),
    min_size=8,
    max_size=14,
)


@pytest.mark.parametrize(("servers", "era"), [(1, "legacy"), (2, "2026-07-28")])
@examples(2, [HealthCheck.too_slow])
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
            await _begin(world, person, person.hosts[0], 0)
        (hers,), (his,) = alice.conversations, bob.conversations
        uris = [conversation_uri(each) for each in (hers, UNKNOWN["conversation"], his)]
        async with bob.hosts[0].client.listen(resource_subscriptions=uris) as stream:
            await _rename(world, alice, alice.hosts[1], 1)
            await _rename(world, bob, bob.hosts[1], 1)
            with anyio.fail_after(SECONDS):
                event = await anext(stream)
    assert isinstance(event, ResourceUpdated)
    assert event.uri == conversation_uri(his)


@pytest.mark.anyio
async def test_nobody_subscribes_to_what_is_anothers() -> None:
    """Before 2026-07-28: the refusal is that for an id which does not exist."""
    async with _everybody(1, "legacy") as world:
        alice, bob = world.people["alice"], world.people["bob"]
        await _begin(world, alice, alice.hosts[0], 0)
        refusals: list[str] = []
        for conversation_id in (alice.conversations[0], UNKNOWN["conversation"]):
            params = SubscribeRequestParams(uri=conversation_uri(conversation_id))
            with pytest.raises(MCPError) as raised:
                await bob.hosts[0].client.session.send_request(SubscribeRequest(params=params), EmptyResult)
            refusals.append(str(raised.value).replace(conversation_id, "ID"))
    assert refusals[0] == refusals[1]
