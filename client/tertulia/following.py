"""Reading what happens, from the store, whoever makes it happen."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from functools import partial

import anyio

from tertulia.runner import Runner
from tertulia.store import conversations, journal, leases, lookup, messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.errors import NotFoundError
from tertulia.vocabulary.events import JournalEntry
from tertulia.vocabulary.models import Outcome, Run
from tertulia.vocabulary.states import RequestStatus, RunStatus

Told = Callable[[Sequence[JournalEntry]], Awaitable[None]]
"""What is told the entries of a journal as they come."""


def outcome(tx: Transaction, principal: str, run: Run) -> Outcome:
    """Return what there is of a run now, whenever the caller has read it."""
    conversation = conversations.get(tx, principal, run.conversation_id)
    run = runs.get(tx, principal, run.id)
    answer = None
    if run.reply_id is not None:
        with suppress(NotFoundError):  # it was removed with its branch; the journal still tells what was said
            answer = messages.get(tx, principal, run.conversation_id, run.reply_id)
    reply = None if answer is None else answer.text
    if reply is None:
        reply = journal.reply_text(journal.read_all(tx, principal, run))
    return Outcome(
        run=run,
        reply=reply,
        data=None if answer is None else answer.data,
        pending=[
            request for request in runs.requests_of(tx, run.id) if request.status is RequestStatus.PENDING
        ],
        seq=conversation.last_seq,
    )


async def attend(
    store: Store, runner: Runner, principal: str, run: Run, *, timeout: float, told: Told | None
) -> None:
    """Return when a run ends or needs a person, or after `timeout` seconds."""
    news = follow(store, runner, principal, run, after=run.first_seq, quiet=told is None)
    async with aclosing(news):
        with anyio.move_on_after(timeout):
            async for entries in news:
                if told is not None:
                    await told(entries)


def collect(tx: Transaction, principal: str, run: Run, *, answered: bool = False) -> Outcome:
    """Return what there is of a run now, for a caller: the identical call is another one from then on.

    `answered`: the caller is not who began the run, but who answered it by a message.
    """
    found = outcome(tx, principal, run)
    runs.mark_delivered(tx, found.run, to_answerer=answered)
    return found


async def follow(
    store: Store, runner: Runner, principal: str, run: Run, *, after: int, quiet: bool = False
) -> AsyncGenerator[Sequence[JournalEntry]]:
    """Yield the journal's entries behind `after` as they come, until the run ends or needs a person.

    `quiet` leaves the entries out and yields nothing: for who only wants to know when.
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
                runner.work_on(principal, run)
                await _something(watch.changed)


async def watch(
    store: Store, runner: Runner, principal: str, conversation_id: str, *, after: int
) -> AsyncGenerator[Sequence[JournalEntry]]:
    """Yield a conversation's entries behind `after` as they come, for as long as somebody listens.

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
                runner.work_on(principal, active)
            await _something(changes.changed)


async def changes(store: Store, principal: str, since: lookup.Marks) -> AsyncGenerator[Collection[str]]:
    """Yield which conversations have changed since they were marked, whoever changes them, for as long as one listens.

    Whatever happens while the listener is busy is told at once afterwards.
    """
    with store.watch() as news:
        while True:
            marks = await store.read(
                partial(lookup.marks, principal=principal, conversation_ids=since.keys())
            )
            if changed := {own_id for own_id, mark in marks.items() if mark != since[own_id]}:
                since = marks
                yield changed
            else:
                await news.changed()


async def _something(changed: Callable[[], Awaitable[None]]) -> None:
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
