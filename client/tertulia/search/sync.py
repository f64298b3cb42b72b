"""The sync of an instance's histories with the store's index: `tertulia sync`.

A sync asks its platform for the list of conversations, and then for the messages of those that have changed since they
were read (see `tertulia.store.sync_state`). It stores what it reads at once, in short transactions: a sync that is
stopped or killed loses nothing, and the next one continues where it stopped. A sync changes nothing on the platform.
One process at a time syncs an instance.

A conversation is first read from its beginning. Later, a sync reads its newest page: if that page has the message that
was the newest before, the store has the rest. A message of an older page that was changed on the platform therefore
stays as it was, until its conversation is read from the beginning again.

If a platform says neither when a conversation was changed nor how many messages it has, each sync reads one page of
each conversation. A platform without a list is asked for news, and the conversations that the store knows are read.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from tertulia.platforms.base import EmbeddedPlatform, Histories, Platform
from tertulia.runs.leases import LeaseHolder
from tertulia.settings import InstanceSettings
from tertulia.store import conversations, leases, messages, runs, sync_state
from tertulia.store.database import Store, Transaction
from tertulia.store.leases import Lease, LostLeaseError
from tertulia.store.transitions import store_record
from tertulia.vocabulary.coverage import SyncProgress, SyncSummary
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    NotOffered,
    TertuliaError,
)
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.models import (
    Conversation,
    ConversationQuery,
    ConversationRecord,
    MessageQuery,
    MessageRecord,
)
from tertulia.vocabulary.tasks import task_group

T = TypeVar("T")

logger = logging.getLogger(__name__)

ProgressListener = Callable[[SyncProgress], object]
"""Is called with the progress of a sync, after each page of the list and after each conversation."""

PAGE = 100
"""How many conversations or messages are asked for at once."""
AT_ONCE = 4
"""How many conversations are read at once."""
FAILURES = 3
"""After how many failed conversations in a row a sync is given up."""
DISCOVERIES = 100
"""How often a platform without a list is asked for news, at most."""
_LOOK_SECONDS = 0.5


async def sync(
    store: Store,
    holder: LeaseHolder,
    principal: str,
    platform: Platform,
    settings: InstanceSettings | None,
    on_progress: ProgressListener | None = None,
) -> SyncSummary:
    """Bring what an instance has into the index; return what was done.

    Raises:
        InvalidInputError: the instance's conversations live in the store, or none of its contents are kept.
        NotOffered: its platform shows no messages.
        ConflictError: another process syncs it.
        UnavailableError: the platform cannot be reached; what was read until then is kept.
    """
    check_can_sync(platform, settings)
    instance = platform.instance
    try:
        async with _alone(store, holder, principal, instance) as lease, platform.histories() as histories:
            return await _Sync(store, platform, histories, lease, on_progress).run()
    except LostLeaseError:
        raise _busy(instance) from None


def check_can_sync(platform: Platform, settings: InstanceSettings | None) -> None:
    """Check that an instance has something to be synced.

    Raises:
        InvalidInputError: its conversations live in the store, or none of its contents are kept.
        NotOffered: its platform shows no messages.
    """
    instance = platform.instance
    if isinstance(platform, EmbeddedPlatform):
        raise InvalidInputError(
            f"The conversations of {instance} live in this store: all of them are in the index already.",
            hint="Name the instance of another platform.",
            instance=instance,
        )
    if settings is not None and not settings.keeps_content:
        raise InvalidInputError(
            f"The instance {instance} has `store_content = false`: nothing of its contents is kept, so nothing is "
            "brought into the index.",
            hint="Set `store_content` to true to have them in the index.",
            instance=instance,
        )
    if Feature.MESSAGES not in platform.features:
        raise NotOffered(
            f"The instance {instance} ({platform.kind}) shows no messages of its conversations.",
            hint="What passes through Tertulia is in the index all the same.",
            instance=instance,
            feature=Feature.MESSAGES,
        )


@asynccontextmanager
async def _alone(store: Store, holder: LeaseHolder, principal: str, instance: str) -> AsyncGenerator[Lease]:
    """Hold the lease of a sync. Wait for a lease whose owner has died, but not for one that is being renewed."""
    resource = f"sync {instance}"
    seen: int | None = None
    with store.watch(resource) as watch:
        while True:
            async with holder.hold(principal, resource) as lease:
                if lease is not None:
                    yield lease
                    return
            until = await store.read(partial(leases.held_until, principal=principal, resource=resource))
            if seen is not None and until is not None and until > seen:
                raise _busy(instance)
            seen = until if seen is None else seen
            with store.clock.move_on_after(_LOOK_SECONDS):
                await watch.changed()


def _busy(instance: str) -> ConflictError:
    return ConflictError(
        f"The instance {instance} is being synced by another process.",
        hint="Let that come to its end; a search shows how far it is.",
        instance=instance,
    )


@dataclass(slots=True)
class _Counts:
    """What a sync has done so far."""

    listed: int = 0
    done: int = 0
    """Conversations that need nothing more."""
    read: int = 0
    messages: int = 0
    """Messages that were added."""
    unreadable: int = 0
    gone: int = 0
    failures: list[TertuliaError] = field(default_factory=list[TertuliaError])


class _Sync:
    """One sync of one instance, under its lease."""

    def __init__(
        self,
        store: Store,
        platform: Platform,
        histories: Histories,
        lease: Lease,
        on_progress: ProgressListener | None,
    ) -> None:
        self._store = store
        self._platform = platform
        self._lease = lease
        self._principal = lease.principal
        self._on_progress = on_progress
        self._histories = histories
        self._lists = histories.lists
        self._has_states = Feature.STATUS in platform.features
        self._begun = store.clock.time()
        self._number = 0
        self._total: int | None = None
        self._counts = _Counts()
        self._failures_in_a_row = 0

    async def run(self) -> SyncSummary:
        """Sync the instance; return what was done."""
        principal, instance = self._principal, self._platform.instance
        self._number = await self._write(partial(sync_state.begin, principal=principal, instance=instance))
        self._report()
        async for page in self._pages():
            await self._write(partial(self._store_page, page=page))
            self._report()
        end_list = partial(
            sync_state.end_list,
            principal=principal,
            instance=instance,
            number=self._number,
            whole=self._lists,
        )
        await self._note_gone(await self._write(end_list))
        due, self._total = await self._store.read(
            partial(sync_state.due, principal=principal, instance=instance)
        )
        self._counts.done = self._total - len(due)
        self._report()
        await self._read_all(due)
        if not self._counts.failures:
            await self._write(
                partial(sync_state.complete, principal=principal, instance=instance, number=self._number)
            )
        return SyncSummary(
            instance=instance,
            conversations=self._total,
            read=self._counts.read,
            messages=self._counts.messages,
            unreadable=self._counts.unreadable,
            gone=self._counts.gone,
            failed=len(self._counts.failures),
            failure=str(self._counts.failures[0]) if self._counts.failures else None,
        )

    async def _note_gone(self, conversation_ids: Sequence[str]) -> None:
        """Note of conversations that are not in the list any more whether their platform still has them."""
        for conversation_id in conversation_ids:
            self._counts.gone += 1
            _, native_id = split_conversation_id(conversation_id)
            try:  # the list may have moved while it was read
                await self._platform.get(self._principal, native_id)
            except NotFoundError:
                gone = partial(
                    conversations.mark_gone, principal=self._principal, conversation_id=conversation_id
                )
                await self._write(gone)

    async def _pages(self) -> AsyncGenerator[Sequence[ConversationRecord]]:
        """Yield the conversations that the platform has, in parts."""
        if not self._lists:
            async for page in self._discovered():
                yield page
            return
        query = ConversationQuery(instance=self._platform.instance, archived=None, limit=PAGE)
        seen = set[str]()
        while True:
            page = await self._histories.list(self._principal, query)
            for start in range(0, len(page.items), PAGE):
                yield page.items[start : start + PAGE]
            if page.next_cursor is None or page.next_cursor in seen:
                return
            seen.add(page.next_cursor)
            query = replace(query, cursor=page.next_cursor)

    async def _discovered(self) -> AsyncGenerator[Sequence[ConversationRecord]]:
        """Store the news of a platform without a list; yield all conversations that the store then knows of it."""
        seen = set[str]()
        for _ in range(DISCOVERIES):
            records = await self._platform.discover(self._principal)
            if seen.issuperset(record.id for record in records):
                break
            seen.update(record.id for record in records)
            await self._write(partial(self._store_records, records=records))
        ids = await self._store.read(
            partial(sync_state.conversations_of, principal=self._principal, instance=self._platform.instance)
        )
        for start in range(0, len(ids), PAGE):
            yield await self._store.read(partial(self._known, ids=ids[start : start + PAGE]))

    def _known(self, tx: Transaction, *, ids: Sequence[str]) -> list[Conversation]:
        return [
            conversations.get(tx, self._principal, conversation_id)
            for conversation_id in ids
            if conversations.known(tx, self._principal, conversation_id)
        ]

    def _store_records(self, tx: Transaction, *, records: Sequence[ConversationRecord]) -> None:
        for record in records:
            if conversations.deleted_since(tx, self._principal, record.id, self._begun):
                continue  # it was deleted after the platform listed it
            store_record(tx, self._principal, record, has_states=self._has_states)

    def _store_page(self, tx: Transaction, *, page: Sequence[ConversationRecord]) -> None:
        """Store a part of the list."""
        if self._lists:
            self._store_records(tx, records=page)
        for record in page:
            if conversations.known(tx, self._principal, record.id):
                sync_state.listed(
                    tx, self._principal, self._number, record.id, sync_state.change_mark(record)
                )
                self._counts.listed += 1

    async def _read_all(self, ids: Sequence[str]) -> None:
        remaining = iter(ids)
        failure: TertuliaError | None = None

        async def work() -> None:
            nonlocal failure
            for conversation_id in remaining:
                try:
                    await self._read_conversation(conversation_id)
                except (TertuliaError, LostLeaseError) as error:
                    if isinstance(error, LostLeaseError):
                        failure = _busy(self._platform.instance)
                    elif not await self._can_skip(conversation_id, error):
                        failure = error
                    if failure is not None:
                        tasks.cancel_scope.cancel()
                        return
                else:
                    self._failures_in_a_row = 0
                self._counts.done += 1
                self._report()

        async with task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(work)
        if failure is not None:
            raise failure

    async def _can_skip(self, conversation_id: str, error: TertuliaError) -> bool:
        """Count a conversation that cannot be read; return whether the sync continues without it."""
        if isinstance(error, NotFoundError):
            about = {"principal": self._principal, "conversation_id": conversation_id}
            await self._write(partial(sync_state.forget, **about))
            await self._write(partial(conversations.mark_gone, **about))
            self._counts.gone += 1
            return True
        if isinstance(error, NotAllowedError):
            self._counts.unreadable += 1
            return True
        logger.warning("%s was not read: %s", conversation_id, error)
        self._counts.failures.append(error)
        self._failures_in_a_row += 1
        return self._failures_in_a_row < FAILURES

    async def _read_conversation(self, conversation_id: str) -> None:
        state = await self._store.read(
            partial(sync_state.state, principal=self._principal, conversation_id=conversation_id)
        )
        if state is None:
            return
        self._counts.read += 1
        _, native_id = split_conversation_id(conversation_id)
        get_page = partial(self._histories.messages, self._principal, native_id)
        store = partial(self._store_messages, conversation_id=conversation_id, told=state.mark)
        if state.was_read:
            page = await get_page(MessageQuery(limit=PAGE, newest_first=True))
            found = page.items[::-1]
            if page.next_cursor is None or any(message.id == state.newest for message in found):
                newest = found[-1].id if found else None
                await self._count(partial(store, found=found, newest=newest))
                return
        cursor, newest, started = state.cursor, None, False
        while not started or cursor is not None:
            try:
                page = await get_page(MessageQuery(cursor=cursor, limit=PAGE))
            except InvalidInputError:
                if cursor is None or started:
                    raise
                cursor = None  # the message before it was removed: read from the beginning
                page = await get_page(MessageQuery(limit=PAGE))
            started = True
            newest = page.items[-1].id if page.items else newest
            cursor = page.next_cursor
            await self._count(partial(store, found=page.items, newest=newest, cursor=cursor))

    def _store_messages(
        self,
        tx: Transaction,
        *,
        conversation_id: str,
        told: str | None,
        found: Sequence[MessageRecord],
        newest: str | None,
        cursor: str | None = None,
    ) -> int:
        """Store messages, oldest first, and how far the conversation was read; return how many messages are new."""
        key = (self._principal, conversation_id)
        if not conversations.known(tx, *key):
            return 0  # it was deleted in the meantime
        before = conversations.get(tx, *key)
        count_before = messages.count(tx, *key)
        settled = runs.active(tx, *key) is None
        messages.remember(tx, *key, found, settled=settled)
        count = messages.count(tx, *key)
        if before.message_count is not None:
            conversations.set_message_count(tx, *key, max(before.message_count, count))
        if not self._lists:
            told = sync_state.change_mark(conversations.get(tx, *key))
        if cursor is not None:
            sync_state.read_up_to(tx, *key, told, cursor)
        elif settled:
            sync_state.read_through(tx, self._principal, self._number, conversation_id, told, newest)
        else:  # the next sync reads the answer of the active run
            sync_state.read_through(tx, self._principal, self._number, conversation_id, None, newest)
        return count - count_before

    async def _count(self, work: Callable[[Transaction], int]) -> None:
        added = await self._write(work)
        self._counts.messages += added

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        def under_lease(tx: Transaction) -> T:
            leases.check(tx, self._lease)
            return work(tx)

        return await self._store.write(under_lease, principal=self._principal)

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(
                SyncProgress(
                    conversations=self._counts.done if self._total is not None else self._counts.listed,
                    total=self._total,
                    messages=self._counts.messages,
                )
            )
