# pyright: basic, reportMissingImports=false
"""An agent of openai-agents: run by the interpreter of .venv-openai_agents, with the address of its model.

It converts the tools to strict schemas, as far as they can be, and prints what it answers in the end.
"""

import asyncio
import sys

from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from agents.mcp import MCPServerStdio
from openai import AsyncOpenAI


async def answer(url: str, asked: str, command: str, arguments: list[str]) -> str:
    """Return the agent's answer."""
    set_tracing_disabled(True)
    model = OpenAIChatCompletionsModel("scripted", AsyncOpenAI(base_url=url, api_key="none"))
    async with MCPServerStdio(
        {"command": command, "args": arguments}, client_session_timeout_seconds=60
    ) as server:
        agent = Agent(
            "host", model=model, mcp_servers=[server], mcp_config={"convert_schemas_to_strict": True}
        )
        return (await Runner.run(agent, asked)).final_output


if __name__ == "__main__":
    print(asyncio.run(answer(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])))
