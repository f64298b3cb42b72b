"""Runs: sending messages, following their answers, deciding what a run asks, and stopping it."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from tertulia.platforms.base import ChangedRequestError, EmbeddedPlatform, Execution, InterruptedRun
from tertulia.resources.scope import Scope, tried_at
from tertulia.resources.validation import checked_message, conversation_draft, message_call, message_ids
from tertulia.runs import feed, results
from tertulia.runs.admission import Submission
from tertulia.runs.approvals import check_settlement, find_pending, record_settlement, settled_alike
from tertulia.runs.feed import EventListener
from tertulia.runs.idempotency import Call, CarryOut, Effect
from tertulia.settings import address_of
from tertulia.store import idempotency, journal, leases, messages, runs
from tertulia.store.database import Transaction
from tertulia.store.transitions import complete_interrupted, end_run, replace_request, withdraw
from tertulia.vocabulary.entry import safe_message
from tertulia.vocabulary.errors import ConflictError, MovedOnError, TertuliaError, UnavailableError
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.identifiers import digest, split_agent_address, split_conversation_id
from tertulia.vocabulary.models import (
    ConversationDraft,
    ConversationRecord,
    Message,
    MessageDraft,
    MessageQuery,
    NewConversation,
    Request,
    Role,
    Run,
    RunResult,
    Sent,
    SentAs,
    Settlement,
)
from tertulia.vocabulary.states import RunStatus
from tertulia.vocabulary.text import checked_json

_CREATED = "conversation_id"
"""Where the effect of a call has the conversation that it created."""
_CHECKPOINT = "checkpoint"
"""Where the unfinished effect of a call has the checkpoint of a conversation that was opened with its message."""

READING_SECONDS = 20.0
"""How long a repeated cancellation waits until it is read how the run has ended."""


class Runs:
    """The runs of one principal's conversations."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def start(
        self,
        new: NewConversation,
        message: MessageDraft,
        *,
        join: bool = False,
        wait: bool = True,
        idempotency_key: str | None = None,
    ) -> Sent:
        """Create a conversation with its first message.

        `join`: without a key, an identical call joins the first one while that is unfinished, or until its result was
        taken (`SentAs.JOINED`). `wait`: whether the caller takes the result later; else what there is of it at the
        beginning is taken (`Sent.result`).
        """
        scope = self._scope
        platform = scope.configured(split_agent_address(new.agent)[0])
        start = _Start(
            draft=conversation_draft(new, platform.new_native_id()),
            message=checked_message(message),
            call={**new_conversation_call(new), "message": message_call(message)},
            wait=wait,
        )
        if not join or idempotency_key is not None:
            return await self._start_once(idempotency_key, start)
        same = await self._identical(start)
        if same is not None:
            return Sent(
                conversation=await scope.stored(same.conversation_id), run=same, sent_as=SentAs.JOINED
            )
        if not platform.capabilities.opens_with_message:
            return await self._start_once(None, start)
        # Until the run is recorded, only this key shows that the identical call may have reached the platform.
        key = f"first message {digest(start.call)}"
        forget = partial(idempotency.forget, key=key)
        await scope.write(forget)
        sent = await self._start_once(key, start, join=True)
        await scope.write(forget)
        return sent

    async def send(
        self,
        conversation_id: str,
        message: MessageDraft | str,
        *,
        wait: bool = True,
        idempotency_key: str | None = None,
    ) -> Sent:
        """Send a message; its answer becomes a run that continues whether or not anybody waits.

        Without a key, an identical call joins the first one while that is unfinished, or until somebody took its result
        (`SentAs.JOINED`). `wait`: whether the caller takes the result later; else what there is of it at the beginning
        is taken (`Sent.result`).

        Raises:
            ConflictError: another run is active, or the conversation accepts no message in its status.
        """
        split_conversation_id(conversation_id)
        draft = checked_message(MessageDraft(text=message) if isinstance(message, str) else message)
        arguments = {"conversation_id": conversation_id, "message": message_call(draft)}
        sent: list[Sent] = []

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            submission = self._submission(conversation_id, draft, ids, arguments, repeated=repeated)
            sent[:] = [await self._submit(replace(submission, join=idempotency_key is None, waits=wait))]
            return {**ids, "run_id": sent[0].run.id, "sent_as": sent[0].sent_as}

        call = Call("send_message", arguments, message_ids(), idempotency_key)
        effect = await self._send_once(call, carry_out)
        return await self._sent({**effect, _CREATED: conversation_id}, sent)

    async def stream(
        self,
        conversation_id: str,
        message: MessageDraft | str,
        *,
        idempotency_key: str | None = None,
    ) -> AsyncGenerator[JournalEntry]:
        """Send a message and yield the events of its run, until it ends or needs a person.

        The run continues when the caller leaves the loop.

        Raises:
            ConflictError: another run is active, or the conversation accepts no message in its status.
        """
        sent = await self.send(conversation_id, message, idempotency_key=idempotency_key)
        async for entries in self.follow(sent.run):
            for entry in entries:
                yield entry

    async def get(self, run_id: str) -> Run:
        """Return a run as it is now."""
        return await self._scope.read(partial(runs.get, run_id=run_id))

    async def latest(self, conversation_id: str) -> Run | None:
        """Return a conversation's newest run, if it has had any."""
        split_conversation_id(conversation_id)
        return await self._scope.read(partial(runs.latest, conversation_id=conversation_id))

    async def result(self, run: Run) -> RunResult:
        """Return the run's current state and reply, without marking it as delivered."""
        await self._complete_late(run)
        store = self._scope.services.store
        return await self._with_reply(await self._scope.read(partial(results.result, run=run, store=store)))

    async def take_result(self, run: Run, *, answered: bool = False) -> RunResult:
        """Return the run's current state and reply, marked as delivered: the identical call is a new one from now on.

        `answered`: the caller answered the run with a message (`SentAs.REPLY`), rather than began it.
        """
        take = partial(results.take_result, run=run, store=self._scope.services.store, answered=answered)
        taken = await self._scope.write(take)
        if taken.run.status is RunStatus.INTERRUPTED:
            await self._complete_late(taken.run)
            taken = await self._scope.write(take)
        return await self._with_reply(taken)

    async def wait(self, run: Run, *, timeout: float, on_events: EventListener | None = None) -> RunResult:
        """Wait until a run ends or needs a person, `timeout` seconds at most; take its result."""
        await self.wait_idle(run, timeout=timeout, on_events=on_events)
        return await self.take_result(run)

    async def wait_idle(self, run: Run, *, timeout: float, on_events: EventListener | None = None) -> None:
        """Wait until a run ends or needs a person, `timeout` seconds at most.

        `on_events` is called with the journal's entries as they come.
        """
        services = self._scope.services
        await feed.wait_idle(
            services.store,
            services.runner,
            self._scope.principal,
            run,
            timeout=timeout,
            on_events=on_events,
        )

    def follow(self, run: Run, *, after: int | None = None) -> AsyncGenerator[Sequence[JournalEntry]]:
        """Yield a run's entries (those after `after`, a `seq`) as they come, until it ends or needs a person."""
        services = self._scope.services
        start = run.first_seq if after is None else after
        return feed.follow(services.store, services.runner, self._scope.principal, run, after=start)

    def waits_for_message(self, run: Run) -> bool:
        """Whether a message by the owner of a mailbox answers a run: nothing happens before they have read theirs."""
        platform, _ = self._scope.platform_of(run.conversation_id)
        return isinstance(platform, EmbeddedPlatform) and not platform.produces_answer(run.agent)

    async def request(self, request_id: str) -> Request:
        """Return a request, settled or not."""
        return await self._scope.read(partial(runs.get_request, request_id=request_id))

    async def pending(self, conversation_id: str | None = None) -> Sequence[Request]:
        """Return the pending requests of one conversation, or of all, oldest first."""
        if conversation_id is not None:
            split_conversation_id(conversation_id)
        return await self._scope.read(partial(runs.pending_requests, conversation_id=conversation_id))

    async def respond(
        self, request_id: str, settlement: Settlement, *, idempotency_key: str | None = None
    ) -> Run:
        """Decide about a pending request; its run continues.

        Raises:
            ConflictError: it is no longer pending, or its form was declined and this is not an accepted form.
            NotAllowedError: only a person's approval counts here.
        """
        if settlement.arguments is not None:
            checked_json("arguments", settlement.arguments)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            if not await self._scope.read(
                partial(settled_alike, request_id=request_id, settlement=settlement)
            ):
                await self._settle(request_id, settlement, repeated=repeated)
            return ids

        call = {"request_id": request_id, "settlement": asdict(settlement)}
        ids = {"request_id": request_id}
        await self._scope.once(Call("confirm_tool", call, ids, idempotency_key), carry_out)
        run = await self.get((await self.request(request_id)).run_id)
        self._scope.services.runner.execute_run(self._scope.principal, run)
        return run

    async def decline(self, request_id: str) -> None:
        """Record that a person declined a request's form: from then on only an accepted form can approve it."""

        def decline(tx: Transaction, principal: str) -> None:
            runs.decline(tx, runs.get_request(tx, principal, request_id))

        await self._scope.write(decline)

    async def cancel(self, conversation_id: str, *, idempotency_key: str | None = None) -> Run:
        """Cancel a conversation's active run and return it; return the latest run if it was canceled before.

        Raises:
            ConflictError: no run is active.
        """
        scope = self._scope
        platform, _ = scope.platform_of(conversation_id)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            await scope.stored(conversation_id)
            run = await self.latest(conversation_id)
            if run is None or not run.status.active:
                if run is not None and run.status is RunStatus.CANCELED:
                    return {"run_id": run.id}
                raise _nothing_to_cancel(conversation_id, run)
            if platform.capabilities.execution is Execution.ANY_PROCESS:
                try:
                    await platform.cancel(scope.principal, run)
                except MovedOnError:
                    await self._continue_ended(run)
                    if (
                        repeated
                    ):  # an earlier attempt of the call may have ended it, and died before it recorded that
                        await self.wait_idle(run, timeout=READING_SECONDS)
                        return {"run_id": run.id}
                    raise

            def cancel(tx: Transaction, principal: str) -> None:
                current = runs.get(tx, principal, run.id)
                if current.status.active:
                    end_run(tx, principal, current, RunStatus.CANCELED, Event(EventKind.RUN_CANCELED))

            await scope.write(cancel)
            scope.services.runner.stop(run)
            return {"run_id": run.id}

        call = {"conversation_id": conversation_id}
        effect = await scope.once(Call("cancel_run", call, {}, idempotency_key), carry_out)
        return await self.get(effect["run_id"])

    async def _continue_ended(self, run: Run) -> None:
        """Have read how a run ended whose platform does not answer any more, whatever it was waiting for."""
        scope = self._scope

        def withdraw_pending(tx: Transaction, principal: str) -> Run:
            for request in runs.pending_requests(tx, principal, run.conversation_id):
                withdraw(tx, principal, request.id, run=RunStatus.QUEUED)
            return runs.get(tx, principal, run.id)

        scope.services.runner.execute_run(scope.principal, await scope.write(withdraw_pending))

    async def _start_once(self, key: str | None, start: "_Start", *, join: bool = False) -> Sent:
        """Create the conversation and send its message, once."""
        sent: list[Sent] = []

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            if repeated:
                begun = await self._scope.read(partial(runs.find, run_id=ids["run_id"]))
                if begun is not None:  # a platform that accepts no ids would create another conversation
                    return {**ids, "conversation_id": begun.conversation_id}
            elif join:  # the identical call may have ended since the first check
                same = await self._identical(start)
                if same is not None:
                    joined = {"run_id": same.id, "conversation_id": same.conversation_id}
                    return {**ids, **joined, "sent_as": SentAs.JOINED}
            checkpoint = ids.pop(_CHECKPOINT, None)
            if _CREATED not in ids:
                await self._check_run(start.draft.agent)
                tried = tried_at(ids, repeated=repeated)
                draft = replace(start.draft, native_id=ids["native_id"], tried_at=tried)
                created, checkpoint = await self._open(draft, start.message, ids)
                ids = {**ids, _CREATED: created.id}
                platform, _ = self._scope.platform_of(created.id)
                effect = ids if checkpoint is None else {**ids, _CHECKPOINT: checkpoint}
                await self._scope.store_created(platform, created, key, effect)
            submission = self._submission(ids[_CREATED], start.message, ids, start.call, repeated=repeated)
            submission = replace(submission, checkpoint=checkpoint, waits=start.wait)
            sent[:] = [await self._submit(submission)]
            return ids

        ids = {**self._scope.creation_ids(start.draft.native_id), **message_ids()}
        effect = await self._send_once(Call("start_conversation", start.call, ids, key), carry_out)
        return await self._sent(effect, sent)

    async def _send_once(self, call: Call, carry_out: CarryOut) -> Effect:
        """Carry out a call that sends a message, once; and again if its platform got nothing of the message."""
        carried_out = False

        async def send(ids: Effect, repeated: bool) -> Effect:
            nonlocal carried_out
            carried_out = True
            if not repeated:
                await self._scope.check_room()
            return await carry_out(ids, repeated)

        effect = await self._scope.once(call, send)
        if call.key is not None and not carried_out:
            run = await self._scope.read(partial(runs.find, run_id=effect["run_id"]))
            if run is not None and run.unsent:
                renewed = {name: value for name, value in effect.items() if name != "sent_as"} | message_ids()
                await self._scope.write(partial(_renew, key=call.key, run=run, effect=renewed))
                effect = await self._scope.once(call, send)
        return effect

    async def _check_run(self, agent: str) -> None:
        """Check that a run with an agent may begin, before its platform has anything of it."""
        instance = split_agent_address(agent)[0]
        check = self._scope.services.limits.check_run
        await self._scope.read(lambda tx, principal: check(tx, principal, instance))

    async def _sent(self, effect: Effect, here: Sequence[Sent]) -> Sent:
        """Return what a call sent: `here`, or before, or in another process."""
        for sent in here:
            if sent.run.id == effect["run_id"]:
                return sent
        return Sent(
            conversation=await self._scope.stored(effect[_CREATED]),
            run=await self.get(effect["run_id"]),
            sent_as=SentAs(effect.get("sent_as", SentAs.BEGUN)),
        )

    async def _identical(self, start: "_Start") -> Run | None:
        """Return the run of an identical call that is unfinished, or whose result nobody has taken yet."""
        return await self._scope.read(partial(runs.same_call, call_digest=digest(start.call)))

    async def _open(
        self, draft: ConversationDraft, message: MessageDraft, ids: Effect
    ) -> tuple[ConversationRecord, Mapping[str, Any] | None]:
        """Create a conversation, with its first message if the platform opens it with one.

        Return it with the checkpoint of its first run, where the platform has one.
        """
        scope = self._scope
        instance = split_agent_address(draft.agent)[0]
        platform = scope.platform(instance)
        if not platform.capabilities.opens_with_message:
            return await platform.create(scope.principal, draft), platform.first_checkpoint or None
        if message.context is not None:
            platform.check_context(message.context)
        # The conversation has no id yet: the message has a provisional one.
        first = platform.normalize(self._message(f"{instance}:{draft.native_id}", message, ids))
        opened = await platform.open(scope.principal, draft, first)
        return opened.conversation, opened.checkpoint

    async def _submit(self, submission: Submission) -> Sent:
        conversation_id = submission.message.conversation_id
        platform, _ = self._scope.platform_of(conversation_id)
        if platform.capabilities.refresh_before_send and submission.checkpoint is None:
            await self._scope.fetch(conversation_id)
        elif not isinstance(platform, EmbeddedPlatform):
            await self._scope.stored(conversation_id)
        elif platform.maintenance_interval is not None:
            await platform.maintain()
        return await self._scope.services.runner.submit(self._scope.principal, submission)

    def _submission(
        self,
        conversation_id: str,
        draft: MessageDraft,
        ids: Effect,
        call: Mapping[str, Any],
        *,
        repeated: bool,
    ) -> Submission:
        return Submission(
            message=self._message(conversation_id, draft, ids),
            run_id=ids["run_id"],
            call_digest=digest(call),
            repeated=repeated,
            agent=draft.agent,
            context=draft.context,
        )

    def _message(self, conversation_id: str, draft: MessageDraft, ids: Effect) -> Message:
        scope = self._scope
        embedded = isinstance(scope.platform_of(conversation_id)[0], EmbeddedPlatform)
        return Message(
            id=ids["message_id"],
            conversation_id=conversation_id,
            author=scope.address if embedded else address_of(scope.principal, None),
            role=draft.role,
            text=draft.text,
            data=draft.data,
            type=draft.type,
            parent_id=draft.parent_id,
            metadata=draft.metadata,
        )

    async def _settle(self, request_id: str, settlement: Settlement, *, repeated: bool) -> None:
        """Tell the platform a decision, unless a worker does that, and record the decision.

        `repeated`: an earlier attempt of the call may have told it, and died before it could record it. If the platform
        waits no more then, the run continues, and the call returns how.
        """
        scope = self._scope
        pending = await scope.read(partial(find_pending, request_id=request_id))
        platform, _ = scope.platform_of(pending.conversation_id)
        check_settlement(pending, settlement, scope.services.settings.approvals, platform.features)
        if platform.capabilities.execution is Execution.ANY_PROCESS:
            try:
                await platform.settle(scope.principal, pending, settlement)
            except ChangedRequestError as changed:
                await scope.write(partial(replace_request, request_id=request_id, draft=changed.now))
                raise
            except MovedOnError:
                run = await scope.write(partial(withdraw, request_id=request_id, run=RunStatus.QUEUED))
                scope.services.runner.execute_run(scope.principal, run)
                if repeated:
                    return
                raise
        elif not await scope.read(partial(leases.held, resource=pending.conversation_id)):
            run = await scope.write(partial(withdraw, request_id=request_id, run=RunStatus.QUEUED))
            scope.services.runner.execute_run(scope.principal, run)
            raise MovedOnError(
                f"Whoever asked {request_id} has ended, and the request is lost with it: nothing was decided.",
                hint="stream_conversation shows what became of the answer.",
                request_id=request_id,
                conversation_id=pending.conversation_id,
                run_id=pending.run_id,
            )

        def record(tx: Transaction, principal: str) -> None:
            record_settlement(tx, principal, find_pending(tx, principal, request_id), settlement)

        await scope.write(record)

    async def _complete_late(self, run: Run) -> None:
        """Complete a run that was interrupted, if its platform has finished the answer since."""
        scope = self._scope

        def read(tx: Transaction, principal: str) -> InterruptedRun | None:
            latest = runs.find(tx, principal, run.id)
            if latest is None or latest.status is not RunStatus.INTERRUPTED:
                return None
            return InterruptedRun(
                run=latest,
                message=messages.get(tx, principal, run.conversation_id, latest.message_id),
                checkpoint=runs.checkpoint(tx, run.id),
                entries=journal.read_all(tx, principal, latest),
            )

        interrupted = await scope.read(read)
        if interrupted is None or split_conversation_id(run.conversation_id)[0] not in scope.instances:
            return
        with suppress(TertuliaError):  # what is known of the run is its result all the same
            platform, _ = scope.platform_of(run.conversation_id)
            found = await platform.late_answer(scope.principal, interrupted)
            if found is not None:
                reply = replace(safe_message(found), parent_id=interrupted.message.id)
                await scope.write(partial(complete_interrupted, run=interrupted.run, said=reply))

    async def _with_reply(self, result: RunResult) -> RunResult:
        """Return the result; with the platform's answer, if the store keeps no contents.

        Raises:
            UnavailableError: the platform does not show it, or cannot be reached.
        """
        scope = self._scope
        instance, native_id = split_conversation_id(result.run.conversation_id)
        settings = scope.services.settings.instances.get(instance)
        if result.run.status is not RunStatus.COMPLETED or settings is None or settings.keeps_content:
            return result
        newest = MessageQuery(limit=10, newest_first=True)
        page = await scope.platform(instance).messages(scope.principal, native_id, newest)
        answers = [message for message in page.items if message.role is Role.ASSISTANT]
        exact = [message for message in answers if message.id == result.run.reply_id]
        replies = (message for message in exact or answers if message.text or message.data)
        found = next((message.text or json.dumps(message.data) for message in replies), None)
        if found is None and not exact:
            raise UnavailableError(
                f"The answer is not kept here, and {instance} does not show it.",
                hint="Look with list_messages in a moment.",
                conversation_id=result.run.conversation_id,
                run_id=result.run.id,
            )
        return replace(result, reply=found or "")


