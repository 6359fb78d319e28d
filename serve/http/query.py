"""Path and query parameters that routes share, and the check for unknown query parameters."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from fastapi import Header, Path, Query
from fastapi.routing import APIRoute
from starlette.requests import Request

from serve.http.problems import unknown_parameter

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant

OWNER = "owner"
"""Query parameter with which admins name another owner; every route with a caller takes it."""

JobId = Annotated[str, Path(max_length=200, description="The job's id, unique name or unique id prefix.")]
RecordId = Annotated[
    str, Path(max_length=200, description="The record's id or, for datasets, models and jobs, its unique name.")
]
Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(max_length=100, description="`next_cursor` of the previous page.")]
Count = Annotated[int, Query(ge=1, le=5000)]


async def refuse_unknown(request: Request) -> None:
    """Dependency of routes. Raise `InvalidRequestError` with code `unknown_parameter`."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = list(_names(route.dependant))
    for name in request.query_params:
        if name not in known:
            raise unknown_parameter(name, known)


def _names(dependant: "Dependant") -> Iterator[str]:
    for field in dependant.query_params:
        yield field.alias
    for inner in dependant.dependencies:
        yield from _names(inner)


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="A repeated submit with the same key returns the first job instead of creating another.",
    ),
]
