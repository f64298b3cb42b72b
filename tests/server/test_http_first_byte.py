"""The first byte of an answer over HTTP: it does not wait for what a tool waits for."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from tertulia_server.app import build
from tertulia_server.callers import anybody
from tertulia_server.http_first_byte import FIRST_BYTE_SECONDS, FirstByte
from tertulia_server.settings import load
from tests.doubles.clocks import JumpingClock
from tests.doubles.hosts import CONFIG, ERAS, SECONDS, Reply, http_host, served
from tests.doubles.http_server import META, MODERN
from tests.doubles.stage import ACTOR, register, script

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@pytest.fixture
async def url(tmp_path: Path) -> AsyncGenerator[str]:
    """Return the URL of a server."""
    register()
    (tmp_path / "config.toml").write_text(CONFIG)
    flags = {"store": str(tmp_path / "tertulia.db"), "config": str(tmp_path / "config.toml")}
    settings = load(flags, {}).settings
    async with served(build(settings), settings, authenticate=anybody) as url:
        yield url


@asynccontextmanager
async def sent(url: str, text: str, tool: str = "send_message") -> AsyncGenerator[httpx.Response]:
    """Call a tool without a progress token; yield what comes back, of which nothing is read."""
    params = {"name": tool, "arguments": {"agent": ACTOR, "text": text}, "_meta": META}
    headers = {**MODERN, "mcp-method": "tools/call", "mcp-name": tool}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with (
        httpx.AsyncClient(timeout=SECONDS) as client,
        client.stream("POST", url, headers=headers, json=body) as response,
    ):
        yield response


async def test_the_answer_to_a_call_that_waits_has_begun_while_it_waits(url: str) -> None:
    """Its head and a comment come first, and the result as an event once it is there."""
    with anyio.fail_after(SECONDS):
        async with sent(url, script({"hold": "curtain"}, {"say": "After."})) as response:
            parts = response.aiter_text()
            first = await anext(parts)
            async with sent(url, script({"release": "curtain"})) as released:
                await released.aread()
            rest = "".join([part async for part in parts])
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-accel-buffering"] == "no"
    assert first.startswith(":")
    (event,) = rest.strip().split("\r\n\r\n")
    assert event.startswith("event: message\r\ndata: ")
    assert "After." in json.loads(event.partition("data: ")[2])["result"]["structuredContent"]["reply"]


async def test_what_is_answered_in_a_moment_is_answered_as_a_whole(url: str) -> None:
    """In JSON; so is what the protocol refuses, with its status."""
    async with sent(url, "Hello", tool="list_agents") as answered:
        await answered.aread()
    assert answered.headers["content-type"] == "application/json"
    headers = {**MODERN, "mcp-method": "tools/call", "mcp-name": "x"}
    async with httpx.AsyncClient() as client:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"_meta": META}}
        refused = await client.post(url, headers=headers, json=body)
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/json")


@pytest.mark.parametrize("era", ERAS)
async def test_a_host_that_asks_for_no_progress_gets_the_result(url: str, era: str) -> None:
    """The SDK's client reads the stream as it reads any."""
    async with http_host(url, era, {}) as host:
        reply: dict[str, Any] = {}

        async def send() -> None:
            held = {"agent": ACTOR, "text": script({"hold": "curtain"}, {"say": "After."})}
            reply.update(Reply(await host.client.call_tool("send_message", held)).data)

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send)
                async with sent(url, script({"hold": "later"})) as response:
                    await anext(response.aiter_text())  # so that the other has begun, too
                await host.call("send_message", agent=ACTOR, text=script({"release": "curtain"}))
    assert "After." in reply["reply"]


@pytest.mark.parametrize("seconds", [FIRST_BYTE_SECONDS / 2, FIRST_BYTE_SECONDS * 2])
@pytest.mark.parametrize("reaches_tool", [True, False])
async def test_an_error_has_its_status_until_the_call_has_reached_its_tool(
    seconds: float, *, reaches_tool: bool
) -> None:
    """However long it takes before that."""
    clock = JumpingClock()
    messages: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if reaches_tool:
            scope["tertulia.tool_called"]()
        await clock.sleep(seconds)
        await JSONResponse({"error": {}}, 400)(scope, receive, send)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "POST", "headers": [(b"mcp-method", b"tools/call")]}
    await FirstByte(app, clock)(scope, receive, send)
    assert messages[0]["status"] == (200 if reaches_tool and seconds > FIRST_BYTE_SECONDS else 400)
