"""Small things that all routes do: leave the event loop for the store, and write a reply."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import ParamSpec, TypeVar

import anyio.to_thread
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.responses import Response

P = ParamSpec("P")
Result = TypeVar("Result")


async def in_thread(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Run a blocking function, as every look-up in the store is one, beside the event loop."""
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


def reply(
    model: BaseModel,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    background: BackgroundTask | None = None,
) -> Response:
    """The model as JSON. Written here, not by the framework, which would check every reply a second time.

    `background` runs after the reply has been sent.
    """
    return Response(model.model_dump_json(), status, headers, "application/json", background)
