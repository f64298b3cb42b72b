"""Known attacks on a server on HTTP. Others stand where they belong: tokens in `test_oauth.py`, connections in
`test_http_limits.py`, page and name of the server in `test_http_access.py`, what is another's in `test_principals.py`.
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from mcp import ClientSession
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from starlette.datastructures import Headers

from tertulia_server.app import build
from tertulia_server.callers import Caller
from tertulia_server.settings import load
from tests.doubles.hosts import CONFIG, SECONDS, Reply, http_host, served
from tests.doubles.http_server import INITIALIZE, JSON, META, MODERN
from tests.doubles.stage import ACTOR, register, script

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@dataclass(frozen=True)
class Target:
    """A server under attack."""

    url: str

    async def post(
        self, body: bytes | object, headers: Sequence[tuple[str, str]] | Mapping[str, str]
    ) -> httpx.Response:
        """Send a body with just these headers, as alice."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = [*(headers.items() if isinstance(headers, Mapping) else headers), ("x-name", "alice")]
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            return await client.post(self.url, content=content, headers=given)

    async def raw(self, request: bytes) -> bytes:
        """Send bytes on a connection of their own; return all that comes back until the server closes it."""
        address = urlsplit(self.url)
        assert address.hostname
        assert address.port
        received = b""
        with anyio.fail_after(SECONDS):
            async with await anyio.connect_tcp(address.hostname, address.port) as stream:
                await stream.send(request)
                while True:
                    try:
                        received += await stream.receive()
                    except (anyio.EndOfStream, anyio.BrokenResourceError):
                        return received

    async def is_well(self) -> bool:
        """Return whether somebody else is served."""
        async with http_host(self.url, "2026-07-28", {"x-name": "bob"}) as host:
            return not (await host.call("list_agents")).failed


async def by_name(headers: Headers) -> Caller:
    """Believe everybody, with the scopes they say."""
    return Caller(headers["x-name"], headers.get("x-scopes", "conversations:admin").split())


@pytest.fixture
async def target(tmp_path: Path) -> AsyncGenerator[Target]:
    """Return a server that is attacked, and must serve others afterwards."""
    register()
    (tmp_path / "config.toml").write_text(CONFIG)
    flags = {"store": str(tmp_path / "tertulia.db"), "config": str(tmp_path / "config.toml")}
    settings = load(flags, {}).settings
    async with served(build(settings), settings, authenticate=by_name) as url:
        target = Target(url)
        yield target
        assert await target.is_well()


HEAD = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Name: alice\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
"""What a proxy in front takes for a part of the body."""


FRAMINGS = (
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    b"Content-Length: 0, 44\r\n\r\n",
    b"Content-Length: +0\r\n\r\n",
    b"Content-Length: 0x0\r\n\r\n",
    b"Content-Length: -1\r\n\r\n",
    b"Content-Length : 0\r\n\r\n",
    b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: identity\r\n\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n-0\r\n\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    b"X: y\rContent-Length: 0\r\n\r\n",
    b"X: y\x00\r\nContent-Length: 0\r\n\r\n",
)


async def test_a_request_whose_end_is_in_doubt_hides_no_other(target: Target) -> None:
    """A proxy and the server may disagree where it ends: then nothing that follows on the connection is a request."""
    for framing in FRAMINGS:
        received = await target.raw(HEAD + framing + SMUGGLED)
        assert received.count(b"HTTP/1.1 ") <= 1, framing
        assert b'{"status":"ok"}' not in received, framing


CALL: Mapping[str, Any] = {"name": "list_agents", "arguments": {}, "_meta": META}
BODY: Mapping[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}


NAMED = {**MODERN, "mcp-method": "tools/call", "mcp-name": "list_agents"}


DISAGREEING: Sequence[Sequence[tuple[str, str]] | Mapping[str, str]] = (
    {**MODERN, "mcp-method": "tools/list", "mcp-name": "list_agents"},
    {**MODERN, "mcp-method": "tools/call", "mcp-name": "delete_conversation"},
    {**MODERN, "mcp-method": "tools/call"},
    {**MODERN, "mcp-name": "list_agents"},
    {**JSON, "mcp-protocol-version": "2026-07-29", "mcp-method": "tools/call", "mcp-name": "list_agents"},
    [
        *MODERN.items(),
        ("mcp-method", "tools/call"),
        ("mcp-method", "tools/list"),
        ("mcp-name", "list_agents"),
    ],
    [*MODERN.items(), ("mcp-method", "tools/call"), ("mcp-name", "list_agents"), ("mcp-name", "x")],
    [
        *MODERN.items(),
        ("mcp-protocol-version", "2025-06-18"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "list_agents"),
    ],
)


