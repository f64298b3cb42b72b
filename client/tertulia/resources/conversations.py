"""Conversations: creating, finding, changing and deleting them, and reading what happened in them."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

from tertulia.platforms.base import EmbeddedPlatform, Platform
from tertulia.platforms.kit import paging
from tertulia.resources.messages import Messages
from tertulia.resources.runs import new_conversation_call
from tertulia.resources.scope import Scope, tried_at
from tertulia.resources.statistics import MessageStatistics
from tertulia.resources.validation import checked_query, checked_rating, conversation_draft
from tertulia.runs import feed
from tertulia.runs.idempotency import Call, Effect
from tertulia.store import (
    analytics,
    conversation_pages,
    conversations,
    excerpts,
    journal,
    lookup,
    messages,
    runs,
)
from tertulia.store.database import Transaction
from tertulia.store.lookup import ChangeMarks
from tertulia.store.transitions import store_record
from tertulia.vocabulary.entry import safe_branch, safe_participant
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError
from tertulia.vocabulary.events import MESSAGES, JournalEntry
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import Cursor, split_agent_address, split_conversation_id
from tertulia.vocabulary.models import (
    Analytics,
    Branch,
    Conversation,
    ConversationChanges,
    ConversationQuery,
    Excerpt,
    MessageQuery,
    NewConversation,
    Page,
    Participant,
    ParticipantRole,
    Rating,
    Run,
    StatusChange,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit, checked_json, checked_line, checked_text

MAX_ENTRIES = 500
"""The most entries of a journal that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """The entries of a conversation's journal after a cursor. `more`: the store has further entries."""

    entries: Sequence[JournalEntry]
    cursor: str
    more: bool
    run: Run | None
    """The conversation's newest run."""
    texts: Mapping[str, str]
    """The texts of the messages that these entries add or change, by their ids, but for answers of runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A conversation and how it stands, read at one moment."""

    conversation: Conversation
    run: Run | None
    """Its newest run."""
    excerpt: Excerpt
    """What is asked in it, and nothing else."""
    cursor: str
    """What `events` reads on from: it stands after the newest entry of the journal that the conversation tells of."""


CREATED = "conversation_id"
"""Where the effect of a call has the conversation that it created."""


