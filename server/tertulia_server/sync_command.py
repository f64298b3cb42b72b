"""`tertulia sync`: brings the histories of other platforms into the index, for a person at a terminal."""

import sys
from collections.abc import Sequence
from typing import Any

import anyio

from tertulia.client import Client
from tertulia.vocabulary.coverage import SyncProgress, SyncSummary
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, TertuliaError
from tertulia.vocabulary.identifiers import shown
from tertulia_server.progress_bar import bar
from tertulia_server.settings import Settings
from tertulia_tools.quotes import in_a_line

FAILED = 1
INTERRUPTED = 130
"""What a shell returns for a program that Ctrl-C has ended."""


def sync(settings: Settings, instances: Sequence[str], *, everything: bool) -> int:
    """Sync instances one after the other and print what came of each; return the exit code.

    It is 1 if something could not be read, and 130 after Ctrl-C. Either way the next sync goes on from there.

    Raises:
        InvalidInputError: no instance is named, or none can be synced.
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
    async with Client.open(settings.client()) as client:
        failed = False
        for instance in _chosen(client, instances, everything):
            try:
                with _Reporting(instance) as reporting:
                    summary = await client.search.sync(instance, on_progress=reporting.progress)
            except TertuliaError as error:
                hint = f" {error.hint}" if error.hint else ""
                print(f"{instance}: {in_a_line(f'{error}{hint}')}", file=sys.stderr, flush=True)
                failed = True
            else:
                print(_told(summary), flush=True)
                failed = failed or summary.failed > 0
    return FAILED if failed else 0


def _chosen(client: Client, instances: Sequence[str], everything: bool) -> Sequence[str]:
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


def _told(summary: SyncSummary) -> str:
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
        line += f" {summary.failed:,} could not be read ({in_a_line(summary.failure or '')}); sync again."
    return line


class _Reporting:
    """Shows on a terminal how far a sync is."""

    def __init__(self, instance: str) -> None:
        self._bar: Any = bar(desc=instance, unit=" conversations", total=None)

    def __enter__(self) -> "_Reporting":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def progress(self, progress: SyncProgress) -> None:
        """Tell how far it is."""
        if self._bar is None:
            return
        if progress.total is not None and self._bar.total is None:
            self._bar.reset(total=progress.total)  # what it has counted until now is how many there are
        self._bar.n = progress.conversations
        self._bar.set_postfix_str(f"{progress.messages:,} messages")