def _renew(tx: Transaction, principal: str, *, key: str, run: Run, effect: Effect) -> None:
    """Have a call send its message anew, whose run failed before its platform got anything: that message is nowhere."""
    if idempotency.renew(tx, principal, key, run.id, effect):
        messages.remove(tx, principal, run.conversation_id, run.message_id)


@dataclass(frozen=True, slots=True)
class _Start:
    """What `Runs.start` was asked to do; `call` identifies it when it is repeated."""

    draft: ConversationDraft
    message: MessageDraft
    call: Mapping[str, Any]
    wait: bool


def new_conversation_call(new: NewConversation) -> dict[str, Any]:
    """Return what identifies the creation of a conversation when it is repeated."""
    given = {
        "entity_type": new.entity_type,
        "source": new.source,
        "source_ref": new.source_ref,
        "participants": new.participants or None,
    }
    return {
        "agent": new.agent,
        "title": new.title,
        "metadata": new.metadata,
        "context": new.context,
        # Left out if they are not given, so that keys stay valid that were used before these fields existed.
        **{name: value for name, value in given.items() if value is not None},
    }


def _nothing_to_cancel(conversation_id: str, run: Run | None) -> ConflictError:
    why = ": it had no message yet." if run is None else f": its last run {run.id} is {run.status}."
    return ConflictError(
        f"Nothing is being answered in {conversation_id}{why}",
        hint="stream_conversation shows what happened.",
        conversation_id=conversation_id,
    )
