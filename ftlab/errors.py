"""One error tree for the service and the SDK.

Every error has a one-sentence message, a machine-readable `code` and the HTTP status it travels with. It survives
pickle (all arguments go to `Exception.args` as they are) and the wire: `from_wire` raises in the client the class that
was raised in the service.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class FineTuneLabError(Exception):
    """Base of every error that FineTune Lab raises on purpose."""

    status: ClassVar[int] = 500
    """The HTTP status this error travels with; 0 for errors that only exist in a client."""
    default_code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "api_error"

    def __init__(
        self, message: str, code: str | None = None, param: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message, code, param, request_id)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.request_id = request_id

    def __str__(self) -> str:
        return self.message

    def to_wire(self, request_id: str | None = None) -> dict[str, Any]:
        """The one error body: `{"error": {"message", "type", "param", "code", "request_id"}}`."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
                "request_id": request_id or self.request_id,
            }
        }


class InvalidRequestError(FineTuneLabError):
    """The request is well-formed but a value in it is not allowed; `param` names the field."""

    status, default_code, type = 422, "invalid_request", "invalid_request_error"


class MalformedRequestError(FineTuneLabError):
    """The request cannot be parsed."""

    status, default_code, type = 400, "malformed_json", "invalid_request_error"


class AuthenticationError(FineTuneLabError):
    """The API key is missing or not valid."""

    status, default_code, type = 401, "invalid_api_key", "authentication_error"


class PermissionDeniedError(FineTuneLabError):
    """The caller may not do this, or the service may not use the model."""

    status, default_code, type = 403, "insufficient_scope", "permission_error"


class NotFoundError(FineTuneLabError):
    """The record, file, model or path does not exist."""

    status, default_code, type = 404, "not_found", "invalid_request_error"


class MethodNotAllowedError(FineTuneLabError):
    """The path exists but does not support this HTTP method."""

    status, default_code, type = 405, "method_not_allowed", "invalid_request_error"


class ConflictError(FineTuneLabError):
    """The record is in a state that does not allow this."""

    status, default_code, type = 409, "conflict", "invalid_request_error"


class GoneError(FineTuneLabError):
    """The resource existed for a limited time and has expired."""

    status, default_code, type = 410, "gone", "invalid_request_error"


class PayloadTooLargeError(FineTuneLabError):
    """The request body or the file is larger than the service accepts."""

    status, default_code, type = 413, "payload_too_large", "invalid_request_error"


class RangeNotSatisfiableError(FineTuneLabError):
    """The requested byte range is outside the file."""

    status, default_code, type = 416, "range_not_satisfiable", "invalid_request_error"


class RateLimitError(FineTuneLabError):
    """The caller exceeded a quota or sent requests too fast."""

    status, default_code, type = 429, "rate_limited", "rate_limit_error"


class InternalServerError(FineTuneLabError):
    """The service hit an unexpected error; its log has the details under the request id."""

    status = 500


class ServiceUnavailableError(FineTuneLabError):
    """A part of the service is temporarily unavailable; the request changed nothing."""

    status, default_code, type = 503, "service_unavailable", "api_error"


class UnreachableError(FineTuneLabError):
    """Nothing, or something other than FineTune Lab, answers at the service's address."""

    status, default_code = 0, "unreachable"


class WaitTimeoutError(FineTuneLabError):
    """The job or check did not end within the caller's timeout."""

    status, default_code = 0, "wait_timeout"


class JobEndedError(FineTuneLabError):
    """A job that the caller waited for ended without a model."""

    status, default_code = 0, "job_ended"

    def __init__(self, message: str, job_id: str, reason: str | None = None, log_tail: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.args = (message, job_id, reason, log_tail)
        self.job_id = job_id
        self.reason = reason
        self.log_tail = log_tail


class JobFailedError(JobEndedError):
    """The job failed; `reason` is its reason code and `log_tail` holds the last lines of its log."""

    default_code = "job_failed"


class JobCancelledError(JobEndedError):
    """The job was cancelled."""

    default_code = "job_cancelled"


_BY_STATUS: dict[int, type[FineTuneLabError]] = {
    cls.status: cls
    for cls in (
        MalformedRequestError,
        AuthenticationError,
        PermissionDeniedError,
        NotFoundError,
        MethodNotAllowedError,
        ConflictError,
        GoneError,
        PayloadTooLargeError,
        RangeNotSatisfiableError,
        InvalidRequestError,
        RateLimitError,
        InternalServerError,
        ServiceUnavailableError,
    )
}


def error_class(status: int) -> type[FineTuneLabError]:
    """The class that stands for an HTTP status; the nearest base for one without a class of its own."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return InternalServerError if status >= 500 else InvalidRequestError


def from_wire(status: int, body: Any) -> FineTuneLabError:
    """Rebuild the error that the service raised from an HTTP status and its decoded body."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return error_class(status)(f"The service answered with HTTP status {status}.")
    return error_class(status)(
        str(error.get("message", f"HTTP status {status}")),
        error.get("code"),
        error.get("param"),
        error.get("request_id"),
    )
