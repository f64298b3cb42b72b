"""Who reaches the server over HTTP: its names, web pages, the store's token, and the principal that follows from it."""

import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.app import build
from tertulia_server.callers import Caller, NoCallerError, by_store_token
from tertulia_server.cli import main
from tertulia_server.http import application, authentication
from tertulia_server.http_access import OUTLIVING_SECONDS, Authentication
from tertulia_server.http_limits import Limits
from tertulia_server.logs import JsonFormatter
from tertulia_server.settings import load
from tertulia_server.store_token import store_token, token_file
from tests.doubles.clocks import SkippingClock
from tests.doubles.hosts import ERAS, SECONDS, authorization, http_host, served
from tests.doubles.http_server import INITIALIZE, JSON

pytestmark = pytest.mark.anyio

OWN = "127.0.0.1:8765"
PAGE = "https://app.example"
LOGGER = "tertulia_server.http_access"
POSTS = {"legacy": JSON, "2026-07-28": {**JSON, "mcp-protocol-version": "2026-07-28"}}
"""The headers of a call in each era of the protocol."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store of this test's own."""
    return tmp_path / "tertulia.db"


class Sender:
    """Sends requests to the whole application, without a socket."""

    def __init__(self, store: Path, **flags: object) -> None:
        self.store = store
        settings = load({"store": str(store), **flags}, {}).settings
        self._app = application(build(settings), settings, authentication(settings), Limits())

    async def send(
        self, method: str, path: str, headers: Sequence[tuple[str, str]] = (), **options: Any
    ) -> httpx.Response:
        """Send a request; it is for `OWN` unless the headers have another host."""
        given = [(name.encode(), value.encode()) for name, value in headers]
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{OWN}") as client:
            request = client.build_request(method, path, headers=given, **options)
            if hosts := [pair for pair in given if pair[0] == b"host"]:  # httpx would send one only
                kept = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
                request.headers = httpx.Headers([*kept, *hosts])
            return await client.send(request)


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Sender]:
    """Return who sends requests to a server with the given settings; it is the same for the same ones."""
    return cache(partial(Sender, tmp_path_factory.mktemp("callers") / "tertulia.db"))


@pytest.fixture
def caller(callers: Callable[..., Sender]) -> Sender:
    """Return who sends requests to a server with the usual settings."""
    return callers()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        OWN,
        "LOCALHOST:1",
        "localhost",
        "[::1]",
        "[::1]:9000",
        "127.9.8.7:80",
        "[0:0:0:0:0:0:0:1]",
    ],
)
async def test_every_loopback_address_is_a_name_of_the_server(caller: Sender, host: str) -> None:
    """Whatever port a tunnel gives it."""
    assert (await caller.send("GET", "/healthz", [("host", host)])).json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/healthz", "/.well-known/oauth-protected-resource"])
@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"],
        ["127.0.0.1:1@evil.example"],
        ["localhost:8765.evil.example"],
        ["127.0.0.1.evil.example"],
        ["[::1]:x"],
        ["[127.0.0.1]"],
        ["::1"],
        ["localhost:"],
        ["localhost:99999"],
        ["localhost:*"],
        ["localhost:-1"],
        ["localhost:8765 "],
        [""],
        [],
        [OWN, "evil.example"],
        ["192.168.1.5:8765"],
    ],
)
async def test_another_host_is_refused_before_anything_else(
    caller: Sender, path: str, hosts: list[str]
) -> None:
    """A page that makes its own name mean this machine learns nothing: neither a redirect nor that somebody is here."""
    # An empty list of headers would be the caller's own name.
    headers = [("host", host) for host in hosts] or [("host", "")]
    answer = await caller.send("GET", path, headers)
    assert answer.status_code == 421
    assert "location" not in answer.headers
    assert "--allowed-hosts" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ("tertulia.example", "tertulia.example", 200),
        ("tertulia.example", "Tertulia.example:8765", 200),
        ("tertulia.example:*", "tertulia.example:1", 200),
        ("tertulia.example:443", "tertulia.example:443", 200),
        ("tertulia.example:443", "tertulia.example:444", 421),
        ("tertulia.example", "tertulia.example.evil", 421),
        ("other.example,tertulia.example", "tertulia.example", 200),
    ],
)
async def test_an_allowed_host_covers_its_ports(
    callers: Callable[..., Sender], allowed: str, host: str, status: int
) -> None:
    """A proxy in front is known by its name; a port that is named is the only one."""
    caller = callers(allowed_hosts=allowed)
    assert (await caller.send("GET", "/healthz", [("host", host)])).status_code == status


