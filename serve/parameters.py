"""Query parameters that a route does not know are refused, as fields of a body are that nobody knows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi.routing import APIRoute
from starlette.requests import Request

from serve.problems import unknown_parameter

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant


async def refuse_unknown(request: Request) -> None:
    """A dependency of routes. Raise `InvalidRequestError` with code `unknown_parameter`."""
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
