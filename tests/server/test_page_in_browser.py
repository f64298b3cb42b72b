"""The page in a real Chromium: from this server, in a host's frame, and in MCP Inspector, a host by others.

`python3 dev.py counterparts page` sets it up and runs it; Chromium itself comes from the system (`apt install
chromium`). With TERTULIA_RENEW_MEDIA=1, the pictures in docs/media are taken anew.
"""

# pyright: basic, reportMissingImports=false

import base64
import json
import os
import shutil
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import anyio.lowlevel
import httpx
import pytest
from mcp import Client
from mcp.client.extension import advertise

from tertulia_server.app import build
from tertulia_server.callers import anybody
from tertulia_server.page import FILE
from tertulia_server.settings import Settings, load
from tertulia_server.store_token import store_token
from tests.doubles.hosts import APPS, CONFIG, ROOT, Host, authorized, served
from tests.doubles.stage import ACTOR, register, script

FOLDER = ROOT / ".page" / "node_modules"
INSPECTOR = FOLDER / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
AXE = FOLDER / "axe-core" / "axe.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MEDIA = ROOT / "docs" / "media"
MAILBOX = '[instances.local]\nplatform = "local"\nmailboxes = ["reviewer"]\n'
SECONDS = 30
MILLISECONDS = SECONDS * 1000
HOSTILE = (
    "<img src=x onerror=\"document.title='ran'\"> <script>document.title='ran'</script> \u202eevil\u200b"
)
STORY = (
    ("local:archivist", "Acme renewal", "remember Acme renews on 1 March 2027, at twelve percent less."),
    ("local:reviewer", "Contract draft", "Please look at the draft for Acme until Friday."),
    (
        "local:archivist",
        "Office move",
        "remember The office moves to Porto in June; the lease ends on the 30th.",
    ),
    ("local:archivist", "Spring cleaning", "quote office"),
)
ASKED = {"command": "make deploy", "path": "/srv/\u202etxt.exe", "note": "n" * 3_000}

try:
    from playwright.async_api import Browser, Page, async_playwright, expect
except ImportError:
    pytest.skip("Playwright is not set up: `python3 dev.py counterparts page`", allow_module_level=True)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.io,
    pytest.mark.counterpart(name="page", apart=True),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: `apt install chromium`"),
]


class Place:
    """A server, a host that talks to it, and a browser."""

    def __init__(self, url: str, host: Host, browser: Browser) -> None:
        self.url, self.host, self.browser = url, host, browser
        self.origin = url.removesuffix("mcp")
        self.token = store_token(host.store)
        self.requests: list[str] = []
        self.errors: list[str] = []

    async def play(self, *steps: dict[str, Any], title: str, wait_seconds: float = SECONDS) -> str:
        """Begin a conversation whose agent does these steps."""
        reply = await self.host.call(
            "create_conversation", agent=ACTOR, title=title, message=script(*steps), wait_seconds=wait_seconds
        )
        return str(reply["conversation_id"])

    async def begin(self, agent: str, title: str, message: str) -> str:
        """Begin a conversation; nobody reads a mailbox here."""
        waited = 0 if agent == "local:reviewer" else SECONDS
        about = {"agent": agent, "title": title, "message": message, "wait_seconds": waited}
        return str((await self.host.call("create_conversation", **about))["conversation_id"])

    async def page(self, *, token: str | None = "", fragment: str = "", **options: Any) -> Page:
        """Open the page in a session of its own, as `tertulia open` does."""
        context = await self.browser.new_context(locale="en-GB", timezone_id="Europe/Lisbon", **options)
        context.set_default_timeout(MILLISECONDS)
        page = await context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console", lambda line: self.errors.append(line.text) if "Content Security" in line.text else None
        )
        given = self.token if token == "" else token
        await page.goto(self.origin + (f"#token={given}" if given else fragment))
        return page


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if root else []
        )
        yield browser
        await browser.close()


def settings_in(folder: Path) -> Settings:
    flags = {
        "store": str(folder / "tertulia.db"),
        "config": str(folder / "config.toml"),
        "approvals": "person",
    }
    return load(flags, {}).settings


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    register()
    (tmp_path / "config.toml").write_text(CONFIG + MAILBOX)
    settings = settings_in(tmp_path)
    store = tmp_path / "tertulia.db"
    async with (
        served(build(settings), settings) as url,
        authorized(url, store) as transport,
        Client(transport) as client,
        chromium() as browser,
    ):
        place = Place(url, Host(client, store, tmp_path / "log"), browser)
        yield place
    assert place.errors == []


