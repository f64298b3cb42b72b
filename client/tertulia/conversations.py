"""The one entrance: conversations with agents on any platform, for one principal.

Whatever a method does for a caller is in the store before the method returns. A method that changes something takes an
`idempotency_key`: repeated with the same key and arguments it does nothing more and returns the same.

Every method raises `TertuliaError`s only. Each docstring names those beyond the ones that can always happen:
`InvalidInputError` for an argument that cannot be used, `NotFoundError` for an id that this principal does not have,
`NotOffered` for a feature that the platform lacks, `StoreError` and `UnavailableError` for a store that cannot be used.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from tertulia import following, listing
from tertulia.approvals import check_settlement, find_pending, record_settlement, settled_alike
from tertulia.following import Told
from tertulia.keeper import Keeper
from tertulia.lifecycle import end_run, withdraw
from tertulia.once import Effect, Once
from tertulia.platforms import build
from tertulia.platforms.base import Platform
from tertulia.runner import Runner
from tertulia.settings import ClientSettings
from tertulia.store import conversations, journal, lookup, messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.store.lookup import Marks
from tertulia.store.search import search
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    MovedOnError,
    NotConfiguredError,
    NotFoundError,
)
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.identifiers import (
    Cursor,
    digest,
    new_id,
    shown,
    split_agent_address,
    split_conversation_id,
)
from tertulia.vocabulary.models import (
    LOCAL_PRINCIPAL,
    Agent,
    Branch,
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    Message,
    MessageChanges,
    MessageDraft,
    Outcome,
    Page,
    Request,
    Role,
    Run,
    SearchQuery,
    SearchResult,
    Settlement,
)
from tertulia.vocabulary.states import RunStatus, Status
from tertulia.vocabulary.text import checked_json, checked_line, checked_text

T = TypeVar("T")

MAX_ENTRIES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message on its way. `joined`: nothing was sent, since the identical call had been made and was not over."""

    conversation: Conversation
    run: Run
    joined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Happenings:
    """What happened in a conversation behind a cursor. `more`: there is more in the store already."""

    entries: Sequence[JournalEntry]
    cursor: str
    more: bool
    run: Run | None
    """The conversation's newest run."""


@dataclass(frozen=True, slots=True)
class _Home:
    """What all principals of a process share."""

    settings: ClientSettings
    store: Store
    platforms: Mapping[str, Platform]
    runner: Runner
    once: Once


