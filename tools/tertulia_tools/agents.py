"""The tool that says who can be talked to."""

from collections.abc import Sequence
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from tertulia_tools.definition import Definition, Toolset
from tertulia_tools.host import host_of
from tertulia_tools.quotes import Quoter
from tertulia_tools.results import AgentLine, Result, answer, fit

MAX_AGENTS = 7_500
"""The share of the agents; the rest is for the names of the instances."""


class Agents(Result):
    """Who can be talked to."""

    agents: list[AgentLine]
    instances: list[str]
    note: str | None = None
    next: str = "send_message with agent and text starts a conversation and returns the answer."

    def lines(self) -> Sequence[str]:
        """Return the result's text, line by line."""
        return [
            *(agent.line() for agent in self.agents),
            *([self.note] if self.note else []),
            f"Instances: {', '.join(self.instances)}",
            f"Next: {self.next}",
        ]


async def list_agents(
    ctx: Context[Any, Any],
    instance: Annotated[
        str | None, Field(description="Only the agents of this instance; all, if left out.")
    ] = None,
) -> Annotated[CallToolResult, Agents]:
    """List the agents you can talk to, with what each of them does and which features its platform offers.

    Call this first when you do not know an agent's address (`instance:name`).
    """
    client = host_of(ctx).client
    quoter = Quoter()
    found = await client.agents.list(instance)
    lines = fit((AgentLine.of(agent, quoter) for agent in found), MAX_AGENTS)
    note = None
    if left_out := len(found) - len(lines):
        note = f"{left_out} more {'is' if left_out == 1 else 'are'} not shown: pass one of the instances."
    return answer(Agents(agents=lines, instances=list(client.instances), note=note), quoter)


AGENT_TOOLS = (
    Definition(
        function=list_agents,
        title="List agents",
        toolset=Toolset.TALK,
        read_only=True,
        idempotent=True,
        open_world=True,
    ),
)
