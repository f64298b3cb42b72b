"""The one entrance: conversations with agents on any platform, for one principal.

Whatever a method does for a caller is in the store before the method returns. A method that changes something takes an
`idempotency_key`: repeated with the same key and arguments it does nothing more and returns the same.

Every method raises `TertuliaError`s only. Each docstring names those beyond the ones that can always happen:
`InvalidInputError` for an argument that cannot be used, `NotFoundError` for an id that this principal does not have,
`NotOffered` for a feature that the platform lacks, `StoreError` and `UnavailableError` for a store that cannot be used.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tertulia.approvals import check_settlement, find_pending, record_settlement, settled_alike
from tertulia.changing import Changing
from tertulia.drafts import checked_message, conversation_draft, message_ids
from tertulia.home import Home
from tertulia.keeper import Keeper
from tertulia.lifecycle import end_run, withdraw
from tertulia.once import Effect, Once
from tertulia.platforms import build
from tertulia.runner import Runner
from tertulia.settings import ClientSettings, address_of
from tertulia.store import receipts, runs
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.coverage import SyncSummary
from tertulia.vocabulary.errors import (
    ConflictError,
    MovedOnError,
    TertuliaError,
)
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.identifiers import (
    digest,
    split_agent_address,
    split_conversation_id,
)
from tertulia.vocabulary.models import (
    LOCAL_PRINCIPAL,
    Conversation,
    ConversationDraft,
    Message,
    MessageDraft,
    ParticipantRole,
    Run,
    SentAs,
    Settlement,
)
from tertulia.vocabulary.states import RunStatus
from tertulia.vocabulary.text import checked_json

if TYPE_CHECKING:
    from tertulia.history.history import History
    from tertulia.syncing import Progressed


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message on its way, and the run that answers it (or that it answers, if it is a `REPLY`)."""

    conversation: Conversation
    run: Run
    sent_as: SentAs = SentAs.BEGUN

    @property
    def joined(self) -> bool:
        """Whether nothing was sent, since the identical call had been made and was not over."""
        return self.sent_as is SentAs.JOINED


