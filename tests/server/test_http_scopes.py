"""What a caller may do over HTTP: each tool and resource asks for a scope, and says which."""

import json
import logging
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError
from starlette.datastructures import Headers

from tertulia_server.app import build
from tertulia_server.callers import Caller
from tertulia_server.http import application
from tertulia_server.http_limits import Limits
from tertulia_server.logs import JsonFormatter
from tertulia_server.settings import load
from tertulia_tools.access import AccessScope
from tertulia_tools.registry import TOOLS
from tests.doubles.hosts import CONFIG, ERAS, decide, http_host, served
from tests.doubles.http_server import INITIALIZE, JSON
from tests.doubles.stage import ACTOR, register, script

pytestmark = pytest.mark.anyio

ASKING = script({"ask": "delete_file", "arguments": {"path": "/tmp/acme"}, "prompt": "May I delete it?"})
OWN = "http://127.0.0.1:8765"
LOGGER = "tertulia_server.http_access"


async def _by_header(headers: Headers) -> Caller:
    return Caller("alice", headers["x-scopes"].split())


def _call(tool: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments or {}},
    }


async def _post(tmp_path: Path, scopes: str, body: object) -> httpx.Response:
    settings = load({"store": str(tmp_path / "tertulia.db")}, {}).settings
    app = application(build(settings), settings, _by_header, Limits())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=OWN) as client:
        return await client.post("/mcp", json=body, headers={**JSON, "x-scopes": scopes})


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
async def test_each_tool_asks_for_its_scope(tmp_path: Path, tool: Any) -> None:
    """Whoever has the one below is told which is missing; the scopes above include it."""
    needed = tool.scope({})
    below = [scope for scope in AccessScope if scope not in needed.granting]
    for scope in ["", *below]:
        answer = await _post(tmp_path, scope, _call(tool.name))
        assert answer.status_code == 403
        assert f'scope="{needed if scope else AccessScope.READ}"' in answer.headers["www-authenticate"]


async def test_who_lacks_a_scope_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By name, with the scope."""
    caplog.set_level(logging.INFO, "tertulia_server")
    await _post(tmp_path, "conversations:read", _call("send_message"))
    (told,) = [
        json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name == LOGGER
    ]
    assert (told["status"], told["principal"]) == (403, "alice")
    assert "conversations:write" in told["message"]


def test_only_what_reads_can_be_had_by_readers() -> None:
    """The scopes follow from what tools say of themselves."""
    scopes = {tool.name: tool.scope({}) for tool in TOOLS}
    assert {name for name, scope in scopes.items() if scope is AccessScope.READ} == {
        tool.name for tool in TOOLS if tool.read_only
    }
    assert {name for name, scope in scopes.items() if scope is AccessScope.ADMIN} == {"delete_conversation"}


@pytest.mark.parametrize("value", [True, "true", 1, "yes"])
async def test_what_others_have_is_for_administrators(tmp_path: Path, value: object) -> None:
    """However a host writes the switch."""
    answer = await _post(tmp_path, "conversations:write", _call("list_conversations", {"all_users": value}))
    assert 'scope="conversations:admin"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "body",
    [
        {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "content": {"decision": "approve"}}},
        [INITIALIZE, _call("send_message")],
        {"method": "x", "id": 1, "result": {}},
    ],
)
async def test_a_form_is_answered_by_whoever_may_write(tmp_path: Path, body: object) -> None:
    """Its answer decides what an agent may do; and a list of messages needs what its messages need."""
    answer = await _post(tmp_path, "conversations:read", body)
    assert 'scope="conversations:write"' in answer.headers["www-authenticate"]


@pytest.fixture
async def url(tmp_path: Path) -> AsyncGenerator[str]:
    """Serve for `alice`, who may do what the header `x-scopes` says."""
    register()
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    settings = load({"store": str(tmp_path / "tertulia.db"), "config": str(config)}, {}).settings
    async with served(build(settings), settings, authenticate=_by_header) as url:
        yield url


def _with(*scopes: AccessScope) -> Mapping[str, str]:
    return {"x-scopes": " ".join(scopes)}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.io
async def test_a_reader_reads_and_changes_nothing(url: str, era: str) -> None:
    """In both eras of the protocol, with the real client."""
    async with http_host(url, era, _with(AccessScope.WRITE)) as writer:
        created = await writer.call("create_conversation", agent="local:archivist", title="Hers")
    its = {"conversation_id": created["conversation_id"]}
    async with http_host(url, era, _with(AccessScope.READ)) as reader:
        assert (await reader.call("get_conversation", **its))["title"].count("Hers") == 1
        with pytest.raises(MCPError):
            await reader.try_call("update_conversation", **its, title="His")
    async with http_host(url, era, _with(AccessScope.READ)) as reader:
        assert (await reader.call("get_conversation", **its))["title"].count("Hers") == 1


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.io
async def test_a_reader_decides_nothing_in_forms(url: str, era: str) -> None:
    """A tool that reads shows a form to whoever may decide, and to nobody else."""
    async with http_host(url, era, _with(AccessScope.WRITE)) as writer:
        asked = await writer.call("send_message", agent=ACTOR, text=ASKING)
    its = {"conversation_id": asked["conversation_id"]}
    async with http_host(url, era, _with(AccessScope.READ), person=decide("approve")) as reader:
        seen = await reader.call("stream_conversation", **its)
        assert seen["status"] == "input_required"
        assert not reader.forms
    async with http_host(url, era, _with(AccessScope.WRITE), person=decide("approve")) as writer:
        assert (await writer.call("stream_conversation", **its))["status"] == "completed"
        assert len(writer.forms) == 1
