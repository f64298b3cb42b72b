"""Feeds of what happens in runs and conversations, read from the store, whichever process causes it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from functools import partial

import anyio

from tertulia.runs.runner import Runner
from tertulia.store import conversations, journal, lookup, runs
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.events import JournalEntry
from tertulia.vocabulary.models import Run
from tertulia.vocabulary.states import RunStatus

EventListener = Callable[[Sequence[JournalEntry]], Awaitable[None]]
"""Is called with new entries of a journal."""


async def wait_idle(
    store: Store,
    runner: Runner,
    principal: str,
    run: Run,
    *,
    timeout: float,
    on_events: EventListener | None,
) -> None:
    """Wait until a run ends or needs a person, or for `timeout` seconds."""
    news = follow(store, runner, principal, run, after=run.first_seq, quiet=on_events is None)
    async with aclosing(news):
        with anyio.move_on_after(timeout):  # the caller's own time, not the client's
            async for entries in news:
                if on_events is not None:
                    await on_events(entries)


async def follow(
    store: Store, runner: Runner, principal: str, run: Run, *, after: int, quiet: bool = False
) -> AsyncGenerator[Sequence[JournalEntry]]:
    """Yield the journal's entries after `after` as they come, until the run ends or needs a person.

    With `quiet` it reads and yields no entries, for a caller who only waits for the end.
    """
    with store.watch(run.conversation_id) as watch, runner.followed(principal, run.conversation_id):
        while True:
            run, entries = await runner.reads.read(
                partial(_run_and_entries, principal=principal, run=run, after=None if quiet else after)
            )
            if entries:
                after = entries[-1].seq
                yield entries
            elif run.status is RunStatus.INPUT_REQUIRED or not run.status.active:
                return
            else:
                runner.execute_run(principal, run)
                await watch.changed()


async def watch(
    store: Store, runner: Runner, principal: str, conversation_id: str, *, after: int
) -> AsyncGenerator[Sequence[JournalEntry]]:
    """Yield a conversation's entries after `after` as they come, for as long as the caller listens.

    Raises:
        NotFoundError: the conversation was deleted.
    """
    with store.watch(conversation_id) as changes, runner.followed(principal, conversation_id):
        while True:
            active, entries = await runner.reads.read(
                partial(
                    _active_and_entries, principal=principal, conversation_id=conversation_id, after=after
                )
            )
            if entries:
                after = entries[-1].seq
                yield entries
                continue
            if active is not None:
                runner.execute_run(principal, active)
            await changes.changed()


async def changes(store: Store, principal: str, since: lookup.ChangeMarks) -> AsyncGenerator[Collection[str]]:
    """Yield which conversations have changed since their marks, for as long as the caller listens.

    Changes that happen while the caller is busy are yielded together.
    """
    with store.watch() as news:
        while True:
            marks = await store.read(
                partial(lookup.change_marks, principal=principal, conversation_ids=since.keys())
            )
            if changed := {name for name, mark in marks.items() if mark != since[name]}:
                since = marks
                yield changed
            else:
                await news.changed()


def _run_and_entries(
    tx: Transaction, *, principal: str, run: Run, after: int | None
) -> tuple[Run, Sequence[JournalEntry]]:
    latest = conversations.run_now(tx, principal, run)
    return latest, [] if after is None else journal.read(tx, principal, run.conversation_id, after)


def _active_and_entries(
    tx: Transaction, *, principal: str, conversation_id: str, after: int
) -> tuple[Run | None, Sequence[JournalEntry]]:
    conversations.get(tx, principal, conversation_id)
    entries = journal.read(tx, principal, conversation_id, after)
    return None if entries else runs.active(tx, principal, conversation_id), entries