@pytest.mark.parametrize(
    "flags",
    [{"allowed_hosts": "*"}, {"allowed_hosts": "http://x"}, {"allowed_origins": "*"}]
    + [{"allowed_origins": origin} for origin in ("app.example", "https://app.example/path", "null")],
)
def test_what_is_no_host_and_no_origin_is_not_allowed(store: Path, flags: dict[str, str]) -> None:
    """A setting that would allow nothing, or everything, ends the start with a sentence."""
    with pytest.raises(InvalidInputError, match=r"^--allowed-"):
        Sender(store, **flags)


@pytest.mark.parametrize(
    ("origins", "may"),
    [
        ([PAGE], True),
        (["HTTPS://APP.example:443"], True),
        ([f"http://{OWN}"], True),
        (["http://localhost:3000"], True),
        (["https://[::1]:3000"], True),
        (["http://app.example"], False),
        (["https://app.example:8443"], False),
        (["https://app.example.evil"], False),
        (["http://localhost:3000.evil.example"], False),
        (["http://localhost:x"], False),
        (["ftp://localhost"], False),
        (["null"], False),
        (["https://evil.example"], False),
        ([PAGE, "https://evil.example"], False),
    ],
)
async def test_only_known_pages_may_call(
    callers: Callable[..., Sender], origins: list[str], may: bool
) -> None:
    """Those that were allowed, and those of this machine, since they need the token too."""
    caller = callers(allowed_origins=PAGE)
    answer = await caller.send("GET", "/healthz", [("origin", origin) for origin in origins])
    assert answer.status_code == (200 if may else 403)
    assert ("access-control-allow-origin" in answer.headers) is may


@pytest.mark.parametrize(
    ("origin", "status"), [(PAGE, 200), (f"http://{OWN}", 200), ("http://localhost:3000", 403)]
)
async def test_without_a_token_a_page_must_be_named(
    callers: Callable[..., Sender], origin: str, status: int
) -> None:
    """Whatever else is served on this machine could show pages that read everything."""
    caller = callers(allowed_origins=PAGE, token=False)
    assert (await caller.send("GET", "/healthz", [("origin", origin)])).status_code == status


async def test_an_allowed_page_can_call(callers: Callable[..., Sender]) -> None:
    """A browser asks before it sends what a host sends, and lets the page read the session's id."""
    caller = callers(allowed_origins=PAGE)
    asked = [("origin", PAGE), ("access-control-request-method", "POST")]
    wanted = "authorization,content-type,mcp-protocol-version,mcp-session-id"
    preflight = await caller.send("OPTIONS", "/mcp", [*asked, ("access-control-request-headers", wanted)])
    refused = await caller.send("POST", "/mcp", [("origin", PAGE)], json=INITIALIZE)

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert {"GET", "POST", "DELETE"} <= set(preflight.headers["access-control-allow-methods"].split(", "))
    assert preflight.headers["access-control-allow-headers"] == wanted
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert "Mcp-Session-Id" in refused.headers["access-control-expose-headers"]


async def test_a_preflight_of_another_page_is_refused(caller: Sender) -> None:
    """The browser sends nothing after it."""
    answer = await caller.send(
        "OPTIONS", "/mcp", [("origin", "https://evil.example"), ("access-control-request-method", "POST")]
    )
    assert answer.status_code == 403
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize("era", POSTS)
@pytest.mark.parametrize(
    "shown",
    [None, "Bearer", "Bearer ", "Bearer {start}", "Bearer {token}x", "Basic {token}", "{token}", "Bearer é"],
)
async def test_whoever_does_not_show_the_token_is_refused(
    caller: Sender, era: str, shown: str | None
) -> None:
    """With a sentence that says where it is had, in both eras, and before the body is read."""
    token = store_token(caller.store)
    headers = list(POSTS[era].items())
    if shown is not None:
        headers.append(
            ("authorization", shown.format(token=token, start=token[:-1]).encode().decode("latin-1"))
        )
    answer = await caller.send("POST", "/mcp", headers, json=INITIALIZE)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "`tertulia token`" in answer.json()["error"]["message"]
    assert token not in answer.text


