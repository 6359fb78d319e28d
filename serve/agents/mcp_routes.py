"""`POST /mcp`: the tools for coding agents over streamable HTTP.

Each tool calls the API of this very process with the key of the caller, so that a tool has the rules, limits and audit
entries of the routes that it uses. Requests are independent of each other: any replica answers any of them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ftlab.client import AsyncClient, RetryPolicy
from serve.context import services_of
from serve.http.json_body import MAX_JSON_BYTES
from serve.http.responses import in_thread

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from ftlab.mcp.server import Context

TIMEOUT_S = 900.0
"""Longest call of the API, as for one over the network that may have to check whole files."""

router = APIRouter(tags=["agents"])


@router.post("/mcp", include_in_schema=False)
async def post_message(request: Request) -> Response:
    """One JSON-RPC message of the Model Context Protocol. There is no `GET`: no message begins at the service."""
    server: McpServer = request.app.state.mcp
    return _Answer(await server.manager())


class McpServer:
    """The MCP server of one application, which starts with the first message.

    The libraries of the protocol take a second to import and 30 MB, which a service without agents does not need.
    """

    def __init__(self) -> None:
        self._started: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._running: asyncio.Task[None] | None = None
        self._end = asyncio.Event()

    async def manager(self) -> "StreamableHTTPSessionManager":
        """What handles the messages, once it runs. Raises what keeps it from starting."""
        if self._started is None:
            self._started = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._started))
        return await asyncio.shield(self._started)

    async def stop(self) -> None:
        """End the calls that are still running."""
        self._end.set()
        if self._running is not None:
            await self._running

    async def _run(self, started: "asyncio.Future[StreamableHTTPSessionManager]") -> None:
        # The manager must be started and ended by the same task, which no request is.
        try:
            manager = await in_thread(_manager)
            async with manager.run():
                started.set_result(manager)
                await self._end.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)


class _Answer(Response):
    """Hands the request to the protocol's own implementation."""

    def __init__(self, manager: "StreamableHTTPSessionManager") -> None:
        super().__init__()
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request(scope, receive, send)


@asynccontextmanager
async def running_mcp(app: FastAPI) -> AsyncIterator[None]:
    """The MCP server of an application, from its start to its end."""
    app.state.mcp = McpServer()
    try:
        yield
    finally:
        await app.state.mcp.stop()


def _manager() -> "StreamableHTTPSessionManager":
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from ftlab.mcp.server import build_server
    from ftlab.mcp.tool import Door

    # The middleware of the service checks Host and Origin.
    return StreamableHTTPSessionManager(
        build_server(_caller, Door.HTTP), json_response=True, stateless=True, max_request_body_size=MAX_JSON_BYTES
    )


@asynccontextmanager
async def _caller(context: "Context") -> AsyncIterator[AsyncClient]:
    """A client of this process with the key of the request, or without one."""
    request = context.request
    assert isinstance(request, Request)
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    settings = services_of(request).settings
    client = (request.client.host, request.client.port) if request.client else ("127.0.0.1", 0)
    async with AsyncClient(
        f"http://127.0.0.1:{settings.port}",
        key.strip() if scheme.lower() == "bearer" else "",
        timeout_s=TIMEOUT_S,
        retry=RetryPolicy(max_retries=0),
        owner="",
        http_transport=httpx2.ASGITransport(request.app, raise_app_exceptions=False, client=client),
    ) as found:
        yield found
