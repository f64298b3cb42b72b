"""The model agents of the configuration: who they are, and how each answers. Their engine is imported when one does."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from tertulia.platforms.base import EmbeddedRunContext
from tertulia.platforms.local.models.settings import read
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import InvalidInputError, NotAllowedError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import Agent

EXTRA = "pip install 'tertulia[models]'"


class ModelAgents:
    """The agents that a model answers for, by address."""

    def __init__(
        self,
        instance: str,
        tables: Mapping[str, Any],
        settings: InstanceSettings,
        store: Store,
        clock: Clock,
    ) -> None:
        self._agents = {f"{instance}:{name}": agent for name, agent in read(tables).items()}
        self._settings = settings
        self._store = store
        self._clock = clock

    def __contains__(self, address: object) -> bool:
        return address in self._agents

    def check_names(self, names: Mapping[str, str]) -> None:
        """Check that no agent has the name of a mailbox; `names` says where each of those comes from.

        Raises:
            InvalidInputError: one has; the error names both places.
        """
        for agent in self._agents.values():
            if agent.name in names:
                raise InvalidInputError(
                    f"{agent.name} is an agent, by [agents.{agent.name}], and a mailbox, by {names[agent.name]}.",
                    hint="Give one of them another name.",
                )

    def agents(self, principal: str, features: frozenset[Feature]) -> Sequence[Agent]:
        """Return the agents that serve a principal."""
        missing = find_spec("pydantic_ai") is None
        return [
            Agent(
                address=address,
                description=agent.description or f"The model {agent.model}, as [agents.{agent.name}] has it.",
                features=features,
                available=not missing,
                hint=f"Install it: {EXTRA}" if missing else None,
            )
            for address, agent in self._agents.items()
            if principal in agent.principals
        ]

    def check_can_answer(self, principal: str, address: str | None) -> None:
        """Check that an agent serves a principal and what runs models is installed, if the address is one of these.

        Raises:
            NotAllowedError: it does not serve them.
            InvalidInputError: it is not installed.
        """
        agent = None if address is None else self._agents.get(address)
        if agent is not None and principal not in agent.principals:
            raise NotAllowedError(
                f"{address} answers others only.", hint="list_agents shows who can be talked to."
            )
        if agent is not None and find_spec("pydantic_ai") is None:
            raise InvalidInputError(
                f"What runs the model of {address} is not installed.", hint=f"Install it: {EXTRA}"
            )

    async def answer(self, context: EmbeddedRunContext) -> None:
        """Have the model of the run's agent answer.

        Raises:
            NotAllowedError: it does not serve the run's principal any more.
        """
        self.check_can_answer(context.principal, context.run.agent)
        # Imported when it is first needed: the engine alone takes about a second.
        from tertulia.platforms.local.models.answering import Answer

        agent = self._agents[str(context.run.agent)]
        await Answer(agent, self._settings, self._store, context, self._clock).produce()
