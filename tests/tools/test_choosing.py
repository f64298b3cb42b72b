"""Which tool serves which request: the requests that models are asked, and how their answers are judged."""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema
import pytest
from mcp_types import Tool

from benchmarks import choosing
from benchmarks.choosing import Asked, Call, Case
from tests.doubles.chat_completions import ChatCompletions, Turn, Turns
from tests.doubles.network import Receive, Scope, Send, served

pytestmark = pytest.mark.anyio
CASES = [
    Case("Stop it.", [Call("cancel_run", {"conversation_id": "local:a"})]),
    Case("What did we promise Acme?", [Call("search_conversations", {"query": {"contains": "acme"}})]),
    Case("Ask Codex.", [Call("send_message", {"agent": "codex:agent", "text": {"any": True}})]),
    Case("Which agents?", [Call("list_agents"), Call("search_conversations")]),
]
CALLS: Sequence[tuple[str, Mapping[str, Any]] | None] = [
    ("cancel_run", {"conversation_id": "local:a", "idempotency_key": "k"}),
    ("send_message", {"agent": "local:archivist", "text": "find Acme"}),
    ("send_message", {"agent": "codex:agent", "text": ""}),
    None,
]
"""What the scripted models call: the right thing, another tool, an argument that says nothing, and nothing."""


@dataclass
class Messages:
    """A server that speaks Anthropic's Messages, and calls what it is told to, in order."""

    calls: list[tuple[str, Mapping[str, Any]] | None]
    requests: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        assert scope["path"] == "/v1/messages"
        self.requests.append(json.loads((await receive())["body"]))
        call = self.calls.pop(0)
        content: list[Any] = [{"type": "text", "text": "I see."}]
        if call is not None:
            content.append({"type": "tool_use", "id": "toolu_1", "name": call[0], "input": call[1]})
        body = json.dumps({"id": "msg_1", "type": "message", "role": "assistant", "content": content})
        kind = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        await send({"type": "http.response.body", "body": body.encode()})


@pytest.fixture
async def tools() -> Sequence[Tool]:
    return await choosing.offered()


async def test_every_request_can_be_served_as_it_says(tools: Sequence[Tool]) -> None:
    """The tool is there, and takes the arguments; where a value is free, it takes some value."""
    schemas = {tool.name: tool.input_schema for tool in tools}
    _, cases = choosing.read()

    for case in cases:
        for call in case.serving:
            schema = schemas[call.tool]
            assert call.arguments.keys() <= schema["properties"].keys(), case.request
            fixed = {name: value for name, value in call.arguments.items() if not isinstance(value, dict)}
            jsonschema.validate(fixed, {**schema, "required": []})
            required = set(schema.get("required", ()))
            assert required <= call.arguments.keys() or call.tool == "create_conversation", case.request


async def test_the_requests_cover_every_tool(tools: Sequence[Tool]) -> None:
    """Sixty requests at least, each once, and two at least for a tool."""
    _, cases = choosing.read()

    assert len({case.request for case in cases}) == len(cases) >= 60
    assert [name for name, (count, _) in choosing.coverage(tools, cases).items() if count < 2] == []


async def test_a_search_by_words_finds_the_right_tool_for_most(tools: Sequence[Tool]) -> None:
    """As hosts do that show a model only the tools that it searched for."""
    _, cases = choosing.read()

    found = [
        bool(
            {call.tool for call in case.serving} & set(choosing.ranked(tools, case.request)[: choosing.FIRST])
        )
        for case in cases
    ]

    assert sum(found) >= len(cases) * 0.6


@pytest.mark.parametrize("wire", choosing.WIRES)
async def test_a_model_is_asked_and_judged(
    wire: str, tools: Sequence[Tool], capsys: pytest.CaptureFixture[str]
) -> None:
    """Over either wire; what it got wrong is shown with what was wanted, and which tool was taken for which."""
    turns: Turns = [Turn(text="I see.") if call is None else Turn(calls=[call]) for call in CALLS]
    server = ChatCompletions(turns) if wire == "openai" else Messages(list(CALLS))
    asked = Asked(wire, "scripted", "You help.", tools)

    async with httpx.AsyncClient(base_url="http://model", transport=httpx.ASGITransport(server)) as client:
        answers = await choosing.ask(client, asked, CASES)
    share = choosing.report_answers(CASES, answers)

    assert [case.is_right(chosen) for case, chosen in zip(CASES, answers, strict=True)] == [
        True,
        False,
        False,
        False,
    ]
    assert share == 0.25
    printed = capsys.readouterr().out
    assert "4 requests: the right tool for 2, with the right arguments for 1." in printed
    assert 'wanted  search_conversations {"query": {"contains": "acme"}}' in printed
    assert 'called  send_message {"agent": "local:archivist", "text": "find Acme"}' in printed
    assert choosing.confusions(CASES, [None if call is None else call[0] for call in CALLS]) == {
        ("search_conversations", "send_message"): 1,
        ("list_agents", "nothing"): 1,
    }
    sent = json.dumps(server.requests[0])
    assert all(tool.name in sent for tool in tools)
    assert "You help." in sent


@pytest.mark.io
@pytest.mark.parametrize("wrong", [0, 1])
async def test_the_command_asks_all_of_a_model_that_is_served(
    wrong: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It succeeds where the model calls what serves each request, and fails below the share that is wanted."""
    _, cases = choosing.read()
    turns: Turns = [Turn(calls=[(case.best.tool, given(case.best.arguments))]) for case in cases]
    turns[:wrong] = [Turn(text="I would rather not.")] * wrong
    model = ChatCompletions(turns)
    monkeypatch.setenv("A_KEY", "secret")

    async with served(model.app) as url:
        code = await choosing.run(
            Namespace(url=f"{url}/v1", model="scripted", wire="openai", key_env="A_KEY", least=1.0)
        )

    assert code == wrong
    assert set(model.keys) == {"secret"}
    assert f"with the right arguments for {len(cases) - wrong}." in capsys.readouterr().out


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as a model gives them that does what was wanted."""
    free: dict[str, Any] = {name: value for name, value in arguments.items() if isinstance(value, dict)}
    return {**arguments, **{name: rule.get("contains", "something") for name, rule in free.items()}}
