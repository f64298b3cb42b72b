"""The context of a run over the store: it journals what the platform emits, if the process still holds the lease."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, NoReturn, TypeVar

from tertulia.runs.budget import RunBudget
from tertulia.runs.event_queue import EventWriter, coalesced
from tertulia.settings import DEFAULT_LIMITS, Limits
from tertulia.store import conversations, journal, leases, messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.store.journal import Alongside
from tertulia.store.leases import Lease, LostLeaseError
from tertulia.store.transitions import answer_begins, ask, end_run, move, record_reply, withdraw
from tertulia.vocabulary.entry import safe_message
from tertulia.vocabulary.events import URGENT, Event, EventKind, JournalEntry
from tertulia.vocabulary.identifiers import new_id
from tertulia.vocabulary.models import (
    Conversation,
    ConversationChanges,
    Message,
    Request,
    RequestDraft,
    Role,
    Run,
)
from tertulia.vocabulary.states import RequestStatus, RunStatus, Status
from tertulia.vocabulary.untrusted import safe_id

T = TypeVar("T")


@dataclass
class StoredRunContext:
    """Implements `tertulia.platforms.base.RunContext` over the store."""

    store: Store
    lease: Lease
    run: Run
    conversation: Conversation
    message: Message
    message_context: Mapping[str, Any] | None
    checkpoint: Mapping[str, Any]
    entries: Sequence[JournalEntry]
    requests: Sequence[Request]
    approvals: Mapping[str, Mapping[str, Any]]
    """The arguments with which each request was approved."""
    budget: RunBudget

    writer: EventWriter
    ended: RunStatus | None = field(default=None, init=False)
    """How the run ended, once its end was written here."""

    def __post_init__(self) -> None:
        place = self.principal, self.conversation.id
        commit = partial(self.store.write, principal=self.principal)
        self._queue = self.writer.queue(place, write=self._write, commit=commit)

    @classmethod
    def load(
        cls,
        tx: Transaction,
        *,
        store: Store,
        writer: EventWriter,
        lease: Lease,
        run_id: str,
        limits: Limits = DEFAULT_LIMITS,
    ) -> "StoredRunContext":
        """Read a run from the store, for the process that holds its conversation's lease."""
        principal = lease.principal
        run = runs.get(tx, principal, run_id)
        requests = runs.requests_of(tx, run_id)
        entries = journal.read_all(tx, principal, run)
        message_context, checkpoint = runs.saved(tx, run_id)
        return cls(
            store=store,
            lease=lease,
            run=run,
            conversation=conversations.get(tx, principal, run.conversation_id),
            message=messages.get(tx, principal, run.conversation_id, run.message_id),
            message_context=message_context,
            checkpoint=checkpoint,
            entries=entries,
            requests=requests,
            approvals={request.id: runs.approved_arguments(tx, request) for request in requests},
            budget=RunBudget(limits, run.conversation_id.partition(":")[0], entries),
            writer=writer,
        )

    @property
    def principal(self) -> str:
        """The principal who sent the message."""
        return self.lease.principal

    @property
    def ready(self) -> bool:
        """Whether the run has not ended and does not wait for a person."""
        return self.run.status in {RunStatus.QUEUED, RunStatus.RUNNING}

    def start(self, tx: Transaction, *, opens: bool = True) -> None:
        """Mark the run as running. Its first attempt opens the conversation, unless the platform keeps the status."""
        leases.check(tx, self.lease)
        if not any(entry.kind is EventKind.RUN_STARTED for entry in self.entries):
            begun, status = answer_begins(self.conversation.status, self.run.agent, opens=opens)
            opened = Alongside(status=status)
            journal.append(tx, self.principal, self.conversation.id, begun, self.run.id, opened)
        runs.set_status(tx, self.run, RunStatus.RUNNING)

    async def emit(
        self,
        *events: Event,
        checkpoint: Mapping[str, Any] | None = None,
        awaiting: bool | None = None,
    ) -> None:
        """See `tertulia.platforms.base.RunContext.emit`."""
        if self.ended is not None:
            raise LostLeaseError(self.conversation.id)
        self.budget.spend(events)
        if awaiting is not None:
            change = partial(self._set_awaiting, awaiting=awaiting)
            await self._queue.flush(*events, checkpoint=checkpoint, change=change)
        elif not events or not URGENT.isdisjoint([event.kind for event in events]):
            await self._queue.flush(*events, checkpoint=checkpoint)
        else:
            await self._queue.put(events, checkpoint)

    async def commit(
        self, change: Callable[[Transaction], object], *events: Event, checkpoint: Mapping[str, Any]
    ) -> None:
        """See `tertulia.platforms.base.EmbeddedRunContext.commit`."""
        self.budget.spend(events)
        await self._queue.flush(*events, checkpoint=checkpoint, change=change)

    async def flush(self) -> None:
        """Write the events that are still queued."""
        await self._queue.flush()

    async def events_failure(self) -> NoReturn:
        """Raise why events could not be written, once that is so; runs in a task beside the answer."""
        await self._queue.failure()

    async def ask(
        self, draft: RequestDraft, *events: Event, checkpoint: Mapping[str, Any] | None = None
    ) -> Request:
        """See `tertulia.platforms.base.RunContext.ask`."""
        self.budget.spend([*events, Event(EventKind.TOOL_CONFIRMATION_REQUIRED, asdict(draft))])
        await self.flush()

        def record(tx: Transaction) -> Request:
            self._retitle(tx, events)
            request = ask(tx, self.principal, self.run, draft, *events)
            if checkpoint is not None:
                runs.save_checkpoint(tx, self.run.id, checkpoint)
            runs.set_status(tx, self.run, RunStatus.INPUT_REQUIRED)
            move(tx, self.principal, self.conversation.id, Status.INPUT_REQUIRED, run_id=self.run.id)
            return request

        return await self._commit(record)

    async def wait_settled(self, request_id: str) -> Request:
        """See `tertulia.platforms.base.RunContext.wait_settled`."""
        with self.store.watch(self.conversation.id) as watch:
            while True:
                request = await self.store.read(lambda tx: runs.get_request(tx, self.principal, request_id))
                if request.status is not RequestStatus.PENDING:
                    await self._commit(self._continue_running)
                    return request
                await watch.changed()

    def _continue_running(self, tx: Transaction) -> None:
        """Write that the run is being executed again: a decision has queued it for whoever carries it out."""
        run = runs.get(tx, self.principal, self.run.id)
        if run.status is RunStatus.QUEUED:
            runs.set_status(tx, run, RunStatus.RUNNING)
            tx.touched.add(self.conversation.id)

    async def withdraw(self, request_id: str) -> None:
        """See `tertulia.platforms.base.RunContext.withdraw`."""
        await self.flush()
        await self._commit(
            partial(withdraw, principal=self.principal, request_id=request_id, run=RunStatus.RUNNING)
        )

    def approved_arguments(self, request: Request) -> Mapping[str, Any]:
        """See `tertulia.platforms.base.RunContext.approved_arguments`."""
        return self.approvals.get(request.id, request.arguments)

    async def identify(self, message_id: str) -> None:
        """See `tertulia.platforms.base.RunContext.identify`."""
        own = safe_id(message_id)
        if own != self.message.id:
            await self._commit(
                partial(
                    messages.identify,
                    principal=self.principal,
                    conversation_id=self.conversation.id,
                    stored=self.message.id,
                    own=own,
                )
            )
            self.message = replace(self.message, id=own)

    async def finish(
        self,
        text: str | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        message_id: str | None = None,
        type: str | None = None,
    ) -> None:
        """See `tertulia.platforms.base.RunContext.finish`."""
        self.budget.check_whole(text, data, metadata)

        def finish(tx: Transaction) -> None:
            entries = (
                () if text is None and data is not None else journal.read_all(tx, self.principal, self.run)
            )
            whole = journal.reply_text(entries) if text is None and data is None else text
            recorded = None
            if whole or data is not None:
                reply = safe_message(
                    Message(
                        id=message_id or new_id("m_"),
                        conversation_id=self.conversation.id,
                        author=self.run.agent or self.conversation.id.partition(":")[0],
                        role=Role.ASSISTANT,
                        text=whole or None,
                        data=data,
                        type=type,
                        parent_id=self.message.id,
                        branch=self.message.branch,
                        metadata={} if metadata is None else metadata,
                    )
                )
                recorded = record_reply(tx, self.principal, self.run, reply, entries)
            finished = Event(EventKind.RUN_FINISHED)
            end_run(tx, self.principal, self.run, RunStatus.COMPLETED, finished, reply=recorded)

        await self._queue.flush(change=finish)
        self.ended = RunStatus.COMPLETED

    async def fail(self, message: str, *, retryable: bool = False, unsent: bool = False) -> None:
        """See `tertulia.platforms.base.RunContext.fail`."""
        event = Event(EventKind.RUN_ERROR, {"message": message, "retryable": retryable})
        await self._end(RunStatus.FAILED, event, message, retryable=retryable, unsent=unsent)

    async def interrupt(self, message: str) -> None:
        """See `tertulia.platforms.base.RunContext.interrupt`."""
        event = Event(EventKind.RUN_INTERRUPTED, {"message": message})
        await self._end(RunStatus.INTERRUPTED, event, message, retryable=True)

    async def cancel(self, reason: str) -> None:
        """See `tertulia.platforms.base.RunContext.cancel`."""
        await self._end(
            RunStatus.CANCELED, Event(EventKind.RUN_CANCELED, {"reason": reason}), reason, retryable=False
        )

    async def at_rest(self) -> bool:
        """Whether the run has ended or waits for a person."""
        run = await self.store.read(lambda tx: runs.get(tx, self.principal, self.run.id))
        return run.status is not RunStatus.RUNNING

    def _set_awaiting(self, tx: Transaction, *, awaiting: bool) -> None:
        conversations.set_awaiting(tx, self.principal, self.conversation.id, awaiting)

    async def _end(
        self, status: RunStatus, event: Event, message: str, *, retryable: bool, unsent: bool = False
    ) -> None:
        end = partial(
            end_run,
            principal=self.principal,
            run=self.run,
            status=status,
            event=event,
            error=message,
            retryable=retryable,
            unsent=unsent,
        )
        await self._queue.flush(change=end)
        self.ended = status

    def _retitle(self, tx: Transaction, events: Sequence[Event]) -> None:
        for event in events:
            if event.kind is EventKind.TITLE_UPDATED and tx.keeps_content(self.conversation.id):
                retitled = ConversationChanges(title=event.data["title"])
                conversations.change(tx, self.principal, self.conversation.id, retitled)

    def _write(self, tx: Transaction, events: Sequence[Event], checkpoint: Mapping[str, Any] | None) -> None:
        leases.check(tx, self.lease)
        if events:
            self._retitle(tx, events)
            journal.append(tx, self.principal, self.conversation.id, coalesced(events), self.run.id)
        if checkpoint is not None:
            runs.save_checkpoint(tx, self.run.id, checkpoint)

    async def _commit(self, change: Callable[[Transaction], T]) -> T:
        def fenced(tx: Transaction) -> T:
            leases.check(tx, self.lease)
            return change(tx)

        return await self.store.write(fenced, principal=self.principal)
