"""`tertulia sync`: read the histories of remote platforms into the index, and print the progress."""

import sys
from collections.abc import Sequence
from typing import Any

import anyio

from tertulia.client import Client
from tertulia.vocabulary.coverage import SyncProgress, SyncSummary
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, TertuliaError
from tertulia.vocabulary.untrusted import shown
from tertulia_server.progress_bar import progress_bar
from tertulia_server.settings import Settings
from tertulia_tools.quotes import one_line

FAILED = 1
INTERRUPTED = 130
"""The exit code that a shell gives a program which Ctrl-C has ended."""


def sync(settings: Settings, instances: Sequence[str], *, everything: bool) -> int:
    """Sync instances one after the other and print the result of each; return the exit code.

    It is 1 if something could not be read, and 130 after Ctrl-C. In both cases the next sync continues from there.

    Raises:
        InvalidInputError: the caller names no instance, or no instance can be synced.
        NotFoundError: there is no such instance.
    """
    try:
        return anyio.run(_sync, settings, instances, everything)
    except KeyboardInterrupt:
        print(
            "Stopped. What was read is kept; the same command goes on from there.",
            file=sys.stderr,
            flush=True,
        )
        return INTERRUPTED


async def _sync(settings: Settings, instances: Sequence[str], everything: bool) -> int:
    async with Client.open(settings.client_settings()) as client:
        failed = False
        for instance in _selected(client, instances, everything):
            try:
                with _ProgressReport(instance) as report:
                    summary = await client.search.sync(instance, on_progress=report.update)
            except TertuliaError as error:
                hint = f" {error.hint}" if error.hint else ""
                print(f"{instance}: {one_line(f'{error}{hint}')}", file=sys.stderr, flush=True)
                failed = True
            else:
                print(one_line(_summary_line(summary)), flush=True)
                failed = failed or summary.failed > 0
    return FAILED if failed else 0


def _selected(client: Client, instances: Sequence[str], everything: bool) -> Sequence[str]:
    syncable = client.search.syncable
    if everything == bool(instances):
        raise InvalidInputError(
            "Name instances or give --all, not both." if everything else "Which instance is to be synced?",
            valid=syncable,
            hint=None if everything else "--all syncs all of these.",
        )
    if everything and not syncable:
        raise InvalidInputError("No instance is configured that can be synced.")
    for instance in instances:
        if instance not in client.instances:
            raise NotFoundError(f"There is no instance {shown(instance)}.", valid=syncable, instance=instance)
    return syncable if everything else list(dict.fromkeys(instances))


def _summary_line(summary: SyncSummary) -> str:
    parts = [
        f"{summary.conversations:,} conversations",
        f"{summary.read:,} read",
        f"{summary.messages:,} messages added",
    ]
    if summary.gone:
        parts.append(f"{summary.gone:,} gone from the platform")
    if summary.unreadable:
        parts.append(f"{summary.unreadable:,} not shown to us")
    line = f"{summary.instance}: {', '.join(parts)}."
    if summary.failed:
        line += f" {summary.failed:,} could not be read ({one_line(summary.failure or '')}); sync again."
    return line


class _ProgressReport:
    """Shows the progress of a sync on a terminal."""

    def __init__(self, instance: str) -> None:
        self._bar: Any = progress_bar(desc=instance, unit=" conversations", total=None)

    def __enter__(self) -> "_ProgressReport":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, progress: SyncProgress) -> None:
        """Show the progress."""
        if self._bar is None:
            return
        if progress.total is not None and self._bar.total is None:
            self._bar.reset(total=progress.total)  # until the total is known, the sync only counts
        self._bar.n = progress.conversations
        self._bar.set_postfix_str(f"{progress.messages:,} messages")