async def test_a_refusal_is_logged(caller: Sender, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever runs the server sees who is kept out, and why: without the token, or what the caller chose."""
    caplog.set_level(logging.INFO, "tertulia_server")
    await caller.send("POST", "/mcp", [*JSON.items(), ("authorization", "Bearer a-guess")], json=INITIALIZE)
    await caller.send("GET", "/mcp", [("host", "secret.example")])

    told = [json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name == LOGGER]
    assert [(each["status"], each["address"]) for each in told] == [(401, "127.0.0.1"), (421, "127.0.0.1")]
    assert told[0]["message"].startswith("refused with 401: The token is not this server's.")
    assert "a-guess" not in repr(told)
    assert "secret.example" not in repr(told)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "http://127.0.0.1//mcp", "/healthz/../mcp", "/elsewhere"])
async def test_every_path_but_the_open_ones_asks_for_the_token(caller: Sender, path: str) -> None:
    """What is added later is not open by accident."""
    assert (await caller.send("GET", path)).status_code == 401


async def test_a_host_that_looks_for_ways_to_authenticate_is_told_that_there_are_none(
    caller: Sender,
) -> None:
    """It is not asked for a token on the way to one."""
    answer = await caller.send("GET", "/.well-known/oauth-protected-resource/mcp")
    assert answer.status_code == 404


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_holder_of_the_token_is_the_principal_of_stdio(scheme: str) -> None:
    """So that a host finds over HTTP what another one has over stdio."""
    authenticate = by_store_token("t" * 43)
    assert await authenticate(Headers({"authorization": f"{scheme} {'t' * 43}"})) == Caller("local")
    with pytest.raises(NoCallerError, match="not this server's"):
        await authenticate(Headers({"authorization": f"{scheme} {'t' * 42}"}))


async def _by_name(headers: Headers) -> Caller:
    return Caller(headers["x-name"])


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.io
async def test_a_request_is_served_for_the_principal_who_makes_it(store: Path, era: str) -> None:
    """However callers are authenticated: what one has, another neither sees nor reads."""
    settings = load({"store": str(store), "discover_agents": False}, {}).settings
    async with (
        served(build(settings), settings, authenticate=_by_name) as url,
        http_host(url, era, {"x-name": "alice"}) as alice,
        http_host(url, era, {"x-name": "bob"}) as bob,
    ):
        created = await alice.call("create_conversation", agent="local:archivist", title="Hers")
        assert len((await alice.call("list_conversations")).data["conversations"]) == 1
        assert (await bob.call("list_conversations")).data["conversations"] == []
        await bob.fail("get_conversation", conversation_id=created["conversation_id"])


@pytest.mark.io
async def test_a_session_is_of_the_principal_who_opened_it(store: Path) -> None:
    """Its id is no credential."""
    settings = load({"store": str(store), "discover_agents": False}, {}).settings
    async with served(build(settings), settings, authenticate=_by_name) as url, httpx.AsyncClient() as client:
        opened = await client.post(url, json=INITIALIZE, headers={**JSON, "x-name": "alice"})
        session = {**JSON, "mcp-session-id": opened.headers["mcp-session-id"]}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        answers = {
            name: (await client.post(url, json=ping, headers={**session, "x-name": name})).status_code
            for name in ("bob", "alice")
        }
    assert answers == {"bob": 404, "alice": 200}


async def test_a_stream_ends_with_its_callers_token() -> None:
    """Calls that wait are answered before that."""
    clock = SkippingClock()
    begun, ended = anyio.Event(), anyio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async def for_a_minute(_: Headers) -> Caller:
        return Caller("alice", expires_at=clock.time() / 1_000_000 + 60)

    async def never(*_: object) -> Any:
        raise AssertionError("nothing is read or sent")

    guarded = Authentication(stream, for_a_minute, clock=clock)
    scope = {"type": "http", "path": "/mcp", "headers": [(b"authorization", b"Bearer x")]}
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(guarded, scope, never, never)
            await begun.wait()
            clock.skip(60 + OUTLIVING_SECONDS - 10)
            await anyio.lowlevel.checkpoint()
            assert not ended.is_set()
            clock.skip(10)
            await ended.wait()


def test_a_store_has_one_token_however_many_ask_first(store: Path) -> None:
    """Processes that start at once take the same."""
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(store_token, [store] * 8))
    assert len(tokens) == 1
    assert len(tokens.pop()) >= 43
    assert store_token(store.with_name("other.db")) != store_token(store)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_only_the_owner_reads_the_token(store: Path) -> None:
    """Also where the file was opened to others."""
    old = os.umask(0)
    try:
        token = store_token(store)
    finally:
        os.umask(old)
    file = token_file(store)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    assert store_token(store) == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"t" * 31, b"\xff" * 40, b"two words " * 5])
def test_a_file_without_a_token_lets_nobody_in(store: Path, content: bytes) -> None:
    """An empty one would be shown by everybody."""
    token_file(store).write_bytes(content)
    with pytest.raises(InvalidInputError, match="holds no token"):
        store_token(store)


def test_the_token_is_printed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Alone, so that a shell can put it where it is needed."""
    assert main(["token", "--store", str(store)]) == 0
    assert authorization(store) == {"Authorization": f"Bearer {capsys.readouterr().out.strip()}"}