async def reply_of(place: Place, conversation_id: str) -> str:
    """Return the last message of a conversation."""
    read = await place.host.call("get_conversation", conversation_id=conversation_id, include=["messages"])
    return str(read["messages"][-1]["text"])


async def test_the_token_goes_from_the_address_into_this_tab(place: Place) -> None:
    """Not into the history, a cookie or another tab; and the page asks nobody but its server."""
    await place.play({"say": "Renew by May."}, title="Renewal")
    page = await place.page()
    await expect(page.get_by_role("link", name="Renewal")).to_be_visible()

    assert page.url == place.origin
    assert await page.evaluate("sessionStorage.getItem('token')") == place.token
    assert await page.evaluate("document.cookie") == ""
    assert await page.context.cookies() == []
    assert {url.partition("#")[0].removeprefix(place.origin) for url in place.requests} == {"", "mcp"}
    other = await page.context.new_page()
    await other.goto(place.origin)
    await expect(other.get_by_label("Token")).to_be_focused()
    await page.reload()
    await expect(page.get_by_role("link", name="Renewal")).to_be_visible()


async def test_whoever_has_no_token_is_asked_for_it(place: Place) -> None:
    """A wrong one is told, the right one opens the page."""
    await place.play({"say": "Renew by May."}, title="Renewal")
    page = await place.page(token=None)
    await page.get_by_label("Token").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert").filter(has_text="not the token")).to_be_visible()
    await page.get_by_label("Token").fill(place.token)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="Renewal")).to_be_visible()


async def test_a_tool_is_approved_by_the_keyboard_and_the_answer_comes_as_it_is_written(place: Place) -> None:
    """All that will run is shown; Reject comes first, and nothing is decided in the first moment."""
    steps = [{"ask": "run_shell", "arguments": ASKED, "prompt": "May I\u200b deploy?"}, {"say": "Deployed. "}]
    own_id = await place.play(*steps, {"hold": "end"}, {"say": "All is well."}, title="Deploy")
    page = await place.page()
    await expect(page).to_have_title("(1) Tertulia")
    await page.keyboard.press("/")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Deploy")).to_be_focused()
    await page.keyboard.press("Enter")
    card = page.get_by_role("region", name="wants to run run_shell")
    shown = await card.locator("pre").inner_text()
    buttons = await card.get_by_role("button").all_inner_texts()
    await expect(page.get_by_role("status")).to_contain_text("wants to run run_shell")
    await expect(card.get_by_role("button", name="Approve")).to_be_enabled()
    await card.get_by_label("Reason").focus()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#live")).to_contain_text("Deployed.")
    await expect(card).to_have_count(0)
    await expect(page.get_by_role("status")).to_contain_text("is being written")
    await place.play({"release": "end"}, title="Other")
    await expect(page.locator("#messages article").last).to_contain_text("All is well.")
    await expect(page.locator("#live")).to_be_hidden()

    assert json.loads(shown) == ASKED
    assert "\\u202e" in shown
    assert buttons == ["Reject", "Approve"]
    assert "approved" in await reply_of(place, own_id)


async def test_a_tool_is_rejected_and_a_question_answered(place: Place) -> None:
    """The agent is told what the person wrote."""
    own_id = await place.play({"ask": "run_shell"}, {"question": "Which region?"}, title="Deploy")
    page = await place.page(token=place.token)
    await page.get_by_role("link", name="Deploy").click()
    await page.get_by_label("Reason").fill("Not today")
    await page.get_by_role("button", name="Reject").click()
    await expect(page.get_by_role("heading", name="asks")).to_be_visible()
    await page.get_by_label("Your answer").fill("Porto")
    await page.get_by_role("button", name="Answer").click()
    await expect(page.locator("#messages article").last).to_contain_text("Porto")

    assert "because Not today" in await reply_of(place, own_id)


async def test_what_others_wrote_is_only_ever_text(place: Place) -> None:
    """In titles, messages, requests and search, in a browser that would run it."""
    await place.play(
        {"say": HOSTILE}, {"ask": HOSTILE, "arguments": {HOSTILE: HOSTILE}, "prompt": HOSTILE}, title=HOSTILE
    )
    page = await place.page()
    await page.get_by_role("link", name="onerror").click()
    await expect(page.get_by_role("region", name="wants to run")).to_be_visible()
    await page.get_by_label("Search everything").fill("onerror")
    await expect(page.locator(".snippet").first).to_contain_text("<img src=x")

    assert (
        await page.evaluate("document.querySelectorAll('img, script:not([type=module]), iframe').length") == 0
    )
    assert await page.title() == "(1) Tertulia"
    threw = "(() => { try { document.body.innerHTML = '<b>'; } catch (error) { return error.name; } })()"
    assert await page.evaluate(threw) == "TypeError"
    place.errors.clear()  # that was the policy at work


