"""The agents that can be talked to."""

from collections.abc import Sequence

import anyio

from tertulia.platforms.base import Platform
from tertulia.resources.scope import Scope
from tertulia.vocabulary.models import Agent


class Agents:
    """The agents of all configured instances."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def list(self, instance: str | None = None) -> Sequence[Agent]:
        """Return the agents of one instance, or of all. A platform that cannot be reached says so in its agents."""
        scope = self._scope
        asked = [*scope.services.platforms.values()] if instance is None else [scope.configured(instance)]
        found: dict[str, Sequence[Agent]] = {}

        async def ask(platform: Platform) -> None:
            found[platform.instance] = await platform.agents(scope.principal)

        async with anyio.create_task_group() as tasks:
            for platform in asked:
                tasks.start_soon(ask, platform)
        return [agent for platform in asked for agent in found[platform.instance]]