class Conversations:
    """Conversations of one principal. Open one per process; `acting_as` gives another principal's view of it."""

    def __init__(self, home: _Home, principal: str) -> None:
        self._home = home
        self.principal = principal

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
            yield cls(_Home(settings, store, platforms, runner, Once(store, keeper)), principal)

    def acting_as(self, principal: str) -> "Conversations":
        """Return the view of another principal, who shares nothing with this one but the process."""
        return Conversations(self._home, principal)

    @property
    def instances(self) -> Sequence[str]:
        """The configured instances, in order."""
        return sorted(self._home.platforms)

    async def agents(self, instance: str | None = None) -> Sequence[Agent]:
        """Return who can be talked to: at one instance, or everywhere."""
        asked = self._home.platforms.values() if instance is None else [self._configured(instance)]
        return [agent for platform in asked for agent in await platform.agents(self.principal)]

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
        draft = _conversation_draft(agent, title, metadata, context)
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
        draft = _conversation_draft(agent, title, metadata, context)
        message = _checked_message(message)
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
            created = await self._create(replace(draft, native_id=ids["native_id"], repeated=repeated))
            await self._begin(created.id, message, ids, call, join=False)
            return {**ids, "conversation_id": created.id}

        ids = {"native_id": draft.native_id, **_message_ids()}
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
        message = _checked_message(message)
        call = {"conversation_id": conversation_id, "message": asdict(message)}

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            run, joined = await self._begin(conversation_id, message, ids, call, join=idempotency_key is None)
            return {**ids, "run_id": run.id, "joined": joined}

        effect = await self._once(idempotency_key, "send_message", call, _message_ids(), carry_out)
        conversation = await self.known(conversation_id)
        return Sent(conversation=conversation, run=await self.run(effect["run_id"]), joined=effect["joined"])

    async def get(self, conversation_id: str) -> Conversation:
        """Return a conversation as its platform has it now."""
        platform, native_id = self._at(conversation_id)
        return await self._remember(platform, await platform.get(self.principal, native_id))

    async def known(self, conversation_id: str) -> Conversation:
        """Return a conversation as the store knows it; its platform is asked only if it is new here."""
        platform, _ = self._at(conversation_id)
        if not platform.kept_here:
            with suppress(NotFoundError):
                return await self._read(partial(conversations.get, conversation_id=conversation_id))
        return await self.get(conversation_id)

    async def list(self, query: ConversationQuery) -> Page[Conversation]:
        """Return one page of conversations: of an instance as it has them, or of all that the store knows of."""
        if query.agent is not None:
            split_agent_address(query.agent)
        for conversation_id in query.ids:
            split_conversation_id(conversation_id)
        if query.instance is None:
            return await self._read(partial(conversations.page, query=query))
        platform = self._platform(query.instance)
        page = await platform.list(self.principal, query)
        if platform.kept_here:
            return page
        known = await self._home.store.write(
            lambda tx: [conversations.remember(tx, self.principal, found) for found in page.items]
        )
        if platform.lists_all:
            return listing.page(known, query)
        return replace(page, items=[found for found in known if listing.fits(found, query)])

    async def search(self, query: SearchQuery) -> SearchResult:
        """Search messages and titles in full text: everything that passed through the store."""
        if query.instance is not None:
            self._configured(query.instance)
        if query.agent is not None:
            split_agent_address(query.agent)
        if query.conversation_id is not None:
            split_conversation_id(query.conversation_id)
        return await self._read(partial(search, query=query))

    async def messages(
        self,
        conversation_id: str,
        *,
        cursor: str | None = None,
        limit: int = 50,
        newest_first: bool = False,
        branch: str | None = None,
    ) -> Page[Message]:
        """Return one page of a conversation's messages: of one of its branches, or of the newest."""
        platform, native_id = self._at(conversation_id)
        page = await platform.messages(
            self.principal, native_id, cursor=cursor, limit=limit, newest_first=newest_first, branch=branch
        )
        if not platform.kept_here:
            await self.known(conversation_id)

            def remember(tx: Transaction) -> None:
                settled = runs.active(tx, self.principal, conversation_id) is None
                oldest_first = page.items[::-1] if newest_first else page.items
                messages.remember(tx, self.principal, conversation_id, oldest_first, settled=settled)

            await self._home.store.write(remember)
        return page

    async def branches(self, conversation_id: str) -> Sequence[Branch]:
        """Return the branches of a conversation, oldest first."""
        platform, native_id = self._at(conversation_id)
        return await platform.branches(self.principal, native_id)

    async def add_message(
        self, conversation_id: str, message: MessageDraft, *, idempotency_key: str | None = None
    ) -> Message:
        """Add a message that nobody is to answer; return it as its platform has it."""
        platform, native_id = self._at(conversation_id)
        message = _checked_message(message)

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
        idempotency_key: str | None = None,
    ) -> Conversation:
        """Move a conversation to another state. An ending cancels what is still being answered.

        Raises:
            ConflictError: the transition is not allowed (names those that are), or something has to be settled first.
        """
        platform, native_id = self._at(conversation_id)
        if reason is not None:
            reason = checked_text("reason", reason)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            if not (repeated and (await self.get(conversation_id)).status is status):
                active = await self._read(partial(runs.active, conversation_id=conversation_id))
                moved = await platform.update_status(self.principal, native_id, status, reason=reason)
                await self._remember(platform, moved)
                if active is not None and status.terminal:
                    self._home.runner.stop(active)
            return ids

        call = {"conversation_id": conversation_id, "status": status, "reason": reason}
        await self._once(
            idempotency_key, "update_status", call, {"conversation_id": conversation_id}, carry_out
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

    async def run(self, run_id: str) -> Run:
        """Return a run as it is now."""
        return await self._read(partial(runs.get, run_id=run_id))

    async def latest_run(self, conversation_id: str) -> Run | None:
        """Return a conversation's newest run, if it ever had one."""
        split_conversation_id(conversation_id)
        return await self._read(partial(runs.latest, conversation_id=conversation_id))

    async def outcome(self, run: Run) -> Outcome:
        """Return what there is of a run now."""
        return await self._with_reply(await self._read(partial(following.outcome, run=run)))

    async def attend(self, run: Run, *, timeout: float, told: Told | None = None) -> None:
        """Wait until a run ends or needs a person, for `timeout` seconds at most.

        `told` is given the journal's entries as they come.
        """
        home = self._home
        await following.attend(home.store, home.runner, self.principal, run, timeout=timeout, told=told)

    async def collect(self, run: Run) -> Outcome:
        """Return what there is of a run now. It counts as given: the identical call is another one from then on."""
        return await self._with_reply(
            await self._home.store.write(partial(following.collect, principal=self.principal, run=run))
        )

    async def wait(self, run: Run, *, timeout: float, told: Told | None = None) -> Outcome:
        """Wait as `attend` does, and return what there is then."""
        await self.attend(run, timeout=timeout, told=told)
        return await self.collect(run)

    def follow(self, run: Run, *, after: int | None = None) -> AsyncGenerator[Sequence[JournalEntry]]:
        """Yield a run's entries (those behind `after`, a `seq`) as they come, until it ends or needs a person."""
        start = run.first_seq if after is None else after
        return following.follow(self._home.store, self._home.runner, self.principal, run, after=start)

    def watch(self, conversation_id: str, *, after: int) -> AsyncGenerator[Sequence[JournalEntry]]:
        """Yield a conversation's entries behind `after` as they come, whoever makes them, without an end."""
        home = self._home
        return following.watch(home.store, home.runner, self.principal, conversation_id, after=after)

    async def marks(self, conversation_ids: Collection[str]) -> Marks:
        """Mark the present state of conversations, as this store knows it, for `changes`."""
        return await self._read(partial(lookup.marks, conversation_ids=conversation_ids))

    def changes(self, since: Marks) -> AsyncGenerator[Collection[str]]:
        """Yield which conversations have changed since they were marked, whoever changes them, without an end."""
        return following.changes(self._home.store, self.principal, since)

    async def suggest(self, text: str, *, instance: str | None = None, limit: int = 20) -> Sequence[str]:
        """Return ids of conversations that a few typed letters may mean: the beginning of an id, or words of a title.

        Nothing typed suggests the conversations that were used last.
        """
        typed = quote(text.strip(), safe="", errors="replace")
        instances = self.instances if instance is None else [instance]
        prefixes = [text.strip(), *(f"{name}:{typed}" for name in instances)]
        return await self._read(
            partial(lookup.suggested, text=text, prefixes=prefixes, instance=instance, limit=limit)
        )

    async def events(
        self, conversation_id: str, *, cursor: str | None = None, limit: int = MAX_ENTRIES
    ) -> Happenings:
        """Return what happened behind a cursor, oldest first: from the beginning, if there is none.

        Raises:
            InvalidInputError: the cursor belongs to another conversation or store, or to one that was restored.
        """
        platform, _ = self._at(conversation_id)
        if not 1 <= limit <= MAX_ENTRIES:
            raise InvalidInputError(f"`limit` is {limit}; it must be from 1 to {MAX_ENTRIES}.")
        if not platform.kept_here:
            await self.known(conversation_id)

        def read(tx: Transaction) -> Happenings:
            conversation = conversations.get(tx, self.principal, conversation_id)
            after = 0
            if cursor is not None:
                epoch = self._home.store.epoch
                position = Cursor.parse(cursor, epoch=epoch, conversation_id=conversation_id)
                journal.check(tx, self.principal, position)
                after = position.seq
            entries = journal.read(tx, self.principal, conversation_id, after, limit=limit)
            seq = entries[-1].seq if entries else after
            return Happenings(
                entries=entries,
                cursor=str(journal.cursor(tx, self.principal, conversation_id, self._home.store.epoch, seq)),
                more=seq < conversation.last_seq,
                run=runs.latest(tx, self.principal, conversation_id),
            )

        return await self._home.store.read(read)

    async def cursor(self, conversation_id: str, seq: int) -> str:
        """Return the cursor that stands behind entry `seq` of a conversation."""
        split_conversation_id(conversation_id)

        def read(tx: Transaction) -> str:
            conversations.get(tx, self.principal, conversation_id)
            return str(journal.cursor(tx, self.principal, conversation_id, self._home.store.epoch, seq))

        return await self._home.store.read(read)

    async def request(self, request_id: str) -> Request:
        """Return a request, settled or not."""
        return await self._read(partial(runs.get_request, request_id=request_id))

    async def pending(self, conversation_id: str | None = None) -> Sequence[Request]:
        """Return what awaits a decision, oldest first: in one conversation, or in all."""
        if conversation_id is not None:
            split_conversation_id(conversation_id)
        return await self._read(partial(runs.pending_requests, conversation_id=conversation_id))

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

    def _platform(self, instance: str) -> Platform:
        """Return an instance that can be used."""
        platform = self._configured(instance)
        if platform.missing is not None:
            raise NotConfiguredError(
                f"The instance {instance} is not configured yet.", hint=platform.missing, instance=instance
            )
        return platform

    def _configured(self, instance: str) -> Platform:
        if instance not in self._home.platforms:
            raise NotFoundError(
                f"There is no instance {shown(instance)}.",
                valid=self.instances,
                hint="Instances are configured in Tertulia's configuration file.",
                instance=instance,
            )
        return self._home.platforms[instance]

    def _at(self, conversation_id: str) -> tuple[Platform, str]:
        instance, native_id = split_conversation_id(conversation_id)
        return self._platform(instance), native_id

    async def _create(self, draft: ConversationDraft) -> Conversation:
        instance, _ = split_agent_address(draft.agent)
        platform = self._platform(instance)
        return await self._remember(platform, await platform.create(self.principal, draft))

    async def _remember(self, platform: Platform, found: Conversation) -> Conversation:
        """Return what a platform has said of a conversation, after it was entered in the store."""
        if platform.kept_here:
            return found
        return await self._home.store.write(
            partial(conversations.remember, principal=self.principal, theirs=found)
        )

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

    async def _message(self, conversation_id: str, message_id: str) -> Message:
        """Return a message as its platform has it: one of the newest, most likely."""
        cursor: str | None = None
        while True:
            page = await self.messages(conversation_id, cursor=cursor, limit=100, newest_first=True)
            for message in page.items:
                if message.id == message_id:
                    return message
            cursor = page.next_cursor
            if cursor is None:
                raise NotFoundError(
                    f"The message {message_id} is not in {conversation_id} any more.",
                    conversation_id=conversation_id,
                    message_id=message_id,
                )

    async def _forget(self, conversation_id: str) -> None:
        def forget(tx: Transaction) -> None:
            with suppress(NotFoundError):
                conversations.delete(tx, self.principal, conversation_id)

        await self._home.store.write(forget)

    async def _with_reply(self, outcome: Outcome) -> Outcome:
        """Return the outcome with the answer that its platform has, if our store does not keep it."""
        instance, native_id = split_conversation_id(outcome.run.conversation_id)
        settings = self._home.settings.instances.get(instance)
        if outcome.run.status is not RunStatus.COMPLETED or settings is None or settings.keeps_content:
            return outcome
        platform = self._platform(instance)
        page = await platform.messages(self.principal, native_id, cursor=None, limit=10, newest_first=True)
        said = (message.text for message in page.items if message.role is Role.ASSISTANT and message.text)
        return replace(outcome, reply=next(said, ""))

    async def _begin(
        self, conversation_id: str, draft: MessageDraft, ids: Effect, call: Mapping[str, Any], *, join: bool
    ) -> tuple[Run, bool]:
        platform, _ = self._at(conversation_id)
        if not platform.kept_here:
            await self.known(conversation_id)
        message = Message(
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
        return await self._home.runner.begin(
            self.principal,
            message,
            run_id=ids["run_id"],
            call_digest=digest(call),
            context=draft.context,
            join=join,
        )

    async def _once(
        self,
        key: str | None,
        operation: str,
        call: Mapping[str, Any],
        ids: Effect,
        carry_out: Callable[[Effect, bool], Awaitable[Effect]],
    ) -> Effect:
        return await self._home.once.do(self.principal, key, operation, call, ids, carry_out)

    async def _read(self, work: Callable[[Transaction, str], T]) -> T:
        return await self._home.store.read(lambda tx: work(tx, self.principal))


def _conversation_draft(
    agent: str, title: str | None, metadata: Mapping[str, Any] | None, context: Mapping[str, Any] | None
) -> ConversationDraft:
    split_agent_address(agent)
    return ConversationDraft(
        agent=agent,
        native_id=new_id(length=10),
        title=None if title is None else checked_line("title", title),
        metadata={} if metadata is None else checked_json("metadata", metadata),
        context=None if context is None else checked_json("context", context),
    )


def _message_ids() -> dict[str, str]:
    return {"run_id": new_id("run_"), "message_id": new_id("m_", 10)}


def _checked_message(message: MessageDraft) -> MessageDraft:
    if message.text is None and message.data is None:
        raise InvalidInputError("A message needs `text` or `data`.", valid=["text", "data"])
    if message.text is not None:
        checked_text("text", message.text)
    for name, line in (("type", message.type), ("parent_id", message.parent_id)):
        if line is not None:
            checked_line(name, line)
    for name, value in (("data", message.data), ("metadata", message.metadata), ("context", message.context)):
        if value is not None:
            checked_json(name, value)
    return message