async def test_a_search_leads_to_the_message_that_it_found(place: Place) -> None:
    """However far back it is."""
    own_id = await place.play({"say": "The discount is twelve percent."}, title="Acme")
    for number in range(60):
        await place.host.call("add_message", conversation_id=own_id, text=f"note {number}")
    page = await place.page()
    await page.get_by_label("Search everything").fill("discount twelve")
    await page.get_by_role("link").filter(has_text="The discount is").last.click()
    found = page.locator(".found")
    await expect(found).to_contain_text("twelve percent")
    await expect(found).to_be_in_viewport()


async def test_conversations_are_listed_by_state_and_agent(place: Place) -> None:
    """And a page for a narrow screen shows the list or a conversation, with a way back."""
    await place.play({"say": "Done."}, title="Ended")
    ended = await place.play({"say": "Done."}, title="Completed")
    await place.host.call("update_status", conversation_id=ended, status="completed")
    await place.host.call("send_message", agent="local:archivist", text="help")
    page = await place.page(viewport={"width": 420, "height": 760})
    links = page.get_by_role("navigation").get_by_role("link")
    await expect(links).to_have_count(3)
    await page.get_by_label("State").select_option("completed")
    await expect(links).to_have_count(1)
    await page.get_by_label("State").select_option("")
    await page.get_by_label("Agent").select_option("local:archivist")
    await expect(links).to_have_count(1)
    await links.click()
    await expect(page.get_by_label("Search everything")).to_be_hidden()
    await page.get_by_role("button", name="All conversations").click()
    await expect(links).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_pictures_of_the_documents_are_of_this_page(place: Place, scheme: str) -> None:
    """A conversation with the archivist that waits for a decision, as the README shows it."""
    ids = [await place.begin(*each) for each in STORY]
    await place.host.call("send_message", conversation_id=ids[-1], text=f"delete {ids[-2]}")
    page = await place.page(
        color_scheme=scheme, viewport={"width": 1180, "height": 830}, reduced_motion="reduce"
    )
    await page.get_by_role("link", name="Spring cleaning").click()
    await expect(page.get_by_role("button", name="Approve")).to_be_enabled()
    picture = MEDIA / f"page-{scheme}.png"
    if os.environ.get("TERTULIA_RENEW_MEDIA"):
        await page.screenshot(path=picture)

    assert picture.stat().st_size < 200_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not set up: `python3 dev.py counterparts page`")
async def test_the_page_is_accessible(place: Place, scheme: str) -> None:
    """By what axe-core can judge: names, roles, contrast, order."""
    await place.play(
        {"say": "Look:\n```\nmake\n```\n"}, {"ask": "run_shell", "arguments": ASKED}, title="Deploy"
    )
    await place.play({"fail": "The model is gone."}, title="Failed")
    page = await place.page(color_scheme=scheme, bypass_csp=True)
    await page.get_by_role("link", name="Deploy").click()
    await expect(page.get_by_role("button", name="Approve")).to_be_enabled()
    await page.evaluate(AXE.read_text("utf-8"))
    for _ in range(2):
        result = await page.evaluate("axe.run()")
        assert [(each["id"], each["nodes"][0]["html"]) for each in result["violations"]] == []
        await page.get_by_role("link", name="Failed").click()
        await expect(page.locator("#note")).to_contain_text("The model is gone.")


HOST = """<!doctype html><title>host</title><iframe sandbox="allow-scripts" style="width:700px;height:600px"></iframe>
<script>
const frame = document.querySelector("iframe"), seen = window.seen = [];
const send = message => frame.contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
addEventListener("message", async ({ source, data }) => {
  if (source !== frame.contentWindow) return;
  seen.push(data);
  const { id, method, params } = data;
  const looks = { theme: "dark", styles: { variables: { "--color-text-primary": "#abcdef" } } };
  if (method === "ui/initialize")
    send({ id, result: { protocolVersion: "2026-01-26", hostInfo: {}, hostCapabilities: { serverTools: {} },
      hostContext: looks } });
  if (method === "ui/notifications/initialized")
    send({ method: "ui/notifications/tool-input", params: { arguments: { conversation_id: conversation } } });
  if (method === "tools/call") send({ id, result: await callTool(params.name, params.arguments) });
});
</script>"""


