"""Reading from the store what happens in runs and conversations, whichever process makes it happen."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from functools import partial

import anyio

from tertulia.runs.runner import Runner
from tertulia.store import conversations, journal, leases, lookup, messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.errors import NotFoundError
from tertulia.vocabulary.events import JournalEntry
from tertulia.vocabulary.models import Run, RunResult
from tertulia.vocabulary.states import RequestStatus, RunStatus

EventListener = Callable[[Sequence[JournalEntry]], Awaitable[None]]
"""Is called with the entries of a journal as they come."""


def result(tx: Transaction, principal: str, run: Run) -> RunResult:
    """Return the run's current state and reply, without marking it as delivered."""
    conversation = conversations.get(tx, principal, run.conversation_id)
    run = runs.get(tx, principal, run.id)
    answer = None
    if run.reply_id is not None:
        with suppress(NotFoundError):  # it was removed with its branch; the journal still tells what was said
            answer = messages.get(tx, principal, run.conversation_id, run.reply_id)
    reply = None if answer is None else answer.text
    if reply is None:
        reply = journal.reply_text(journal.read_all(tx, principal, run))
    return RunResult(
        run=run,
        reply=reply,
        data=None if answer is None else answer.data,
        pending=[
            request for request in runs.requests_of(tx, run.id) if request.status is RequestStatus.PENDING
        ],
        seq=conversation.last_seq,
    )


async def wait_idle(
    store: Store,
    runner: Runner,
    principal: str,
    run: Run,
    *,
    timeout: float,
    on_events: EventListener | None,
) -> None:
    """Return when a run ends or needs a person, or after `timeout` seconds."""
    news = follow(store, runner, principal, run, after=run.first_seq, quiet=on_events is None)
    async with aclosing(news):
        with anyio.move_on_after(timeout):
            async for entries in news:
                if on_events is not None:
                    await on_events(entries)


def take_result(tx: Transaction, principal: str, run: Run, *, answered: bool = False) -> RunResult:
    """Return the run's current state and reply, marked as delivered: the identical call is a new one from then on.

    `answered`: the caller did not begin the run, but answered it with a message.
    """
    found = result(tx, principal, run)
    runs.mark_delivered(tx, found.run, to_answerer=answered)
    return found


async def follow(
    store: Store, runner: Runner, principal: str, run: Run, *, after: int, quiet: bool = False
) -> AsyncGenerator[Sequence[JournalEntry]]:
    """Yield the journal's entries after `after` as they come, until the run ends or needs a person.

    With `quiet` it reads no entries and yields nothing, for a caller who only wants to know when.
    """
    with store.watch(run.conversation_id) as watch:
        while True:
            run, entries = await store.read(
                partial(_look, principal=principal, run=run, after=None if quiet else after)
            )
            if entries:
                after = entries[-1].seq
                yield entries
            elif run.status is RunStatus.INPUT_REQUIRED or not run.status.active:
                return
            else:
                runner.execute_run(principal, run)
                await _changed(watch.changed)


async def watch(
    store: Store, runner: Runner, principal: str, conversation_id: str, *, after: int
) -> AsyncGenerator[Sequence[JournalEntry]]:
    """Yield a conversation's entries after `after` as they come, for as long as the caller listens.

    Ends when the conversation is deleted, with `NotFoundError`.
    """
    with store.watch(conversation_id) as changes:
        while True:
            entries = await store.read(
                partial(_read, principal=principal, conversation_id=conversation_id, after=after)
            )
            if entries:
                after = entries[-1].seq
                yield entries
                continue
            active = await store.read(
                partial(runs.active, principal=principal, conversation_id=conversation_id)
            )
            if active is not None:
                runner.execute_run(principal, active)
            await _changed(changes.changed)


async def changes(store: Store, principal: str, since: lookup.ChangeMarks) -> AsyncGenerator[Collection[str]]:
    """Yield which conversations have changed since they were marked, for as long as the caller listens.

    What happens while the listener is busy is yielded at once afterwards.
    """
    with store.watch() as news:
        while True:
            marks = await store.read(
                partial(lookup.change_marks, principal=principal, conversation_ids=since.keys())
            )
            if changed := {own_id for own_id, mark in marks.items() if mark != since[own_id]}:
                since = marks
                yield changed
            else:
                await news.changed()


async def _changed(changed: Callable[[], Awaitable[None]]) -> None:
    # Nobody writes when a lease runs out: look again after the time in which that can be seen.
    with anyio.move_on_after(leases.RENEWAL):
        await changed()


def _look(
    tx: Transaction, *, principal: str, run: Run, after: int | None
) -> tuple[Run, Sequence[JournalEntry]]:
    conversations.get(tx, principal, run.conversation_id)
    entries = () if after is None else journal.read(tx, principal, run.conversation_id, after)
    return runs.get(tx, principal, run.id), entries


def _read(tx: Transaction, *, principal: str, conversation_id: str, after: int) -> Sequence[JournalEntry]:
    conversations.get(tx, principal, conversation_id)
    return journal.read(tx, principal, conversation_id, after)
