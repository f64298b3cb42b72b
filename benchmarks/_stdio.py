"""A client that does nothing but write a line and read one: the SDK's own would be most of what is measured."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BARE = (sys.executable, str(Path(__file__).with_name("bare_server.py")))
"""Starts the bare SDK's server."""
INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "benchmark", "version": "1"},
}


def tertulia_command(store: Path | str) -> tuple[str, ...]:
    """Return the command that starts Tertulia with a store: a file, or the URL of a database."""
    return (sys.executable, "-m", "tertulia_server", "--store", str(store))


class RawClient:
    """A connection to a server over its standard input and output."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._id = 0
        self.request("initialize", INITIALIZE)
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Return the result of a request."""
        self._id += 1
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": self._id, "method": method}
        self._write(message if params is None else {**message, "params": params})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self._id:
                return answer["result"]
        raise RuntimeError(f"the server ended without an answer to {method}")

    def call(self, tool: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a tool returns.

        Raises:
            RuntimeError: it failed.
        """
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        if result.get("isError"):
            raise RuntimeError(f"{tool}: {result['content']}")
        return result

    def kill(self) -> None:
        """End the server at once."""
        self._process.kill()

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()


@contextmanager
def connected(command: tuple[str, ...]) -> Generator[RawClient]:
    """Start a server and end it afterwards."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        yield RawClient(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)


@dataclass(frozen=True, slots=True)
class Start:
    """What a start takes: milliseconds that pass, and milliseconds of the processor."""

    passed: float
    busy: float


def first_list(command: tuple[str, ...]) -> Start:
    """Return what a server takes from its start to the answer to its first `tools/list`."""
    begun, busy = time.perf_counter(), _busy()
    with connected(command) as client:
        client.request("tools/list")
        passed = time.perf_counter() - begun
        client.kill()  # what the end takes does not count
    return Start(passed * 1000, (_busy() - busy) * 1000)


def _busy() -> float:
    """Return the seconds of the processor that processes took which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
