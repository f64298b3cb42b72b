"""What runs say in quick succession waits a moment, so that much of it is written in one transaction."""

import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import anyio

from tertulia.store.database import Store, Transaction
from tertulia.store.leases import LostLeaseError
from tertulia.vocabulary.errors import StoreError, StoreUnavailableError, StoreUncertainError
from tertulia.vocabulary.events import DELTAS, Event

logger = logging.getLogger(__name__)

COALESCE_SECONDS = 0.1
"""Events that arrive within this time are written together, and pieces of text become one journal entry."""
OVERDUE_SECONDS = 3 * COALESCE_SECONDS
"""After this time a run says no more before what it has said is written: memory does not take what the disk refuses."""

Checkpoint = Mapping[str, Any]
Change = Callable[[Transaction], object]
Write = Callable[[Transaction, Sequence[Event], Checkpoint | None], None]
"""Checks the lease of a run, and writes events with what the platform saves with them."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What waits in a queue at one moment."""

    events: Sequence[Event]
    checkpoint: Checkpoint | None
    saves: int


class EventQueue:
    """The events of one run that are not written yet.

    `place` are the run's principal and conversation. `commit` makes a change in a transaction.
    """

    def __init__(
        self,
        writer: "EventWriter",
        place: tuple[str, str],
        write: Write,
        commit: Callable[[Change], Awaitable[object]],
    ) -> None:
        self.place = place
        self.write = write
        self._writer = writer
        self._commit = commit
        self._events = JoinedEvents()
        self._checkpoint: Checkpoint | None = None
        self._saves = 0
        """How many checkpoints were put: which one was written is known by its number."""
        self._since = math.inf
        """When the oldest event was put."""
        self._writing = anyio.Lock()
        self._failed = anyio.Event()
        self._error: Exception | None = None
        self._lost = False
        """Whether it is not known here what was written: then nothing may be written after it."""

    async def put(self, events: Sequence[Event], checkpoint: Checkpoint | None) -> None:
        """Add events, and what the platform saves with them; they are written in time, or now if nothing was lately.

        Where earlier ones are overdue, wait until they are written.
        """
        now = self._writer.now()
        if not self._events and self._checkpoint is None:
            self._since = now
        self._events.extend(events)
        if checkpoint is not None:
            self._save(checkpoint)
        if now - self._writer.written_at >= COALESCE_SECONDS or now - self._since >= OVERDUE_SECONDS:
            await self.flush()
        elif self._since == now:
            self._writer.hold(self)

    async def failure(self) -> NoReturn:
        """Raise why events could not be written, once that is so; for a task beside the answer."""
        await self._failed.wait()
        assert self._error is not None
        raise self._error

    async def flush(
        self,
        *events: Event,
        checkpoint: Checkpoint | None = None,
        change: Change | None = None,
    ) -> None:
        """Write what waits, then `events` with their checkpoint and `change`, in one transaction.

        If the store cannot be written, what waited goes on waiting; events that belong to a change do not: they must
        not be written without it.
        """
        async with self._writing:
            if self._error is not None and self._lost:
                raise self._error
            if change is None:
                self._events.extend(events)
                if checkpoint is not None:
                    self._save(checkpoint)
            waiting = self._taken()
            if change is None and not waiting.events and waiting.checkpoint is None:
                return
            said = waiting.events if change is None else [*waiting.events, *events]
            saved = waiting.checkpoint if checkpoint is None else checkpoint

            def flush(tx: Transaction) -> None:
                self.write(tx, said, saved)
                if change is not None:
                    change(tx)

            try:
                await self._commit(flush)
            except (StoreError, StoreUnavailableError):
                self._writer.hold(self)
                raise
            except BaseException:  # also if the caller was cancelled: it may have been committed all the same
                self._forget(waiting)
                raise
            self._forget(waiting)
            self._writer.wrote()

    def begin(self) -> _Waiting | None:
        """Return what waits, for `EventWriter` to write before `end`; None if nothing does, or somebody writes it."""
        if self._writing.locked() or (not self._events and self._checkpoint is None):
            return None
        self._writing.acquire_nowait()
        return self._taken()

    def end(self, written: _Waiting | None) -> None:
        """End what `begin` began; `written` is what needs not be written any more."""
        self._writing.release()
        if written is not None:
            self._forget(written)

    def fail(self, error: Exception, *, lost: bool = False) -> None:
        """Have the answer end with an error, since its events could not be written.

        `lost`: another process may write now, or what was held back may have been written after all.
        """
        self._error, self._lost = error, lost
        self._failed.set()

    def _taken(self) -> _Waiting:
        return _Waiting(self._events.so_far(), self._checkpoint, self._saves)

    def _forget(self, written: _Waiting) -> None:
        self._events.drop(len(written.events))
        if self._saves == written.saves:
            self._checkpoint = None
        if self._events or self._checkpoint is not None:
            self._since = self._writer.now()
            self._writer.hold(self)

    def _save(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._saves += 1


class EventWriter:
    """Writes what the runs of this process hold back, in time, and that of all runs in one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.now = store.clock.now
        self.written_at = -math.inf
        """When something of any run was written last."""
        self._held: dict[EventQueue, None] = {}
        self._news = anyio.Event()

    def queue(
        self, place: tuple[str, str], *, write: Write, commit: Callable[[Change], Awaitable[object]]
    ) -> EventQueue:
        """Return a queue for the events of a run (see there)."""
        return EventQueue(self, place, write, commit)

    def hold(self, queue: EventQueue) -> None:
        """Have what waits in a queue written in time."""
        self._held[queue] = None
        self._news.set()

    def wrote(self) -> None:
        """Note that something was written just now."""
        self.written_at = self.now()

    async def write(self) -> None:
        """Write what is held in time, until this task is cancelled."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            pause = self.written_at + COALESCE_SECONDS - self.now()
            if pause > 0:
                await self._store.clock.tick(pause)
            held, self._held = self._held, {}
            # In one order in all processes: where rows are locked, two that write the same ones wait for each other.
            await self._write_all(sorted(held, key=lambda queue: queue.place))
            self.wrote()

    async def _write_all(self, queues: Sequence[EventQueue]) -> None:
        begun = {queue: waiting for queue in queues if (waiting := queue.begin()) is not None}
        if not begun:
            return
        try:
            await self._write_together(begun)
        except (StoreError, StoreUnavailableError):
            logger.warning("held back events were not written yet", exc_info=True)
            for queue in begun:
                self.hold(queue)
        except Exception:  # what one run says must not keep that of others from being written
            logger.exception("held back events could not be written together, and are written run by run")
            for queue in begun:
                await self._write_alone(queue)

    async def _write_together(self, begun: Mapping[EventQueue, _Waiting]) -> None:
        settled: Collection[EventQueue] = (
            begun  # as it is where this is cancelled: it may have been committed
        )
        lost: Mapping[EventQueue, LostLeaseError | StoreUncertainError] = {}
        try:
            principals = frozenset(queue.place[0] for queue in begun)
            lost = await self._store.write(partial(_write, begun=begun), principal=principals)
            settled = begun.keys() - lost.keys()
        except StoreUncertainError as error:
            lost = dict.fromkeys(begun, error)  # not to be written twice: each run goes on from what there is
        except Exception:  # whatever it is, nothing was written
            settled = ()
            raise
        finally:
            for queue, waiting in begun.items():
                queue.end(waiting if queue in settled else None)
        for queue, error in lost.items():
            queue.fail(error, lost=True)

    async def _write_alone(self, queue: EventQueue) -> None:
        try:
            await queue.flush()
        except Exception as error:  # the run ends by it as soon as it says more
            logger.exception("what a run in %s said could not be written", queue.place[1])
            queue.fail(error)


def _write(tx: Transaction, *, begun: Mapping[EventQueue, _Waiting]) -> dict[EventQueue, LostLeaseError]:
    """Write what waits in queues; return those that belong to runs which this process has lost."""
    lost: dict[EventQueue, LostLeaseError] = {}
    for queue, waiting in begun.items():
        try:
            queue.write(tx, waiting.events, waiting.checkpoint)
        except LostLeaseError as error:
            lost[queue] = error
    return lost


class JoinedEvents:
    """Events in order, of which adjacent deltas of the same message are joined as they come.

    A joined event has the upstream id of its last part. Thousands of parts that wait one by one would keep the garbage
    collector busy.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._first: Event | None = None
        """The first of the deltas that are being joined, which are in no event yet."""
        self._last: Event | None = None
        self._deltas: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._events) or self._first is not None

    def extend(self, events: Iterable[Event]) -> None:
        """Add events."""
        for event in events:
            if event.kind not in DELTAS:
                self._join()
                self._events.append(event)
                continue
            message_id = event.data.get("message_id")
            first = self._first
            if first is None or first.kind is not event.kind or first.data.get("message_id") != message_id:
                self._join()
                self._first = event
            self._last = event
            self._deltas.append(str(event.data.get("delta", "")))

    def so_far(self) -> tuple[Event, ...]:
        """Return the events; what comes later is not joined to them."""
        self._join()
        return tuple(self._events)

    def drop(self, count: int) -> None:
        """Remove the first `count` of the events that there were so far."""
        del self._events[:count]

    def _join(self) -> None:
        first, last = self._first, self._last
        if first is None or last is None:
            return
        joined = first
        if first is not last:
            joined = Event(first.kind, {**first.data, "delta": "".join(self._deltas)}, last.upstream_id)
        self._events.append(joined)
        self._first = self._last = None
        self._deltas.clear()


def coalesced(events: Iterable[Event]) -> Sequence[Event]:
    """Join adjacent deltas of the same message; a joined event has the upstream id of its last part."""
    joined = JoinedEvents()
    joined.extend(events)
    return joined.so_far()
