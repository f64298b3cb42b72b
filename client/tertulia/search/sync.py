"""Bringing an instance's histories into our index: `tertulia sync`.

A sync asks its platform for the list of conversations, and then for the messages of those that have changed since they
were read (see `tertulia.store.sync_state`). Whatever was read is entered at once, in short transactions: a sync that is
stopped or killed has lost nothing, and the next one goes on where it stopped. It only reads, and one process at a time
syncs an instance.

A conversation that is read for the first time is read from its beginning. One that was read before is read from its
end: where the newest page has the message that was the newest then, the rest is here already. So a message of an older
page that was changed on the platform stays as it was, until its conversation is read from the beginning again.

Platforms that tell neither when a conversation was changed nor how many messages it has are asked, each time, for one
page of each conversation. Platforms without a list are asked what is new, and have what is known here read.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import anyio

from tertulia.platforms.base import EmbeddedPlatform, Platform
from tertulia.runs.leases import LeaseHolder
from tertulia.settings import InstanceSettings
from tertulia.store import conversations, leases, messages, runs, sync_state
from tertulia.store.database import Store, Transaction, now
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
    Message,
    MessageQuery,
)

logger = logging.getLogger(__name__)

ProgressListener = Callable[[SyncProgress], object]
"""Is called with how far a sync is, after each page of the list and each conversation."""

PAGE = 100
"""How many conversations or messages are asked for at once."""
AT_ONCE = 4
"""How many conversations are read at once."""
FAILURES = 3
"""How many conversations in a row fail to be read before the sync is given up."""
DISCOVERIES = 100
"""How often a platform without a list is asked what is new, at most."""
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
        InvalidInputError: the instance's conversations live in our store, or none of its contents are kept.
        NotOffered: its platform shows no messages.
        ConflictError: another process syncs it.
        UnavailableError: the platform cannot be reached; what was read until then is kept.
    """
    check_can_sync(platform, settings)
    instance = platform.instance
    try:
        async with _alone(store, holder, principal, instance) as lease:
            return await _Sync(store, platform, lease, on_progress).run()
    except LostLeaseError:
        raise _busy(instance) from None


