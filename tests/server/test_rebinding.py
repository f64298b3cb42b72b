"""DNS rebinding in a real Chromium: a page whose name comes to mean this machine after it was loaded.

`python3 dev.py counterparts page` sets it up and runs it. The server asks for no token, so that only what it makes of
Host and Origin keeps the page out.
"""

# pyright: basic, reportMissingImports=false

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia_server.app import build
from tertulia_server.callers import anybody
from tertulia_server.http import listen
from tertulia_server.settings import load
from tests.doubles.hosts import CONFIG, SECONDS, http_host, served
from tests.doubles.http_server import INITIALIZE, JSON
from tests.doubles.stage import register

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

try:
    from playwright.async_api import Page, async_playwright
except ImportError:
    pytest.skip("Playwright is not set up: `python3 dev.py counterparts page`", allow_module_level=True)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.io,
    pytest.mark.counterpart(name="page", apart=True),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: `apt install chromium`"),
]

EVIL = "evil.example"
MAKES = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {
        "name": "create_conversation",
        "arguments": {"agent": "stage:actor", "title": "Rebound"},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
}
MODERN = {
    **JSON,
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "create_conversation",
}
FETCH = """async ([url, options]) => {
    try {
        const answer = await fetch(url, options);
        return {status: answer.status, type: answer.type, text: await answer.text()};
    } catch (error) {
        return {failed: String(error)};
    }
}"""


@asynccontextmanager
async def evil_page(port: int) -> AsyncGenerator[None]:
    """Serve the page of somebody else, in the place that its name means at first."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\nConnection: close\r\n\r\nEvil"
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        yield


@asynccontextmanager
async def rebound(tmp_path: Path) -> AsyncGenerator[tuple[Page, str]]:
    """Load somebody's page, and have its name and port mean a server of ours from then on; yield both."""
    register()
    (tmp_path / "config.toml").write_text(CONFIG)
    flags: dict[str, Any] = {"store": str(tmp_path / "t.db"), "config": str(tmp_path / "config.toml")}
    settings = load({**flags, "token": False}, {}).settings
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"],
        )
        page = await browser.new_page()
        async with evil_page(port):
            await page.goto(f"http://{EVIL}:{port}/")
            assert await page.text_content("body") == "Evil"
        listener = listen("127.0.0.1", port)
        async with served(build(settings), settings, authenticate=anybody, listener=listener) as url:
            yield page, url
            await browser.close()


def post(body: object, headers: dict[str, str], **more: str) -> dict[str, Any]:
    """Return the options of a fetch."""
    return {"method": "POST", "body": json.dumps(body), "headers": headers, **more}


async def made(url: str) -> int:
    """Return how many conversations there are."""
    async with http_host(url, "2026-07-28", {}) as host:
        return int((await host.call("list_conversations"))["total"])


async def test_a_page_whose_name_comes_to_mean_this_machine_reaches_nothing(tmp_path: Path) -> None:
    """To the browser it is the page's own server; the server knows its names, and that is none of them."""
    with anyio.fail_after(SECONDS * 2):
        async with rebound(tmp_path) as (page, url):
            for options in (
                post(INITIALIZE, JSON),
                post(MAKES, MODERN),
                {"method": "GET"},
                {"method": "DELETE"},
            ):
                answer = await page.evaluate(FETCH, ["/mcp", options])
                assert answer["status"] == 421
                assert "result" not in answer["text"]
            for path in ("/healthz", "/readyz", "/.well-known/oauth-protected-resource", "/mcp/", "/"):
                assert (await page.evaluate(FETCH, [path, {}]))["status"] == 421
            assert await made(url) == 0


async def test_a_page_of_somebody_else_reaches_nothing_by_the_servers_address(tmp_path: Path) -> None:
    """Neither does it read an answer, nor does a request that needs no permission do anything."""
    with anyio.fail_after(SECONDS * 2):
        async with rebound(tmp_path) as (page, url):
            for options in (post(INITIALIZE, JSON), post(MAKES, MODERN)):
                assert "failed" in await page.evaluate(FETCH, [url, options])
            blind = post(MAKES, {"content-type": "text/plain"}, mode="no-cors")
            answer = await page.evaluate(FETCH, [url, blind])
            assert answer.get("status", 0) == 0
            assert answer.get("text", "") == ""
            assert await made(url) == 0


async def test_a_page_of_the_server_itself_may_call(tmp_path: Path) -> None:
    """What keeps the others out is who they are: the same call from the server's own address is served."""
    with anyio.fail_after(SECONDS * 2):
        async with rebound(tmp_path) as (page, url):
            await page.goto(url.replace("/mcp", "/healthz"))
            answer = await page.evaluate(FETCH, ["/mcp", post(MAKES, MODERN)])
            assert answer["status"] == 200
            assert "result" in answer["text"]
            assert await made(url) == 1
