"""Every path finds the route that it would find among all routes."""

import re

from starlette.routing import BaseRoute, Match

from serve.app import LENIENT_ROUTERS, STRICT_ROUTERS, _api_routes, create_app
from serve.http.route_groups import RouteGroup


def paths():
    """A path of every route, and its neighbours."""
    for router in STRICT_ROUTERS + LENIENT_ROUTERS:
        for route in router.routes:
            path = re.sub(r"{[^}]*}", "some-id", route.path)
            yield from (path, f"{path}/", f"{path}x", path.rpartition("/")[0] or "/")


def scope_of(path, method="GET", kind="http"):
    return {"type": kind, "method": method, "path": path, "root_path": "", "headers": []}


def first_match(routes, scope):
    return next((place for place, route in enumerate(routes) if route.matches(dict(scope))[0] is Match.FULL), None)


def test_groups_match_what_their_routers_match(services):
    groups = [route for route in create_app(services).router.routes if isinstance(route, RouteGroup)]
    routers = _api_routes()
    assert len(groups) == len(routers) > 40
    for path in set(paths()):
        for scope in (
            scope_of(path),
            scope_of(path, "POST"),
            scope_of(path, "DELETE"),
            scope_of(path, kind="websocket"),
        ):
            assert first_match(groups, scope) == first_match(routers, scope), scope


def test_a_path_that_begins_otherwise_is_not_searched():
    class Routes(BaseRoute):
        def matches(self, scope):
            searched.append(scope["path"])
            return Match.FULL, {}

    searched: list[str] = []
    group = RouteGroup(Routes(), ["/api/jobs/{job_id}/events", "/api/jobs"])
    for path in ("/health", "/api/models", "/api/jobs", "/api/jobs/some-id/events", "/x/api/jobs"):
        group.matches(scope_of(path))
    assert searched == ["/api/jobs", "/api/jobs/some-id/events"]
