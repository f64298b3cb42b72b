"""The agents of the configured instances."""

from collections.abc import Sequence

from tertulia.platforms.base import Platform
from tertulia.platforms.registry import unconfigured_agents
from tertulia.resources.scope import Scope
from tertulia.vocabulary.models import LOCAL_PRINCIPAL, Agent
from tertulia.vocabulary.tasks import task_group


class Agents:
    """The agents of all instances that serve one principal."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def list(self, instance: str | None = None) -> Sequence[Agent]:
        """Return the agents of one instance, or of all; of a platform that cannot be reached, an agent that says so."""
        scope = self._scope
        platforms = [*scope.platforms.values()] if instance is None else [scope.configured(instance)]
        by_instance: dict[str, Sequence[Agent]] = {}

        async def ask(platform: Platform) -> None:
            by_instance[platform.instance] = await platform.agents(scope.principal)

        async with task_group() as tasks:
            for platform in platforms:
                tasks.start_soon(ask, platform)
        agents = [agent for platform in platforms for agent in by_instance[platform.instance]]
        settings = scope.services.settings
        # Only who runs the process can configure what is found on its machine.
        if instance is None and settings.discover_agents and scope.principal == LOCAL_PRINCIPAL:
            agents += unconfigured_agents(settings.instances)
        return agents
