"""Events to the journal and to progress, beside a bare loop over the same events.

`.venv/bin/python benchmarks/events.py [--events N]`. A scripted platform emits one small event after another (pieces of
text, then the beginnings and ends of tool calls), as fast as it can, while the run is followed and turned into progress
notifications. The limit: near the speed of the bare loop, since neither is written nor told one by one.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
from _measure import print_table

from tertulia.client import Client
from tertulia.platforms.base import EmbeddedRunContext
from tertulia.platforms.local.platform import LocalPlatform
from tertulia.settings import ClientSettings
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.models import MessageDraft, NewConversation
from tertulia_server.progress import Progress


def events(count: int) -> Sequence[Event]:
    """Return `count` pieces of an answer."""
    return [
        Event(EventKind.TEXT_MESSAGE_CONTENT, {"message_id": "m", "delta": f"word{n} "}) for n in range(count)
    ]


def tool_events(count: int) -> Sequence[Event]:
    """Return the events of calls of tools, `count` in all."""
    kinds = (EventKind.TOOL_CALL_START, EventKind.TOOL_CALL_END)
    return [
        Event(kinds[n % 2], {"tool_call_id": f"t{n // 2}"} | ({} if n % 2 else {"tool": "grep"}))
        for n in range(count)
    ]


async def bare(pieces: Sequence[Event]) -> float:
    """Return the seconds of a loop that only reads each event, and yields now and then as a stream does."""
    start = time.perf_counter()
    length = 0
    for number, piece in enumerate(pieces):
        length += len(piece.data)
        if number % 100 == 0:
            await anyio.lowlevel.checkpoint()
    return time.perf_counter() - start


async def journaled(pieces: Sequence[Event], folder: Path) -> tuple[float, int, int]:
    """Return the seconds that a run with these events takes, and its numbers of entries and notifications."""

    async def answer(self: LocalPlatform, context: EmbeddedRunContext) -> None:
        for number, piece in enumerate(pieces):
            await context.emit(piece)
            if number % 100 == 0:
                await anyio.lowlevel.checkpoint()
        await context.finish()

    reported: list[float] = []
    entry_count = 0

    async def report(count: float, message: str) -> None:
        reported.append(count)

    progress = Progress(report)

    async def on_events(entries: Sequence[JournalEntry]) -> None:
        nonlocal entry_count
        entry_count += len(entries)
        await progress.on_events(entries)

    LocalPlatform.answer_in_store = answer  # the registry finds the class by its name
    async with Client.open(ClientSettings(store=folder / "store.db")) as client:
        created = await client.conversations.create(NewConversation(agent="local:archivist"))
        start = time.perf_counter()
        sent = await client.runs.send(created.id, MessageDraft(text="go"))
        await client.runs.wait(sent.run, timeout=300, on_events=on_events)
        return time.perf_counter() - start, entry_count, len(reported)


async def measure(count: int) -> None:
    """Measure both and print them."""
    rows: list[list[str | float | int]] = []
    for what, pieces in (("text", events(count)), ("tools", tool_events(count))):
        floor = await bare(pieces)
        with tempfile.TemporaryDirectory() as folder:
            taken, entries, notifications = await journaled(pieces, Path(folder))
        rows += [
            [f"{what}: bare loop", floor, int(count / floor), "", ""],
            [f"{what}: journal and progress", taken, int(count / taken), entries, notifications],
        ]
    print_table(["events", "seconds", "events/s", "entries", "notifications"], rows)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    anyio.run(measure, parser.parse_args().events)


if __name__ == "__main__":
    main()
