"""Tools for coding agents over the Model Context Protocol (MCP), each of them calls of the SDK."""
