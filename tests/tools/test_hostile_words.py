"""Whatever others choose is data: every string of every model is hostile here, on every way to a model or a person."""

import json
import re
import unicodedata
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from tertulia import Client, ClientSettings
from tertulia.history.formats.native import branch_line, conversation_line, message_line
from tertulia.store.transfer import BranchRow
from tertulia.vocabulary.models import Conversation, Message, Participant
from tertulia.vocabulary.states import Status
from tertulia_tools.prompts import PROMPTS
from tertulia_tools.registry import TOOLS, page_tools
from tertulia_tools.resources import TEMPLATES, expand
from tests.doubles.hostile import (
    CONVERSATION,
    EXTREMES,
    KIND,
    REFUSED,
    SEEN,
    WORDS,
    Filling,
    hostile,
    register,
)
from tests.doubles.hosts import SECONDS, Connect, Host, decide
from tests.doubles.stage import ACTOR, script

IMPORTED = "local:imported"
LIMIT = 10_000
SIZES = {"short": 1, "long": 400}
_MARKED = re.compile(r"<(q[0-9a-z]{16})>.*?</\1>", re.DOTALL)
_FOR_PEOPLE = re.compile("“[^“”\n]*”|^Arguments: [^\n]*$", re.MULTILINE)
"""In a form, the arguments are JSON on a line that nothing else can begin like."""
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}

pytestmark = pytest.mark.anyio


def outside(text: str) -> str:
    """Return what a model reads outside of all quotations."""
    return _MARKED.sub("", text)


def strings(value: Any) -> list[str]:
    """Return every string of a JSON value, keys included."""
    if isinstance(value, dict):
        return [each for key, inner in cast(dict[str, Any], value).items() for each in [key, *strings(inner)]]
    if isinstance(value, list):
        return [each for inner in cast(list[Any], value) for each in strings(inner)]
    return [value] if isinstance(value, str) else []


def assert_harmless(text: str, *, for_people: bool = False) -> None:
    """See that hostile words stand in quotations only, and that nothing is hidden."""
    left = _FOR_PEOPLE.sub("", text) if for_people else outside(text)
    assert SEEN not in left, left
    assert not [c for c in text if unicodedata.category(c) in _HIDDEN and c not in "\n\t"], ascii(text)


async def import_hostile(connect: Connect, filling: Filling) -> None:
    """Import a conversation in which every field that a file can set is hostile."""
    words = filling.words
    conversation = hostile(Conversation, filling, id=IMPORTED, status=Status.OPEN, agent=f"local:{words}")
    lines = [conversation_line(conversation, [hostile(Participant, filling)])]
    about = {"conversation_id": IMPORTED, "branch": None}
    lines += [
        message_line(hostile(Message, filling, **about), timed=True),
        message_line(hostile(Message, filling, **about | {"id": f"{words}2"}), timed=True),
        branch_line(IMPORTED, hostile(BranchRow, filling, parent="main", removed=False)),
    ]
    file = connect.store.parent / "hostile.jsonl"
    file.write_text("".join(lines), "utf-8")
    plain = connect.store.parent / "plain.json"
    named = {"role": "user", "name": words, "id": words, "content": words}
    tool = {"role": "tool", "name": words, "tool_call_id": words, "content": words}
    plain.write_text(json.dumps({"messages": [named, tool], "title": words, "id": words}), "utf-8")
    with anyio.fail_after(SECONDS):
        async with Client.open(ClientSettings(store=connect.store)) as client:
            summary = await client.history.import_files([file, plain])
    assert (summary.problems, summary.new) == (0, 2)


@asynccontextmanager
async def connected(connect: Connect, size: int, **options: Any) -> AsyncGenerator[Host]:
    """Connect a host to a server with the hostile platform, and with a hostile conversation that was imported."""
    register()
    table = {"platform": KIND, "times": size, "max_answer_mib": 1_000} | options
    lines = [f"[instances.{KIND}]", *(f"{name} = {json.dumps(value)}" for name, value in table.items())]
    with (connect.store.parent / "config.toml").open("a") as config:
        config.write("\n".join(lines) + "\n")
    if size == 1:
        await import_hostile(connect, EXTREMES.get(options.get("extreme", ""), Filling()))
    async with connect(
        **options.get("flags", {}), person=decide("reject", reason="no", answer="no"), shows_pages=True
    ) as host:
        yield host


