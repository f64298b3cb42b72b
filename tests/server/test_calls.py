"""What the log tells of calls: who called what, how it ended, with which runs it has to do, and not what was said."""

import io
import json
import logging
from collections.abc import Generator
from typing import Any

import pytest
from mcp import MCPError

from tertulia_server.logs import JsonFormatter
from tests.doubles.hosts import Connect
from tests.doubles.stage import ACTOR, script

pytestmark = pytest.mark.anyio


@pytest.fixture
def log() -> Generator[io.StringIO]:
    """Return what is logged as JSON during a test."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def records(log: io.StringIO, logger: str) -> list[dict[str, Any]]:
    """Return what a logger has written."""
    return [
        record for line in log.getvalue().splitlines() if (record := json.loads(line))["logger"] == logger
    ]


async def test_a_call_and_its_run_are_logged_under_one_id(
    connect_in_memory: Connect, log: io.StringIO
) -> None:
    """Whoever looks for what a call did finds all of it, and nothing of what was said."""
    async with connect_in_memory() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script({"say": "a secret"}))

    (call,) = [each for each in records(log, "tertulia_server.calls") if each.get("tool") == "send_message"]
    assert (call["method"], call["principal"], call["outcome"]) == ("tools/call", "local", "ok")
    assert call["seconds"] > 0
    (ended,) = records(log, "tertulia.runs.runner")
    assert ended["run_id"] == sent["run_id"]
    assert ended["call_id"] == call["call_id"]
    assert "secret" not in log.getvalue()


async def test_what_a_caller_names_is_not_logged(connect_in_memory: Connect, log: io.StringIO) -> None:
    """A name that nothing has may be anything."""
    async with connect_in_memory() as host:
        await host.fail("secret_tool")
        await host.fail("get_conversation", conversation_id="local:secret")
        with pytest.raises(MCPError):
            await host.client.get_prompt("secret_prompt")

    told = {
        (each["method"], each.get("tool")): each["outcome"] for each in records(log, "tertulia_server.calls")
    }
    assert told["tools/call", None] == "tool_error"
    assert told["tools/call", "get_conversation"] == "tool_error"
    assert told["prompts/get", None] == "-32602"
    assert "secret" not in log.getvalue()