async def test_headers_that_say_something_else_than_the_body_are_refused(target: Target) -> None:
    """A proxy may decide by the headers what a caller may do."""
    for headers in DISAGREEING:
        answer = await target.post(BODY, headers)
        assert answer.status_code == 400, headers
        assert "result" not in answer.json()


async def test_what_headers_and_body_agree_on_is_served(target: Target) -> None:
    """The same request, unaltered."""
    answer = await target.post(BODY, NAMED)
    assert answer.status_code == 200
    assert "result" in answer.json()


async def test_a_session_serves_only_whoever_names_it_once(target: Target) -> None:
    """Neither a made-up one, nor one of two, nor one in the hands of somebody else; and a new one is the server's."""
    opened = await target.post(INITIALIZE, JSON)
    session = opened.headers["mcp-session-id"]
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    version = {**JSON, "mcp-protocol-version": "2025-06-18"}
    assert (await target.post(ping, {**version, "mcp-session-id": session})).status_code == 200

    for other in ("0" * 32, session[:-1], f"{session} ", f"{session},{session}", "../", "", session.upper()):
        if other.strip() != session:
            answer = await target.post(ping, {**version, "mcp-session-id": other})
            assert answer.status_code in {400, 404}, other
    twice = [*version.items(), ("mcp-session-id", "0" * 32), ("mcp-session-id", session)]
    assert (await target.post(ping, twice)).status_code in {400, 404}
    async with httpx.AsyncClient(timeout=SECONDS) as client:
        stolen = {**version, "mcp-session-id": session, "x-name": "mallory"}
        for method in ("POST", "GET", "DELETE"):
            answer = await client.request(method, target.url, headers=stolen, json=ping)
            assert answer.status_code == 404
    fixed = await target.post(INITIALIZE, {**JSON, "mcp-session-id": "f" * 32})
    assert fixed.headers.get("mcp-session-id") != "f" * 32
    assert (await target.post(ping, {**version, "mcp-session-id": session})).status_code == 200


def nested(depth: int, opening: bytes, closing: bytes) -> bytes:
    """Return JSON that nests as deeply."""
    return opening * depth + b"1" + closing * depth


def around(value: bytes) -> bytes:
    """Return the call of a tool with a value, given as JSON, among its arguments."""
    before, after = json.dumps({**BODY, "params": {**CALL, "arguments": {"x": "HERE"}}}).split('"HERE"')
    return before.encode() + value + after.encode()


VALUES = (
    nested(100, b"[", b"]"),
    nested(1_000, b"[", b"]"),
    nested(1_000, b'{"a":', b"}"),
    nested(1_000_000, b"[", b"]"),
    nested(1_000_000, b'{"a":', b"}"),
    b"[" * 4_000_000,
    b"1" * 1_000_000,
    b"1e999",
    b"NaN",
    b'"\\ud800"',
    b'"\xff"',
    b"[" + b"0," * 1_000_000 + b"0]",
    b"{" + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}",
)


