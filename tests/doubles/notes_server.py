"""An MCP server with three tools over a list of notes, of which one is annotated read-only."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from tests.doubles.network import served


@dataclass
class Notes:
    """The notes, and what happens while a tool runs."""

    notes: list[str] = field(default_factory=lambda: ["Acme: ship on Friday"])
    reached: anyio.Event = field(default_factory=anyio.Event)
    """Set once `forget_everything` has begun."""
    calls: list[str] = field(default_factory=list[str])

    def server(self) -> MCPServer[object]:
        """Return the server."""
        server: MCPServer[object] = MCPServer("notes")

        @server.tool(annotations=ToolAnnotations(read_only_hint=True))
        async def read_notes() -> list[str]:
            """Return all notes."""
            self.calls.append("read_notes")
            return self.notes

        @server.tool()
        async def write_note(text: str) -> str:
            """Write a note."""
            self.calls.append("write_note")
            if not text:
                raise ValueError("a note has a text")
            self.notes.append(text)
            return "written"

        @server.tool()
        async def forget_everything() -> str:
            """Forget all notes, and never answer."""
            self.calls.append("forget_everything")
            self.notes.clear()
            self.reached.set()
            await anyio.sleep_forever()
            return "never"

        return server


@asynccontextmanager
async def served_notes(notes: Notes) -> AsyncGenerator[str]:
    """Serve the notes over Streamable HTTP; yield the address."""
    server = notes.server()
    app = server.streamable_http_app()
    async with server.session_manager.run(), served(app) as origin:
        yield f"{origin}/mcp"


if __name__ == "__main__":
    Notes().server().run("stdio")
