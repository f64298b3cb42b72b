"""Several people who use one store: what each of them does, and sees that nothing of the others' shows.

Whoever plays them connects their hosts, and lets each take steps (`STEPS`), one after the other, while the others do.
"""

import json
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import (
    EmptyResult,
    PromptReference,
    ResourceTemplateReference,
    SubscribeRequest,
    SubscribeRequestParams,
)

from tertulia_tools.uris import TRANSCRIPT, conversation_uri
from tests.doubles.hosts import ERAS, SECONDS, Host, Reply
from tests.doubles.stage import ACTOR, script

WORDS = {"alice": "zanzibar", "bob": "quetzal", "carol": "obsidian"}
"""What each of them writes about, and nobody else does. Everybody writes about invoices, too."""
SLIPS = {"alice": "zanzibra", "bob": "quetzla", "carol": "obsidain"}
ASK = {"ask": "delete_file", "arguments": {"path": "/tmp/x"}, "prompt": "May I?"}
UNKNOWN = {"conversation": "stage:c0000000000000000", "request": "req_0000000000000000"}
MODERN = next(iter(ERAS))
MOST_CONVERSATIONS = 20
"""How many somebody has before they delete the oldest: as many as one page of a list has."""


@dataclass
class Person:
    """One of them: where they are connected, what they have, and what they were shown."""

    name: str
    hosts: Sequence[Host]
    conversations: list[str] = field(default_factory=list[str])
    requests: dict[str, str] = field(default_factory=dict[str, str])
    """What waits for a decision of theirs, by its id: the conversation."""

    @property
    def word(self) -> str:
        """What they alone write about."""
        return WORDS[self.name]


@dataclass
class World:
    """All of them."""

    people: Mapping[str, Person]
    urls: Sequence[str] = ()
    checks: int = 0
    """How often what somebody was shown was looked through for what is others'."""
    reached: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict[str, list[tuple[float, float]]](list)
    )
    """The seconds that a tool took to refuse what is another's, and what nobody has."""

    def foreign(self, person: Person, kind: str) -> list[str]:
        """Return the ids of what others have."""
        return [one for other in self.people.values() if other is not person for one in getattr(other, kind)]

    def check(self, person: Person, text: str, given_ids: Sequence[str] = ()) -> None:
        """See that a person was shown nothing of others', beside the ids that they gave themselves."""
        self.checks += 1
        for other, word in WORDS.items():
            assert other == person.name or word not in text, f"{person.name} was shown {word}: {text}"
        for kind in ("conversations", "requests"):
            for each in self.foreign(person, kind):
                assert each in given_ids or each not in text, f"{person.name} was shown {each}: {text}"


Step = Callable[[World, Person, Host, int], Awaitable[None]]


async def begin(world: World, person: Person, host: Host, number: int) -> None:
    """Begin a conversation whose agent asks for something."""
    text = script({"say": f"About the invoice of {person.word}. "}, ASK, {"say": "Done."})
    key = f"key-{number}"  # everybody uses the same ones
    title = f"Invoice {person.word} {number}"
    reply = await host.try_call(
        "create_conversation", agent=ACTOR, title=title, message=text, idempotency_key=key
    )
    world.check(person, reply.text + reply.json)
    assert not reply.failed, reply.text
    if reply["conversation_id"] not in person.conversations:
        person.conversations.append(reply["conversation_id"])
        person.requests |= {each["request_id"]: reply["conversation_id"] for each in reply["pending"]}


async def converse(world: World, person: Person, host: Host, number: int) -> None:
    """Say something in a new conversation and once more, and hear the answers, with what is told meanwhile."""
    conversation_id: str | None = None
    for text in (f"What of invoice {number}, {person.word}?", f"And of the next one, {person.word}?"):
        where = {"agent": ACTOR} if conversation_id is None else {"conversation_id": conversation_id}
        reply = await host.call("send_message", **where, text=text)
        told = json.dumps(host.progress)
        host.progress.clear()
        world.check(person, reply.text + reply.json + told)
        assert text in reply["reply"]
        if conversation_id is None:
            conversation_id = str(reply["conversation_id"])
            person.conversations.append(conversation_id)


async def _search(world: World, person: Person, host: Host, number: int) -> None:
    found = await host.call("search_conversations", query="invoice")
    world.check(person, found.text + found.json)
    for other, word in WORDS.items():
        for query in (word, word[:5] + "*", SLIPS[other]):
            reply = await host.call("search_conversations", query=query)
            if other != person.name:
                assert reply["matches"] == [], reply.text
                said = reply.text + reply.json
                world.check(person, said.replace(word, "") if query == word else said)