@pytest.mark.parametrize("scopes", ["conversations:read", "conversations:admin"])
async def test_no_json_takes_the_server_with_it(target: Target, scopes: str) -> None:
    """Deep, wide, endless or broken, in each era: it is answered, and others are served."""
    for value in VALUES:
        for headers in (NAMED, JSON):
            for body in (around(value), value):
                answer = await target.post(body, {**headers, "x-scopes": scopes})
                assert answer.status_code < 500, value[:20]
                assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":PARAMS}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_agents"},"params":PARAMS}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":PARAMS,"params":{"name":"list_agents"}}',
        b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":PARAMS}]',
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":PARAMS}]',
        b'{"jsonrpc":"2.0","id":1,"method":"tools\\u002fcall","params":PARAMS}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"tools/call","params":PARAMS}',
    ],
)
async def test_no_spelling_of_a_call_gets_around_the_scopes(target: Target, body: bytes) -> None:
    """What the check takes a body for and what the server does are the same, or the server checks again."""
    async with http_host(target.url, "2026-07-28", {"x-name": "alice"}) as host:
        created = await host.call("create_conversation", agent=ACTOR)
        kept = str(created["conversation_id"])
        params = {"name": "delete_conversation", "arguments": {"conversation_id": kept}, "_meta": META}
        spelt = body.replace(b"PARAMS", json.dumps(params).encode())
        reader = {"x-scopes": "conversations:read"}
        headers = {**MODERN, "mcp-method": "tools/call", "mcp-name": "delete_conversation", **reader}
        opened = await target.post(INITIALIZE, {**JSON, **reader})
        legacy = {**JSON, "mcp-session-id": opened.headers["mcp-session-id"], **reader}
        for utf in ("utf-8", "utf-16"):
            for each in (headers, {**MODERN, **reader}, legacy):
                await target.post(spelt.decode("utf-8").encode(utf), each)
        assert not (await host.call("get_conversation", conversation_id=kept)).failed


@asynccontextmanager
async def asked(target: Target) -> AsyncGenerator[tuple[ClientSession, partial[Any], str, str]]:
    """Send a message whose agent asks for an approval; yield the session, the repeated call, and its state and form."""

    async def cancels(_: ElicitRequestFormParams) -> ElicitResult:
        return ElicitResult(action="cancel")

    arguments = {"agent": ACTOR, "text": script({"ask": "tidy_up"}, {"ask": "tidy_more"}, {"say": "Done."})}
    async with http_host(target.url, "2026-07-28", {"x-name": "alice"}, person=cancels) as alice:
        session = alice.client.session
        first = await session.call_tool("send_message", arguments, allow_input_required=True)
        assert isinstance(first, InputRequiredResult)
        assert first.request_state is not None
        (form,) = first.input_requests or {}
        yield (
            session,
            partial(session.call_tool, "send_message", arguments, allow_input_required=True),
            first.request_state,
            form,
        )


APPROVED = ElicitResult(action="accept", content={"decision": "approve"})


async def test_the_state_of_a_call_that_was_altered_decides_nothing(target: Target) -> None:
    """Whichever of its characters: it is sealed."""
    async with asked(target) as (_, repeat, state, form):
        for position in (0, len(state) // 3, len(state) // 2, len(state) - 2):
            other = "A" if state[position] != "A" else "B"
            altered = state[:position] + other + state[position + 1 :]
            with pytest.raises(MCPError):
                await repeat(input_responses={form: APPROVED}, request_state=altered)
        for cut in (state[:-4], state + "AAAA", state + state, ""):
            with pytest.raises(MCPError):
                await repeat(input_responses={form: APPROVED}, request_state=cut)
        answered = await repeat(input_responses={form: APPROVED}, request_state=state)
        assert isinstance(answered, InputRequiredResult), "the first was approved, and the second is asked"


async def test_the_state_of_a_call_fits_no_other_call(target: Target) -> None:
    """Neither another tool, nor other arguments."""
    async with asked(target) as (session, _, state, form):
        for tool, arguments in (
            ("send_message", {"agent": ACTOR, "text": "Something else."}),
            ("create_conversation", {"agent": ACTOR, "message": "x"}),
        ):
            with pytest.raises(MCPError):
                await session.call_tool(
                    tool,
                    arguments,
                    input_responses={form: APPROVED},
                    request_state=state,
                    allow_input_required=True,
                )


async def test_the_state_of_a_call_that_is_replayed_approves_nothing_more(target: Target) -> None:
    """What it was about is decided; what the agent asks next is asked of the person anew."""
    async with asked(target) as (_, repeat, state, form):
        second = await repeat(input_responses={form: APPROVED}, request_state=state)
        assert isinstance(second, InputRequiredResult)
        replayed = await repeat(input_responses={form: APPROVED}, request_state=state)
        assert isinstance(replayed, InputRequiredResult), "the second tool still waits for a person"
        (next_form,) = second.input_requests or {}
        rejected = ElicitResult(action="accept", content={"decision": "reject"})
        ended = await repeat(input_responses={next_form: rejected}, request_state=second.request_state)
        assert isinstance(ended, CallToolResult)
        reply = str(Reply(ended)["reply"])
        assert (reply.count("approved"), reply.count("rejected")) == (1, 1)
