"""Another process on the same store, which does a job of ours and talks with the test in lines.

A job is an async function beside the test that needs it. It tells with `say`, and waits for the test with `told`.
"""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FunctionType

import anyio
import anyio.abc
import anyio.to_thread
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.support.forking import forked_command

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30
"""How long a test waits for another process."""


def say(line: object) -> None:
    """Tell the test (called in the job)."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def told() -> str:
    """Return the next line from the test (called in the job)."""
    return (await anyio.to_thread.run_sync(sys.stdin.readline)).rstrip("\n")


class Elsewhere:
    """The other process, as the test sees it."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None
        self._process = process
        self._said = BufferedByteReceiveStream(process.stdout)

    async def says(self) -> str:
        """Return its next line."""
        with anyio.fail_after(SECONDS):
            return (await self._said.receive_until(b"\n", 65536)).decode()

    async def tell(self, line: str = "") -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        await self._process.stdin.send(f"{line}\n".encode())

    async def ends(self) -> int:
        """Wait for its end; return its exit code."""
        with anyio.fail_after(SECONDS):
            return await self._process.wait()

    async def dies(self) -> None:
        """Kill it, as `kill -9` does, and see that it is gone."""
        self._process.kill()
        with suppress(anyio.EndOfStream), anyio.fail_after(SECONDS):
            while True:  # its output ends with it, and not before
                await self._said.receive()
        await self.ends()


@asynccontextmanager
async def elsewhere(job: FunctionType, *arguments: object) -> AsyncGenerator[Elsewhere]:
    """Have a job done by a process of its own, which is gone at the end."""
    command = [*forked_command(__name__), f"{job.__module__}:{job.__name__}", *map(str, arguments)]
    path = os.pathsep.join(str(ROOT / part) for part in ("client", "tools", "server", "."))
    async with await anyio.open_process(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stderr=None
    ) as process:
        try:
            yield Elsewhere(process)
        finally:
            if process.returncode is None:
                process.kill()


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    anyio.run(getattr(import_module(module), name), *sys.argv[2:])
