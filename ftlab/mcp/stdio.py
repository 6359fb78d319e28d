"""The MCP server over standard input and output, for an agent on this machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.stdio import stdio_server

from ftlab.client import AsyncClient
from ftlab.mcp.server import Context, build_server
from ftlab.mcp.tool import Door


async def serve(client: AsyncClient, *, readonly: bool) -> None:
    """Serve until the input ends. Raises at once what is wrong with the address or the key."""
    await client.session()

    @asynccontextmanager
    async def shared(_: Context) -> AsyncIterator[AsyncClient]:
        yield client

    server = build_server(shared, Door.STDIO, readonly=readonly)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
