"""Runs: who produces an answer, how it survives, and how it ends.

A run is a row in the store. The process that holds its conversation's lease has the platform answer in a task that
belongs to the process, not to the call that asked; callers only read the journal. Whoever waits for a run that nobody
works on takes the lease and goes on: that is how a run survives the process that began it, and also how it goes on
after a request was settled.
"""

import logging
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import anyio
import anyio.abc

from tertulia.keeper import Keeper
from tertulia.lifecycle import add_to_run, added
from tertulia.platforms.base import Platform
from tertulia.store import conversations, journal, leases, messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.store.leases import Lease, LostLeaseError
from tertulia.vocabulary.errors import ConflictError, TertuliaError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import Message, Run, SentAs
from tertulia.vocabulary.states import RunStatus
from tertulia.work import StoredWork

logger = logging.getLogger(__name__)

FAULT = "The answer failed because of a fault in Tertulia; its log has the details."


class Runner:
    """Works on runs for as long as it is entered. Leaving it stops the work and leaves the runs to be resumed."""

    def __init__(self, store: Store, keeper: Keeper, platforms: Mapping[str, Platform]) -> None:
        self._store = store
        self._keeper = keeper
        self._platforms = platforms
        self._working: dict[str, anyio.CancelScope] = {}
        self._unkept: dict[str, tuple[Message, Mapping[str, Any] | None]] = {}
        """What is to be answered where the store keeps no contents: it is lost with this process."""
        self._tasks: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._keeper.renew)
        for platform in self._platforms.values():
            if platform.tend_seconds is not None:
                self._tasks.start_soon(self._tend, platform, platform.tend_seconds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def begin(
        self,
        principal: str,
        message: Message,
        *,
        run_id: str,
        call_digest: str,
        context: Mapping[str, Any] | None,
        join: bool,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> tuple[Run, SentAs]:
        """Record a message and the run that answers it, in one transaction; then work on it.

        Returns the run and what became of the message. It joins what an identical call began that is unfinished, or of
        which nobody was told yet, only where `join`. What the same ids began already is returned as it is. `checkpoint`
        is what the platform did already.

        Raises:
            NotFoundError: there is no such conversation.
            ConflictError: it takes no message now, or another run is active.
        """
        platform = self._platforms[_instance(message.conversation_id)]
        if context is not None:
            platform.check_context(context)

        def begin(tx: Transaction) -> tuple[Run, SentAs]:
            conversation = conversations.get(tx, principal, message.conversation_id)
            if (earlier := runs.find(tx, principal, run_id)) is not None:
                return earlier, SentAs.BEGUN
            if (went_into := runs.went_into(tx, principal, message.id)) is not None:
                replied = went_into.reply_id == message.id
                return went_into, SentAs.REPLY if replied else SentAs.ADDED
            if join and (same := runs.same_call(tx, principal, call_digest)) is not None:
                return same, SentAs.JOINED
            if checkpoint is None:
                platform.admits(conversation)
            active = runs.active(tx, principal, conversation.id)
            reception = platform.receive(tx, principal, conversation, platform.prepare(message), active)
            if reception.run is not None:
                into = add_to_run(
                    tx,
                    principal,
                    reception.run,
                    reception.message,
                    call_digest=call_digest,
                    reply=reception.reply,
                )
                return into, SentAs.REPLY if reception.reply else SentAs.ADDED
            if active is not None:
                raise _busy(tx, active)
            prepared = reception.message
            if not tx.keeps_content(conversation.id):
                self._unkept[run_id] = prepared, context
            messages.add(tx, principal, prepared)
            seq = journal.append(tx, principal, conversation.id, [added(prepared)], run_id)
            run = runs.insert(
                tx,
                principal,
                run_id=run_id,
                conversation_id=conversation.id,
                agent=reception.agent,
                message_id=prepared.id,
                call_digest=call_digest,
                context=context,
                first_seq=seq,
            )
            if checkpoint is not None:
                runs.save_checkpoint(tx, run.id, checkpoint)
            return run, SentAs.BEGUN

        begun: tuple[Run, SentAs] | None = None
        with anyio.CancelScope(shield=True):  # a caller that leaves now must not leave a run nobody works on
            begun = await self._store.write(begin)
            self.work_on(principal, begun[0])
        assert begun is not None, "a shielded scope is not left early"
        return begun

    def work_on(self, principal: str, run: Run) -> None:
        """See that somebody works on a run that needs it: this process, unless another does. Returns at once.

        A run of an instance that is not configured here is left to a process where it is.
        """
        needed = run.status in {RunStatus.QUEUED, RunStatus.RUNNING}
        platform = self._platforms.get(_instance(run.conversation_id))
        if needed and run.id not in self._working and platform is not None and platform.answers(run):
            assert self._tasks is not None, "the runner was not entered"
            self._working[run.id] = scope = anyio.CancelScope()
            self._tasks.start_soon(self._work, principal, run, scope)

    def stop(self, run: Run) -> None:
        """Stop this process's work on a run that was ended in the store, without waiting for it to notice."""
        self._unkept.pop(run.id, None)
        if run.id in self._working:
            self._working[run.id].cancel()

    async def _tend(self, platform: Platform, seconds: float) -> None:
        await self._store.opened()
        while True:
            try:
                await platform.tend()
            except TertuliaError:
                logger.warning(
                    "%s was not tended; the next attempt follows", platform.instance, exc_info=True
                )
            except Exception:  # whatever a platform lets through must not end the process
                logger.exception("%s could not be tended; the next attempt follows", platform.instance)
            await anyio.sleep(seconds)

    async def _work(self, principal: str, run: Run, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                while await self._work_once(principal, run):
                    pass
        except* LostLeaseError:
            logger.info("run %s was ended or taken over elsewhere", run.id)
        except* Exception:  # a run must not take the process with it, whatever is the matter
            logger.exception("run %s could not be worked on", run.id)
        finally:
            del self._working[run.id]

    async def _work_once(self, principal: str, run: Run) -> bool:
        """Work on a run if nobody else does; return whether it was set going again meanwhile."""
        async with self._keeper.hold(principal, run.conversation_id) as lease:
            if lease is None:
                return False
            await self._answer(lease, run.id)
        after = await self._store.read(partial(runs.find, principal=principal, run_id=run.id))
        if after is None or not after.status.active:
            self._unkept.pop(run.id, None)
        return after is not None and after.status is RunStatus.QUEUED

    async def _answer(self, lease: Lease, run_id: str) -> None:
        work = await self._store.read(partial(StoredWork.load, store=self._store, lease=lease, run_id=run_id))
        if not work.ready:
            return
        work.message, work.context = self._unkept.get(run_id, (work.message, work.context))
        platform = self._platforms[_instance(work.run.conversation_id)]
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work.write_in_time)
                tasks.start_soon(self._stop_when_lost, lease, tasks.cancel_scope)
                await work.start(opens=platform.kept_here or Feature.STATUS not in platform.features)
                await platform.answer(work)
                await work.flush()
                if not await work.at_rest():
                    raise RuntimeError(f"{platform.kind} neither ended the run nor asked anything")
                tasks.cancel_scope.cancel()
        except Exception as raised:  # whatever a platform lets through must end its run, not the process
            errors = _errors(raised)
            for error in errors:
                if isinstance(error, LostLeaseError):
                    raise error from None
            error = errors[0]
            if isinstance(error, TertuliaError):
                sentences = filter(None, (error.message, error.hint))
                await work.fail(" ".join(sentences), retryable=error.retryable)
            else:
                logger.exception("run %s: %s failed", run_id, platform.kind)
                await work.fail(FAULT)

    async def _stop_when_lost(self, lease: Lease, scope: anyio.CancelScope) -> None:
        with self._store.watch(lease.resource) as watch:
            try:
                while True:
                    await watch.changed()
                    await self._store.read(lambda tx: leases.check(tx, lease))
            except LostLeaseError:
                scope.cancel()


def _instance(conversation_id: str) -> str:
    return conversation_id.partition(":")[0]


def _errors(raised: Exception) -> list[Exception]:
    """Return what was raised, without the groups that tasks put it into."""
    if isinstance(raised, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", raised)
        return [error for inner in group.exceptions for error in _errors(inner)]
    return [raised]


def _busy(tx: Transaction, run: Run) -> ConflictError:
    pending = [request.id for request in runs.requests_of(tx, run.id) if request.status == "pending"]
    return ConflictError(
        f"The conversation {run.conversation_id} is still answering: its run {run.id} is {run.status}.",
        hint=(
            f"Settle the request {pending[0]} with confirm_tool, or stop the run with cancel_run."
            if pending
            else "Wait for it with stream_conversation, or stop it with cancel_run."
        ),
        conversation_id=run.conversation_id,
        run_id=run.id,
    )
