"""Changing conversations and their messages, without anything being answered."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from tertulia.drafts import checked_message, checked_rating, new_message_id
from tertulia.once import Effect
from tertulia.platforms.base import Platform
from tertulia.reading import Reading
from tertulia.store import conversations, journal, messages, runs
from tertulia.store.database import Transaction
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import (
    Conversation,
    ConversationChanges,
    Message,
    MessageChanges,
    MessageDraft,
    Participant,
    ParticipantRole,
    Rating,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import checked_json, checked_line, checked_text


class Changing(Reading):
    """The part of `tertulia.Conversations` that changes what is there."""

    async def add_message(
        self, conversation_id: str, message: MessageDraft, *, idempotency_key: str | None = None
    ) -> Message:
        """Add a message that nobody is to answer; return it as its platform has it."""
        platform, native_id = self._at(conversation_id)
        message = checked_message(message)

        async def carry_out(ids: Effect, repeated: bool) -> Effect:
            named = replace(message, id=ids["message_id"])
            added = await platform.add_message(self.principal, native_id, named, repeated=repeated)
            await self._take_in(platform, added, EventKind.MESSAGE_ADDED)
            return {"message_id": added.id}

        call = {"conversation_id": conversation_id, "message": asdict(message)}
        effect = await self._once(idempotency_key, "add_message", call, new_message_id(), carry_out)
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
            named = replace(changes, id=ids["message_id"])
            changed = await platform.update_message(self.principal, native_id, message_id, named)
            await self._take_in(platform, changed, EventKind.MESSAGE_UPDATED)
            return {"message_id": changed.id}

        call = {"conversation_id": conversation_id, "message_id": message_id, "changes": asdict(changes)}
        effect = await self._once(idempotency_key, "update_message", call, new_message_id(), carry_out)
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
            before = await self.get(conversation_id) if repeated else None
            done = before is not None and before.status is status
            if done and platform.kept_here:  # there, one that is over can still be rated
                done = before is not None and rating in {None, before.rating}
            if not done:
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
