"""The floor of the other benchmarks: the bare SDK with one tool that does nothing."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("bare")


@server.tool()
async def nothing() -> str:
    """Do nothing."""
    return "nothing"


if __name__ == "__main__":
    server.run("stdio")
