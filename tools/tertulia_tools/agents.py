"""The tool that lists agents."""

from collections.abc import Sequence
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from tertulia_tools.definition import Toolset, read_only_tool
from tertulia_tools.host import host_of
from tertulia_tools.quotes import Quoter
from tertulia_tools.results import AgentLine, Result, answer, fit

MAX_AGENTS = 7_500
"""The characters for the agents; the rest of a result is for the names of the instances."""


class AgentList(Result):
    """The agents that the caller can talk to."""

    agents: list[AgentLine]
    instances: list[str]
    note: str | None = None
    next: str = "send_message with agent and text starts a conversation and returns the answer."

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
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
) -> Annotated[CallToolResult, AgentList]:
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
    return answer(AgentList(agents=lines, instances=list(client.instances), note=note), quoter)


AGENT_TOOLS = (read_only_tool(list_agents, "List agents", Toolset.TALK),)
