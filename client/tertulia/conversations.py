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
from typing import Any

from tertulia.approvals import check_settlement, find_pending, record_settlement, settled_alike
from tertulia.drafts import checked_message, checked_rating, conversation_draft, message_ids
from tertulia.home import Home
from tertulia.keeper import Keeper
from tertulia.lifecycle import end_run, withdraw
from tertulia.once import Effect, Once
from tertulia.platforms import build
from tertulia.platforms.base import Platform
from tertulia.reading import Reading
from tertulia.runner import Runner
from tertulia.settings import ClientSettings
from tertulia.store import conversations, journal, messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    MovedOnError,
    NotFoundError,
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
    ConversationChanges,
    ConversationDraft,
    Message,
    MessageChanges,
    MessageDraft,
    Participant,
    ParticipantRole,
    Rating,
    Run,
    Settlement,
)
from tertulia.vocabulary.states import RunStatus, Status
from tertulia.vocabulary.text import checked_json, checked_line, checked_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message on its way. `joined`: nothing was sent, since the identical call had been made and was not over."""

    conversation: Conversation
    run: Run
    joined: bool = False


class Conversations(Reading):
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
            platforms = build(settings.instances, store)
            for platform in platforms.values():
                stack.push_async_callback(platform.close)
            keeper = Keeper(store)
            runner = await stack.enter_async_context(Runner(store, keeper, platforms))
            yield cls(Home(settings, store, platforms, runner, Once(store, keeper)), principal)

    def acting_as(self, principal: str) -> "Conversations":
        """Return the view of another principal, who shares nothing with this one but the process."""
        return Conversations(self._home, principal)

    async def create(
        self,
        agent: str,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Conversation:
        """Create a conversation with an agent, addressed as `instance:name`."""
        draft = conversation_draft(agent, title, metadata, context)
        call = {"agent": agent, "title": title, "metadata": metadata, "context": context}

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
        join: bool = False,
        idempotency_key: str | None = None,
    ) -> Sent:
        """Create a conversation with its first message.

        `join`: without a key, protect against the identical call being made while the first is unfinished or before
        anybody was given its answer; the result then says `joined`.
        """
        draft = conversation_draft(agent, title, metadata, context)
        message = checked_message(message)
        call = {
            "agent": agent,
            "title": title,
            "metadata": metadata,
            "context": context,
            "message": asdict(message),
        }
        if join and idempotency_key is None:
            same = await self._read(partial(runs.same_call, call_digest=digest(call)))
            if same is not None:
                return Sent(conversation=await self.known(same.conversation_id), run=same, joined=True)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
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
        effect = await self._once(idempotency_key, "start_conversation", call, ids, carry_out)
        return Sent(
            conversation=await self.known(effect["conversation_id"]), run=await self.run(effect["run_id"])
        )

    async def send(
        self, conversation_id: str, message: MessageDraft, *, idempotency_key: str | None = None
    ) -> Sent:
        """Send a message; its answer becomes a run that goes on whether or not anybody waits.

        Without a key the identical call is joined while the first is unfinished, or until somebody was given its
        answer; the result then says `joined`.

        Raises:
            ConflictError: another run is active, or the conversation takes no message in its state.
        """
        split_conversation_id(conversation_id)
        message = checked_message(message)
        call = {"conversation_id": conversation_id, "message": asdict(message)}

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            run, joined = await self._begin(conversation_id, message, ids, call, join=idempotency_key is None)
            return {**ids, "run_id": run.id, "joined": joined}

        effect = await self._once(idempotency_key, "send_message", call, message_ids(), carry_out)
        conversation = await self.known(conversation_id)
        return Sent(conversation=conversation, run=await self.run(effect["run_id"]), joined=effect["joined"])

    async def add_message(
        self, conversation_id: str, message: MessageDraft, *, idempotency_key: str | None = None
    ) -> Message:
        """Add a message that nobody is to answer; return it as its platform has it."""
        platform, native_id = self._at(conversation_id)
        message = checked_message(message)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            added = await platform.add_message(self.principal, native_id, message, repeated=repeated)
            await self._take_in(platform, added, EventKind.MESSAGE_ADDED)
            return {"message_id": added.id}

        call = {"conversation_id": conversation_id, "message": asdict(message)}
        effect = await self._once(idempotency_key, "add_message", call, {}, carry_out)
        return await self._message(conversation_id, effect["message_id"])

    async def update_message(
        self,
        conversation_id: str,
        message_id: str,
        changes: MessageChanges,
        *,
        idempotency_key: str | None = None,
    ) -> Message:
        """Change a message's text or metadata (merged key by key).

        Returns it as its platform has it then: under a new id, if that begins a branch.
        """
        platform, native_id = self._at(conversation_id)
        if changes.text is not None:
            checked_text("text", changes.text)
        if changes.metadata is not None:
            checked_json("metadata", changes.metadata)
        if changes == MessageChanges():
            raise InvalidInputError("There is nothing to change.", valid=["text", "metadata"])

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            changed = await platform.update_message(self.principal, native_id, message_id, changes)
            await self._take_in(platform, changed, EventKind.MESSAGE_UPDATED)
            return {"message_id": changed.id}

        call = {"conversation_id": conversation_id, "message_id": message_id, "changes": asdict(changes)}
        effect = await self._once(idempotency_key, "update_message", call, {}, carry_out)
        return await self._message(conversation_id, effect["message_id"])

    async def update(
        self, conversation_id: str, changes: ConversationChanges, *, idempotency_key: str | None = None
    ) -> Conversation:
        """Change title, metadata (merged key by key; a None value removes its key) or the archived flag."""
        platform, native_id = self._at(conversation_id)
        if changes.title is not None:
            changes = replace(changes, title=checked_line("title", changes.title))
        if changes.metadata is not None:
            checked_json("metadata", changes.metadata)
        if changes == ConversationChanges():
            raise InvalidInputError(
                "There is nothing to change.",
                valid=["title", "metadata", "archived"],
                hint="Give at least one of these.",
            )

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            await self._remember(platform, await platform.update(self.principal, native_id, changes))
            return ids

        call = {"conversation_id": conversation_id, "changes": asdict(changes)}
        await self._once(
            idempotency_key, "update_conversation", call, {"conversation_id": conversation_id}, carry_out
        )
        return await self.known(conversation_id)

    async def update_status(
        self,
        conversation_id: str,
        status: Status,
        *,
        reason: str | None = None,
        rating: Rating | None = None,
        idempotency_key: str | None = None,
    ) -> Conversation:
        """Move a conversation to another state. An ending cancels what is still being answered, and takes a rating.

        Raises:
            ConflictError: the transition is not allowed (names those that are), or something has to be settled first.
        """
        platform, native_id = self._at(conversation_id)
        if reason is not None:
            reason = checked_text("reason", reason)
        if rating is not None:
            rating = checked_rating(rating)
            if not status.terminal:
                raise InvalidInputError(
                    f"A conversation is rated when it ends, and {status} is no ending.",
                    valid=[each for each in Status if each.terminal],
                    hint="Leave `rating` and `feedback` out, or rate one message with rate_message.",
                )

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            if not (repeated and (await self.get(conversation_id)).status is status):
                active = await self._read(partial(runs.active, conversation_id=conversation_id))
                moved = await platform.update_status(
                    self.principal, native_id, status, reason=reason, rating=rating
                )
                await self._remember(platform, moved)
                if active is not None and status.terminal:
                    self._home.runner.stop(active)
            return ids

        call: dict[str, Any] = {"conversation_id": conversation_id, "status": status, "reason": reason}
        if rating is not None:
            call["rating"] = asdict(rating)
        await self._once(
            idempotency_key, "update_status", call, {"conversation_id": conversation_id}, carry_out
        )
        return await self.known(conversation_id)

    async def rate_message(
        self, conversation_id: str, message_id: str, rating: Rating, *, idempotency_key: str | None = None
    ) -> Message:
        """Rate a message from 1 to 5; the last rating counts. Return it as its platform has it then."""
        platform, native_id = self._at(conversation_id)
        rating = checked_rating(rating)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            rated = await platform.rate_message(self.principal, native_id, message_id, rating)
            await self._take_in(platform, rated, EventKind.MESSAGE_UPDATED)
            return {"message_id": rated.id}

        call = {"conversation_id": conversation_id, "message_id": message_id, "rating": asdict(rating)}
        effect = await self._once(idempotency_key, "rate_message", call, {}, carry_out)
        return await self._message(conversation_id, effect["message_id"])

    async def generate_title(
        self,
        conversation_id: str,
        *,
        seed_message: str | None = None,
        force: bool = False,
        idempotency_key: str | None = None,
    ) -> Conversation:
        """Have a title made, from `seed_message` or from what was said; one that is there stays, unless `force`."""
        platform, native_id = self._at(conversation_id)
        if seed_message is not None:
            seed_message = checked_text("seed_message", seed_message)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            titled = await platform.generate_title(
                self.principal, native_id, seed_message=seed_message, force=force
            )
            await self._remember(platform, titled)
            return ids

        call = {"conversation_id": conversation_id, "seed_message": seed_message, "force": force}
        await self._once(
            idempotency_key, "generate_title", call, {"conversation_id": conversation_id}, carry_out
        )
        return await self.known(conversation_id)

    async def invite(
        self,
        conversation_id: str,
        participants: Mapping[str, ParticipantRole | None],
        *,
        idempotency_key: str | None = None,
    ) -> Sequence[Participant]:
        """Bring participants in, by address, or give them another role; a role of None lets them go.

        Returns who takes part then.

        Raises:
            NotAllowedError: the caller's role does not let it invite.
        """
        platform, native_id = self._at(conversation_id)
        if not participants:
            raise InvalidInputError(
                "There is nobody to invite.", hint="Give at least one address with its role."
            )

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            await platform.invite(self.principal, native_id, participants)
            return ids

        call = {"conversation_id": conversation_id, "participants": dict(participants)}
        await self._once(idempotency_key, "invite", call, {"conversation_id": conversation_id}, carry_out)
        return await self.participants(conversation_id)

    async def remove_branch(
        self, conversation_id: str, branch_id: str, *, idempotency_key: str | None = None
    ) -> None:
        """Remove a branch, with the messages that no other branch has."""
        platform, native_id = self._at(conversation_id)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            try:
                await platform.remove_branch(self.principal, native_id, branch_id)
            except NotFoundError:
                if not repeated:
                    raise
            return ids

        call = {"conversation_id": conversation_id, "branch_id": branch_id}
        await self._once(
            idempotency_key, "remove_branch", call, {"conversation_id": conversation_id}, carry_out
        )

    async def restore(self, conversation_id: str, *, idempotency_key: str | None = None) -> Conversation:
        """Bring a deleted conversation back, where its platform keeps deleted ones."""
        platform, native_id = self._at(conversation_id)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            restored = await platform.restore(self.principal, native_id)
            await self._home.store.write(
                partial(conversations.undelete, principal=self.principal, conversation_id=conversation_id)
            )
            await self._remember(platform, restored)
            return ids

        call = {"conversation_id": conversation_id}
        await self._once(
            idempotency_key, "restore_conversation", call, {"conversation_id": conversation_id}, carry_out
        )
        return await self.known(conversation_id)

    async def delete(self, conversation_id: str, *, idempotency_key: str | None = None) -> None:
        """Delete a conversation for good, with its messages, its journal and what it waits for."""
        platform, native_id = self._at(conversation_id)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            active = await self._read(partial(runs.active, conversation_id=conversation_id))
            try:
                await platform.delete(self.principal, native_id)
            except NotFoundError:
                if not repeated:
                    raise
            if not platform.kept_here:
                await self._forget(conversation_id)
            if active is not None:
                self._home.runner.stop(active)
            return ids

        call = {"conversation_id": conversation_id}
        await self._once(
            idempotency_key, "delete_conversation", call, {"conversation_id": conversation_id}, carry_out
        )

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

    async def _take_in(self, platform: Platform, message: Message, kind: EventKind) -> None:
        """Enter a message that a platform has taken in, and journal it."""
        if platform.kept_here:
            return
        await self.known(message.conversation_id)

        def take_in(tx: Transaction) -> None:
            settled = runs.active(tx, self.principal, message.conversation_id) is None
            messages.remember(tx, self.principal, message.conversation_id, [message], settled=settled)
            told = {"message_id": message.id, "author": message.author, "role": message.role}
            journal.append(tx, self.principal, message.conversation_id, [Event(kind, told)])

        await self._home.store.write(take_in)

    async def _forget(self, conversation_id: str) -> None:
        def forget(tx: Transaction) -> None:
            with suppress(NotFoundError):
                conversations.delete(tx, self.principal, conversation_id)

        await self._home.store.write(forget)

    async def _begin(
        self,
        conversation_id: str,
        draft: MessageDraft,
        ids: Effect,
        call: Mapping[str, Any],
        *,
        join: bool,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> tuple[Run, bool]:
        platform, _ = self._at(conversation_id)
        if not platform.kept_here:
            await self.known(conversation_id)
        return await self._home.runner.begin(
            self.principal,
            self._written(conversation_id, draft, ids),
            run_id=ids["run_id"],
            call_digest=digest(call),
            context=draft.context,
            join=join,
            checkpoint=checkpoint,
        )

    def _written(self, conversation_id: str, draft: MessageDraft, ids: Effect) -> Message:
        return Message(
            id=ids["message_id"],
            conversation_id=conversation_id,
            author="user" if self.principal == LOCAL_PRINCIPAL else self.principal,
            role=draft.role,
            text=draft.text,
            data=draft.data,
            type=draft.type,
            parent_id=draft.parent_id,
            metadata=draft.metadata,
        )
