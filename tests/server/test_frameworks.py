"""Agents of frameworks that others made, with a scripted model, hold a whole conversation through our server.

What the model was sent is what such a host shows a model of ours: the tools, the results, the errors.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia_tools.registry import TOOLS
from tests.doubles.chat_completions import Body, ChatCompletions, Turn
from tests.doubles.hosts import ROOT, environment
from tests.doubles.network import served
from tests.support.counterparts import marks, program

HOSTS = ROOT / "tests" / "doubles" / "frameworks"
SECONDS = 90
pytestmark = [pytest.mark.io, pytest.mark.anyio]


def command(tmp_path: Path) -> Sequence[str]:
    """Return the command line of our server."""
    return [sys.executable, "-m", "tertulia_server", "--store", str(tmp_path / "tertulia.db")]


def call(tool: str, body: Body, **arguments: Any) -> Turn:
    """Return the turn that calls a tool, with null for what is left out where the schema is strict, as models do."""
    functions: Sequence[Mapping[str, Any]] = [one["function"] for one in body["tools"]]
    function = next(one for one in functions if one["name"] == tool)
    left_out = dict.fromkeys(function["parameters"]["properties"]) if function.get("strict") else {}
    return Turn(calls=[(tool, {**left_out, **arguments})], ids=[f"call_{len(results(body))}"])


def confirm(body: Body) -> Turn:
    """Return the turn that approves what the last result asks."""
    (request_id,) = set(re.findall(r"req_\w+", results(body)[-1]))
    return call("confirm_tool", body, request_id=request_id, decision="approve")


def results(body: Body) -> Sequence[str]:
    """Return what tools returned, as the model reads it."""
    return [
        content if isinstance(content := message["content"], str) else json.dumps(content)
        for message in body["messages"]
        if message["role"] == "tool"
    ]


@pytest.mark.parametrize(
    "framework",
    [
        pytest.param("pydantic_ai", marks=pytest.mark.counterpart(name="pydantic_ai", apart=True)),
        pytest.param("openai_agents", marks=marks("openai_agents")),
        pytest.param("langchain", marks=marks("langchain")),
    ],
)
async def test_an_agent_holds_a_whole_conversation(framework: str, tmp_path: Path) -> None:
    """It keeps a note, has a change approved, finds the note again, reads an error, and ends with its server."""
    archivist = partial(call, "send_message", agent="local:archivist")
    model = ChatCompletions(
        [
            lambda body: archivist(body, text="remember: Acme keeps 40,000 a year."),
            lambda body: archivist(body, text='retitle this to "Renewals"'),
            confirm,
            lambda body: call("search_conversations", body, query="Acme"),
            lambda body: call("send_message", body, agent="local:nobody", text="Hello?"),
            Turn(text="That is all."),
        ]
    )
    python = sys.executable if framework == "pydantic_ai" else str(program(framework))

    async with served(model.app) as url:
        host = [python, str(HOSTS / f"{framework}_host.py"), f"{url}/v1", "Do it all.", *command(tmp_path)]
        with anyio.fail_after(SECONDS):
            done = await anyio.run_process(host, check=False, env=environment())

    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == "That is all."
    offered = {one["function"]["name"] for one in model.requests[0]["tools"]}
    assert offered == {tool.name for tool in TOOLS}
    kept, asked, decided, found, wrong = results(model.requests[-1])
    assert "Kept" in kept
    assert "input_required" in asked
    assert "completed" in decided
    assert "Renewals" in decided
    assert "40,000 a year" in found
    assert "There is no agent local:nobody." in wrong
    assert "local:archivist" in wrong


@pytest.mark.parametrize("framework", [pytest.param("openai_agents", marks=marks("openai_agents"))])
async def test_most_tools_are_strict_where_a_framework_converts_them(framework: str, tmp_path: Path) -> None:
    """Only arguments with free keys, such as metadata, cannot be: the framework leaves those tools as they are."""
    model = ChatCompletions([Turn(text="That is all.")])

    async with served(model.app) as url:
        host = [str(program(framework)), str(HOSTS / f"{framework}_host.py"), f"{url}/v1", "Hello."]
        with anyio.fail_after(SECONDS):
            await anyio.run_process([*host, *command(tmp_path)], env=environment())

    functions = [one["function"] for one in model.requests[0]["tools"]]
    free = {
        tool.name
        for tool in TOOLS
        if '"additionalProperties": {}' in json.dumps(tool.tool.parameters)
        or '"type": "object"' in json.dumps(tool.tool.parameters["properties"])
    }
    assert {one["name"] for one in functions if not one.get("strict")} == free


@pytest.mark.parametrize("framework", [pytest.param("fastmcp", marks=marks("fastmcp"))])
def test_a_client_of_fastmcp_holds_a_whole_conversation(framework: str, tmp_path: Path) -> None:
    """With a form, whose answer it gives by repeating the call, and with progress."""
    done = subprocess.run(
        [str(program(framework)), str(HOSTS / f"{framework}_host.py"), *command(tmp_path)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)

    assert seen["tools"] == [tool.name for tool in TOOLS]
    assert len(seen["forms"]) == 1
    assert seen["forms"][0].startswith("local:archivist wants to run the tool retitle_conversation.\n")
    assert seen["progress"]
    assert seen["sent"]["status"] == "completed"
    assert "Renewals" in seen["sent"]["reply"]
    assert "40,000" in str(seen["found"]["matches"])
    assert seen["failed"][0] is True
    assert "There is no agent local:nobody." in seen["failed"][1]
