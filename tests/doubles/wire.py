"""A host made by hand: lines of JSON to and from a server process, for what the SDK's client would never do."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.doubles.hosts import CONFIG, ROOT, SECONDS, environment
from tests.support.forking import SERVER, forked_command

META = "io.modelcontextprotocol"
NOBODY: Mapping[str, Any] = {"name": "by hand", "version": "1"}


@dataclass
class Wire:
    """A server process, line by line. Every line it writes to stdout is kept, and must be JSON-RPC."""

    process: anyio.abc.Process
    modern: bool
    capabilities: Mapping[str, Any]
    log: Path
    lines: list[str] = field(default_factory=list[str])
    _next: int = 0

    def __post_init__(self) -> None:
        assert self.process.stdout is not None
        self._stdout = BufferedByteReceiveStream(self.process.stdout)

    async def write(self, line: str) -> None:
        """Write a line, whatever it is."""
        assert self.process.stdin is not None
        await self.process.stdin.send(line.encode() + b"\n")

    async def read(self) -> dict[str, Any]:
        """Return the next message."""
        with anyio.fail_after(SECONDS):
            line = await self._stdout.receive_until(b"\n", 16 * 1024 * 1024)
        self.lines.append(line.decode())
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return cast(dict[str, Any], message)

    async def begin(self) -> None:
        """Shake hands, in the era that does."""
        if not self.modern:
            about = {
                "protocolVersion": "2025-11-25",
                "capabilities": self.capabilities,
                "clientInfo": NOBODY,
            }
            await self.answer(await self.send("initialize", about))
            await self.write(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))

    async def send(self, method: str, params: Mapping[str, Any]) -> int:
        """Send a request and return its id."""
        self._next += 1
        meta: dict[str, Any] = {"progressToken": self._next}
        if self.modern:
            meta |= {
                f"{META}/protocolVersion": "2026-07-28",
                f"{META}/clientInfo": NOBODY,
                f"{META}/clientCapabilities": self.capabilities,
            }
        message = {"jsonrpc": "2.0", "id": self._next, "method": method, "params": {**params, "_meta": meta}}
        await self.write(json.dumps(message))
        return self._next

    async def answer(self, request: int) -> dict[str, Any]:
        """Return the answer to a request; what comes before it is kept in `lines`."""
        while True:
            message = await self.read()
            if message.get("id") == request and "method" not in message:
                return message

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its result."""
        answer = await self.answer(await self.send("tools/call", {"name": tool, "arguments": arguments}))
        return cast(dict[str, Any], answer["result"])

    async def hang_up(self) -> int:
        """Close the server's input; return its exit code, after reading what it still wrote."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        return await self.ended()

    async def ended(self) -> int:
        """Return the exit code, after reading what the server still wrote."""
        with anyio.fail_after(SECONDS):
            rest = b""
            try:
                while True:
                    rest += await self._stdout.receive()
            except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
                pass
            for line in rest.decode().splitlines():
                assert json.loads(line)["jsonrpc"] == "2.0"
                self.lines.append(line)
            return await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def until_log(self, text: str) -> None:
        """Wait until the server's log says `text`."""
        with anyio.fail_after(SECONDS):
            while text not in self.log.read_text():
                await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def wire(
    folder: Path,
    *flags: str,
    modern: bool = True,
    capabilities: Mapping[str, Any] | None = None,
    store: str = "tertulia.db",
    forked: bool = True,
) -> AsyncGenerator[Wire]:
    """Start a server on a store in `folder`, and end it in whatever way it takes.

    One that is not `forked` begins and ends as users' servers do, and takes ten times as long to begin.
    """
    config = folder / "config.toml"
    config.write_text(CONFIG)
    log = folder / "server.log"
    command: Sequence[str] = [
        *(forked_command(SERVER) if forked else (sys.executable, "-m", SERVER)),
        *("--store", str(folder / store), "--config", str(config), *flags),
    ]
    with log.open("ab") as errors:
        process = await anyio.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, env=environment()
        )
        async with process:
            try:
                server = Wire(process, modern, capabilities or {}, log)
                await server.begin()
                yield server
            finally:
                if process.returncode is None:
                    process.kill()
