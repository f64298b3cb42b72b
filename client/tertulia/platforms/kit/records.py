"""What the store has of one instance, for its adapter: an adapter opens no transaction of its own."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from tertulia.store import checkpoints, conversations, creations, messages, outbox, runs, transfer
from tertulia.store.database import Store, Transaction
from tertulia.store.transitions import end_run
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.identifiers import conversation_id, split_conversation_id
from tertulia.vocabulary.models import (
    Conversation,
    ConversationDraft,
    ConversationRecord,
    Message,
    MessageQuery,
    Page,
    Run,
)
from tertulia.vocabulary.states import RunStatus
from tertulia.vocabulary.unknown import UNKNOWN

R = TypeVar("R", bound=ConversationRecord)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Records:
    """The store's records of one instance: its conversations, its runs, and its outbox."""

    def __init__(self, store: Store, instance: str) -> None:
        self._store = store
        self._instance = instance

    async def conversation(self, principal: str, native_id: str) -> Conversation | None:
        """Return a conversation as the store has it, if it has it."""
        return (await self.conversations(principal, [native_id])).get(native_id)

    async def conversations(self, principal: str, native_ids: Sequence[str]) -> Mapping[str, Conversation]:
        """Return those of some conversations that the store has, by native id."""
        own_ids = {native_id: conversation_id(self._instance, native_id) for native_id in native_ids}

        def read(tx: Transaction) -> dict[str, Conversation]:
            return {
                native_id: conversations.get(tx, principal, own_id)
                for native_id, own_id in own_ids.items()
                if conversations.known(tx, principal, own_id)
            }

        return await self._store.read(read)

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of a conversation's messages as the store has them."""
        own_id = conversation_id(self._instance, native_id)
        return await self._store.read(lambda tx: messages.page(tx, principal, own_id, query))

    async def unknown(self, principal: str, found: Sequence[R]) -> list[R]:
        """Return those of some conversations that the store does not have."""
        return await self._store.read(lambda tx: conversations.unknown(tx, principal, found))

    async def begin_creation(self, principal: str, draft: ConversationDraft) -> None:
        """Record that a conversation is about to be created."""
        begin = partial(
            creations.begin,
            principal=principal,
            instance=self._instance,
            native_id=draft.native_id,
            title=draft.title,
        )
        await self._store.write(begin, principal=principal)

    async def withdraw_creation(self, principal: str, draft: ConversationDraft) -> None:
        """Record that the platform has refused a creation."""
        withdraw = partial(creations.withdraw, principal=principal, native_id=draft.native_id)
        await self._store.write(withdraw, principal=principal)

    async def claim_creation(
        self, principal: str, draft: ConversationDraft, made: ConversationRecord
    ) -> bool:
        """Claim a conversation for a creation; return False if another creation has it."""
        claim = partial(
            creations.claim,
            principal=principal,
            instance=self._instance,
            native_id=draft.native_id,
            conversation_id=made.id,
        )
        return await self._store.write(claim, principal=principal, conversation_id=made.id)

    async def candidates(
        self, principal: str, draft: ConversationDraft, found: Sequence[ConversationRecord], since: datetime
    ) -> tuple[list[ConversationRecord], int]:
        """Return those of some conversations that a creation may have made: an account may be shared.

        The store has them for nobody, and no other creation has claimed them, or alone was asked for their title. Also
        returns how many creations may have made them, this one among them; those that began before `since` have ended.
        """

        def is_anothers(tx: Transaction, one: ConversationRecord) -> bool:
            creation = principal, self._instance, draft.native_id
            if creations.claimed_by_another(tx, *creation, one.id):
                return True
            if one.title is UNKNOWN or one.title is None or one.title == draft.title:
                return False
            began = _LONG_AGO if one.created_at is None else since
            return creations.has_title_of_another(tx, *creation, one.title, began)

        def read(tx: Transaction) -> tuple[list[ConversationRecord], int]:
            nobodys = [one for one in conversations.nobodys(tx, found) if not is_anothers(tx, one)]
            own = [one for one in nobodys if creations.has_claimed(tx, principal, draft.native_id, one.id)]
            if own:
                return own, 1
            return nobodys, max(1, creations.under_way(tx, self._instance, draft.title, since))

        return await self._store.read(read)

    async def by_source_ref(self, principal: str) -> Mapping[str, str]:
        """Return the native ids of the conversations that have a `source_ref`, by that."""
        found = await self._store.read(
            partial(transfer.sources, principal=principal, instance=self._instance)
        )
        return {source_ref: split_conversation_id(own_id)[1] for source_ref, own_id in found.items()}

    async def imported(self, principal: str, source: str) -> Sequence[Conversation]:
        """Return the conversations that an import made of the transcripts of a program."""
        return await self._store.read(partial(transfer.imported, principal=principal, source=source))

    async def adopt(self, principal: str, native_id: str, source: tuple[str, str]) -> None:
        """Take over what an import made of a transcript: `source` is its format and the session's id in it."""
        own_id = conversation_id(self._instance, native_id)
        adopt = partial(transfer.adopt, principal=principal, conversation_id=own_id, source=source)
        await self._store.write(adopt, principal=principal)

    async def is_active(self, principal: str, native_id: str) -> bool:
        """Whether a run of a conversation is active."""
        own_id = conversation_id(self._instance, native_id)
        return await self._store.read(lambda tx: runs.active(tx, principal, own_id)) is not None

    async def remember(self, principal: str, found: Sequence[ConversationRecord]) -> list[Conversation]:
        """Store what the platform says of conversations; return each merged with what the store knew of it."""

        def remember(tx: Transaction) -> list[Conversation]:
            return [conversations.remember(tx, principal, one) for one in found]

        return await self._store.write(remember, principal=principal)

    async def checkpoint(self, run: Run, name: str, *, within: float) -> dict[str, Any]:
        """Return a run's checkpoint once it has `name`, or as it is after `within` seconds."""
        return await checkpoints.saved(self._store, run, name, within=within)

    async def newest_in_checkpoints(self, principal: str, name: str) -> Mapping[str, str]:
        """Return the newest text under `name` in the checkpoints of each conversation's runs, by native id."""
        found = await self._store.read(lambda tx: checkpoints.newest(tx, principal, self._instance, name))
        return {split_conversation_id(own_id)[1]: value for own_id, value in found.items()}

    async def cancel_run(self, principal: str, native_id: str, reason: str) -> None:
        """End the active run of a conversation, if it has one, since the platform will not answer it any more."""
        own_id = conversation_id(self._instance, native_id)

        def cancel(tx: Transaction) -> None:
            active = runs.active(tx, principal, own_id)
            if active is not None:
                event = Event(EventKind.RUN_CANCELED, {"reason": reason})
                end_run(tx, principal, active, RunStatus.CANCELED, event)

        await self._store.write(cancel, principal=principal)

    async def prepared(self, principal: str, key: str) -> bytes | None:
        """Return the body that was prepared to be sent under a key, until it is known to have arrived."""
        return await self._store.read(
            partial(outbox.find, principal=principal, instance=self._instance, key=key)
        )

    async def prepare(self, principal: str, key: str, body: bytes) -> bytes:
        """Keep a body before it is sent under its key; return the one to send: the first that was kept."""
        put = partial(outbox.put, principal=principal, instance=self._instance, key=key, body=body)
        return await self._store.write(put, principal=principal)

    async def forget_prepared(self, principal: str, key: str) -> None:
        """Forget a prepared body: it has arrived, or it will never be sent."""
        remove = partial(outbox.remove, principal=principal, instance=self._instance, key=key)
        await self._store.write(remove, principal=principal)
