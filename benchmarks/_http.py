"""A server over HTTP, and a client that does nothing but write a request and read its answer."""

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _stdio import INITIALIZE

_URL = re.compile(r"http://[\w.]+:\d+")


class HttpClient:
    """A session with a server that serves Streamable HTTP."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._path = parts.path
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        self._headers = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": str(INITIALIZE["protocolVersion"]),
        }
        self._id = 0
        self._request("initialize", INITIALIZE)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a tool returns.

        Raises:
            RuntimeError: it failed.
        """
        result = self._request("tools/call", {"name": tool, "arguments": arguments})
        if result.get("isError"):
            raise RuntimeError(f"{tool}: {result['content']}")
        return result

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _request(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        self._id += 1
        body = json.dumps({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        self._connection.request("POST", self._path, body, self._headers)
        response = self._connection.getresponse()
        text = response.read().decode()
        session = response.getheader("mcp-session-id")
        if session is not None:
            self._headers["mcp-session-id"] = session
        if response.status != http.client.OK:
            raise RuntimeError(f"{method}: {response.status} {text}")
        if response.getheader("content-type", "").startswith("text/event-stream"):
            events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
            text = events[-1]
        return json.loads(text)["result"]


@contextmanager
def serving(store: Path | str, *options: str) -> Generator[str]:
    """Serve a store over HTTP, with further options; yield the URL."""
    command = (sys.executable, "-m", "tertulia_server", "serve", "--http", "--port", "0", "--no-token")
    with started([*command, "--store", str(store), *options]) as url:
        yield url


@contextmanager
def started(command: Sequence[str]) -> Generator[str]:
    """Start a server over HTTP that writes its address to stderr; yield the URL of its MCP."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        try:
            yield next(f"{found.group()}/mcp" for line in process.stderr if (found := _URL.search(line)))
        finally:
            process.terminate()
            process.communicate()