async def _look_around(world: World, person: Person, host: Host, number: int) -> None:
    listed = await host.call("list_conversations")
    shown = {one["conversation_id"] for one in listed["conversations"]}
    assert shown <= set(person.conversations)
    assert "next_cursor" in listed.data or shown == set(person.conversations)
    assert listed["total"] == len(person.conversations)
    waiting = await host.call("list_conversations", awaiting_me=True)
    counted = await host.call("get_analytics")
    resources = [str(resource.uri) for resource in (await host.client.list_resources()).resources]
    for text in (listed.json, waiting.json, counted.json, counted.text, json.dumps(resources)):
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
            if typed not in {"", "Inv", person.word}:
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


async def reach(
    world: World, person: Person, host: Host, tool: str, foreign: str, *, foreign_first: bool
) -> None:
    """Give a tool what is another's and what nobody has: the answers are alike. Note how long each took."""
    kind, arguments = FOREIGN[tool]
    given = [foreign, UNKNOWN[kind]]
    took: dict[str, float] = {}
    refused: dict[str, Reply] = {}
    for each in given if foreign_first else reversed(given):
        began = time.perf_counter()
        refused[each] = await host.fail(tool, **{f"{kind}_id": each}, **arguments)
        took[each] = time.perf_counter() - began
    world.check(person, refused[foreign].text + refused[foreign].json, [foreign])
    alike = [_without(refused[each], each) for each in given]
    assert alike[0] == alike[1]
    world.reached[tool].append((took[foreign], took[UNKNOWN[kind]]))


async def _reach_for_others(world: World, person: Person, host: Host, number: int) -> None:
    for tool, (kind, _) in FOREIGN.items():
        for foreign in world.foreign(person, f"{kind}s")[-1:]:
            await reach(world, person, host, tool, foreign, foreign_first=number % 2 == 0)
    for foreign in world.foreign(person, "conversations")[-1:]:
        errors: list[str] = []
        for conversation_id in (foreign, UNKNOWN["conversation"]):
            with pytest.raises(MCPError) as raised:
                await host.client.read_resource(conversation_uri(conversation_id))
            errors.append(str(raised.value).replace(conversation_id, "ID"))
        assert errors[0] == errors[1]


async def subscribe(world: World, person: Person, host: Host, number: int) -> None:
    """Subscribe to what is others', to what nobody has, and to their own: they hear of their own only."""
    own = person.conversations[-1]
    nothing = [*world.foreign(person, "conversations")[-3:], UNKNOWN["conversation"]]
    if host.client.protocol_version < MODERN:
        refusals: set[str] = set()
        for conversation_id in nothing:
            params = SubscribeRequestParams(uri=conversation_uri(conversation_id))
            with pytest.raises(MCPError) as raised:
                await host.client.session.send_request(SubscribeRequest(params=params), EmptyResult)
            refusals.add(str(raised.value).replace(conversation_id, "ID"))
        assert len(refusals) <= 1
        return
    uris = [conversation_uri(each) for each in (*nothing, own)]
    with anyio.fail_after(SECONDS):
        async with host.client.listen(resource_subscriptions=uris) as stream:
            await rename(world, person, host, number)
            event = await anext(stream)
    assert isinstance(event, ResourceUpdated)
    assert event.uri == conversation_uri(own)


async def _decide(world: World, person: Person, host: Host, number: int) -> None:
    if person.requests:
        request_id, _ = person.requests.popitem()
        reply = await host.call("confirm_tool", request_id=request_id, decision="approve")
        world.check(person, reply.text + reply.json)


async def rename(world: World, person: Person, host: Host, number: int) -> None:
    """Rename what they began last."""
    own = person.conversations[-1]
    title = f"Invoice {person.word}, renamed {number}"
    reply = await host.call("update_conversation", conversation_id=own, title=title)
    world.check(person, reply.text + reply.json)


async def _delete_old(world: World, person: Person, host: Host, number: int) -> None:
    while len(person.conversations) > MOST_CONVERSATIONS:
        oldest = person.conversations.pop(0)
        person.requests = {each: of for each, of in person.requests.items() if of != oldest}
        reply = await host.call("delete_conversation", conversation_id=oldest)
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


STEPS: Sequence[Step] = (
    begin,
    converse,
    _search,
    _look_around,
    _complete,
    _reach_for_others,
    subscribe,
    _decide,
    rename,
    _read,
    _delete_old,
)
