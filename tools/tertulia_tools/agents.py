"""The tool that lists agents."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BaseModel, Field

from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import Agent
from tertulia_tools.definition import Toolset, read_only_tool
from tertulia_tools.host import host_of, possible
from tertulia_tools.quotes import Quoter
from tertulia_tools.results import AgentLine, Result, answer, fit

MAX_AGENTS = 5_500
"""The characters for the agents; the rest of a result is for the instances."""
FEW = 2
"""So many instances are told in full; of the agents of more, only the first sentence."""
MAX_INSTANCES = 3_500
"""The characters for what the instances offer."""


_TOOLS: Mapping[str, str] = {
    Feature.CREATE: "create_conversation",
    Feature.SEND: "send_message",
    Feature.CANCEL: "cancel_run",
    Feature.ADD_MESSAGE: "add_message",
    Feature.UPDATE_MESSAGE: "update_message",
    Feature.RATE_MESSAGE: "rate_message",
    **dict.fromkeys((Feature.CONFIRM, Feature.EDIT_ARGUMENTS, Feature.QUESTIONS), "confirm_tool"),
    **dict.fromkeys((Feature.DELETE, Feature.REMOVE_BRANCH), "delete_conversation"),
    **dict.fromkeys((Feature.STATUS, Feature.END, Feature.RATING), "update_status"),
    **dict.fromkeys(
        (
            Feature.TITLE,
            Feature.GENERATE_TITLE,
            Feature.METADATA,
            Feature.ARCHIVE,
            Feature.INVITE,
            Feature.RESTORE,
        ),
        "update_conversation",
    ),
}
"""The tool that a feature takes, unless it is only read."""


class InstanceLine(BaseModel):
    """What the agents of an instance can do, which its platform determines."""

    instance: str
    features: list[str]

    def line(self) -> str:
        """Return the instance in a line."""
        return f"{self.instance} offers {', '.join(self.features)}"


class AgentList(Result):
    """The agents that the caller can talk to."""

    agents: list[AgentLine]
    instances: list[str]
    features: list[InstanceLine] = []
    note: str | None = None
    next: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        return [
            *([f"Next: {self.next}"] if self.next else []),
            *([self.note] if self.note else []),
            f"Instances: {', '.join(self.instances)}",
            *(instance.line() for instance in self.features),
            *(agent.line() for agent in self.agents),
        ]


async def list_agents(
    ctx: Context[Any, Any],
    instance: Annotated[
        str | None, Field(description="Only the agents of this instance; all, if left out.")
    ] = None,
) -> Annotated[CallToolResult, AgentList]:
    """List the agents you can talk to, with what each of them does; with an instance, also what its platform offers.

    Call this first when you do not know an agent's address (`instance:name`).
    """
    host = host_of(ctx)
    client = host.client
    quoter = Quoter()
    found = [agent for agent in await client.agents.list(instance) if agent.address != client.address]
    brief = instance is None and len(client.instances) > FEW
    if brief:
        found = [replace(agent, description=_first_sentence(agent.description)) for agent in found]
    lines = fit((AgentLine.of(agent, quoter) for agent in found), MAX_AGENTS)
    notes = ["With an instance, list_agents says all of its agents, and what they offer."] if brief else []
    if left_out := len(found) - len(lines):
        notes.append(
            f"{left_out} more {'is' if left_out == 1 else 'are'} not shown: pass one of the instances."
        )
    following = possible(
        host, "send_message with agent and text starts a conversation and returns the answer."
    )
    return answer(
        AgentList(
            agents=lines,
            instances=list(client.instances),
            features=[] if brief else fit(_instance_lines(found, host.withheld), MAX_INSTANCES),
            note=" ".join(notes) or None,
            next=following,
        ),
        quoter,
    )


def _first_sentence(description: str) -> str:
    return description.split(". ", 1)[0].rstrip(".") + "."


def _instance_lines(agents: Sequence[Agent], withheld: Collection[str]) -> Sequence[InstanceLine]:
    """Return what each instance offers that has one of these agents, but for what takes a tool in `withheld`."""
    features: dict[str, set[str]] = {}
    for agent in agents:
        features.setdefault(agent.address.partition(":")[0], set()).update(agent.features)
    return [
        InstanceLine(
            instance=name, features=sorted(each for each in offered if _TOOLS.get(each) not in withheld)
        )
        for name, offered in features.items()
        if offered
    ]


AGENT_TOOLS = (read_only_tool(list_agents, "List agents", Toolset.TALK),)
