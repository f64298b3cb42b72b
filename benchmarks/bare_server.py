"""The floor of the other benchmarks: the bare SDK with one tool that does nothing. `--http` serves it over HTTP."""

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("bare")


@server.tool()
async def nothing() -> str:
    """Do nothing."""
    return "nothing"


if __name__ == "__main__":
    if sys.argv[1:] == ["--http"]:
        server.run("streamable-http", host="127.0.0.1", port=0)
    else:
        server.run("stdio")