class Conversations:
    """The conversations of one principal."""

    def __init__(self, scope: Scope, messages: Messages) -> None:
        self._scope = scope
        self._messages = messages

    async def create(self, new: NewConversation, *, idempotency_key: str | None = None) -> Conversation:
        """Create a conversation.

        Raises:
            NotFoundError: there is no such agent.
        """
        scope = self._scope
        instance, _ = split_agent_address(new.agent)
        draft = conversation_draft(new, scope.configured(instance).new_native_id())

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            if CREATED not in ids:
                await scope.check_room()
                platform = scope.platform(instance)
                named = replace(draft, native_id=ids["native_id"], tried_at=tried_at(ids, repeated=repeated))
                created = await platform.create(scope.principal, named)
                ids = {**ids, CREATED: created.id}
                await scope.store_created(platform, created, idempotency_key, ids)
            return ids

        ids = scope.creation_ids(draft.native_id)
        call = Call("create_conversation", new_conversation_call(new), ids, idempotency_key)
        effect = await scope.once(call, carry_out)
        return await scope.stored(effect[CREATED])

    async def get(self, conversation_id: str) -> Conversation:
        """Return a conversation as its platform has it now."""
        return await self._scope.fetch(conversation_id)

    async def get_stored(self, conversation_id: str) -> Conversation:
        """Return a conversation as the store has it; the platform is asked only for one that the store lacks."""
        return await self._scope.stored(conversation_id)

    async def list(self, query: ConversationQuery) -> Page[Conversation]:
        """Return one page of conversations: those of an instance as its platform lists them, or all in the store.

        A platform without lists is asked for news, and the page comes from the store (`Page.from_index`).
        """
        page, _ = await self._listed(query, with_excerpts=False)
        return page

    async def list_with_excerpts(
        self, query: ConversationQuery
    ) -> tuple[Page[Conversation], Mapping[str, Excerpt]]:
        """Return one page of conversations as `list` does, with what `excerpts` returns of them."""
        return await self._listed(query, with_excerpts=True)

    async def _listed(
        self, query: ConversationQuery, *, with_excerpts: bool
    ) -> tuple[Page[Conversation], Mapping[str, Excerpt]]:
        scope = self._scope
        query = replace(checked_query(query), me=scope.address)
        if query.all_users:
            self._check_all_users(query.instance)

        def excerpts_of(tx: Transaction, page: Page[Conversation]) -> Mapping[str, Excerpt]:
            return excerpts.of(tx, scope.principal, scope.address, page.items) if with_excerpts else {}

        def read(tx: Transaction, principal: str) -> tuple[Page[Conversation], Mapping[str, Excerpt]]:
            page = conversation_pages.page(tx, principal, query)
            return page, excerpts_of(tx, page)

        if query.instance is None:
            await scope.maintain()
            return await scope.read(read)
        platform = scope.platform(query.instance)
        if Feature.LIST not in platform.features:
            await self._discover(platform)
            page, begun = await scope.read(read)
            return replace(page, from_index=True), begun
        if isinstance(platform, EmbeddedPlatform):
            await platform.maintain()
            return await scope.read(read)
        listed = await platform.list(scope.principal, query)

        def remember(tx: Transaction, principal: str) -> tuple[Page[Conversation], Mapping[str, Excerpt]]:
            known = [conversations.remember(tx, principal, said) for said in listed.items]
            if platform.capabilities.lists_unfiltered:
                page = paging.page(known, query)
            else:
                fitting = [one for one in known if paging.fits(one, query)]
                page = Page(items=fitting, next_cursor=listed.next_cursor, total=listed.total)
            return page, excerpts_of(tx, page)

        return await scope.write(remember)

    async def excerpts(self, found: Sequence[Conversation]) -> Mapping[str, Excerpt]:
        """Return words of conversations that tell them apart in a list, as the store has them, by their ids."""
        return await self._scope.read(partial(excerpts.of, me=self._scope.address, found=found))

    async def standing(self, conversation_id: str) -> Standing:
        """Return a conversation as its platform has it now, with its newest run, its excerpt and its cursor.

        Raises:
            NotFoundError: there is no such conversation.
        """
        scope = self._scope
        store, me = scope.services.store, scope.address
        platform, _ = scope.platform_of(conversation_id)
        said: Conversation | None = None
        if isinstance(platform, EmbeddedPlatform):
            await platform.maintain()
        else:
            said = await scope.fetch(conversation_id)

        def read(tx: Transaction, principal: str) -> Standing:
            stored = conversations.get(tx, principal, conversation_id)
            conversation = stored if said is None else said  # of which the store may keep no contents
            cursor = journal.cursor(tx, principal, conversation.id, store.epoch, conversation.last_seq)
            run = runs.latest(tx, principal, conversation.id)
            return Standing(
                conversation=conversation,
                run=run,
                excerpt=excerpts.of_asked(tx, principal, me, conversation, run),
                cursor=str(cursor),
            )

        return await self._scope.read(read)

    async def suggest(self, text: str, *, instance: str | None = None, limit: int = 20) -> Sequence[str]:
        """Return the ids of conversations that `text` may mean: the beginning of an id, or words of a title.

        Without text, suggest the conversations that were used last.
        """
        typed = quote(text.strip(), safe="", errors="replace")
        instances = self._scope.instances if instance is None else [instance]
        prefixes = [text.strip(), *(f"{name}:{typed}" for name in instances)]
        return await self._scope.read(
            partial(lookup.suggested, text=text, prefixes=prefixes, instance=instance, limit=limit)
        )

    async def update(
        self, conversation_id: str, changes: ConversationChanges, *, idempotency_key: str | None = None
    ) -> Conversation:
        """Change title, metadata, context (both merged key by key; None removes a key) or the archived flag."""
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)
        if changes.title is not None:
            changes = replace(changes, title=checked_line("title", changes.title))
        if changes.metadata is not None:
            checked_json("metadata", changes.metadata)
        if changes.context is not None:
            checked_json("context", changes.context)
        if changes == ConversationChanges():
            raise InvalidInputError(
                "There is nothing to change.",
                valid=["title", "metadata", "context", "archived"],
                hint="Give at least one of these.",
            )
        platform.check_changes(changes)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            changed = await platform.update(scope.principal, native_id, changes)
            await scope.store_record(platform, changed)
            return ids

        call = {"conversation_id": conversation_id, "changes": asdict(changes)}
        ids = {"conversation_id": conversation_id}
        await scope.once(Call("update_conversation", call, ids, idempotency_key), carry_out)
        return await scope.stored(conversation_id)

    async def generate_title(
        self,
        conversation_id: str,
        *,
        seed_message: str | None = None,
        force: bool = False,
        idempotency_key: str | None = None,
    ) -> Conversation:
        """Have the platform make a title, from `seed_message` or the messages; an existing one stays unless `force`."""
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)
        if seed_message is not None:
            seed_message = checked_text("seed_message", seed_message)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            titled = await platform.generate_title(
                scope.principal, native_id, seed_message=seed_message, force=force
            )
            await scope.store_record(platform, titled)
            return ids

        call = {"conversation_id": conversation_id, "seed_message": seed_message, "force": force}
        ids = {"conversation_id": conversation_id}
        await scope.once(Call("generate_title", call, ids, idempotency_key), carry_out)
        return await scope.stored(conversation_id)

    async def update_status(
        self,
        conversation_id: str,
        status: Status,
        *,
        reason: str | None = None,
        rating: Rating | None = None,
        idempotency_key: str | None = None,
    ) -> Conversation:
        """Change a conversation's status. Ending it cancels its active run, and may rate it.

        Raises:
            ConflictError: the change is not allowed (the error names those that are), or a run is active.
        """
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)
        if reason is not None:
            reason = checked_text("reason", reason)
        if rating is not None:
            rating = checked_rating(rating)
            if not status.terminal:
                raise InvalidInputError(
                    f"A conversation is rated when it ends, and {status} is no ending.",
                    valid=[ending for ending in Status if ending.terminal],
                    hint="Leave `rating` and `feedback` out, or rate one message with rate_message.",
                )

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            if repeated and _has_ended_alike(platform, await self.get(conversation_id), status, rating):
                return ids
            active = await scope.read(partial(runs.active, conversation_id=conversation_id))
            moved = await platform.update_status(
                scope.principal, native_id, StatusChange(status, reason, rating)
            )
            await scope.store_record(platform, moved)
            if active is not None and status.terminal:
                scope.services.runner.stop(active)
            return ids

        call: dict[str, Any] = {"conversation_id": conversation_id, "status": status, "reason": reason}
        if rating is not None:
            call["rating"] = asdict(rating)
        ids = {"conversation_id": conversation_id}
        await scope.once(Call("update_status", call, ids, idempotency_key), carry_out)
        return await scope.stored(conversation_id)

    async def delete(self, conversation_id: str, *, idempotency_key: str | None = None) -> None:
        """Delete a conversation for good, with its messages, its journal and its requests.

        What the store has of one that its platform has deleted already is deleted, too.
        """
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            active = await scope.read(partial(runs.active, conversation_id=conversation_id))
            try:
                await platform.delete(scope.principal, native_id)
            except NotFoundError:
                known = partial(conversations.known, conversation_id=conversation_id)
                if not repeated and (isinstance(platform, EmbeddedPlatform) or not await scope.read(known)):
                    raise
            if not isinstance(platform, EmbeddedPlatform):
                with suppress(NotFoundError):
                    await conversations.shorten(scope.services.store, scope.principal, conversation_id)
                    await scope.write(partial(scope.forget, conversation_id=conversation_id))
            if active is not None:
                scope.services.runner.stop(active)
            return ids

        call = {"conversation_id": conversation_id}
        await scope.once(Call("delete_conversation", call, call, idempotency_key), carry_out)

    async def restore(self, conversation_id: str, *, idempotency_key: str | None = None) -> Conversation:
        """Restore a deleted conversation, if its platform keeps deleted ones."""
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            restored = await platform.restore(scope.principal, native_id)
            await scope.write(partial(conversations.undelete, conversation_id=conversation_id))
            await scope.store_record(platform, restored)
            return ids

        call = {"conversation_id": conversation_id}
        await scope.once(Call("restore_conversation", call, call, idempotency_key), carry_out)
        return await scope.stored(conversation_id)

    async def participants(self, conversation_id: str) -> Sequence[Participant]:
        """Return the participants of a conversation."""
        platform, native_id = self._scope.platform_of(conversation_id)
        found = await platform.participants(self._scope.principal, native_id)
        return [safe_participant(participant) for participant in found]

    async def invite(
        self,
        conversation_id: str,
        participants: Mapping[str, ParticipantRole | None],
        *,
        idempotency_key: str | None = None,
    ) -> Sequence[Participant]:
        """Invite participants by address, or give them another role; a role of None removes them.

        Returns the participants.

        Raises:
            NotAllowedError: the caller's role does not allow it to invite.
        """
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)
        if not participants:
            raise InvalidInputError(
                "There is nobody to invite.", hint="Give at least one address with its role."
            )

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            await platform.invite(scope.principal, native_id, participants)
            return ids

        call = {"conversation_id": conversation_id, "participants": dict(participants)}
        await scope.once(
            Call("invite", call, {"conversation_id": conversation_id}, idempotency_key), carry_out
        )
        return await self.participants(conversation_id)

    async def branches(self, conversation_id: str) -> Sequence[Branch]:
        """Return the branches of a conversation, oldest first."""
        platform, native_id = self._scope.platform_of(conversation_id)
        return [safe_branch(branch) for branch in await platform.branches(self._scope.principal, native_id)]

    async def remove_branch(
        self, conversation_id: str, branch_id: str, *, idempotency_key: str | None = None
    ) -> None:
        """Remove a branch, with the messages that no other branch has."""
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            try:
                await platform.remove_branch(scope.principal, native_id, branch_id)
            except NotFoundError:
                if not repeated:
                    raise
            return ids

        call = {"conversation_id": conversation_id, "branch_id": branch_id}
        ids = {"conversation_id": conversation_id}
        await scope.once(Call("remove_branch", call, ids, idempotency_key), carry_out)

    async def analytics(self, conversation_id: str) -> Analytics:
        """Return the statistics of a conversation: its platform's, or `computed` ones.

        Computed statistics count the answers and tool calls that the store has, and all messages that the platform
        shows.
        """
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)
        if Feature.ANALYTICS in platform.features:
            return await platform.analytics(scope.principal, native_id)
        await self.get(conversation_id)
        shown = MessageStatistics() if Feature.MESSAGES in platform.features else None
        query: MessageQuery | None = None if shown is None else MessageQuery(limit=100)
        while shown is not None and query is not None:
            page = await self._messages.list(conversation_id, query)
            shown.add(page.items)
            query = None if page.next_cursor is None else replace(query, cursor=page.next_cursor)
        stored = await scope.read(partial(analytics.of_conversation, conversation_id=conversation_id))
        return stored if shown is None else shown.combined_with(stored)

    async def analytics_of(self, query: ConversationQuery) -> Analytics:
        """Return the statistics of all conversations that match a query, counted together from what the store has."""
        scope = self._scope
        query = replace(checked_query(query), me=scope.address)
        if query.all_users:
            raise InvalidInputError(
                "Figures are counted here, from one user's conversations.", hint="Leave `all_users` out."
            )
        if query.instance is not None:
            scope.configured(query.instance)
        await scope.maintain()
        return await scope.read(partial(analytics.of_query, query=query))

    async def events(
        self, conversation_id: str, *, cursor: str | None = None, limit: int = MAX_ENTRIES
    ) -> EventPage:
        """Return the journal's entries after a cursor, or from the beginning, oldest first.

        Raises:
            InvalidInputError: the cursor belongs to another conversation or store, or to one that was restored.
        """
        scope = self._scope
        platform, _ = scope.platform_of(conversation_id)
        check_limit(limit, MAX_ENTRIES)
        if not isinstance(platform, EmbeddedPlatform):
            await scope.stored(conversation_id)
        store = scope.services.store

        def read(tx: Transaction, principal: str) -> EventPage:
            conversation = conversations.get(tx, principal, conversation_id)
            after = 0
            if cursor is not None:
                position = Cursor.parse(cursor, epoch=store.epoch, conversation_id=conversation_id)
                journal.check(tx, principal, position)
                after = position.seq
            entries = journal.read(tx, principal, conversation_id, after, limit=limit)
            seq = entries[-1].seq if entries else after
            named = [entry.data["message_id"] for entry in entries if entry.kind in MESSAGES]
            return EventPage(
                entries=entries,
                cursor=str(journal.cursor(tx, principal, conversation_id, store.epoch, seq)),
                more=seq < conversation.last_seq,
                run=runs.latest(tx, principal, conversation_id),
                texts=messages.texts_beside_answers(tx, principal, conversation_id, named),
            )

        return await scope.read(read)

    async def cursor(self, conversation_id: str, seq: int) -> str:
        """Return the cursor after entry `seq` of a conversation."""
        split_conversation_id(conversation_id)
        store = self._scope.services.store

        def read(tx: Transaction, principal: str) -> str:
            conversations.get(tx, principal, conversation_id)
            return str(journal.cursor(tx, principal, conversation_id, store.epoch, seq))

        return await self._scope.read(read)

    def watch(self, conversation_id: str, *, after: int) -> AsyncGenerator[Sequence[JournalEntry]]:
        """Yield a conversation's journal entries after `after` (a `seq`) as they come, without an end."""
        services = self._scope.services
        return feed.watch(
            services.store, services.runner, self._scope.principal, conversation_id, after=after
        )

    async def change_marks(self, conversation_ids: Collection[str]) -> ChangeMarks:
        """Return marks of the conversations' present state in the store, for `changes`."""
        return await self._scope.read(partial(lookup.change_marks, conversation_ids=conversation_ids))

    def changes(self, since: ChangeMarks) -> AsyncGenerator[Collection[str]]:
        """Yield which conversations have changed since their marks, whoever changes them, without an end."""
        return feed.changes(self._scope.services.store, self._scope.principal, since)

    def _check_all_users(self, instance: str | None) -> None:
        """Check that an instance lists the conversations of all its users.

        Raises:
            InvalidInputError: it does not.
        """
        scope = self._scope
        offering = [
            name for name, platform in scope.platforms.items() if platform.capabilities.lists_all_users
        ]
        if instance is None or not scope.configured(instance).capabilities.lists_all_users:
            raise InvalidInputError(
                "`all_users` needs an instance."
                if instance is None
                else f"The instance {instance} shows nobody the conversations of others.",
                valid=sorted(offering),
                hint="Give one of these as `instance`." if offering else "Leave `all_users` out.",
                instance=instance,
            )

    async def _discover(self, platform: Platform) -> None:
        """Store a platform's news of conversations that others began or continued."""
        discovered = await platform.discover(self._scope.principal)
        has_states = Feature.STATUS in platform.features

        def store(tx: Transaction, principal: str) -> None:
            for found in discovered:
                store_record(tx, principal, found, has_states=has_states)

        if discovered:
            await self._scope.write(store)


def _has_ended_alike(
    platform: Platform, conversation: Conversation, status: Status, rating: Rating | None
) -> bool:
    """Whether an earlier attempt of the call has changed the status already."""
    if conversation.status is not status:
        return False
    # A conversation on the embedded platform that has ended can still be rated.
    return not isinstance(platform, EmbeddedPlatform) or rating in {None, conversation.rating}
