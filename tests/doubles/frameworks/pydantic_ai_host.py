# pyright: basic
"""An agent of pydantic-ai with the address of its model; it prints what it answers in the end."""

import asyncio
import sys

from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


async def answer(url: str, asked: str, command: str, arguments: list[str]) -> str:
    """Return the agent's answer."""
    toolset = MCPToolset(StdioTransport(command=command, args=arguments, keep_alive=False))
    model = OpenAIChatModel("scripted", provider=OpenAIProvider(base_url=url, api_key="none"))
    agent = Agent(model, toolsets=[toolset])
    async with agent:
        return (await agent.run(asked)).output


if __name__ == "__main__":
    print(asyncio.run(answer(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])))
