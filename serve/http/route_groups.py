"""Groups of routes of which a request only searches those that its path can belong to."""

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send


class RouteGroup(BaseRoute):
    """The routes of one router.

    FastAPI compares a path with every route of every router that stands before its own; the beginning of the path rules
    most of them out at once.
    """

    def __init__(self, routes: BaseRoute, paths: Iterable[str]) -> None:
        """`routes` is the router as FastAPI includes it, and `paths` are those of all its routes."""
        self._routes = routes
        self._beginnings = tuple({path.partition("{")[0] for path in paths})

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if not scope["path"].startswith(self._beginnings):
            return Match.NONE, {}
        return self._routes.matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._routes.handle(scope, receive, send)
