"""The runner executes runs, and continues runs whose process died.

A run is a row in the store. The process that holds its conversation's lease has the platform produce the answer, in a
task of the process rather than of the call; callers only read the journal. A process that waits for a run that nobody
executes takes the lease and continues it. So a run survives the process that began it, and continues after a request
was settled.
"""

import logging
import math
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc

from tertulia.platforms.base import EmbeddedPlatform, Execution, Platform
from tertulia.runs.admission import (
    AnsweredElsewhereError,
    Executor,
    Submission,
    admit,
    opens_at_start,
    produces_answer,
)
from tertulia.runs.budget import RunBudget
from tertulia.runs.context import StoredRunContext
from tertulia.runs.event_queue import EventWriter
from tertulia.runs.leases import LeaseHolder, has_worker, new_owner
from tertulia.runs.limits import Limits
from tertulia.runs.results import result
from tertulia.runs.shared_reads import SharedReads
from tertulia.store import conversations, leases, messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.store.leases import Lease, LostLeaseError
from tertulia.vocabulary.errors import StoreError, StoreUnavailableError, StoreUncertainError, TertuliaError
from tertulia.vocabulary.log_ids import log_ids
from tertulia.vocabulary.models import Message, Run, Sent
from tertulia.vocabulary.states import RunStatus
from tertulia.vocabulary.tasks import errors_in

logger = logging.getLogger(__name__)

FAULT = "The answer failed because of a fault in Tertulia; its log has the details."
NO_WORKER = "The process that runs agent programs on this machine could not be started."


@dataclass(frozen=True, slots=True)
class Worker:
    """How a process has runs executed that only a worker can execute (`Execution.WORKER`)."""

    launch: Callable[[], Awaitable[object]] | None = None
    """Starts a worker of this store unless one is running; None if this process is the worker."""
    patience: float = 20.0
    """How many seconds it may take until the worker is seen."""
    hint: str = ""
    """Where to look when none can be started."""


