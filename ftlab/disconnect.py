"""Work for a request that is cancelled when its client leaves."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, TypeVar

from ftlab.errors import FineTuneLabError

Result = TypeVar("Result")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
"""The `receive` of an ASGI application whose request body has been read."""


class ClientLeftError(FineTuneLabError):
    """The client closed its connection before the reply: nobody reads this."""

    status, default_code = 500, "client_left"


async def unless_disconnected(receive: Receive, work: Awaitable[Result]) -> Result:
    """The result of `work`. When the client leaves before, cancel the work, and raise `ClientLeftError`."""
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeftError("The client has left.")
        return task.result()
    finally:
        for each in (task, leaving):
            each.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await each


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
