# pyright: basic, reportMissingImports=false
"""An agent of langchain: run by the interpreter of .venv-langchain, with the address of its model.

It prints what it answers in the end.
"""

import asyncio
import sys

from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from langchain_openai import ChatOpenAI


async def answer(url: str, asked: str, command: str, arguments: list[str]) -> str:
    """Return the agent's answer."""
    servers = {"tertulia": {"transport": "stdio", "command": command, "args": arguments}}
    async with MultiServerMCPClient(servers).session("tertulia") as session:
        model = ChatOpenAI(model="scripted", base_url=url, api_key="none")
        agent = create_agent(model, await load_mcp_tools(session))
        state = await agent.ainvoke({"messages": [{"role": "user", "content": asked}]})
        return state["messages"][-1].content


if __name__ == "__main__":
    print(asyncio.run(answer(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])))
