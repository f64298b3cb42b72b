"""The page over HTTP, and `tertulia open`: what a browser gets, by what rules, and how it gets the token."""

import base64
import hashlib
import html
import re
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import unquote

import anyio
import httpx
import pytest
from anyio.streams.text import TextReceiveStream

from tertulia_server.app import build
from tertulia_server.http import application, authentication
from tertulia_server.http_limits import Limits
from tertulia_server.page import FILE
from tertulia_server.settings import load
from tertulia_server.store_token import store_token
from tests.doubles.hosts import CONFIG, ROOT, SECONDS, environment
from tests.doubles.http_server import INITIALIZE, JSON
from tests.support.forking import server_command

pytestmark = pytest.mark.anyio

ORIGIN = "http://127.0.0.1:8765"
PAGE = FILE.read_text("utf-8")


def browser(store: Path, **flags: object) -> httpx.AsyncClient:
    """Return what sends requests to the whole application, without a socket."""
    settings = load({"store": str(store), **flags}, {}).settings
    app = application(build(settings), settings, authentication(settings), Limits())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncGenerator[httpx.AsyncClient]:
    async with browser(tmp_path / "tertulia.db") as client:
        yield client


async def test_the_page_needs_no_token_and_has_no_data(client: httpx.AsyncClient) -> None:
    """It is the file as it is, for everybody; only what it then asks for needs the token."""
    answer = await client.get("/")

    assert (answer.status_code, answer.text) == (200, PAGE)
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert (await client.get("/?token=x")).text == PAGE
    for path in ("/page.html", "/index.html", "/mcp"):
        assert (await client.get(path)).status_code == 401


async def test_the_page_runs_and_reaches_nothing_but_itself_and_its_server(client: httpx.AsyncClient) -> None:
    """Its policy names its own script and styles by their digests, and nothing else."""
    sent = (await client.get("/")).headers["content-security-policy"]
    policy = {name: value for name, _, value in (rule.partition(" ") for rule in sent.split("; "))}

    def digest(tag: str) -> str:
        (content,) = re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", PAGE, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    assert policy == {
        "default-src": "'none'",
        "script-src": digest("script"),
        "style-src": digest("style"),
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


def test_the_page_names_no_address_and_makes_nothing_of_text_but_text() -> None:
    """A reader of the file sees at once what the policy forbids."""
    assert not re.findall(r"https?:|//[a-z]|src=|@import|url\(", PAGE)
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|DOMParser|\bon[a-z]+=|srcdoc|cookie",
        PAGE,
    )


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example"])
async def test_another_name_does_not_get_the_page(client: httpx.AsyncClient, host: str) -> None:
    """A page that makes its own name mean this machine is refused here as everywhere."""
    assert (await client.get("/", headers={"host": host})).status_code == 421


async def test_a_server_without_the_tools_of_the_page_has_no_page(tmp_path: Path) -> None:
    async with browser(tmp_path / "tertulia.db", toolsets="talk") as client:
        assert (await client.get("/")).status_code == 404


@pytest.mark.io
def test_a_server_that_nobody_asks_for_anything_loads_no_page_no_archivist_and_no_http_client() -> None:
    """A host waits for the first list of tools."""
    program = (
        "import sys; from tertulia_server.app import build; from tertulia_server.settings import load; "
        "build(load({}, {}).settings); print("
        "{'tertulia_tools.page', 'mcp.server.apps', 'tertulia.platforms.local.archivist', 'httpx'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment(), cwd=ROOT)

    assert done.stdout == "set()\n"


@pytest.mark.io
@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no Ctrl-C that a test could send to one process"
)
async def test_open_gives_the_token_to_the_browser_and_to_nobody_else(tmp_path: Path) -> None:
    """Not on a command line, which every user sees: in a file of its owner's, and there in a fragment."""
    config = tmp_path / "config.toml"
    config.write_text('toolsets = ["talk"]\n' + CONFIG)  # the page is there all the same
    store, seen = tmp_path / "tertulia.db", tmp_path / "seen"
    script = tmp_path / "browser.py"
    script.write_text(f"import sys, pathlib; pathlib.Path({str(seen)!r}).write_text(sys.argv[1] + chr(10))")
    command = [*server_command(), "open", "--store", str(store), "--config", str(config)]
    variables = {**environment(), "BROWSER": f"{sys.executable} {script} %s"}
    async with await anyio.open_process(command, stdin=None, stdout=None, env=variables, cwd=ROOT) as process:
        assert process.stderr is not None
        said = ""
        with anyio.fail_after(SECONDS):
            async for text in TextReceiveStream(process.stderr):
                said += text
                if "and a page on http" in said and said.endswith("\n"):
                    break
            while not (seen.exists() and seen.read_text().endswith("\n")):
                await anyio.wait_all_tasks_blocked()
        told = seen.read_text().strip()
        redirect = Path(httpx.URL(told).path)
        (address,) = re.findall('url=([^"]+)"', redirect.read_text())
        mode = stat.S_IMODE(redirect.stat().st_mode)
        origin, _, fragment = html.unescape(address).partition("#")
        token = unquote(fragment.removeprefix("token="))
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            page = await client.get(origin)
            called = await client.post(
                f"{origin}mcp",
                headers={**JSON, "authorization": f"Bearer {token}"},
                json=INITIALIZE,
            )
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(SECONDS):
            await process.wait()

    assert told.startswith("file://")
    assert mode == 0o600
    assert token == store_token(store)
    assert token not in told
    assert token not in said
    assert (page.text, called.status_code) == (PAGE, 200)
    assert not redirect.exists()


@pytest.mark.io
async def test_without_a_browser_open_says_what_to_do(tmp_path: Path) -> None:
    """A machine without one, or a session over the network, gets the address and how to have the token."""
    command = [*server_command(), "open", "--store", str(tmp_path / "tertulia.db")]
    missing = str(tmp_path / "no-browser")
    variables = {**environment(), "BROWSER": f"{missing} %s", "PATH": str(tmp_path), "DISPLAY": ""}
    async with await anyio.open_process(command, stdin=None, stdout=None, env=variables, cwd=ROOT) as process:
        assert process.stderr is not None
        said = ""
        with anyio.fail_after(SECONDS):
            async for text in TextReceiveStream(process.stderr):
                said += text
                if "tertulia.db token` prints what it asks for." in said:
                    break
        process.terminate()

    assert "No browser was found." in said
