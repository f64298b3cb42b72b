"""Two server processes on one store behind a proxy that gives every request to the other one."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitRequestFormParams, ElicitRequestURLParams, ElicitResult

from tertulia.vocabulary.models import LOCAL_PRINCIPAL
from tertulia_server.token_file import add_token
from tertulia_tools.access import AccessScope
from tests.doubles.hosts import CONFIG, SECONDS, Host, Reply, Setup, authorized
from tests.doubles.http_server import INITIALIZE, JSON, http_server
from tests.doubles.proxy import NGINX, free_port, nginx, shipped_proxy
from tests.doubles.stage import ACTOR, script

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.io,
    pytest.mark.counterpart(name="nginx", apart=True),
    pytest.mark.skipif(not NGINX, reason="nginx is not installed"),
]

STORE = "tertulia.db"
_NGINX = """\
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log {folder}/access.log combined;
    log_format who '$upstream_addr';
    access_log {folder}/who.log who;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream tertulia {{ {servers} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://tertulia;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_buffering off;
            proxy_read_timeout 300s;
        }}
    }}
}}
"""


class Proxy:
    """The proxy, and who answered through it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder

    def answered(self) -> list[str]:
        """Return which server answered each request that is over, in order."""
        return (self._folder / "who.log").read_text().split()


