"""Two server processes on one store behind a proxy that gives every request to the other one."""

import shutil
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import ElicitRequestFormParams, ElicitRequestURLParams, ElicitResult

from tests.doubles.hosts import CONFIG, SECONDS, Host, Setup, authorized
from tests.doubles.http_server import http_server
from tests.doubles.stage import ACTOR, script

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.io,
    pytest.mark.counterpart(name="nginx", apart=True),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]

STORE = "tertulia.db"
_NGINX = """\
daemon off;
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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with http_server(setup) as one, http_server(setup) as other:
        folder = tmp_path / "nginx"
        folder.mkdir()
        servers = " ".join(f"server {server.origin.removeprefix('http://')};" for server in (one, other))
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port, servers=servers))
        async with await anyio.open_process(
            ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")],
            stdin=None,
            stdout=None,
            stderr=None,
        ) as nginx:
            try:
                with anyio.fail_after(SECONDS):
                    await _listens(port)
                yield Proxy(f"http://127.0.0.1:{port}/mcp", folder)
            finally:
                nginx.terminate()


async def _listens(port: int) -> None:
    """Return when somebody takes connections at this port; nothing tells us when the proxy is ready."""
    while True:
        try:
            async with await anyio.connect_tcp("127.0.0.1", port):
                return
        except OSError:
            await anyio.lowlevel.checkpoint()


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