def calls(conversation_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Return a call of every tool, and more of those that show much."""
    own = {"conversation_id": conversation_id}
    instance = conversation_id.partition(":")[0]
    include = ["messages", "events", "requests", "participants", "branches"]
    return [
        ("list_agents", {}),
        ("list_agents", {"instance": instance}),
        ("create_conversation", {"agent": f"{KIND}:agent"}),
        ("send_message", {**own, "text": "hello"}),
        ("stream_conversation", {**own, "wait_seconds": 0.1}),
        ("confirm_tool", {"request_id": "req_0000", "decision": "approve"}),
        ("get_conversation", own),
        ("get_conversation", {**own, "include": include}),
        *(("get_conversation", {**own, "include": [each]}) for each in include),
        ("list_conversations", {}),
        ("list_conversations", {"instance": instance}),
        ("search_conversations", {"query": SEEN}),
        ("search_conversations", {"query": "hostiel"}),
        ("list_messages", own),
        ("list_messages", {**own, "branch": "none"}),
        ("show_conversation", own),
        ("view_conversations", {}),
        ("view_conversations", {"query": SEEN}),
        ("view_conversation", own),
        ("view_decide", {"request_id": "req_0000", "decision": "approve", "proof": "none"}),
        ("get_analytics", own),
        ("get_analytics", {}),
        ("add_message", {**own, "text": "note"}),
        ("update_message", {**own, "message_id": WORDS, "text": "other"}),
        ("rate_message", {**own, "message_id": WORDS, "rating": 3}),
        ("update_conversation", {**own, "generate_title": True, "force": True}),
        ("update_conversation", {**own, "participants": {"local:x": "observer"}}),
        ("update_conversation", {**own, "metadata": {"a": 1}}),
        ("send_message", {**own, "text": REFUSED}),
        ("stream_conversation", {**own, "wait_seconds": 0.1}),
        ("cancel_run", own),
        ("update_status", {**own, "status": "completed", "rating": 3}),
        ("delete_conversation", {**own, "branch": WORDS}),
        ("delete_conversation", own),
        # Hostile words that the caller passes on.
        ("get_conversation", {"conversation_id": WORDS}),
        ("get_conversation", {**own, WORDS: WORDS}),
        ("list_agents", {"instance": WORDS}),
        ("send_message", {"agent": f"{KIND}:{WORDS}", "text": "x"}),
        ("send_message", {"agent": f"local:{WORDS}", "text": "x"}),
        ("confirm_tool", {"request_id": WORDS, "decision": "approve"}),
        ("search_conversations", {"query": "x", "since": WORDS}),
        ("list_messages", {"conversation_id": IMPORTED, "cursor": WORDS}),
        (WORDS, {}),
    ]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("refuses", [False, True], ids=["shows", "refuses"])
async def test_no_tool_shows_what_others_chose_outside_the_marks(
    connect_in_memory: Connect, size: int, refuses: bool
) -> None:
    """In both forms, in results and errors, within the limit of a result."""
    async with connected(connect_in_memory, size, refuses=refuses) as host:
        for conversation_id in [CONVERSATION, IMPORTED][: 1 if size > 1 else 2]:
            for tool, arguments in calls(conversation_id):
                reply = await host.try_call(tool, **arguments)
                assert_harmless(reply.text)
                for each in strings(reply.data):
                    assert_harmless(each)
                assert max(len(reply.text), len(reply.json)) <= LIMIT, (tool, arguments, reply.text)

    assert {tool for tool, _ in calls(CONVERSATION)} >= {tool.name for tool in (*TOOLS, *page_tools())}
    assert bool(host.forms) is not refuses
    for form in host.forms:
        assert_harmless(form.message, for_people=True)
        for each in strings(form.requested_schema):
            assert_harmless(each)
    for _, message in host.progress:
        assert_harmless(message, for_people=True)


async def _or_error(call: Callable[[], Any]) -> str:
    """Return what a request of the protocol returns, as text; its error's sentence, if it fails."""
    try:
        with anyio.fail_after(SECONDS):
            found = await call()
    except MCPError as error:
        return error.error.message
    dumped = found.model_dump(mode="json")
    for content in dumped.get("contents", []):
        del content["uri"]  # the caller's own
    return "\n".join(strings(dumped))


@pytest.mark.parametrize("refuses", [False, True], ids=["shows", "refuses"])
async def test_no_resource_prompt_or_completion_does(connect_in_memory: Connect, refuses: bool) -> None:
    """Nor their errors; the titles in a list of resources are quoted for people."""
    async with connected(connect_in_memory, 1, refuses=refuses) as host:
        client = host.client
        await host.try_call("send_message", conversation_id=CONVERSATION, text="hello", wait_seconds=0)
        shown: list[str] = []
        for own_id in (CONVERSATION, IMPORTED):
            instance, conversation = own_id.split(":")
            for template in TEMPLATES:
                for after in (None, WORDS):
                    uri = expand(template.uri, instance=instance, conversation=conversation, after=after)
                    shown.append(await _or_error(lambda uri=uri: client.read_resource(uri)))
            arguments = {"agent": f"{KIND}:{WORDS}", "task": "do it", "conversation": own_id}
            for prompt in PROMPTS:
                needed = [each.name for each in (await client.list_prompts()).prompts[0].arguments or []]
                given = {
                    name: arguments[name]
                    for name in ("agent", "task", "conversation")
                    if name in _names(prompt)
                }
                assert needed
                shown.append(
                    await _or_error(lambda name=prompt.name, given=given: client.get_prompt(name, given))
                )
        shown.append(await _or_error(lambda: client.get_prompt("catch_up", {"conversation": SEEN.lower()})))
        shown.append(await _or_error(lambda: client.get_prompt("catch_up", {"conversation": WORDS})))
        shown.append(await _or_error(lambda: client.get_prompt("hand_over", {"agent": WORDS, "task": "x"})))
        shown.append(await _or_error(lambda: client.read_resource("conversation://hostile/none")))
        for reference in [*_prompt_references(), *_template_references()]:
            for name in ("conversation", "agent", "instance", "status"):
                for typed in ("", SEEN.lower(), WORDS):
                    argument = {"name": name, "value": typed}
                    shown.append(
                        await _or_error(
                            lambda ref=reference, argument=argument: client.complete(ref, argument)
                        )
                    )
        listed = await _or_error(client.list_resources)

    for text in shown:
        assert_harmless(text)
    assert_harmless(listed, for_people=True)
    assert refuses or SEEN in listed


def _names(prompt: Any) -> Sequence[str]:
    return [name for name in prompt.function.__annotations__ if name != "ctx"]


def _prompt_references() -> list[PromptReference]:
    return [PromptReference(type="ref/prompt", name=prompt.name) for prompt in PROMPTS]


def _template_references() -> list[ResourceTemplateReference]:
    return [ResourceTemplateReference(type="ref/resource", uri=template.uri) for template in TEMPLATES]


async def test_an_embedded_agent_shows_nothing_either(connect_in_memory: Connect) -> None:
    """Its events, tools, questions and errors are as much others' words."""
    steps = [
        {"think": WORDS},
        {"say": WORDS},
        {"tool": WORDS, "arguments": {WORDS: WORDS}, "result": [WORDS]},
        {"event": "raw", "data": {"name": WORDS, "author": WORDS, "payload": {WORDS: WORDS}}},
        {"ask": WORDS, "arguments": {WORDS: WORDS}, "prompt": WORDS},
        {"question": WORDS},
        {"fail": WORDS},
    ]
    async with connected(connect_in_memory, 1) as host:
        sent = await host.call("send_message", agent=ACTOR, text=script(*steps))
        own_id = sent["conversation_id"]
        read = await host.call("stream_conversation", conversation_id=own_id)

    for text in [*strings(sent.data), sent.text, *strings(read.data), read.text]:
        assert_harmless(text)
    assert len(host.forms) == 2
    for text in [*(form.message for form in host.forms), *(message for _, message in host.progress)]:
        assert_harmless(text, for_people=True)


def strict(constant: str) -> None:
    """Refuse what is no JSON."""
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("extreme", EXTREMES)
async def test_no_time_or_number_is_too_much_for_a_tool(connect_in_memory: Connect, extreme: str) -> None:
    """Wherever a platform or a file has one that no store can have: what it belongs to is shown like anything else."""
    reads = {
        "get_conversation",
        "list_conversations",
        "list_messages",
        "search_conversations",
        "get_analytics",
    }
    async with connected(connect_in_memory, 1, extreme=extreme) as host:
        for conversation_id in (CONVERSATION, IMPORTED):
            own = {"conversation_id": conversation_id}
            for tool, arguments in calls(conversation_id):
                reply = await host.try_call(tool, **arguments)
                assert "fault in Tertulia" not in reply.text, (tool, arguments)
                json.loads(reply.json, parse_constant=strict)
            for tool in sorted(reads):
                arguments = {"search_conversations": {"query": SEEN}, "list_conversations": {}}.get(tool, own)
                if conversation_id != IMPORTED:
                    reply = await host.try_call(tool, **arguments)
                    assert not reply.failed, reply.text
