"""Helpers of all routes: run blocking functions beside the event loop, and write replies."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

import anyio.to_thread
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.responses import Response

from ftlab.schemas import Page


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


P = ParamSpec("P")
Result = TypeVar("Result")
Item = TypeVar("Item", bound=_HasId)


async def in_thread(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Run a blocking function, such as a look-up in the store, beside the event loop."""
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


def reply(
    model: BaseModel,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    background: BackgroundTask | None = None,
) -> Response:
    """The model as JSON. Not written by FastAPI, which would validate every reply a second time.

    `background` runs after the reply has been sent.
    """
    return Response(model.model_dump_json(), status, headers, "application/json", background)


def to_page(items: Sequence[Item], limit: int) -> "Page[Item]":  # quoted: pydantic cannot make the type of a protocol
    """The page of the first `limit` items. The caller fetches one more, which says whether another page follows."""
    shown = list(items[:limit])
    has_more = len(items) > limit
    return Page(data=shown, has_more=has_more, next_cursor=shown[-1].id if has_more else None)
