"""Errors as replies, in one shape: `{"error": {"message", "type", "param", "code", "request_id"}}`."""

import json
import time
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from ftlab.errors import (
    AuthenticationError,
    ConflictError,
    FineTuneLabError,
    InternalServerError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    ServiceUnavailableError,
    error_class,
)
from ftlab.files import disk_full, is_disk_full
from serve.http.problems import request_error
from tracking.store import StaleJobError

RETRY_AFTER_S = 5
"""Value of `retry-after` while a component of the service is unavailable."""

RATE_WINDOW_S = 60
"""Requests are counted in windows of this length, which all begin at a multiple of it since 1970."""
UPLOAD_WINDOW_S = 3600
"""Length of the windows in which bytes of uploads are counted."""

_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_CHALLENGES = {
    "missing_api_key": 'Bearer realm="FineTune Lab"',
    "invalid_api_key": 'Bearer realm="FineTune Lab", error="invalid_token"',
}
_WINDOWS_S = {
    "rate_limited": RATE_WINDOW_S,
    "too_many_wrong_keys": RATE_WINDOW_S,
    "upload_rate_limited": UPLOAD_WINDOW_S,
}
"""Limits that hold until the end of a window of time."""
_SENTENCES: dict[int, tuple[str, str]] = {
    400: ("The request cannot be read.", "malformed_request"),
    403: ("This is not allowed.", "forbidden"),
    404: ("There is nothing at this path; see /docs for the paths that exist.", "not_found"),
    413: ("The request body is too large.", "payload_too_large"),
    416: ("The requested byte range is outside the file.", "range_not_satisfiable"),
    503: ("The service is busy, or one of its components is unavailable; try again.", "service_unavailable"),
}


def install(app: FastAPI) -> None:
    """Reply in this shape to all errors that routes raise; the middleware does so for unexpected exceptions."""
    app.add_exception_handler(FineTuneLabError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_bad_parameter)
    app.add_exception_handler(OSError, _on_system_error)


def error_response(
    error: FineTuneLabError, request_id: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    """The reply for an error; `headers` are added to those of its status."""
    return Response(
        json.dumps(error.to_wire(request_id), ensure_ascii=False, separators=(",", ":")).encode(),
        status_code=error.status or 500,
        headers={**_headers(error), **(headers or {})},
        media_type="application/json",
    )


def error_of_status(status: int) -> FineTuneLabError:
    """The error for a bare HTTP status, as routing and file responses produce it."""
    if status == 405:
        return MethodNotAllowedError("This path does not accept this method.")
    message, code = _SENTENCES.get(status, (f"The request failed with HTTP status {status}.", None))
    if status == 400:
        return MalformedRequestError(message, code)
    return NotFoundError(message, code) if status == 404 else error_class(status)(message, code)


def internal_error() -> InternalServerError:
    """The error for an unexpected exception."""
    return InternalServerError("The service hit an unexpected error; its log has details under this request id.")


def request_id_of(connection: HTTPConnection) -> str | None:
    """The id under which this request is logged."""
    request_id: str | None = connection.scope.get("state", {}).get("request_id")
    return request_id


def _headers(error: FineTuneLabError) -> dict[str, str]:
    if isinstance(error, ServiceUnavailableError):
        return {"retry-after": str(RETRY_AFTER_S)}
    is_settled = isinstance(error, ConflictError) and not isinstance(error, StaleJobError)
    if is_settled or (isinstance(error, RateLimitError) and error.code == "quota_exceeded"):
        # A retry gets the same reply until the record, or the use of the quota, has changed.
        return {"x-should-retry": "false"}
    if isinstance(error, RateLimitError):
        window_s = _WINDOWS_S.get(error.code)
        return {"retry-after": str(window_s - int(time.time()) % window_s if window_s else RETRY_AFTER_S)}
    if isinstance(error, AuthenticationError):
        return {"www-authenticate": _CHALLENGES.get(error.code, _CHALLENGES["missing_api_key"])}
    if isinstance(error, PermissionDeniedError) and error.code == "insufficient_scope":
        return {"www-authenticate": f'{_CHALLENGES["missing_api_key"]}, error="insufficient_scope"'}
    if isinstance(error, PayloadTooLargeError):
        return {"connection": "close"}
    return {}


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FineTuneLabError)
    return error_response(error, request_id_of(request))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = ", ".join(_allowed_methods(request.scope))
        refused = MethodNotAllowedError(f"This path accepts {allowed} only.")
        return error_response(refused, request_id_of(request), {"allow": allowed})
    return error_response(error_of_status(error.status_code), request_id_of(request), error.headers)


async def _on_bad_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_response(request_error(error.errors()), request_id_of(request))


async def _on_system_error(request: Request, error: Exception) -> Response:
    """Reply to a full disk, which any route that writes may meet."""
    assert isinstance(error, OSError)
    if not is_disk_full(error):
        raise error
    return error_response(disk_full(request.app.state.services.settings.home), request_id_of(request))


def _allowed_methods(scope: Scope) -> list[str]:
    """All methods of a path: they belong to several routes, of which routing reports only the first."""
    routes: list[Any] = scope["app"].router.routes
    probe = {name: value for name, value in scope.items() if name not in ("route", "endpoint", "path_params")}
    return [
        method
        for method in _METHODS
        if any(route.matches({**probe, "method": method})[0] is Match.FULL for route in routes)
    ]
