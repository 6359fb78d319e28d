"""Carries steps out over asyncio connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar, cast

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from ftlab.client.connect import (
    CHUNK_BYTES,
    SOCKET_FAILURES,
    raise_fault,
    raise_socket_closed,
    reply_of,
    request_options,
    socket_options,
)
from ftlab.client.endpoint import Endpoint
from ftlab.client.steps import (
    Effect,
    Emit,
    OpenBody,
    OpenSocket,
    ReadBody,
    Receive,
    Send,
    SendText,
    Sleep,
    Steps,
    Stream,
    Work,
    advance,
)
from ftlab.client.wire import Fault, FileBody, Reply, Request

T = TypeVar("T")


async def run(steps: Steps[T], performer: "AsyncPerformer") -> T:
    """Carry steps out and return what they come to."""
    async with aclosing(performer):
        outcome: Any = None
        try:
            while True:
                outcome = await performer.perform(advance(steps, outcome))
        except StopIteration as end:
            return cast("T", end.value)


async def iterate(stream: Stream[None], performer: "AsyncPerformer") -> AsyncIterator[Any]:
    """Carry steps out and yield the items that they emit."""
    async with aclosing(performer):
        outcome: Any = None
        try:
            while True:
                effect = advance(stream, outcome)
                if isinstance(effect, Emit):
                    yield effect.item
                    outcome = None
                else:
                    outcome = await performer.perform(effect)
        except StopIteration:
            return


class AsyncPerformer:
    """One conversation: shares the connection pool, has a socket and a download of its own."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        endpoint: Endpoint,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._endpoint = endpoint
        self._sleep = sleep
        self._open = AsyncExitStack()
        self._chunks: AsyncIterator[bytes] | None = None
        self._socket: ClientConnection | None = None

    async def perform(self, effect: Effect) -> Any:
        """The outcome of an effect; a `Fault` when the connection failed."""
        try:
            return await self._perform(effect)
        except Fault as fault:
            return fault

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send(request):
                return await self._send(request)
            case OpenBody(request):
                return await self._open_body(request)
            case ReadBody():
                return await self._read_body()
            case OpenSocket():
                return await self._open_socket(effect)
            case Receive(timeout_s):
                return await self._receive(timeout_s)
            case SendText(text):
                return await self._send_text(text)
            case Sleep(seconds):
                return await self._sleep(seconds)
            case Work(function):
                return await asyncio.to_thread(function)

    async def aclose(self) -> None:
        await self._open.aclose()

    async def _send(self, request: Request) -> Reply:
        try:
            response = await self._http.send(self._build(request))
        except httpx2.TransportError as error:
            raise_fault(error)
        return reply_of(response, response.content)

    async def _open_body(self, request: Request) -> Reply:
        await self._open.aclose()
        try:
            response = await self._http.send(self._build(request), stream=True)
            self._open.push_async_callback(response.aclose)
            content = b"" if response.is_success else await response.aread()
        except httpx2.TransportError as error:
            raise_fault(error)
        self._chunks = response.aiter_raw() if response.is_success else None
        return reply_of(response, content)

    async def _read_body(self) -> bytes:
        assert self._chunks is not None
        try:
            return await anext(self._chunks, b"")
        except httpx2.TransportError as error:
            raise_fault(error)

    def _build(self, request: Request) -> httpx2.Request:
        options = request_options(request)
        if isinstance(request.body, FileBody):
            options["content"] = _chunks_of(request.body)
        return self._http.build_request(**options)

    async def _open_socket(self, effect: OpenSocket) -> None:
        await self._open.aclose()
        try:
            self._socket = await self._open.enter_async_context(connect(**socket_options(self._endpoint, effect)))
        except SOCKET_FAILURES as error:
            raise_socket_closed(error)

    async def _receive(self, timeout_s: float) -> str:
        assert self._socket is not None
        try:
            async with asyncio.timeout(timeout_s):
                return await self._socket.recv(decode=True)
        except SOCKET_FAILURES as error:
            raise_socket_closed(error)

    async def _send_text(self, text: str) -> None:
        assert self._socket is not None
        try:
            await self._socket.send(text)
        except SOCKET_FAILURES as error:
            raise_socket_closed(error)


async def _chunks_of(body: FileBody) -> AsyncIterator[bytes]:
    sent = 0
    file = await asyncio.to_thread(body.path.open, "rb")
    with file:
        file.seek(body.offset)
        while chunk := await asyncio.to_thread(file.read, min(CHUNK_BYTES, body.size_bytes - sent)):
            yield chunk
            sent += len(chunk)
            body.report(sent)
