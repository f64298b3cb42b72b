"""The server over Streamable HTTP, in a process of its own."""

import re
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from tests.doubles.hosts import ROOT, SECONDS, Setup, authorized, environment
from tests.support.forking import SERVER, server_command

JSON = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
"""The headers of a call."""
MODERN = {**JSON, "mcp-protocol-version": "2026-07-28"}
"""Those of a call outside of a session, but for its method and name."""
META: Mapping[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
"""What the parameters of such a call have."""
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
"""The call that opens a session."""
_URL = re.compile(r"http://\S+/mcp")


@dataclass(frozen=True)
class HttpServer:
    """A server that listens at `url`."""

    url: str
    process: Process

    @property
    def origin(self) -> str:
        """The URL without its path."""
        return self.url.removesuffix("/mcp")


def command(arguments: Sequence[str], *, forked: bool = True) -> list[str]:
    """Return what starts the server; the platform `stage` exists in it.

    A forked server has a process beside it, which passes on the signals that end it and no other.
    """
    program = server_command() if forked else [sys.executable, "-m", SERVER]
    return [*program, "serve", "--http", "--port", "0", *arguments]


@asynccontextmanager
async def http_server(
    setup: Setup, *, forked: bool = True, patience: float = SECONDS
) -> AsyncGenerator[HttpServer]:
    """Serve; what the server logs goes to the setup's log. Leaving ends it. It begins within `patience` seconds."""
    async with await anyio.open_process(
        command(setup.arguments, forked=forked), stdin=None, stdout=None, env=environment(), cwd=ROOT
    ) as process:
        assert process.stderr is not None
        lines = TextReceiveStream(process.stderr)
        said = ""
        with anyio.fail_after(patience):
            while (found := _URL.search(said)) is None or not said.endswith("\n"):
                said += await lines.receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_log, lines, setup, said)
            try:
                yield HttpServer(found.group(), process)
            finally:
                if process.returncode is None:
                    process.terminate()
                with anyio.CancelScope(shield=True), anyio.fail_after(SECONDS):
                    await process.wait()


@asynccontextmanager
async def http(setup: Setup) -> AsyncGenerator[Any]:
    """A transport for `tests.doubles.hosts`: reaches a server in a process of its own."""
    async with http_server(setup) as server, authorized(server.url, setup.store) as transport:
        yield transport


async def _log(lines: TextReceiveStream, setup: Setup, said: str) -> None:
    async with await anyio.open_file(setup.log, "a") as log:
        await log.write(said)
        async for text in lines:
            await log.write(text)
            await log.flush()
