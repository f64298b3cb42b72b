"""The server on standard input and output, for one host. Stdout belongs to the protocol; logs go to stderr.

The SDK's own transport reads in a thread that Ctrl-C cannot end, says nothing about a line that it cannot read, and
fails when nobody reads its output any more. This one answers such lines where their id can be read, and ends quietly.

It reads and writes pipes and sockets on the event loop, as far as that waits for nothing: a hop to a thread and back
takes a tenth of a call. A daemon thread reads what the loop cannot wait for, and a thread writes what there is no room
for.
"""

import errno
import gc
import logging
import os
import select
import stat
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)

from tertulia.runs.runner import Worker
from tertulia_server.app import Server, build
from tertulia_server.lines import refusals, session_message
from tertulia_server.logs import log_to_stderr
from tertulia_server.settings import Settings

logger = logging.getLogger(__name__)

CHUNK = 65_536
"""The most bytes that are read at once."""
LAST_SECONDS = 1.0
"""How long answers may still take when the host has closed its end: hosts end a server after two seconds."""


def freeze_heap() -> None:
    """Enable the garbage collector, without the objects of the imports: none of them ever becomes garbage."""
    gc.freeze()
    gc.enable()


def serve(settings: Settings, worker: Worker) -> None:
    """Serve until the host closes standard input, or reads standard output no more.

    Raises:
        InvalidInputError: see `tertulia_server.app.build`.
    """
    server = build(settings, worker=worker)
    freeze_heap()
    log_to_stderr(settings.log_level, settings.log_format)
    anyio.run(_serve, server)


async def _serve(server: Server) -> None:
    async with _host() as (received, sent):
        await server.serve_streams(received, sent)


@asynccontextmanager
async def _host() -> AsyncGenerator[
    tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]
]:
    """Connect with the host: yield the messages that it sends, and where messages to it go."""
    wire = _Wire.claim()
    arriving, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    sent, leaving = anyio.create_memory_object_stream[SessionMessage](0)
    answers = sent.clone()
    asked = _Asked()
    token = anyio.lowlevel.current_token()

    async def take(line: bytes) -> None:
        message = session_message(line)
        if message is not None:
            asked.received(message.message)
            await arriving.send(message)
        elif refused := refusals(line):
            for answer in refused:
                await answers.send(answer)
        elif line.strip():
            logger.warning("a line of %d bytes from the host is no message", len(line))

    async def end() -> None:
        with anyio.move_on_after(LAST_SECONDS):
            await asked.answered()
        await arriving.aclose()
        await answers.aclose()

    async def read() -> None:
        lines = _Lines()
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the server has ended meanwhile
            while not lines.ended:
                await anyio.wait_readable(wire.incoming)
                for line in lines.ended_by(wire.read()):
                    await take(line)
            await end()

    def read_in_thread() -> None:
        lines = _Lines()
        try:
            while not lines.ended:
                for line in lines.ended_by(wire.read()):
                    anyio.from_thread.run(take, line, token=token)
            anyio.from_thread.run(end, token=token)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, RuntimeError, CancelledError):
            return  # the server has ended meanwhile, and its event loop perhaps as well

    async def write(scope: anyio.CancelScope) -> None:
        async with leaving:
            async for message in leaving:
                line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                left = wire.write_what_fits(memoryview(line.encode() + b"\n"))
                if left and not await anyio.to_thread.run_sync(wire.write, left, abandon_on_cancel=True):
                    scope.cancel()  # nobody reads what the server says
                asked.sent(message.message)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write, tasks.cancel_scope)
        with arriving, answers, sent:
            async with anyio.create_task_group() as reading:
                if _can_wait_for(wire.incoming):
                    reading.start_soon(read)
                else:
                    threading.Thread(target=read_in_thread, name="stdin", daemon=True).start()
                yield received, sent
                reading.cancel_scope.cancel()


def _can_wait_for(descriptor: int) -> bool:
    """Whether the event loop can wait for a descriptor: a pipe or a socket, but not on Windows."""
    mode = os.fstat(descriptor).st_mode
    return sys.platform != "win32" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


class _Asked:
    """The requests of the host that have no answer yet: the server answers none any more once its input has ended."""

    def __init__(self) -> None:
        self._ids = set[str | int]()
        self._changed = anyio.Event()

    def received(self, message: JSONRPCMessage) -> None:
        """Note what the host says."""
        match message:
            case JSONRPCRequest():
                self._ids.add(message.id)
            case JSONRPCNotification(method="notifications/cancelled"):
                self._forget((message.params or {}).get("requestId"))
            case _:
                pass

    def sent(self, message: JSONRPCMessage) -> None:
        """Note what was written to the host."""
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._forget(message.id)

    async def answered(self) -> None:
        """Wait until every request has its answer."""
        while self._ids:
            await self._changed.wait()

    def _forget(self, request_id: object) -> None:
        self._ids -= {request_id}
        self._changed.set()
        self._changed = anyio.Event()


class _Lines:
    """Puts together lines that are read in pieces."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self.ended = False

    def ended_by(self, chunk: bytes) -> Iterator[bytes]:
        """Yield each line that ends in this piece; an empty piece ends the last one."""
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            yield b"".join([*self._begun, piece])
            self._begun.clear()
        self._begun.append(rest)
        if not chunk:
            self.ended = True
            yield b"".join(self._begun)


@dataclass(frozen=True, slots=True)
class _Wire:
    """The descriptors over which the host speaks with this process."""

    incoming: int
    outgoing: int

    @classmethod
    def claim(cls) -> "_Wire":
        """Take standard input and output for the protocol: others read nothing from now on, and print to stderr."""
        wire = cls(os.dup(0), os.dup(1))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        return wire

    def read(self) -> bytes:
        """Return what the host has written, or nothing once it has closed its end."""
        return os.read(self.incoming, CHUNK)

    def write_what_fits(self, left: memoryview) -> memoryview:
        """Write as much as there is room for at once; return the rest."""
        with suppress(OSError):  # `write` meets it again
            while left and self._has_room():
                left = left[os.write(self.outgoing, left[: select.PIPE_BUF]) :]
        return left

    def _has_room(self) -> bool:
        """Whether writing `PIPE_BUF` bytes does not wait, as far as that can be known."""
        if not _can_wait_for(self.outgoing):
            return False
        room = select.poll()
        room.register(self.outgoing, select.POLLOUT)
        return room.poll(0) == [(self.outgoing, select.POLLOUT)]

    def write(self, left: memoryview) -> bool:
        """Write everything; return whether there is still a reader."""
        try:
            while left:
                left = left[os.write(self.outgoing, left) :]
        except OSError as error:
            if error.errno not in {errno.EPIPE, errno.EINVAL, errno.EBADF}:  # EINVAL is Windows' word for it
                raise
            return False
        return True
