"""Sends the requests of one client over asyncio connections, and retries them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from ftlab.client.endpoint import Endpoint
from ftlab.client.retry import Retries
from ftlab.client.wire import CHUNK_BYTES, MAX_PAGE, Fault, FileBody, Listing, Reply, Request
from ftlab.errors import NotFoundError
from ftlab.schemas import Page

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")


class AsyncTransport:
    """The connection pool of a client."""

    def __init__(
        self,
        endpoint: Endpoint,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        http: "httpx2.AsyncBaseTransport | None" = None,
    ) -> None:
        self.endpoint = endpoint
        self.sleep = sleep
        self._given = http
        self._is_closed = False

    @cached_property
    def _http(self) -> "httpx2.AsyncClient":
        if self._is_closed:
            raise RuntimeError("Cannot send a request: the client has been closed.")
        import httpx2

        from ftlab.client.connect import client_options

        return httpx2.AsyncClient(**client_options(self.endpoint), transport=self._given)

    async def read(self, shape: type[T], request: Request, deadline: float | None = None) -> T:
        """Send a request until it succeeds, and read its reply as a `shape`."""
        retries = Retries(self.endpoint, request, deadline)
        return retries.read(shape, await self.exchange(retries))

    async def items(self, shape: type[Listing[T]], request: Request) -> list[T]:
        """The items of a list that comes whole."""
        listing = await self.read(shape, request)
        return listing.data

    async def pages(self, shape: type[Page[T]], request: Request, limit: int | None) -> AsyncIterator[T]:
        """The items of all pages, at most `limit`."""
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = MAX_PAGE if left is None else min(left, MAX_PAGE)
            params = {**request.params, "after": cursor, "limit": size}
            page = await self.read(shape, replace(request, params=params))
            for item in page.data[:left]:
                yield item
            left = None if left is None else left - len(page.data)
            cursor = page.next_cursor
            if not page.has_more or cursor is None:
                return

    async def exchange(self, retries: Retries) -> Reply:
        """Send a request until it succeeds.

        Raises the error of the last reply, `UnreachableError` when there is none, and `WaitTimeoutError` when the
        deadline ends the retries.
        """
        while True:
            try:
                response = await self.send(retries.limited_request())
            except Fault as fault:
                delay_s = retries.after(fault)
            else:
                if response.is_success:
                    self.endpoint.has_answered = True
                    return response
                delay_s = retries.after(response)
            await self.sleep(delay_s)

    async def exchange_unrepeatable(self, request: Request) -> None:
        """Send a request that is answered with 404 when it is repeated, such as a deletion: a retry may get that."""
        retries = Retries(self.endpoint, request)
        try:
            await self.exchange(retries)
        except NotFoundError:
            # The first try may have done what a later one is refused for.
            if not retries.was_repeated:
                raise

    async def send(self, request: Request) -> Reply:
        """Send a request once. Raises `Fault` when the connection fails."""
        from ftlab.client.connect import http_faults, request_options

        options = request_options(request, self.endpoint)
        if request.file is not None:
            options["content"] = _chunks_of(request.file)
        with http_faults():
            return await self._http.request(**options)

    @asynccontextmanager
    async def stream(self, request: Request) -> "AsyncIterator[httpx2.Response]":
        """Send a request once and leave the body of a successful reply to be read. Raises `Fault`, as reading does."""
        from ftlab.client.connect import http_faults, request_options

        with http_faults():
            async with self._http.stream(**request_options(request, self.endpoint)) as response:
                if not response.is_success:
                    await response.aread()
                yield response

    async def close(self) -> None:
        self._is_closed = True
        if "_http" in vars(self):
            await self._http.aclose()


async def _chunks_of(body: FileBody) -> AsyncGenerator[bytes]:
    sent = 0
    with await asyncio.to_thread(body.path.open, "rb") as file:
        file.seek(body.offset)
        while chunk := await asyncio.to_thread(file.read, min(CHUNK_BYTES, body.size_bytes - sent)):
            yield chunk
            sent += len(chunk)
            body.report(sent)
