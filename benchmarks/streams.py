"""Many runs that are followed at once, beside as many bare tasks: what they cost while little happens in each.

`.venv/bin/python benchmarks/streams.py [--streams N] [--rate EVENTS] [--seconds N]`. Each run's events are paced, so
that all together make `--rate` a second; each run is followed as a waiting host follows it. The floor is as many tasks
that make the same events at the same pace and do nothing with them.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from pathlib import Path

import anyio
from _measure import print_table

from tertulia.client import Client
from tertulia.platforms.base import EmbeddedRunContext
from tertulia.platforms.local.platform import LocalPlatform
from tertulia.settings import ClientSettings
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.models import MessageDraft, NewConversation


async def _paced(index: int, streams: int, rate: float, seconds: float) -> AsyncGenerator[Event]:
    """Yield the events of one of so many streams at its pace; the streams take turns."""
    pause = streams / rate
    await anyio.sleep(pause * index / streams)
    for number in range(round(seconds / pause)):
        yield Event(EventKind.TEXT_MESSAGE_CONTENT, {"message_id": "m", "delta": f"word{number} "})
        await anyio.sleep(pause)


def _memory() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def bare(streams: int, rate: float, seconds: float) -> float:
    """Return the share of a core that tasks take which only make events, in percent."""

    async def one(index: int) -> None:
        async for _ in _paced(index, streams, rate, seconds):
            pass

    taken = 0.0
    start, began = time.process_time(), time.monotonic()
    async with anyio.create_task_group() as tasks:
        for index in range(streams):
            tasks.start_soon(one, index)
        await anyio.sleep(seconds)
        taken = 100 * (time.process_time() - start) / (time.monotonic() - began)
        tasks.cancel_scope.cancel()
    return taken


async def followed(streams: int, rate: float, seconds: float, folder: Path) -> tuple[float, int]:
    """Return the share of a core that runs with these events take, and how many journal entries were followed."""
    entry_count = 0
    begin = anyio.Event()
    indexes = itertools.count()
    taken = 0.0

    async def answer(self: LocalPlatform, context: EmbeddedRunContext) -> None:
        await begin.wait()
        async for event in _paced(next(indexes), streams, rate, seconds):
            await context.emit(event)
        await anyio.sleep_forever()

    async def on_events(entries: Sequence[JournalEntry]) -> None:
        nonlocal entry_count
        entry_count += len(entries)

    LocalPlatform.answer_in_store = answer  # the registry finds the class by its name
    async with (
        Client.open(ClientSettings(store=folder / "store.db")) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(streams):
            created = await client.conversations.create(NewConversation(agent="local:archivist"))
            sent = await client.runs.send(created.id, MessageDraft(text="go"))
            tasks.start_soon(partial(client.runs.wait_idle, sent.run, timeout=3600, on_events=on_events))
        await anyio.sleep(1)
        start, began = time.process_time(), time.monotonic()
        begin.set()
        await anyio.sleep(seconds)
        taken = 100 * (time.process_time() - start) / (time.monotonic() - began)
        tasks.cancel_scope.cancel()
    return taken, entry_count


async def measure(streams: int, rate: float, seconds: float) -> None:
    """Measure both and print them."""
    before = _memory()
    floor = await bare(streams, rate, seconds)
    with tempfile.TemporaryDirectory() as folder:
        taken, entries = await followed(streams, rate, seconds, Path(folder))
    print_table(
        [f"{streams} streams, {rate:g} events/s", "% of a core", "entries", "MB more"],
        [["bare tasks", floor, "", ""], ["followed runs", taken, entries, _memory() - before]],
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--rate", type=float, default=40.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    anyio.run(measure, given.streams, given.rate, given.seconds)


if __name__ == "__main__":
    main()
