"""What coding agents read and call: the MCP server at `/mcp`, `/llms.txt`, and the documentation as Markdown."""