@asynccontextmanager
async def round_robin(tmp_path: Path) -> AsyncGenerator[Proxy]:
    """Start two servers and the proxy in front of them."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    setup = Setup(tmp_path / STORE, config, tmp_path / "server.log", {})
    port = free_port()
    async with http_server(setup) as one, http_server(setup) as other:
        folder = tmp_path / "nginx"
        folder.mkdir()
        servers = " ".join(f"server {server.origin.removeprefix('http://')};" for server in (one, other))
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port, servers=servers))
        async with nginx(folder, port):
            yield Proxy(f"http://127.0.0.1:{port}/mcp", folder)


@asynccontextmanager
async def behind_the_shipped_proxy(
    tmp_path: Path, servers: int = 1
) -> AsyncGenerator[tuple[str, str, ssl.SSLContext]]:
    """Start servers for several people behind nginx as `deploy/nginx.conf` sets it up, but for names and ports.

    Yields the URL, a token for it, and how to trust it.
    """
    token = add_token(tmp_path / "tokens", LOCAL_PRINCIPAL, [*AccessScope])
    port = free_port()
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    flags = {
        "token_file": tmp_path / "tokens",
        "public_url": f"https://localhost:{port}/mcp",
        "trusted_proxies": "127.0.0.1",
        "log_level": "INFO",
        "log_format": "json",
    }
    setup = Setup(tmp_path / STORE, config, tmp_path / "server.log", flags)
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(http_server(setup)) for _ in range(servers)]
        origins = [server.origin for server in started]
        trusted = await stack.enter_async_context(shipped_proxy(tmp_path, port, origins))
        yield f"https://localhost:{port}/mcp", token, trusted


async def test_an_approval_that_begins_on_one_server_ends_on_the_other(tmp_path: Path) -> None:
    """The question comes from one process, and its answer reaches another that can open the sealed state."""

    async def approve(
        context: ClientRequestContext, params: ElicitRequestFormParams | ElicitRequestURLParams
    ) -> ElicitResult:
        return ElicitResult(action="accept", content={"decision": "approve"})

    async with round_robin(tmp_path) as proxy:
        async with (
            authorized(proxy.url, tmp_path / STORE) as transport,
            Client(transport, mode="2026-07-28", elicitation_callback=approve) as client,
        ):
            host = Host(client, tmp_path, tmp_path)
            answered = await host.call(
                "send_message",
                agent=ACTOR,
                text=script({"ask": "tidy_up"}, {"ask": "tidy_more"}, {"say": " done"}),
            )
            assert answered["status"] == "completed"
            assert str(answered["reply"]).count("approved") == 2
        assert len(set(proxy.answered())) == 2


async def test_a_stream_can_be_read_from_either_server(tmp_path: Path) -> None:
    """Whichever process works on a run, each call finds all of it, and nothing comes twice."""
    async with round_robin(tmp_path) as proxy:
        async with (
            authorized(proxy.url, tmp_path / STORE) as transport,
            Client(transport, mode="2026-07-28") as client,
        ):
            host = Host(client, tmp_path, tmp_path)
            sent = await host.call("send_message", agent=ACTOR, text=script({"say": "word ", "times": 2_000}))
            conversation_id = str(sent["conversation_id"])
            texts: list[str] = []
            cursor: str | None = None
            while True:
                page = await host.call("stream_conversation", conversation_id=conversation_id, cursor=cursor)
                texts += [event["text"] for event in page["events"] if event["what"] == "text"]
                cursor = str(page["cursor"])
                if "note" not in page.data:
                    break
            heard = "".join(text.partition(">")[2].rpartition("</")[0] for text in texts)
            assert heard == "word " * 2_000
        assert len(set(proxy.answered())) == 2


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_the_shipped_proxy_passes_on_what_a_host_needs(tmp_path: Path, mode: str) -> None:
    """Encrypted, with the caller's token and address, and what is streamed before the call is over."""
    async with behind_the_shipped_proxy(tmp_path) as (url, token, trusted):
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "203.0.113.7"}
        async with (
            httpx2.AsyncClient(verify=trusted, headers=headers, timeout=SECONDS) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            host = Host(client, tmp_path, tmp_path)
            heard = anyio.Event()
            reply: dict[str, Any] = {}

            async def reported(progress: float, total: float | None, message: str | None) -> None:
                heard.set()

            async def send() -> None:
                steps = script({"say": "Before. "}, {"hold": "curtain"}, {"say": "After."})
                held = {"agent": ACTOR, "text": steps}
                reply.update(
                    Reply(await client.call_tool("send_message", held, progress_callback=reported)).data
                )

            with anyio.fail_after(SECONDS):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(send)
                    await heard.wait()
                    assert not reply
                    await host.call("send_message", agent=ACTOR, text=script({"release": "curtain"}))
            assert "Before. After." in reply["reply"]
    log = (tmp_path / "server.log").read_text()
    assert '"principal":"local","address":"127.0.0.1"' in log
    assert "203.0.113.7" not in log


async def test_a_host_with_a_session_comes_back_to_the_server_that_has_it(tmp_path: Path) -> None:
    """Another one would know nothing of it."""
    async with (
        behind_the_shipped_proxy(tmp_path, servers=2) as (url, token, trusted),
        httpx2.AsyncClient(
            verify=trusted, headers={"Authorization": f"Bearer {token}"}, timeout=SECONDS
        ) as http,
        Client(streamable_http_client(url, http_client=http), mode="legacy") as client,
    ):
        host = Host(client, tmp_path, tmp_path)
        for _ in range(8):
            await host.call("list_agents")


async def test_the_shipped_proxy_passes_on_nothing_else(tmp_path: Path) -> None:
    """No other path, no other host, and nobody without a token."""
    async with (
        behind_the_shipped_proxy(tmp_path) as (url, _, trusted),
        httpx2.AsyncClient(verify=trusted, timeout=SECONDS) as http,
    ):
        origin = url.removesuffix("/mcp")
        assert (await http.get(f"{origin}/readyz")).json() == {"status": "ok"}
        assert (await http.get(f"{origin}/docs")).status_code == 404
        assert (await http.get(f"{origin}/mcp/../docs")).status_code == 404
        assert (await http.post(url, headers=JSON, json=INITIALIZE)).status_code == 401
        other = {**JSON, "Host": "evil.example"}
        assert (await http.post(url, headers=other, json=INITIALIZE)).status_code == 421
        assert (await http.post(url, headers=JSON, content=b"x" * (8 * 1024 * 1024 + 1))).status_code == 413
