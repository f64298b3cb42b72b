"""JSON-RPC 2.0 over the standard input and output of a program: one JSON object a line, requests both ways.

The connection is tolerant: lines may be megabytes long, and what is no JSON object on a line is passed over. Whatever
the program says is handed on in the order in which it said it: notifications, requests and replies alike. It is read no
faster than it is taken.
"""

import json
import logging
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import anyio
import anyio.abc

from tertulia.platforms.kit.http.values import table

logger = logging.getLogger(__name__)

STOPPING_SECONDS = 3.0
"""How long a program may take to end after its input was closed, and again after it was told to terminate."""
METHOD_NOT_FOUND = -32601
_KEPT_LINES = 20
_NEW_GROUP = 0x200
"""CREATE_NEW_PROCESS_GROUP of Windows."""

JSON = Any
RequestId = int | str


class RpcError(Exception):
    """Raised when the program answers a request with an error."""

    def __init__(self, code: int, message: str, data: JSON = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class ConnectionEnded(Exception):
    """Raised when the program ended, or closed its output, before it answered."""


class TooMuchSaid(ConnectionEnded):
    """Raised when the program said more at once than is taken of it: it is not heard any more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The program's answer to a request: a result, or why there is none."""

    result: JSON = None
    error: RpcError | ConnectionEnded | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """A notification of the program's, or a request of it (then `id` is there, and must be answered)."""

    method: str
    params: Mapping[str, Any]
    id: RequestId | None = None
    size: int = 0
    """The bytes of its line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What takes what the program says by itself."""

    take: Callable[[Incoming], None]
    ended: Callable[[ConnectionEnded], None]
    """Called once, when the program's output has ended and no reply comes any more."""
    caught_up: Callable[[], Awaitable[None]]
    """Returns once so much has been worked off that more can be taken."""
    longest_line: int
    """The most bytes of a line."""


class Connection:
    """A running program that is spoken with. Writing never waits: a task writes what is queued, line by line."""

    def __init__(self, process: anyio.abc.Process, listener: Listener) -> None:
        self.ended = anyio.Event()
        """Set when the program's output has ended."""
        self.usable = True
        """Whether the program takes requests: it has not ended, and nobody has told it to."""
        self._process = process
        self._listener = listener
        self._why_ended = ConnectionEnded()
        self._replies: dict[RequestId, Callable[[Reply], None]] = {}
        self._next_id = 0
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._outgoing, self._queue = anyio.create_memory_object_stream[bytes](float("inf"))

    @property
    def last_words(self) -> str:
        """The last line that the program wrote to its standard error."""
        return next((line for line in reversed(self._said) if line.strip()), "")

    def call(self, method: str, params: Mapping[str, Any], on_reply: Callable[[Reply], None]) -> None:
        """Send a request; `on_reply` is called with the answer, after all that the program said before it."""
        if not self.usable:
            on_reply(Reply(error=self._why_ended))
            return
        self._next_id += 1
        self._replies[self._next_id] = on_reply
        self._send({"id": self._next_id, "method": method, "params": params})

    async def request(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a request and wait for its result.

        Raises:
            RpcError: the program answers with an error.
            ConnectionEnded: it ends before it answers.
        """
        answered = anyio.Event()
        replies: list[Reply] = []

        def on_reply(reply: Reply) -> None:
            replies.append(reply)
            answered.set()

        self.call(method, params, on_reply)
        await answered.wait()
        if replies[0].error is not None:
            raise replies[0].error
        return table(replies[0].result)

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    def respond(self, request_id: RequestId, result: Mapping[str, Any]) -> None:
        """Answer a request of the program's."""
        self._send({"id": request_id, "result": result})

    def refuse(self, request_id: RequestId, method: str) -> None:
        """Answer a request of the program's that nobody here knows."""
        error = {"code": METHOD_NOT_FOUND, "message": f"{method} is not offered"}
        self._send({"id": request_id, "error": error})

    async def run(self) -> None:
        """Read and write until the program ends or closes its output."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write)
            tasks.start_soon(self._keep_errors)
            try:
                await self._read()
            finally:
                self.usable = False
                self.ended.set()
                replies, self._replies = self._replies, {}
                for on_reply in replies.values():
                    on_reply(Reply(error=self._why_ended))
                self._listener.ended(self._why_ended)
            tasks.cancel_scope.cancel()

    def stop_listening(self) -> None:
        """Hear no more of the program, since it says too much."""
        self._why_ended = TooMuchSaid()

    def hang_up(self) -> None:
        """Close the program's input once all is sent, which tells it to end."""
        self.usable = False
        self._outgoing.close()

    def close(self) -> None:
        """Give back what the connection holds."""
        self._outgoing.close()
        self._queue.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        line = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False, separators=(",", ":"))
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._outgoing.send_nowait(line.encode("utf-8", "replace") + b"\n")

    async def _write(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            async for line in self._queue:
                await stdin.send(line)
            await stdin.aclose()

    async def _keep_errors(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        rest = b""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            async for piece in stderr:
                *lines, rest = (rest + piece).split(b"\n")
                self._said.extend(line.decode("utf-8", "replace")[:500] for line in lines)
                rest = rest[-500:]

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        pieces: list[bytes] = []
        size = 0
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            async for piece in stdout:
                *ends, rest = piece.split(b"\n")
                for end in ends:
                    if size + len(end) <= self._listener.longest_line:
                        self._take(b"".join([*pieces, end]))
                    else:
                        self.stop_listening()
                    pieces, size = [], 0
                size += len(rest)
                pieces.append(rest)
                if size > self._listener.longest_line:
                    self.stop_listening()
                if isinstance(self._why_ended, TooMuchSaid):
                    return
                await self._listener.caught_up()

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            if line.strip():
                logger.debug("%d bytes on standard output are no message", len(line))
            return
        said = cast(dict[str, Any], message)
        method, request_id = said.get("method"), said.get("id")
        if isinstance(method, str):
            own_id = request_id if isinstance(request_id, int | str) else None
            self._listener.take(Incoming(method, table(said.get("params")), own_id, len(line)))
        elif isinstance(request_id, int | str) and (on_reply := self._replies.pop(request_id, None)):
            on_reply(reply_of(said))


def reply_of(said: Mapping[str, Any]) -> Reply:
    """Return what a program answered: its `result`, or its `error`."""
    if "error" not in said:
        return Reply(said.get("result"))
    told = said["error"]
    error = table(told) or {"message": str(told)}
    code = error.get("code")
    return Reply(
        error=RpcError(
            code if isinstance(code, int) else 0,
            str(error.get("message") or "an error without words"),
            error.get("data"),
        )
    )


@asynccontextmanager
async def connected(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    listener: Listener,
) -> AsyncGenerator[Connection]:
    """Run a program and speak with it. At the end its input is closed, and nothing of it is left running.

    Raises:
        OSError: it cannot be started.
    """
    apart: dict[str, Any] = {"creationflags": _NEW_GROUP} if os.name == "nt" else {"start_new_session": True}
    process = await anyio.open_process(command, env=environment, **apart)
    connection = Connection(process, listener)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.run)
            try:
                yield connection
            finally:
                with anyio.CancelScope(shield=True):
                    await _stop(process)
                tasks.cancel_scope.cancel()
    finally:
        connection.close()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def _stop(process: anyio.abc.Process) -> None:
    """End a program: by the end of its input, by a signal to its group, by force; then whatever it left behind."""
    if process.stdin is not None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            await process.stdin.aclose()
    for end in (None, _TERMINATE, _KILL):
        if end is not None:
            _signal(process, end)
        with anyio.move_on_after(STOPPING_SECONDS):
            await process.wait()
            break
    if os.name != "nt":
        _signal(process, _KILL)


_TERMINATE = signal.SIGTERM
_KILL = signal.SIGTERM if os.name == "nt" else signal.SIGKILL


def _signal(process: anyio.abc.Process, number: signal.Signals) -> None:
    """Send a signal to a program and its children, as far as the system knows groups."""
    with suppress(ProcessLookupError, PermissionError):
        if os.name == "nt":
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)