class Runner:
    """Executes runs until its context is left; other processes can then continue them.

    Not more than `max_runs` at a time: the others wait for a place, and any process may take them meanwhile.
    """

    def __init__(
        self,
        store: Store,
        holder: LeaseHolder,
        platforms: Mapping[str, Platform],
        limits: Limits,
        worker: Worker | None = None,
        max_runs: int | None = None,
    ) -> None:
        self._store = store
        self._limits = limits
        self._leases = holder
        self._platforms = platforms
        self._worker = worker
        self._writer = EventWriter(store)
        self.reads = SharedReads(store)
        """For those who follow runs."""
        self._followed = Counter[tuple[str, str]]()
        """The conversations that are followed here, each with its principal."""
        self._finished = anyio.Event()
        """Set when a run is no longer executed here."""
        self._launching = anyio.Lock()
        self._executing: dict[str, anyio.CancelScope] = {}
        self._submitted = set[str]()
        """The runs that are being recorded: whoever records one executes it."""
        self._places = anyio.CapacityLimiter(math.inf if max_runs is None else max_runs)
        self._unkept: dict[str, tuple[Message, Mapping[str, Any] | None]] = {}
        """The messages of runs whose contents the store does not keep: they are lost with this process."""
        self._tasks: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._leases.renew)
        self._tasks.start_soon(self._writer.write)
        self._tasks.start_soon(self._take_up)
        for platform in self._platforms.values():
            if isinstance(platform, EmbeddedPlatform) and platform.maintenance_interval is not None:
                self._tasks.start_soon(self._maintain, platform, platform.maintenance_interval)
            if self._is_worker and platform.capabilities.execution is Execution.WORKER:
                self._tasks.start_soon(platform.serve)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def submit(self, principal: str, submission: Submission) -> Sent:
        """Record a message and the run that answers it, in one transaction; then execute the run.

        Raises:
            NotFoundError: there is no such conversation.
            ConflictError: it accepts no message now, or another run is active.
            QuotaExceededError: the principal may begin no run now.
        """
        conversation_id = submission.message.conversation_id
        platform = self._platform(principal, conversation_id)
        assert platform is not None, "the caller has looked for the instance"
        if submission.context is not None:
            platform.check_context(submission.context)

        executes, has_place = self._executes(platform), self.places > 0

        def record(tx: Transaction) -> tuple[Sent, Message | None, StoredRunContext | None]:
            keeps_content = tx.keeps_content(conversation_id)
            # While it waits for a place, another process may begin the run, unless only this one has the message.
            takes = executes and (has_place or not keeps_content)
            executor = Executor(new_owner(), has_place) if takes else None
            admitted = admit(tx, principal, platform, submission, self._limits, executor)
            sent = Sent(
                conversation=conversations.get(tx, principal, conversation_id),
                run=admitted.run,
                sent_as=admitted.sent_as,
                result=result(tx, principal, run=admitted.run, store=self._store) if admitted.taken else None,
            )
            unkept = None if keeps_content else admitted.message
            begun = None if admitted.lease is None else self._first(tx, admitted.lease, sent, submission)
            return sent, unkept, begun

        sent: Sent | None = None
        self._submitted.add(submission.run_id)
        with anyio.CancelScope(
            shield=True
        ):  # a caller that is cancelled now must not leave a run that nobody executes
            try:
                sent, unkept, begun = await self._store.write(
                    record, principal=principal, conversation_id=conversation_id
                )
            except AnsweredElsewhereError as error:
                # Its process may be dead, and its principal away.
                self.execute_run(error.principal, error.run)
                raise
            finally:
                self._submitted.discard(submission.run_id)
            if unkept is not None:
                self._unkept[sent.run.id] = unkept, submission.context
            self.execute_run(principal, sent.run, begun)
        assert sent is not None, "a shielded scope is not left early"
        return sent

    def execute_run(self, principal: str, run: Run, begun: StoredRunContext | None = None) -> bool:
        """Begin to execute a run, unless it needs no execution or another process executes it. Returns at once.

        A run of an instance that this process does not have, or does not have for this principal, is left to other
        processes. `begun`: this process has taken its lease already. Returns whether this process tries now.
        """
        platform = self._platform(principal, run.conversation_id)
        taken = run.id in self._executing or run.id in self._submitted
        if platform is None or taken or not self._needs_execution(platform, run):
            return False
        assert self._tasks is not None, "the runner was not entered"
        self._executing[run.id] = scope = anyio.CancelScope()
        if self._executes(platform):
            self._tasks.start_soon(self._execute, principal, run, scope, begun)
        else:
            self._tasks.start_soon(self._launch_worker, principal, run)
        return True

    @contextmanager
    def followed(self, principal: str, conversation_id: str) -> Generator[None]:
        """Have a run of this conversation continued, while the context lasts, whose process died."""
        followed = principal, conversation_id
        self._followed[followed] += 1
        try:
            yield
        finally:
            self._followed[followed] -= 1
            if not self._followed[followed]:
                del self._followed[followed]

    def stop(self, run: Run) -> None:
        """Stop executing a run that was ended in the store, without waiting for its task to notice."""
        self._unkept.pop(run.id, None)
        if run.id in self._executing:
            self._executing[run.id].cancel()

    async def wait_until_done(self) -> None:
        """Wait until no run is being executed here."""
        while self._executing:
            self._finished = anyio.Event()
            await self._finished.wait()

    @property
    def busy(self) -> bool:
        """Whether a run is being executed here, or waits for a place."""
        return bool(self._executing)

    @property
    def waiting(self) -> int:
        """How many runs wait for a place here."""
        return self._places.statistics().tasks_waiting

    @property
    def places(self) -> float:
        """How many more runs could be executed here now; none while some wait for a place."""
        return max(0, self._places.total_tokens - len(self._executing) - len(self._submitted))

    def _executes(self, platform: Platform) -> bool:
        """Whether this process executes the runs of an instance itself."""
        return platform.capabilities.execution is Execution.ANY_PROCESS or self._is_worker

    def _platform(self, principal: str, conversation_id: str) -> Platform | None:
        """Return the instance of a conversation as it is for a principal; None if it is none for them here."""
        instance = self._platforms.get(_instance(conversation_id))
        return None if instance is None else instance.used_by(principal)

    @property
    def _is_worker(self) -> bool:
        return self._worker is not None and self._worker.launch is None

    async def _take_up(self) -> None:
        """Take up the runs that are followed here and that no process executes: no write shows that a lease ran out."""
        while True:
            await self._store.clock.tick(leases.RENEWAL)
            if self._followed:
                try:
                    left = await self._store.read(runs.left)
                except TertuliaError:
                    logger.warning("runs that were left could not be looked for", exc_info=True)
                    continue
                for principal, run in left:
                    if (principal, run.conversation_id) in self._followed:
                        self.execute_run(principal, run)

    async def _maintain(self, platform: EmbeddedPlatform, interval: float) -> None:
        await self._store.opened()
        while True:
            try:
                await platform.maintain()
            except TertuliaError:
                logger.warning(
                    "%s was not maintained; the next attempt follows", platform.instance, exc_info=True
                )
            except Exception:  # whatever a platform lets through must not end the process
                logger.exception("%s could not be maintained; the next attempt follows", platform.instance)
            await self._store.clock.tick(interval)

    async def _launch_worker(self, principal: str, run: Run) -> None:
        try:
            if not await self._worker_is_there():
                await self._fail_without_worker(principal, run)
        except Exception:  # a run must not take the process with it, whatever is the matter
            logger.exception("run %s: no worker could be started", run.id)
        finally:
            del self._executing[run.id]
            self._finished.set()

    async def _worker_is_there(self) -> bool:
        """Return whether the store has a worker, after launching one unless it has."""
        async with self._launching:
            if await has_worker(self._store):
                return True
            if self._worker is None or self._worker.launch is None:
                return False
            with self._store.watch() as news, anyio.move_on_after(self._worker.patience):
                await self._worker.launch()
                while not await has_worker(self._store):
                    await news.changed()
                return True
            return False

    async def _fail_without_worker(self, principal: str, run: Run) -> None:
        """End a run that no worker will execute, unless one does."""
        load = partial(self._load, run_id=run.id)
        async with self._leases.hold_for(principal, run.conversation_id, load) as context:
            if context is not None and context.ready:
                hint = "" if self._worker is None else self._worker.hint
                await context.fail(" ".join(filter(None, (NO_WORKER, hint))), retryable=True)

    async def _execute(
        self, principal: str, run: Run, scope: anyio.CancelScope, begun: StoredRunContext | None
    ) -> None:
        with log_ids(run=run.id):
            try:
                with scope:
                    while await self._execute_once(principal, run, begun):
                        begun = None
            except* LostLeaseError:
                logger.info("run %s was ended or taken over elsewhere", run.id)
            except* (StoreError, StoreUnavailableError, StoreUncertainError):
                logger.warning("run %s waits until the store can be used", run.id, exc_info=True)
            except* Exception:  # a run must not take the process with it, whatever is the matter
                logger.exception("run %s could not be executed", run.id)
            finally:
                del self._executing[run.id]
                self._finished.set()

    async def _execute_once(self, principal: str, run: Run, begun: StoredRunContext | None) -> bool:
        """Execute a run unless another process does; return whether it must be executed again."""
        platform = self._platform(principal, run.conversation_id)
        assert platform is not None, "only runs of instances that this process has are executed"
        async with self._begun(principal, platform, run, begun) as context:
            if context is None:
                return False
            self._writer.wrote()
            status = await self._answer(platform, context)
            if status is not None:
                self._leases.ended(context.lease)
        if status is None:
            after = await self._store.read(partial(runs.find, principal=principal, run_id=run.id))
            status = None if after is None else after.status
        if status is None or not status.active:
            self._unkept.pop(run.id, None)
        if status is not None:
            logger.info("run %s is %s", run.id, status)
        return status is RunStatus.QUEUED

    @asynccontextmanager
    async def _begun(
        self, principal: str, platform: Platform, run: Run, begun: StoredRunContext | None
    ) -> AsyncGenerator[StoredRunContext | None]:
        """Hold a place and the lease for a run that begins, or has begun.

        None if it has ended meanwhile, or while another process has the lease.
        """
        begin = partial(self._begin, platform=platform, run_id=run.id)
        if begun is None:
            async with (
                self._places,
                self._leases.hold_for(
                    principal,
                    run.conversation_id,
                    begin,
                    needed=partial(runs.is_active, principal=principal, run_id=run.id),
                ) as context,
            ):
                yield context
        else:  # its lease is held while it waits for a place, too
            async with self._leases.keep(begun.lease), self._places:
                if begun.run.status is RunStatus.QUEUED:
                    begun = await self._store.write(partial(begin, lease=begun.lease), principal=principal)
                yield begun

    def _first(self, tx: Transaction, lease: Lease, sent: Sent, submission: Submission) -> StoredRunContext:
        """Return the context of a run that was recorded just now: nothing has happened in it but that it may run."""
        conversation, run = sent.conversation, sent.run
        platform = self._platforms[_instance(conversation.id)]
        saved: tuple[Mapping[str, Any] | None, Mapping[str, Any]] = None, {}
        if submission.context is not None or submission.checkpoint is not None:
            saved = runs.saved(tx, run.id)
        return StoredRunContext(
            store=self._store,
            writer=self._writer,
            lease=lease,
            run=run,
            conversation=conversation,
            message=messages.get(tx, lease.principal, conversation.id, run.message_id),
            message_context=saved[0],
            checkpoint=saved[1],
            entries=(),
            requests=(),
            approvals={},
            budget=RunBudget(platform.limits, platform.instance),
        )

    def _load(self, tx: Transaction, lease: Lease, *, run_id: str) -> StoredRunContext:
        limits = self._platforms[_instance(lease.resource)].limits
        return StoredRunContext.load(
            tx, store=self._store, writer=self._writer, lease=lease, run_id=run_id, limits=limits
        )

    def _begin(self, tx: Transaction, lease: Lease, *, platform: Platform, run_id: str) -> StoredRunContext:
        """Read a run, and mark it as running if it can be executed."""
        context = self._load(tx, lease, run_id=run_id)
        if context.ready:
            context.start(tx, opens=opens_at_start(platform))
        return context

    async def _answer(self, platform: Platform, context: StoredRunContext) -> RunStatus | None:
        """Have the platform produce an answer; return how the run ended, if its end was written here."""
        lease, run_id = context.lease, context.run.id
        if context.run.status is RunStatus.INPUT_REQUIRED and self._needs_execution(platform, context.run):
            for request in context.requests:
                await context.withdraw(request.id)
            begin = partial(self._begin, lease=lease, platform=platform, run_id=run_id)
            context = await self._store.write(begin, principal=context.principal)
        if not context.ready:
            return None
        unkept = self._unkept.get(run_id)
        if unkept is not None:
            context.message, context.message_context = unkept
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(context.events_failure)
                tasks.start_soon(self._stop_when_lost, lease, tasks.cancel_scope)
                await _produce(platform, context)
                if context.ended is None:
                    await context.flush()
                    if not await context.at_rest():
                        raise RuntimeError(f"{platform.kind} neither ended the run nor asked anything")
                tasks.cancel_scope.cancel()
        except Exception as raised:  # whatever a platform lets through must end its run, not the process
            error = _cause(raised)
            if isinstance(error, StoreError | StoreUnavailableError | StoreUncertainError):
                raise error from None  # it says nothing about the answer: the run continues when the store can be used
            if isinstance(error, TertuliaError):
                sentences = filter(None, (error.message, error.hint))
                await context.fail(" ".join(sentences), retryable=error.retryable, unsent=error.unsent)
            else:
                logger.exception("run %s: %s failed", run_id, platform.kind)
                await context.fail(FAULT)
        return context.ended

    def _needs_execution(self, platform: Platform, run: Run) -> bool:
        if run.status is RunStatus.INPUT_REQUIRED:
            # Where only a worker executes, one that asks holds the lease until that is settled; else it is gone.
            return self._is_worker and platform.capabilities.execution is Execution.WORKER
        if not run.status.active:
            return False
        return produces_answer(platform, run.agent)

    async def _stop_when_lost(self, lease: Lease, scope: anyio.CancelScope) -> None:
        with self._store.watch(leases.end_of(lease.resource)) as watch:
            try:
                while True:
                    await watch.changed()
                    await self.reads.read(lambda tx: leases.check(tx, lease))
            except LostLeaseError:
                scope.cancel()


def _instance(conversation_id: str) -> str:
    return conversation_id.partition(":")[0]


async def _produce(platform: Platform, context: StoredRunContext) -> None:
    if isinstance(platform, EmbeddedPlatform):
        await platform.answer_in_store(context)
    else:
        await platform.answer(context)


def _cause(raised: Exception) -> Exception:
    """Return the first error of those that a platform raised.

    Raises:
        LostLeaseError: this process has lost the run.
    """
    errors = errors_in(raised)
    for error in errors:
        if isinstance(error, LostLeaseError):
            raise error from None
    return errors[0]
