"""The text of an answer as R2R streams it, through Tertulia's client, beside a raw loop of httpx-sse.

`.venv/bin/python benchmarks/texts.py [--events N] [--seconds N]`. A server in a process of its own sends the pieces of
an answer as fast as they are taken, twenty in a write and one in a write, and 800 a second. The floor reads each event
and its JSON, and does nothing with it; Tertulia journals it, and reports the progress. Where other programs use the
machine, the time of the processor tells more than the time that passes.

As in a text, most words are among a few: an answer is indexed at its end, and a word that is new takes the index 3 µs.
As in a server, the garbage collector leaves alone what was there before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import httpx
from _measure import print_table
from httpx_sse import aconnect_sse

from tertulia.client import Client
from tertulia.settings import ClientSettings, InstanceSettings
from tertulia.vocabulary.events import JournalEntry
from tertulia.vocabulary.models import MessageDraft, NewConversation
from tertulia.vocabulary.states import RunStatus
from tertulia_server.progress import Progress
from tertulia_server.stdio import freeze_heap

RATE = 800
VOCABULARY = 5_000
"""How many words there are; the second is half as frequent as the first, the third a third, and so on."""
QUESTION = "How long?"
AGENT = "/v3/retrieval/agent"


def words(count: int) -> Sequence[str]:
    """Return the pieces of an answer: a word each."""
    frequencies = [1 / (rank + 1) for rank in range(VOCABULARY)]
    chosen = random.Random(count).choices(range(VOCABULARY), frequencies, k=count)
    return [f"word{rank} " for rank in chosen]


def event(word: str) -> bytes:
    """Return an event with a piece of text."""
    text: Any = {"type": "text", "payload": {"value": word, "annotations": []}}
    delta: Any = {"id": "msg_1", "object": "agent.message.delta", "delta": {"content": [text]}}
    return f"event: message\ndata: {json.dumps(delta)}\n\n".encode()


def stored(text: Sequence[str]) -> list[dict[str, Any]]:
    """Return the question and its answer, as R2R has them afterwards."""
    answer = {"role": "assistant", "content": "".join(text)}
    question = {"role": "user", "content": QUESTION}
    return [
        {"id": str(uuid.UUID(int=1)), "message": question, "metadata": {}},
        {"id": str(uuid.UUID(int=2)), "message": answer, "metadata": {"output_tokens": len(text)}},
    ]


class Server:
    """As much of R2R as one answer needs. Each answer has `count` pieces, so many in a write, `rate` a second."""

    def __init__(self, count: int, together: int, rate: float) -> None:
        text = words(count)
        pieces = [event(word) for word in text]
        self._writes = [b"".join(pieces[at : at + together]) for at in range(0, count, together)]
        self._pause = together / rate if rate else 0.0
        self._answered = stored(text)
        self._asked = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        while head := await _head(reader):
            method, path, length = head
            await reader.readexactly(length)
            if path == AGENT:
                self._asked = True
                await self._stream(writer)
                break
            body = json.dumps(self._answer(method, path)).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%s" % (len(body), body)
            )
            await writer.drain()
        writer.close()

    def _answer(self, method: str, path: str) -> dict[str, Any]:
        record = {"id": str(uuid.UUID(int=3)), "name": "Texts"}
        record |= {"created_at": "2026-01-01T00:00:00Z", "user_id": str(uuid.UUID(int=4))}
        if path.partition("?")[0].endswith("conversations"):
            return {"results": record if method == "POST" else [record], "total_entries": 1}
        return {"results": self._answered if self._asked else [], "total_entries": 2}

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        begun = time.monotonic()
        for number, data in enumerate(self._writes):
            if self._pause:
                await asyncio.sleep(begun + number * self._pause - time.monotonic())
            writer.write(data)
            await writer.drain()
        writer.write(b"event: done\ndata: [DONE]\n\n")


async def _head(reader: asyncio.StreamReader) -> tuple[str, str, int] | None:
    """Return the method and path of the next request, and the length of its body; None at the end."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = lines[0].split()
    lengths = (line.partition(":")[2] for line in lines if line.startswith("content-length:"))
    return method.upper(), path, int(next(lengths, "0"))


