# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false
"""A host that is built on mcp 1.x: run by the interpreter of .venv-mcp1, given the server's command line.

It holds one conversation, approves what is asked, and prints what it saw as JSON.
"""

import asyncio
import json
import sys
from importlib.metadata import version

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import ElicitResult

SECONDS = 30


async def talk(command: str, arguments: list[str], text: str) -> dict[str, object]:
    """Hold the conversation; return what was seen."""
    forms: list[str] = []
    progress: list[float] = []

    async def shown(context: object, params: object) -> ElicitResult:
        forms.append(params.message)
        return ElicitResult(action="accept", content={"decision": "approve", "reason": "as ever"})

    async def reported(done: float, total: float | None, message: str | None) -> None:
        progress.append(done)

    server = StdioServerParameters(command=command, args=arguments)
    async with (
        stdio_client(server) as (read, write),
        ClientSession(read, write, elicitation_callback=shown) as session,
    ):
        begun = await session.initialize()
        tools = await session.list_tools()
        sent = await session.call_tool(
            "send_message", {"agent": "local:archivist", "text": text}, progress_callback=reported
        )
        own_id = sent.structuredContent["conversation_id"]
        read_again = await session.call_tool("list_messages", {"conversation_id": own_id})
        completed = await session.call_tool(
            "update_status", {"conversation_id": own_id, "status": "completed"}
        )
        wrong = await session.call_tool("send_message", {"conversation_id": own_id, "text": "And?"})
    return {
        "version": version("mcp"),
        "protocol": begun.protocolVersion,
        "instructions": begun.instructions,
        "tools": [tool.name for tool in tools.tools],
        "forms": forms,
        "progress": progress,
        "sent": sent.structuredContent,
        "text": sent.content[0].text,
        "messages": len(read_again.structuredContent["messages"]),
        "completed": completed.structuredContent["status"],
        "failed": [wrong.isError, wrong.content[0].text],
    }


if __name__ == "__main__":
    own, *server_arguments = sys.argv[2:]
    seen = asyncio.run(asyncio.wait_for(talk(own, server_arguments, sys.argv[1]), SECONDS))
    sys.stdout.write(json.dumps(seen))