def check_can_sync(platform: Platform, settings: InstanceSettings | None) -> None:
    """Check that an instance has something to be synced.

    Raises:
        InvalidInputError: its conversations live in our store, or none of its contents are kept.
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
    """Hold the lease of a sync. One whose owner has died is waited for; one that is being renewed is not."""
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
            with anyio.move_on_after(_LOOK_SECONDS):
                await watch.changed()


def _busy(instance: str) -> ConflictError:
    return ConflictError(
        f"The instance {instance} is being synced by another process.",
        hint="Let that come to its end; a search shows how far it is.",
        instance=instance,
    )


class _Sync:
    """One sync of one instance, under its lease."""

    def __init__(
        self, store: Store, platform: Platform, lease: Lease, on_progress: ProgressListener | None
    ) -> None:
        self._store = store
        self._platform = platform
        self._lease = lease
        self._principal = lease.principal
        self._on_progress = on_progress
        self._lists = Feature.LIST in platform.features
        self._has_states = Feature.STATUS in platform.features
        self._begun = now()
        self._number = 0
        self._total: int | None = None
        self._done = 0
        self._listed = 0
        self._read = 0
        self._added = 0
        self._gone = 0
        self._unreadable = 0
        self._failed: list[TertuliaError] = []
        self._failures_in_a_row = 0

    async def run(self) -> SyncSummary:
        """Do it."""
        principal, instance = self._principal, self._platform.instance
        self._number = await self._write(partial(sync_state.begin, principal=principal, instance=instance))
        self._report()
        async for page in self._pages():
            await self._write(partial(self._note, page=page))
            self._report()
        self._gone = await self._write(
            partial(
                sync_state.end_list,
                principal=principal,
                instance=instance,
                number=self._number,
                whole=self._lists,
            )
        )
        due, self._total = await self._store.read(
            partial(sync_state.due, principal=principal, instance=instance)
        )
        self._done = self._total - len(due)
        self._report()
        await self._read_all(due)
        if len(self._failed) == 0:
            await self._write(
                partial(sync_state.complete, principal=principal, instance=instance, number=self._number)
            )
        return SyncSummary(
            instance=instance,
            conversations=self._total,
            read=self._read,
            messages=self._added,
            unreadable=self._unreadable,
            gone=self._gone,
            failed=len(self._failed),
            failure=str(self._failed[0]) if self._failed else None,
        )

    async def _pages(self) -> AsyncGenerator[Sequence[ConversationRecord]]:
        """Yield what the platform has, in parts."""
        if not self._lists:
            async for page in self._discovered():
                yield page
            return
        query = ConversationQuery(instance=self._platform.instance, archived=None, limit=PAGE)
        seen = set[str]()
        while True:
            page = await self._platform.list(self._principal, query)
            for start in range(0, len(page.items), PAGE):
                yield page.items[start : start + PAGE]
            if page.next_cursor is None or page.next_cursor in seen:
                return
            seen.add(page.next_cursor)
            query = replace(query, cursor=page.next_cursor)

    async def _discovered(self) -> AsyncGenerator[Sequence[ConversationRecord]]:
        """Yield what a platform without a list tells of, and then all that the store knows of it."""
        told = set[str]()
        for _ in range(DISCOVERIES):
            found = await self._platform.discover(self._principal)
            if told.issuperset(one.id for one in found):
                break
            told.update(one.id for one in found)
            await self._write(partial(self._remember, found=found))
        ids = await self._store.read(
            partial(sync_state.conversations_of, principal=self._principal, instance=self._platform.instance)
        )
        for start in range(0, len(ids), PAGE):
            yield await self._store.read(partial(self._known, ids=ids[start : start + PAGE]))

    def _known(self, tx: Transaction, *, ids: Sequence[str]) -> list[Conversation]:
        return [
            conversations.get(tx, self._principal, one)
            for one in ids
            if conversations.known(tx, self._principal, one)
        ]

    def _remember(self, tx: Transaction, *, found: Sequence[ConversationRecord]) -> None:
        for theirs in found:
            if conversations.deleted_since(tx, self._principal, theirs.id, self._begun):
                continue  # it was listed just before
            undated = theirs.updated_at is None and not conversations.known(tx, self._principal, theirs.id)
            dated = replace(theirs, updated_at=theirs.created_at) if undated else theirs  # rather than now
            store_record(tx, self._principal, dated, has_states=self._has_states)

    def _note(self, tx: Transaction, *, page: Sequence[ConversationRecord]) -> None:
        """Enter a part of the list."""
        if self._lists:
            self._remember(tx, found=page)
        for theirs in page:
            if conversations.known(tx, self._principal, theirs.id):
                sync_state.listed(
                    tx, self._principal, self._number, theirs.id, sync_state.change_mark(theirs)
                )
                self._listed += 1

    async def _read_all(self, ids: Sequence[str]) -> None:
        left = iter(ids)
        failure: TertuliaError | None = None

        async def work() -> None:
            nonlocal failure
            for conversation_id in left:
                try:
                    await self._read_one(conversation_id)
                except (TertuliaError, LostLeaseError) as error:
                    if isinstance(error, LostLeaseError):
                        failure = _busy(self._platform.instance)
                    elif not await self._passes_over(conversation_id, error):
                        failure = error
                    if failure is not None:
                        tasks.cancel_scope.cancel()
                        return
                else:
                    self._failures_in_a_row = 0
                self._done += 1
                self._report()

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(work)
        if failure is not None:
            raise failure

    async def _passes_over(self, conversation_id: str, error: TertuliaError) -> bool:
        """Whether a sync goes on without a conversation that cannot be read."""
        if isinstance(error, NotFoundError):
            await self._write(
                partial(sync_state.forget, principal=self._principal, conversation_id=conversation_id)
            )
            self._gone += 1
            return True
        if isinstance(error, NotAllowedError):
            self._unreadable += 1
            return True
        logger.warning("%s was not read: %s", conversation_id, error)
        self._failed.append(error)
        self._failures_in_a_row += 1
        return self._failures_in_a_row < FAILURES

    async def _read_one(self, conversation_id: str) -> None:
        state = await self._store.read(
            partial(sync_state.state, principal=self._principal, conversation_id=conversation_id)
        )
        if state is None:
            return
        self._read += 1
        _, native_id = split_conversation_id(conversation_id)
        ask = partial(self._platform.messages, self._principal, native_id)
        enter = partial(self._enter, conversation_id=conversation_id, told=state.mark)
        if state.was_read:
            page = await ask(MessageQuery(limit=PAGE, newest_first=True))
            found = page.items[::-1]
            if page.next_cursor is None or any(one.id == state.newest for one in found):
                newest = found[-1].id if found else None
                await self._count(partial(enter, found=found, newest=newest))
                return
        cursor, newest, started = state.cursor, None, False
        while True:
            try:
                page = await ask(MessageQuery(cursor=cursor, limit=PAGE))
            except InvalidInputError:
                if cursor is None or started:
                    raise
                started = True
                cursor = None  # what it stood behind is not there any more
                continue
            started = True
            newest = page.items[-1].id if page.items else newest
            cursor = page.next_cursor
            await self._count(
                partial(enter, found=page.items, newest=newest, cursor=cursor, first=not state.was_read)
            )
            if cursor is None:
                return

    def _enter(
        self,
        tx: Transaction,
        *,
        conversation_id: str,
        told: str | None,
        found: Sequence[Message],
        newest: str | None,
        cursor: str | None = None,
        first: bool = False,
    ) -> int:
        """Enter messages, oldest first, and how far that is; return how many are new.

        `first`: nobody has read them before. Those without a time were then said since the conversation began, and not
        just now.
        """
        own = (self._principal, conversation_id)
        if not conversations.known(tx, *own):
            return 0  # it was deleted meanwhile
        before = conversations.get(tx, *own)
        had = messages.count(tx, *own)
        settled = runs.active(tx, *own) is None
        dated = found
        if first:
            dated = [
                replace(one, created_at=before.created_at) if one.created_at is None else one for one in found
            ]
        new = [one.id for one in found if one.created_at is None and not messages.known(tx, *own, one.id)]
        messages.remember(tx, *own, dated, settled=settled)
        messages.mark_untimed(tx, *own, new)
        has = messages.count(tx, *own)
        untimed = any(one.created_at is None for one in found)
        conversations.set_figures(
            tx,
            *own,
            message_count=None if before.message_count is None else max(before.message_count, has),
            updated_at=before.updated_at if untimed else None,
        )
        if not self._lists:
            told = sync_state.change_mark(conversations.get(tx, *own))
        if cursor is not None:
            sync_state.read_up_to(tx, *own, told, cursor)
        elif settled:
            sync_state.read_through(tx, self._principal, self._number, conversation_id, told, newest)
        else:  # what is being answered gets its place with the next sync
            sync_state.read_through(tx, self._principal, self._number, conversation_id, None, newest)
        return has - had

    async def _count(self, work: Callable[[Transaction], int]) -> None:
        added = await self._write(work)
        self._added += added

    async def _write(self, work: Callable[[Transaction], "int | None"]) -> int:
        def under_lease(tx: Transaction) -> int:
            leases.check(tx, self._lease)
            return work(tx) or 0

        return await self._store.write(under_lease)

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(
                SyncProgress(
                    conversations=self._done if self._total is not None else self._listed,
                    total=self._total,
                    messages=self._added,
                )
            )