async def test_a_host_shows_the_page_in_a_sandbox(place: Place) -> None:
    """With nothing but messages to its host: no storage, no network, the host's looks, and an end when it says so."""
    own_id = await place.play({"say": "Look."}, {"ask": "run_shell", "arguments": ASKED}, title="Deploy")
    page = await place.browser.new_page()
    page.set_default_timeout(MILLISECONDS)
    async with (
        authorized(place.url, place.host.store) as transport,
        Client(transport, extensions=[advertise(*APPS)]) as client,
    ):

        async def call(name: str, arguments: dict[str, Any]) -> Any:
            return (await client.call_tool(name, arguments)).model_dump(mode="json", by_alias=True)

        await page.expose_function("callTool", call)
        await page.set_content(HOST)
        await page.evaluate(f"window.conversation = {json.dumps(own_id)}")
        await page.evaluate("page => { frame.srcdoc = page; }", FILE.read_text("utf-8"))
        app = page.frame_locator("iframe")
        await app.get_by_role("button", name="Approve").click()
        await expect(app.locator("#messages article").last).to_contain_text("[run_shell: approved")
        colour = await app.locator("body").evaluate("body => getComputedStyle(body).color")
        await page.evaluate("send({ id: 'end', method: 'ui/resource-teardown', params: {} })")
        await page.wait_for_function("seen.some(each => each.id === 'end' && each.result)")
        seen = await page.evaluate("seen")
        await page.close()

    assert colour == "rgb(171, 205, 239)"
    calls = [each["params"]["name"] for each in seen if each.get("method") == "tools/call"]
    assert set(calls) == {"view_conversation", "view_decide"}
    assert any(each.get("method") == "ui/notifications/size-changed" for each in seen)


@asynccontextmanager
async def inspector(folder: Path) -> AsyncGenerator[tuple[str, str]]:
    """Run MCP Inspector; yields its address and its token."""
    token = "inspector-token"
    ports = [_free_port() for _ in range(3)]
    names = ("CLIENT_PORT", "MCP_SANDBOX_PORT", "MCP_APP_ORIGIN_PORT")
    variables = {
        **os.environ,
        "HOME": str(folder),
        "HOST": "127.0.0.1",
        "MCP_AUTO_OPEN_ENABLED": "false",
        "MCP_INSPECTOR_API_TOKEN": token,
        **{name: str(port) for name, port in zip(names, ports, strict=True)},
    }
    node = shutil.which("node")
    assert node is not None
    with (folder / "inspector.log").open("wb") as log:
        async with await anyio.open_process(
            [node, str(INSPECTOR), "--web"], stdin=None, stdout=log, stderr=log, env=variables
        ) as process:
            try:
                with anyio.fail_after(SECONDS):
                    await _answers(f"http://127.0.0.1:{ports[0]}/")
                yield f"http://127.0.0.1:{ports[0]}/", token
            finally:
                process.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


async def _answers(url: str) -> None:
    async with httpx.AsyncClient() as client:
        while True:
            try:
                await client.get(url)
            except httpx.TransportError:
                await anyio.lowlevel.checkpoint()
            else:
                return


@pytest.mark.skipif(
    not (INSPECTOR.exists() and shutil.which("node")),
    reason="MCP Inspector is not set up: `python3 dev.py counterparts page`",
)
async def test_mcp_inspector_shows_the_page_and_takes_a_decision(place: Place, tmp_path: Path) -> None:
    """A host that nobody of ours has written, in its own sandbox."""
    own_id = await place.play(
        {"say": "I looked."}, {"ask": "run_shell", "arguments": ASKED}, {"say": "Deployed."}, title="Deploy"
    )
    arguments = (
        base64.urlsafe_b64encode(json.dumps({"conversation_id": own_id}).encode()).decode().rstrip("=")
    )
    settings = settings_in(tmp_path)
    # Its links cannot carry the token of a server.
    async with (
        served(build(settings), settings, authenticate=anybody) as open_url,
        inspector(tmp_path) as (url, token),
    ):
        query = {
            "serverUrl": open_url,
            "transport": "http",
            "autoConnect": token,
            "openApp": "show_conversation",
            "appArgs": arguments,
            "autoOpen": token,
        }
        context = await place.browser.new_context()
        context.set_default_timeout(MILLISECONDS)
        page = await context.new_page()
        await page.goto(f"{url}?{urlencode(query)}")
        await page.wait_for_selector('[data-testid="connection-status"][data-status="connected"]')
        await page.wait_for_selector('[data-app-status="ready"]')
        app = page.frame_locator('[data-testid="apps-form"] iframe').frame_locator("iframe")
        await expect(app.locator("#live")).to_contain_text("I looked.")
        await app.get_by_role("button", name="Approve").click()
        await expect(app.locator("#messages article").last).to_contain_text("Deployed.")
        await context.close()

    assert "approved" in await reply_of(place, own_id)
