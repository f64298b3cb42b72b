"""What all of a process's principals share, and what every part of the façade needs of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tertulia.keeper import Keeper
from tertulia.once import Effect, Once
from tertulia.platforms.base import Platform
from tertulia.runner import Runner
from tertulia.settings import ClientSettings, address_of
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.errors import (
    NotConfiguredError,
    NotFoundError,
)
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import (
    shown,
    split_conversation_id,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Home:
    """What all principals of a process share."""

    settings: ClientSettings
    store: Store
    platforms: Mapping[str, Platform]
    runner: Runner
    once: Once
    keeper: Keeper


class Resident:
    """One principal's way to what is shared."""

    def __init__(self, home: Home, principal: str) -> None:
        self._home = home
        self.principal = principal

    @property
    def address(self) -> str:
        """The address under which this principal writes on the embedded platform."""
        return address_of(self.principal, self._home.settings.identity)

    @property
    def instances(self) -> Sequence[str]:
        """The configured instances, in order."""
        return sorted(self._home.platforms)

    @property
    def elsewhere(self) -> Sequence[str]:
        """The instances that can be used and whose conversations live elsewhere, in order."""
        usable = (name for name, each in self._home.platforms.items() if each.missing is None)
        return sorted(name for name in usable if not self._home.platforms[name].kept_here)

    def offers(self, conversation_id: str, feature: Feature) -> bool:
        """Whether the platform of a conversation offers a feature."""
        instance, _ = split_conversation_id(conversation_id)
        return feature in self._configured(instance).features

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

    async def _tend(self) -> None:
        """Have done what is due by now, before the store alone is asked."""
        for platform in self._home.platforms.values():
            if platform.tend_seconds is not None:
                await platform.tend()

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
