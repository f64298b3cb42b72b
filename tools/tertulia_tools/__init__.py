"""What an MCP host may ask of Tertulia: tools, and how their results read. Knows the client, no transport."""
