"""Messages: reading, adding, changing and rating them, without an answer."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from functools import partial

from tertulia.platforms.base import EmbeddedPlatform, Platform
from tertulia.resources.scope import KeyNotes, Scope
from tertulia.resources.validation import checked_message, checked_rating, message_call, new_message_id
from tertulia.runs.idempotency import Call, Effect
from tertulia.store import journal, messages, runs
from tertulia.store.database import Transaction
from tertulia.vocabulary.entry import safe_message
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import (
    Message,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    MessageRecord,
    Page,
    Rating,
)
from tertulia.vocabulary.text import checked_json, checked_text


class Messages:
    """The messages of one principal's conversations."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def list(self, conversation_id: str, query: MessageQuery | None = None) -> Page[Message]:
        """Return one page of a conversation's messages: the oldest fifty, unless `query` says otherwise."""
        query = query or MessageQuery()
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)
        if isinstance(platform, EmbeddedPlatform):
            return await platform.messages(scope.principal, native_id, query)
        async with AsyncExitStack() as stack:
            if query.branch is None:  # else it may be the branch that is not there
                await stack.enter_async_context(scope.noting_gone(conversation_id))
            page = await platform.messages(scope.principal, native_id, query)
        said = [safe_message(message) for message in page.items]
        await scope.stored(conversation_id)
        oldest_first = said[::-1] if query.newest_first else said

        def remember(tx: Transaction, principal: str) -> Sequence[Message]:
            settled = runs.active(tx, principal, conversation_id) is None
            messages.remember(tx, principal, conversation_id, oldest_first, settled=settled)
            return [messages.merged(tx, principal, one) for one in said]

        return Page(items=await scope.write(remember), next_cursor=page.next_cursor, total=page.total)

    async def add(
        self, conversation_id: str, message: MessageDraft, *, idempotency_key: str | None = None
    ) -> Message:
        """Add a message that nobody answers; return it as its platform has it."""
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)
        message = checked_message(message)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            if not repeated:
                await scope.check_room()
            named = replace(message, id=ids["message_id"])
            if message.parent_id is not None:
                parent_id = await self._own_id(platform, conversation_id, message.parent_id)
                named = replace(named, parent_id=parent_id)
            added = safe_message(
                await platform.add_message(
                    scope.principal, native_id, named, KeyNotes(scope, idempotency_key, ids)
                )
            )
            await self._store(platform, added, EventKind.MESSAGE_ADDED)
            return {"message_id": added.id}

        call = {"conversation_id": conversation_id, "message": message_call(message)}
        effect = await scope.once(Call("add_message", call, new_message_id(), idempotency_key), carry_out)
        return await self._find(conversation_id, effect["message_id"])

    async def update(
        self,
        conversation_id: str,
        message_id: str,
        changes: MessageChanges,
        *,
        idempotency_key: str | None = None,
    ) -> Message:
        """Change a message's text or metadata (merged key by key).

        Returns the message as its platform has it: under a new id, if the change begins a branch.
        """
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)
        if changes.text is not None:
            checked_text("text", changes.text)
        if changes.metadata is not None:
            checked_json("metadata", changes.metadata)
        if changes == MessageChanges():
            raise InvalidInputError("There is nothing to change.", valid=["text", "metadata"])

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            named = replace(changes, id=ids["message_id"])
            own_id = await self._own_id(platform, conversation_id, message_id)
            changed = safe_message(await platform.update_message(scope.principal, native_id, own_id, named))
            await self._store(platform, changed, EventKind.MESSAGE_UPDATED)
            return {"message_id": changed.id}

        call = {"conversation_id": conversation_id, "message_id": message_id, "changes": asdict(changes)}
        effect = await scope.once(Call("update_message", call, new_message_id(), idempotency_key), carry_out)
        return await self._find(conversation_id, effect["message_id"])

    async def rate(
        self, conversation_id: str, message_id: str, rating: Rating, *, idempotency_key: str | None = None
    ) -> Message:
        """Rate a message from 1 to 5; the last rating counts. Return the message as its platform has it."""
        scope = self._scope
        platform, native_id = scope.platform_of(conversation_id)
        rating = checked_rating(rating)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            own_id = await self._own_id(platform, conversation_id, message_id)
            rated = safe_message(await platform.rate_message(scope.principal, native_id, own_id, rating))
            await self._store(platform, rated, EventKind.MESSAGE_UPDATED)
            return {"message_id": rated.id}

        call = {"conversation_id": conversation_id, "message_id": message_id, "rating": asdict(rating)}
        effect = await scope.once(Call("rate_message", call, {}, idempotency_key), carry_out)
        return await self._find(conversation_id, effect["message_id"])

    async def _own_id(self, platform: Platform, conversation_id: str, message_id: str) -> str:
        """Return the platform's own id of a message, which events and searches may name by an id of the store's."""
        if isinstance(platform, EmbeddedPlatform) or not message_id.startswith(messages.OWN_ID):
            return message_id
        read = partial(messages.own_id, conversation_id=conversation_id, message_id=message_id)
        own_id = await self._scope.read(read)
        if own_id is None:  # listing the messages identifies them
            await self.list(conversation_id, MessageQuery(limit=100, newest_first=True))
            own_id = await self._scope.read(read)
        return own_id or message_id

    async def _find(self, conversation_id: str, message_id: str) -> Message:
        """Return a message as its platform has it, on whichever branch.

        A remote platform's history is searched from the newest, where it most likely is.
        """
        platform, _ = self._scope.platform_of(conversation_id)
        if isinstance(platform, EmbeddedPlatform):
            return await self._scope.read(
                partial(messages.get, conversation_id=conversation_id, message_id=message_id)
            )
        query = MessageQuery(limit=100, newest_first=True)
        while True:
            page = await self.list(conversation_id, query)
            for message in page.items:
                if message.id == message_id:
                    return message
            if page.next_cursor is None:
                raise NotFoundError(
                    f"The message {message_id} is not in {conversation_id} any more.",
                    conversation_id=conversation_id,
                    message_id=message_id,
                )
            query = replace(query, cursor=page.next_cursor)

    async def _store(self, platform: Platform, message: MessageRecord, kind: EventKind) -> None:
        """Store and journal a message that a remote platform has accepted."""
        if isinstance(platform, EmbeddedPlatform):
            return
        scope = self._scope
        await scope.stored(message.conversation_id)
        event = Event(kind, {"message_id": message.id, "author": message.author, "role": message.role})

        def store(tx: Transaction, principal: str) -> None:
            settled = runs.active(tx, principal, message.conversation_id) is None
            messages.remember(tx, principal, message.conversation_id, [message], settled=settled)
            journal.append(tx, principal, message.conversation_id, [event])

        await scope.write(store)
