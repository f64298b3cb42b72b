"""Reading: conversations, messages, runs, journals and requests, as one principal sees them."""

import json
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import quote

import anyio

from tertulia import following, listing, searching
from tertulia.drafts import checked_query
from tertulia.figures import Figures
from tertulia.following import Told
from tertulia.home import Resident
from tertulia.lifecycle import take_in
from tertulia.platforms.base import Platform
from tertulia.searching import ANSWER_SECONDS, Shown
from tertulia.store import analytics, conversations, journal, lookup, messages, runs, sync_state
from tertulia.store.database import Transaction
from tertulia.store.lookup import Marks
from tertulia.store.search import Found, found
from tertulia.vocabulary.coverage import Answered
from tertulia.vocabulary.errors import (
    InvalidInputError,
    NotFoundError,
)
from tertulia.vocabulary.events import JournalEntry
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import (
    Cursor,
    split_agent_address,
    split_conversation_id,
)
from tertulia.vocabulary.models import (
    Agent,
    Analytics,
    Branch,
    Conversation,
    ConversationQuery,
    Message,
    Outcome,
    Page,
    Participant,
    Request,
    Role,
    Run,
    SearchQuery,
    SearchResult,
)
from tertulia.vocabulary.states import RunStatus
from tertulia.vocabulary.text import check_limit

MAX_ENTRIES = 500
"""The most entries that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happenings:
    """What happened in a conversation behind a cursor. `more`: there is more in the store already."""

    entries: Sequence[JournalEntry]
    cursor: str
    more: bool
    run: Run | None
    """The conversation's newest run."""


