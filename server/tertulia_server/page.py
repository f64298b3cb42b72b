"""The page: one file, which hosts show as an MCP App and browsers from this server, and who is offered its tools."""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.extension import Extension
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resources import FileResource
from mcp_types import ClientCapabilities
from starlette.requests import Request
from starlette.responses import Response

FILE = Path(__file__).with_name("page.html")
PAGE = "/"
"""The path of the page, which has no data in it: who opens it in a browser cannot send a token yet."""
PAGE_URI = "ui://tertulia/conversations"
"""`tertulia_tools.page.PAGE_URI`, without loading the tools of the page."""
MIME_TYPE = "text/html;profile=mcp-app"
_INLINE = re.compile(r"<(script|style)[^>]*>(.*?)</\1>", re.DOTALL)


class Apps(Extension):
    """MCP Apps: says to hosts that this server has pages. The SDK's own class would be loaded at the start."""

    identifier = "io.modelcontextprotocol/ui"


def register(server: MCPServer[Any]) -> None:
    """Let hosts read the page, which has no data in it and asks for nothing but what its host passes on."""
    server.add_resource(
        FileResource(
            uri=PAGE_URI,
            name="conversations",
            title="Conversations",
            mime_type=MIME_TYPE,
            path=FILE,
            meta={"ui": {"csp": {}, "prefersBorder": True}},
        )
    )


def shows_pages(context: Context[Any, Any] | ServerRequestContext[Any, Any]) -> bool:
    """Return whether the client says that it shows pages, and that it gives a model no tool of theirs."""
    capabilities: ClientCapabilities | None = (
        context.client_capabilities if isinstance(context, Context) else context.session.client_capabilities
    )
    if capabilities is None or not capabilities.extensions:
        return False
    from mcp.server.apps import client_supports_apps  # few clients come here

    return client_supports_apps(context)


def proof(key: bytes, content: str) -> str:
    """Return what authenticates `content` to every server of a store, and what nobody else can make."""
    return hmac.new(key, f"shown on the page: {content}".encode(), hashlib.sha256).hexdigest()


def serve_page(server: MCPServer[Any]) -> None:
    """Add the page for browsers to what a server serves over HTTP."""

    @server.custom_route(PAGE, methods=["GET"])
    async def page(_: Request) -> Response:  # pyright: ignore[reportUnusedFunction] - the decorator keeps it
        content, headers = served_page()
        return Response(content, headers=headers)


@cache
def served_page() -> tuple[bytes, Mapping[str, str]]:
    """Return the page for a browser, with headers by which it loads, sends and runs nothing but what is in it."""
    text = FILE.read_text("utf-8")
    hashes = {kind: _digest(content) for kind, content in _INLINE.findall(text)}
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return text.encode(), {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=(), clipboard-read=()",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }


def _digest(content: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