class Conversations(Changing):
    """Conversations of one principal. Open one per process; `acting_as` gives another principal's view of it."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: ClientSettings, *, principal: str = LOCAL_PRINCIPAL
    ) -> AsyncGenerator["Conversations"]:
        """Open the client; touches the store at the first use only. Leaving stops the work and loses nothing.

        Raises:
            InvalidInputError: an instance is configured in a way that cannot work.
        """
        async with AsyncExitStack() as stack:
            discreet = frozenset(
                name for name, instance in settings.instances.items() if not instance.keeps_content
            )
            store = await stack.enter_async_context(Store(settings.store, discreet=discreet))
            platforms = build(settings.instances, store, identity=settings.identity)
            for platform in platforms.values():
                stack.push_async_callback(platform.close)
            keeper = Keeper(store)
            runner = await stack.enter_async_context(Runner(store, keeper, platforms))
            yield cls(Home(settings, store, platforms, runner, Once(store, keeper), keeper), principal)

    def acting_as(self, principal: str) -> "Conversations":
        """Return the view of another principal, who shares nothing with this one but the process."""
        return Conversations(self._home, principal)

    @property
    def history(self) -> "History":
        """The way in and out for whole conversations, such as those that were held elsewhere."""
        from tertulia.history.history import History

        return History(self._home, self.principal)

    async def sync(self, instance: str, *, told: "Progressed | None" = None) -> SyncSummary:
        """Bring the histories of an instance into the index: those that have changed since the last sync.

        It only reads. Stopped at any point, it goes on where it was with the next call. `told` is called with how far
        it is.

        Raises:
            InvalidInputError: the instance's conversations live in this store, or none of its contents are kept.
            ConflictError: another process syncs it now.
            UnavailableError: its platform cannot be reached; what was read until then is kept.
        """
        from tertulia.syncing import sync

        return await sync(self._home, self.principal, self._platform(instance), told)

    @property
    def syncable(self) -> Sequence[str]:
        """The instances that can be synced, in order."""
        from tertulia.syncing import refuse

        found: list[str] = []
        for name in self.instances:
            platform = self._home.platforms[name]
            with suppress(TertuliaError):
                refuse(self._home, platform)
                if platform.missing is None:
                    found.append(name)
        return found

    async def create(
        self,
        agent: str,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        entity_type: str | None = None,
        source: str | None = None,
        source_ref: str | None = None,
        participants: Mapping[str, ParticipantRole] | None = None,
        idempotency_key: str | None = None,
    ) -> Conversation:
        """Create a conversation with an agent, addressed as `instance:name`.

        `entity_type` says whom the agent talks with (an `EntityType`, in letters of any case), `source` and
        `source_ref` where the conversation came from and what it belongs to there; `participants` who else takes part.
        """
        about: dict[str, Any] = {
            "entity_type": entity_type,
            "source": source,
            "source_ref": source_ref,
            "participants": participants or None,
        }
        draft = conversation_draft(agent, title=title, metadata=metadata, context=context, **about)
        call = {"agent": agent, "title": title, "metadata": metadata, "context": context, **_given(about)}

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            created = await self._create(replace(draft, native_id=ids["native_id"], repeated=repeated))
            return {**ids, "conversation_id": created.id}

        ids = {"native_id": draft.native_id}
        effect = await self._once(idempotency_key, "create_conversation", call, ids, carry_out)
        return await self.known(effect["conversation_id"])

    async def start(
        self,
        agent: str,
        message: MessageDraft,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        entity_type: str | None = None,
        source: str | None = None,
        source_ref: str | None = None,
        participants: Mapping[str, ParticipantRole] | None = None,
        join: bool = False,
        idempotency_key: str | None = None,
    ) -> Sent:
        """Create a conversation, as `create` does, with its first message.

        `join`: without a key, protect against the identical call being made while the first is unfinished or before
        anybody was given its answer (`SentAs.JOINED`).
        """
        about: dict[str, Any] = {
            "entity_type": entity_type,
            "source": source,
            "source_ref": source_ref,
            "participants": participants or None,
        }
        draft = conversation_draft(agent, title=title, metadata=metadata, context=context, **about)
        message = checked_message(message)
        call = {
            "agent": agent,
            "title": title,
            "metadata": metadata,
            "context": context,
            "message": asdict(message),
            **_given(about),
        }
        if join and idempotency_key is None:
            same = await self._read(partial(runs.same_call, call_digest=digest(call)))
            if same is not None:
                return Sent(
                    conversation=await self.known(same.conversation_id), run=same, sent_as=SentAs.JOINED
                )

        opening = self._opening(agent, call) if join and idempotency_key is None else None

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            if opening is not None and not repeated:  # the identical call may have come to its end meanwhile
                same = await self._read(partial(runs.same_call, call_digest=digest(call)))
                if same is not None:
                    joined = {"run_id": same.id, "conversation_id": same.conversation_id}
                    return {**ids, **joined, "sent_as": SentAs.JOINED}
            begun = await self._read(partial(runs.find, run_id=ids["run_id"])) if repeated else None
            if begun is not None:  # a platform that takes no ids would create another conversation
                return {**ids, "conversation_id": begun.conversation_id}
            made = replace(draft, native_id=ids["native_id"], repeated=repeated)
            checkpoint: Mapping[str, Any] | None = None
            if self._platform(split_agent_address(agent)[0]).opens_with_message:
                created, checkpoint = await self._open(made, message, ids)
            else:
                created = await self._create(made)
            await self._begin(created.id, message, ids, call, join=False, checkpoint=checkpoint)
            return {**ids, "conversation_id": created.id}

        ids = {"native_id": draft.native_id, **message_ids()}
        if opening is not None:
            await self._forget_receipt(opening)
        key = opening if idempotency_key is None else idempotency_key
        effect = await self._once(key, "start_conversation", call, ids, carry_out)
        if opening is not None:
            await self._forget_receipt(opening)
        return Sent(
            conversation=await self.known(effect["conversation_id"]),
            run=await self.run(effect["run_id"]),
            sent_as=SentAs(effect.get("sent_as", SentAs.BEGUN)),
        )

    async def send(
        self, conversation_id: str, message: MessageDraft, *, idempotency_key: str | None = None
    ) -> Sent:
        """Send a message; its answer becomes a run that goes on whether or not anybody waits.

        Without a key the identical call is joined while the first is unfinished, or until somebody was given its
        answer (`SentAs.JOINED`).

        Raises:
            ConflictError: another run is active, or the conversation takes no message in its state.
        """
        split_conversation_id(conversation_id)
        message = checked_message(message)
        call = {"conversation_id": conversation_id, "message": asdict(message)}

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            run, sent_as = await self._begin(
                conversation_id, message, ids, call, join=idempotency_key is None
            )
            return {**ids, "run_id": run.id, "sent_as": sent_as}

        effect = await self._once(idempotency_key, "send_message", call, message_ids(), carry_out)
        conversation = await self.known(conversation_id)
        run = await self.run(effect["run_id"])
        return Sent(conversation=conversation, run=run, sent_as=SentAs(effect["sent_as"]))

    async def settle(
        self, request_id: str, settlement: Settlement, *, idempotency_key: str | None = None
    ) -> Run:
        """Decide about a pending request; its run goes on.

        Raises:
            ConflictError: it is not pending any more; or its form was declined and this is not an accepted form.
            NotAllowedError: only a person's approval counts here.
        """
        if settlement.arguments is not None:
            checked_json("arguments", settlement.arguments)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            if repeated and settled_alike(await self.request(request_id), settlement):
                return ids
            pending = await self._read(partial(find_pending, request_id=request_id))
            platform, _ = self._at(pending.conversation_id)
            check_settlement(pending, settlement, self._home.settings.approvals, platform.features)
            try:
                await platform.settle(self.principal, pending, settlement)
            except MovedOnError:
                goes_on = partial(
                    withdraw, principal=self.principal, request_id=request_id, run=RunStatus.QUEUED
                )
                self._home.runner.work_on(self.principal, await self._home.store.write(goes_on))
                raise

            def settle(tx: Transaction) -> None:
                record_settlement(
                    tx, self.principal, find_pending(tx, self.principal, request_id), settlement
                )

            await self._home.store.write(settle)
            return ids

        call = {"request_id": request_id, "settlement": asdict(settlement)}
        await self._once(idempotency_key, "confirm_tool", call, {"request_id": request_id}, carry_out)
        run = await self.run((await self.request(request_id)).run_id)
        self._home.runner.work_on(self.principal, run)
        return run

    async def decline(self, request_id: str) -> None:
        """Note that a person turned the form for a request down: from then on only an accepted form can approve it."""

        def decline(tx: Transaction) -> None:
            request = runs.get_request(tx, self.principal, request_id)
            runs.decline(tx, request)

        await self._home.store.write(decline)

    async def cancel(self, conversation_id: str, *, idempotency_key: str | None = None) -> Run:
        """Stop the answer that is being produced; return its run. One that was stopped before is returned as it is.

        Raises:
            ConflictError: nothing is being answered.
        """
        platform, _ = self._at(conversation_id)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            conversation = await self.known(conversation_id)
            run = await self.latest_run(conversation_id)
            if run is None or not run.status.active:
                if run is not None and run.status is RunStatus.CANCELED:
                    return {"run_id": run.id}
                raise ConflictError(
                    f"Nothing is being answered in {conversation_id}"
                    + (
                        ": it had no message yet."
                        if run is None
                        else f": its last run {run.id} is {run.status}."
                    ),
                    hint="stream_conversation shows what happened.",
                    conversation_id=conversation.id,
                )
            await platform.cancel(self.principal, run)

            def cancel(tx: Transaction) -> None:
                current = runs.get(tx, self.principal, run.id)
                if current.status.active:
                    event = Event(EventKind.RUN_CANCELED)
                    end_run(tx, self.principal, current, RunStatus.CANCELED, event)

            await self._home.store.write(cancel)
            self._home.runner.stop(run)
            return {"run_id": run.id}

        call = {"conversation_id": conversation_id}
        effect = await self._once(idempotency_key, "cancel_run", call, {}, carry_out)
        return await self.run(effect["run_id"])

    def _opening(self, agent: str, call: Mapping[str, Any]) -> str | None:
        """Return the key of a first message that has none, where a conversation only comes into being with it.

        Until its run is recorded, nothing else tells that the identical call may have reached the platform.
        """
        platform = self._platform(split_agent_address(agent)[0])
        return f"first message {digest(call)}" if platform.opens_with_message else None

    async def _forget_receipt(self, key: str) -> None:
        await self._home.store.write(partial(receipts.forget, principal=self.principal, key=key))

    async def _create(self, draft: ConversationDraft) -> Conversation:
        instance, _ = split_agent_address(draft.agent)
        platform = self._platform(instance)
        return await self._remember(platform, await platform.create(self.principal, draft))

    async def _open(
        self, draft: ConversationDraft, message: MessageDraft, ids: Effect
    ) -> tuple[Conversation, Mapping[str, Any]]:
        instance, _ = split_agent_address(draft.agent)
        platform = self._platform(instance)
        if message.context is not None:
            platform.check_context(message.context)
        # The conversation has no id yet: what is sent belongs to none.
        first = platform.prepare(self._written(f"{instance}:{draft.native_id}", message, ids))
        opened = await platform.open(self.principal, draft, first)
        return await self._remember(platform, opened.conversation), opened.checkpoint

    async def _begin(
        self,
        conversation_id: str,
        draft: MessageDraft,
        ids: Effect,
        call: Mapping[str, Any],
        *,
        join: bool,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> tuple[Run, SentAs]:
        platform, _ = self._at(conversation_id)
        if platform.looks_before_sending and checkpoint is None:
            await self.get(conversation_id)
        elif not platform.kept_here:
            await self.known(conversation_id)
        elif platform.tend_seconds is not None:
            await platform.tend()
        return await self._home.runner.begin(
            self.principal,
            self._written(conversation_id, draft, ids),
            run_id=ids["run_id"],
            call_digest=digest(call),
            context=draft.context,
            join=join,
            checkpoint=checkpoint,
        )

    def _kept_here(self, conversation_id: str) -> bool:
        return self._at(conversation_id)[0].kept_here

    def _written(self, conversation_id: str, draft: MessageDraft, ids: Effect) -> Message:
        return Message(
            id=ids["message_id"],
            conversation_id=conversation_id,
            author=self.address if self._kept_here(conversation_id) else address_of(self.principal, None),
            role=draft.role,
            text=draft.text,
            data=draft.data,
            type=draft.type,
            parent_id=draft.parent_id,
            metadata=draft.metadata,
        )


def _given(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments that were given: calls without them are the same as before there were any."""
    return {name: value for name, value in arguments.items() if value is not None}
