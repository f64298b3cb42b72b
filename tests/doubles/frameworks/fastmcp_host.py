# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportArgumentType=false
"""A host that is built on fastmcp's client: run by the interpreter of .venv-fastmcp, given the server's command line.

It has no model: it holds one conversation, approves in the form what is asked, and prints what it saw as JSON.
"""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport

SECONDS = 60


async def talk(command: str, arguments: list[str]) -> dict[str, object]:
    """Hold the conversation; return what was seen."""
    forms: list[str] = []
    progress: list[float] = []

    async def shown(message: str, response_type: object, params: object, context: object) -> ElicitResult:
        forms.append(message)
        return ElicitResult(action="accept", content={"decision": "approve"})

    async def reported(done: float, total: float | None, message: str | None) -> None:
        progress.append(done)

    transport = StdioTransport(command=command, args=arguments, keep_alive=False)
    async with Client(transport, elicitation_handler=shown) as client:

        async def call(tool: str, **given: object) -> object:
            return await client.call_tool(tool, given, raise_on_error=False)

        tools = await client.list_tools()
        sent = await client.call_tool(
            "send_message",
            {"agent": "local:archivist", "text": 'retitle this to "Renewals"'},
            progress_handler=reported,
        )
        kept = await call("send_message", agent="local:archivist", text="remember: Acme keeps 40,000 a year.")
        found = await call("search_conversations", query="Acme")
        wrong = await call("send_message", agent="local:nobody", text="Hello?")
    return {
        "tools": [tool.name for tool in tools],
        "forms": forms,
        "progress": progress,
        "sent": sent.structured_content,
        "kept": kept.structured_content,
        "found": found.structured_content,
        "failed": [wrong.is_error, wrong.content[0].text],
    }


if __name__ == "__main__":
    own, *server_arguments = sys.argv[1:]
    seen = asyncio.run(asyncio.wait_for(talk(own, server_arguments), SECONDS))
    sys.stdout.write(json.dumps(seen))
