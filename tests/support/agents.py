"""An agent: the client of the MCP SDK, with results as plain data."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import TextContent
from mcp.types import Tool as ListedTool

Result = TypeVar("Result")


class Refused(Exception):
    """A tool answered with an error; `error` is its data."""

    def __init__(self, text: str, error: dict[str, Any]) -> None:
        super().__init__(text)
        self.error = error


class Agent:
    """Calls tools, each over a new connection to what `connect` gives: a server, its address, or its command."""

    def __init__(self, connect: Callable[[], Any], **options: Any) -> None:
        self._connect = connect
        self._options = options
        self.called: set[str] = set()

    @classmethod
    def over_http(cls, url: str, headers: dict[str, str] | None = None, **options: Any) -> "Agent":
        @asynccontextmanager
        async def connect() -> AsyncIterator[Any]:
            async with (
                httpx2.AsyncClient(headers=headers or {}, timeout=120) as http,
                streamable_http_client(url, http_client=http) as streams,
            ):
                yield streams

        return cls(connect, **options)

    @classmethod
    def over_stdio(cls, command: str, *arguments: str, env: dict[str, str]) -> "Agent":
        return cls(lambda: StdioServerParameters(command=command, args=list(arguments), env=env))

    def tools(self) -> dict[str, ListedTool]:
        async def listed(client: Client) -> list[ListedTool]:
            return (await client.list_tools()).tools

        return {tool.name: tool for tool in self.run(listed)}

    def __call__(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The data of a tool's result, which its text repeats. Raises `Refused`."""
        self.called.add(name)
        return self.run(lambda client: call(client, name, **arguments))

    def run(self, function: Callable[[Client], Awaitable[Result]]) -> Result:
        async def connected() -> Result | Exception:
            async with Client(self._connect(), **self._options) as client:
                try:
                    return await function(client)
                except (Refused, MCPError) as error:
                    return error  # raised here, it would become a group of exceptions
            raise AssertionError("the client suppressed an exception")

        result = asyncio.run(connected())
        if isinstance(result, Exception):
            raise result
        return result


async def call(client: Client, name: str, /, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    [block] = result.content
    assert isinstance(block, TextContent)
    if result.is_error:
        raise Refused(block.text, result.structured_content["error"])
    assert json.loads(block.text) == result.structured_content
    return dict(result.structured_content)
