"""ASGI middleware that counts requests."""

import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.metrics.process_metrics import ProcessMetrics

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
OTHER = "other"
"""Label of methods and paths that no route has: clients must not be able to add series without limit."""
CLIENT_LEFT = 499
"""Status of a request without a reply, as nginx counts it."""


class CountRequests:
    """Counts each HTTP request when its reply has been sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, is_stream, started = CLIENT_LEFT, False, time.perf_counter()

        async def note(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                is_stream = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            method = scope["method"] if scope["method"] in METHODS else OTHER
            route = getattr(scope.get("route"), "path", OTHER)
            duration_s = None if is_stream else time.perf_counter() - started
            metrics: ProcessMetrics = scope["app"].state.services.metrics
            metrics.count_request(method, route, status, duration_s)