async def serve(count: int, together: int, rate: float) -> None:
    """Serve until killed; print the port."""
    server = await asyncio.start_server(Server(count, together, rate).serve, "127.0.0.1", 0, limit=1 << 20)
    for listening in server.sockets:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(listening.getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(count: int, together: int, rate: float) -> Generator[str]:
    """Serve in a process; yield the server's URL."""
    arguments = ("--serve", str(count), str(together), str(rate))
    with subprocess.Popen(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


@dataclass(frozen=True, slots=True)
class Taken:
    """What something took: seconds that passed, and seconds of the processor."""

    passed: float
    busy: float

    @classmethod
    def since(cls, begun: Taken | None = None) -> Taken:
        """Return what was taken since `begun`, or since clocks began."""
        now = cls(time.perf_counter(), time.process_time())
        return now if begun is None else cls(now.passed - begun.passed, now.busy - begun.busy)


async def raw(url: str) -> Taken:
    """Return what a loop takes that reads each event and its JSON."""
    async with httpx.AsyncClient(timeout=60) as client:
        freeze_heap()
        start = Taken.since()
        async with aconnect_sse(client, "POST", f"{url}{AGENT}", json={}) as source:
            async for event in source.aiter_sse():
                if event.event != "done":
                    json.loads(event.data)
        return Taken.since(start)


async def followed(url: str, store: Path) -> Taken:
    """Return what a run takes that is answered by the server, followed and turned into progress."""
    notified = 0

    async def report(count: float, message: str) -> None:
        nonlocal notified
        notified += 1

    progress = Progress(report)

    async def on_events(entries: Sequence[JournalEntry]) -> None:
        await progress.on_events(entries)

    instances = {"r2r": InstanceSettings(platform="r2r", options={"base_url": url})}
    async with Client.open(ClientSettings(store=store, instances=instances)) as client:
        created = await client.conversations.create(NewConversation(agent="r2r:rag"))
        freeze_heap()
        start = Taken.since()
        sent = await client.runs.send(created.id, MessageDraft(text=QUESTION))
        outcome = await client.runs.wait(sent.run, timeout=300, on_events=on_events)
        assert outcome.run.status is RunStatus.COMPLETED, outcome
        return Taken.since(start)


def measure(what: str, count: int, together: int, rate: float) -> list[list[str | float | int]]:
    """Measure both, in turn, three times; return their rows with the medians."""
    taken: dict[str, list[Taken]] = {"raw loop": [], "journal and progress": []}
    for _ in range(3):
        with serving(count, together, rate) as url:
            taken["raw loop"].append(anyio.run(raw, url))
        with serving(count, together, rate) as url, tempfile.TemporaryDirectory() as folder:
            taken["journal and progress"].append(anyio.run(followed, url, Path(folder) / "store.db"))
    passed = {name: median(each.passed for each in all_of) for name, all_of in taken.items()}
    busy = {name: median(each.busy for each in all_of) for name, all_of in taken.items()}
    return [
        [
            f"{what}: {name}",
            int(count / seconds),
            passed["raw loop"] / seconds,
            busy[name] / count * 1e6,
            busy["raw loop"] / busy[name],
        ]
        for name, seconds in passed.items()
    ]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--seconds", type=float, default=8.0, help="how long the paced answer takes")
    parser.add_argument("--serve", nargs=3, type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        count, together, rate = given.serve
        anyio.run(serve, int(count), int(together), rate)
        return
    rows = [
        *measure("20 in a write", given.events, 20, 0),
        *measure("1 in a write", given.events, 1, 0),
        *measure(f"{RATE} a second", int(RATE * given.seconds), 1, RATE),
    ]
    print_table(["streamed text", "events/s", "of the raw loop", "CPU µs an event", "of the raw loop"], rows)


if __name__ == "__main__":
    main()
