"""What the resources of one principal share: the services of the process, and common steps."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from tertulia.platforms.base import EmbeddedPlatform, Platform
from tertulia.runs.idempotency import Call, CarryOut, Effect, Idempotency
from tertulia.runs.leases import LeaseHolder
from tertulia.runs.limits import Limits
from tertulia.runs.runner import Runner
from tertulia.settings import ClientSettings, address_of
from tertulia.store import conversations, idempotency
from tertulia.store.database import Store, Transaction, to_datetime
from tertulia.store.transitions import store_record
from tertulia.vocabulary.errors import NotConfiguredError, NotFoundError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.models import Conversation, ConversationRecord
from tertulia.vocabulary.untrusted import shown

T = TypeVar("T")

_BEGUN = "begun"
"""Where the effect of a call that creates something has when its first attempt began, in microseconds."""
_NOTES = "notes"
"""Where the unfinished effect of a call has what its platform noted."""


@dataclass(frozen=True, slots=True)
class Services:
    """The services that all principals of a process share."""

    settings: ClientSettings
    store: Store
    platforms: Mapping[str, Platform]
    """The configured platforms, by instance; `Scope.platforms` has those that one principal may use."""
    runner: Runner
    idempotency: Idempotency
    leases: LeaseHolder
    limits: Limits


class Scope:
    """One principal's access to the services."""

    def __init__(self, services: Services, principal: str) -> None:
        self.services = services
        self.principal = principal

    @property
    def address(self) -> str:
        """The address under which this principal writes on the embedded platform."""
        return address_of(self.principal, self.services.settings.identity)

    @property
    def platforms(self) -> Mapping[str, Platform]:
        """The platforms that serve this principal, by instance: for this principal there are no others."""
        used = {name: platform.used_by(self.principal) for name, platform in self.services.platforms.items()}
        return {name: platform for name, platform in used.items() if platform is not None}

    @property
    def instances(self) -> Sequence[str]:
        """The instances that serve this principal, in order."""
        return sorted(self.platforms)

    def configured(self, instance: str) -> Platform:
        """Return an instance, even if it cannot be used yet.

        Raises:
            NotFoundError: there is no such instance for this principal.
        """
        known = self.services.platforms.get(instance)
        platform = None if known is None else known.used_by(self.principal)
        if platform is None:
            raise NotFoundError(
                f"There is no instance {shown(instance)}.",
                valid=self.instances,
                hint="Instances are configured in Tertulia's configuration file.",
                instance=instance,
            )
        return platform

    def platform(self, instance: str) -> Platform:
        """Return an instance that can be used.

        Raises:
            NotFoundError: there is no such instance.
            NotConfiguredError: something must be set first.
        """
        platform = self.configured(instance)
        if platform.missing is not None:
            raise NotConfiguredError(
                f"The instance {instance} is not configured yet.", hint=platform.missing, instance=instance
            )
        return platform

    def forget(self, tx: Transaction, principal: str, conversation_id: str) -> None:
        """Delete a conversation from the store, with what others quote of it.

        Raises:
            NotFoundError: the store does not know it.
        """
        conversations.delete(tx, principal, conversation_id)
        for platform in self.services.platforms.values():
            if isinstance(platform, EmbeddedPlatform):
                platform.forget(tx, principal, conversation_id)

    def platform_of(self, conversation_id: str) -> tuple[Platform, str]:
        """Return a conversation's platform, and its id on the platform."""
        instance, native_id = split_conversation_id(conversation_id)
        return self.platform(instance), native_id

    async def read(self, query: Callable[[Transaction, str], T]) -> T:
        """Read from the store, as this principal."""
        return await self.services.store.read(lambda tx: query(tx, self.principal))

    async def write(self, change: Callable[[Transaction, str], T]) -> T:
        """Write to the store, as this principal, in one transaction."""
        return await self.services.store.write(
            lambda tx: change(tx, self.principal), principal=self.principal
        )

    async def once(self, call: Call, carry_out: CarryOut) -> Effect:
        """Carry out a call once under its idempotency key (see `Idempotency.once`)."""
        return await self.services.idempotency.once(self.principal, call, carry_out)

    async def check_room(self) -> None:
        """Check that this principal may store more.

        Raises:
            QuotaExceededError: they have stored as much as they may.
        """
        await self.services.limits.check_room(self.principal)

    def creation_ids(self, native_id: str) -> Effect:
        """Return the first effect of a call that creates a conversation."""
        return {"native_id": native_id, _BEGUN: self.services.store.clock.time()}

    async def maintain(self) -> None:
        """Have the embedded platforms do what is due, before the store is read without them."""
        for platform in self.platforms.values():
            if isinstance(platform, EmbeddedPlatform) and platform.maintenance_interval is not None:
                await platform.maintain()

    async def fetch(self, conversation_id: str) -> Conversation:
        """Fetch a conversation from its platform, store it and return it."""
        platform, native_id = self.platform_of(conversation_id)
        if isinstance(platform, EmbeddedPlatform):
            return await platform.get(self.principal, native_id)
        async with self.noting_gone(conversation_id):
            said = await platform.get(self.principal, native_id)
        return await self.store_record(platform, said)

    async def stored(self, conversation_id: str) -> Conversation:
        """Return a conversation as the store has it.

        The platform is asked only for one that the store lacks, or that seems to be gone.
        """
        platform, _ = self.platform_of(conversation_id)
        if not isinstance(platform, EmbeddedPlatform):
            with suppress(NotFoundError):
                found = await self.read(partial(_unless_gone, conversation_id=conversation_id))
                if found is not None:
                    return found
        return await self.fetch(conversation_id)

    @asynccontextmanager
    async def noting_gone(self, conversation_id: str) -> AsyncGenerator[None]:
        """Note that a conversation is gone where its platform, asked for it, does not find it."""
        try:
            yield
        except NotFoundError as error:
            mark = partial(conversations.mark_gone, conversation_id=conversation_id)
            if not await self.write(mark):
                raise
            raise NotFoundError(
                error.message,
                hint="It was deleted there, and lists and searches leave it out. delete_conversation removes what "
                "Tertulia has kept of it.",
                **error.ids,
            ) from error

    async def store_record(self, platform: Platform, said: ConversationRecord) -> Conversation:
        """Store what a platform says of a conversation; return that merged with what the store knew."""
        if isinstance(platform, EmbeddedPlatform):  # it has stored it itself
            return await self.read(partial(conversations.get, conversation_id=said.id))
        return await self.write(partial(store_record, said=said, has_states=_has_states(platform)))

    async def store_created(
        self, platform: Platform, said: ConversationRecord, key: str | None, effect: Effect
    ) -> Conversation:
        """Store a conversation that the call under `key` has created, and what it has done so far, at once.

        An attempt that follows the death of this one finds both, and creates no other conversation.
        """
        if key is None or isinstance(platform, EmbeddedPlatform):
            return await self.store_record(platform, said)

        def store(tx: Transaction, principal: str) -> Conversation:
            idempotency.note(tx, principal, key, effect)
            return store_record(tx, principal, said, has_states=_has_states(platform))

        return await self.write(store)


class KeyNotes:
    """Implements `tertulia.platforms.base.CallNotes` in the idempotency record of a call."""

    def __init__(self, scope: Scope, key: str | None, effect: Effect) -> None:
        self._scope = scope
        self._key = key
        self._effect = effect

    @property
    def saved(self) -> Mapping[str, Any]:
        """See `CallNotes.saved`."""
        return self._effect.get(_NOTES, {})

    async def save(self, notes: Mapping[str, Any]) -> None:
        """See `CallNotes.save`."""
        if self._key is not None:
            noted = {**self._effect, _NOTES: dict(notes)}
            await self._scope.write(partial(idempotency.note, key=self._key, effect=noted))


def tried_at(effect: Effect, *, repeated: bool) -> datetime | None:
    """Return when the first attempt of a repeated call began; None at the first."""
    return to_datetime(effect.get(_BEGUN, 0)) if repeated else None


def _unless_gone(tx: Transaction, principal: str, *, conversation_id: str) -> Conversation | None:
    if conversations.is_gone(tx, principal, conversation_id):
        return None
    return conversations.get(tx, principal, conversation_id)


def _has_states(platform: Platform) -> bool:
    return Feature.STATUS in platform.features