class Reading(Resident):
    """The part of `tertulia.Conversations` that changes nothing but what counts as delivered."""

    async def present(self) -> None:
        """Make known that we are there, wherever others can write to us."""
        for platform in self._home.platforms.values():
            await platform.present(self.principal)

    async def agents(self, instance: str | None = None) -> Sequence[Agent]:
        """Return who can be talked to: at one instance, or everywhere."""
        asked = [*self._home.platforms.values()] if instance is None else [self._configured(instance)]
        found: dict[str, Sequence[Agent]] = {}

        async def ask(platform: Platform) -> None:
            found[platform.instance] = await platform.agents(self.principal)

        async with anyio.create_task_group() as tasks:
            for platform in asked:
                tasks.start_soon(ask, platform)
        return [agent for platform in asked for agent in found[platform.instance]]

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
        """Return one page of conversations: of an instance as it has them, or of all that the store knows of.

        A platform without lists has them made here (`Page.from_index`), after it was asked for what is new.
        """
        query = replace(checked_query(query), me=self.address)
        if query.all_users:
            self._sees_all_users(query.instance)
        if query.instance is None:
            await self._tend()
            return await self._read(partial(conversations.page, query=query))
        platform = self._platform(query.instance)
        if Feature.LIST not in platform.features:
            await self._discover(platform)
            return replace(await self._read(partial(conversations.page, query=query)), from_index=True)
        page = await platform.list(self.principal, query)
        if platform.kept_here:
            return page
        known = await self._home.store.write(
            lambda tx: [conversations.remember(tx, self.principal, found) for found in page.items]
        )
        if platform.lists_all:
            return listing.page(known, query)
        return replace(page, items=[found for found in known if listing.fits(found, query)])

    async def analytics(self, conversation_id: str) -> Analytics:
        """Return the figures about a conversation: its platform's own, or `computed` from what can be read of it.

        Computed, they have the answers and tool calls that went through this store, and all messages that the platform
        shows.
        """
        platform, native_id = self._at(conversation_id)
        if Feature.ANALYTICS in platform.features:
            return await platform.analytics(self.principal, native_id)
        await self.get(conversation_id)
        history = Figures()
        cursor, more = None, Feature.MESSAGES in platform.features
        while more:
            page = await self.messages(conversation_id, cursor=cursor, limit=100)
            history.add(page.items)
            cursor = page.next_cursor
            more = cursor is not None
        stored = await self._read(partial(analytics.of_conversation, conversation_id=conversation_id))
        return history.over(stored) if Feature.MESSAGES in platform.features else stored

    async def analytics_of(self, query: ConversationQuery) -> Analytics:
        """Return the figures about all conversations that a list would have, on whatever page, counted together.

        They are computed from what this store has seen of them.
        """
        query = replace(checked_query(query), me=self.address)
        if query.all_users:
            raise InvalidInputError(
                "Figures are counted here, from one user's conversations.", hint="Leave `all_users` out."
            )
        if query.instance is not None:
            self._configured(query.instance)
        await self._tend()
        return await self._read(partial(analytics.of_query, query=query))

    async def search(
        self, query: SearchQuery, *, patience: float = ANSWER_SECONDS, shown: Shown = len
    ) -> SearchResult:
        """Search all conversations: the platforms that can search are asked, and our index for the rest, at once.

        The index has everything that was synced or passed through. A platform is waited for no longer than `patience`
        seconds; `SearchResult.answered` tells who answered. `shown` says for how many of a page's hits there is room:
        the cursor then stands behind those.
        """
        if query.instance is not None:
            self._configured(query.instance)
        if query.agent is not None:
            split_agent_address(query.agent)
        if query.conversation_id is not None:
            split_conversation_id(query.conversation_id)
        await self._tend()
        platforms = self._home.platforms
        elsewhere = not searching.lives_here(platforms)
        if elsewhere and (asked := searching.asked(platforms, query)):
            return await searching.search(
                self._home, self.principal, query, asked, patience=patience, shown=shown
            )

        def look(tx: Transaction, principal: str) -> tuple[Found, Sequence[Answered]]:
            page = found(tx, principal, query)
            if not elsewhere:
                return page, ()
            return page, searching.answered(self._home, query, sync_state.coverage(tx, principal))

        page, answered = await self._read(look)
        result = page.cut(shown(page.result.hits))
        return replace(result, answered=answered) if answered else result

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

    async def participants(self, conversation_id: str) -> Sequence[Participant]:
        """Return who takes part in a conversation."""
        platform, native_id = self._at(conversation_id)
        return await platform.participants(self.principal, native_id)

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

    async def collect(self, run: Run, *, answered: bool = False) -> Outcome:
        """Return what there is of a run now. It counts as given: the identical call is another one from then on.

        `answered`: to who answered it by a message (`SentAs.REPLY`), rather than to who began it.
        """
        return await self._with_reply(
            await self._home.store.write(
                partial(following.collect, principal=self.principal, run=run, answered=answered)
            )
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
        check_limit(limit, MAX_ENTRIES)
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

    async def _with_reply(self, outcome: Outcome) -> Outcome:
        """Return the outcome with the answer that its platform has, if our store does not keep it."""
        instance, native_id = split_conversation_id(outcome.run.conversation_id)
        settings = self._home.settings.instances.get(instance)
        if outcome.run.status is not RunStatus.COMPLETED or settings is None or settings.keeps_content:
            return outcome
        platform = self._platform(instance)
        page = await platform.messages(self.principal, native_id, cursor=None, limit=10, newest_first=True)
        answers = [message for message in page.items if message.role is Role.ASSISTANT]
        own = [message for message in answers if message.id == outcome.run.reply_id]
        said = (message for message in own or answers if message.text or message.data)
        return replace(outcome, reply=next((one.text or json.dumps(one.data) for one in said), ""))

    def _sees_all_users(self, instance: str | None) -> None:
        """See that a list of all users' conversations can be had.

        Raises:
            InvalidInputError: it cannot.
        """
        offering = [name for name, each in self._home.platforms.items() if each.lists_all_users]
        if instance is None or not self._configured(instance).lists_all_users:
            raise InvalidInputError(
                "`all_users` needs an instance."
                if instance is None
                else f"The instance {instance} shows nobody the conversations of others.",
                valid=sorted(offering),
                hint="Give one of these as `instance`." if offering else "Leave `all_users` out.",
                instance=instance,
            )

    async def _remember(self, platform: Platform, found: Conversation) -> Conversation:
        """Return what a platform has said of a conversation, after it was entered in the store."""
        if platform.kept_here:
            return found
        return await self._home.store.write(
            partial(
                take_in,
                principal=self.principal,
                theirs=found,
                has_states=Feature.STATUS in platform.features,
            )
        )

    async def _discover(self, platform: Platform) -> None:
        """Enter what a platform tells of conversations that others began or went on with."""
        found = await platform.discover(self.principal)

        def enter(tx: Transaction) -> None:
            for theirs in found:
                take_in(tx, self.principal, theirs, has_states=Feature.STATUS in platform.features)

        if found:
            await self._home.store.write(enter)

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
