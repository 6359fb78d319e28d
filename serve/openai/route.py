"""The route class of `/v1`: bodies as on every other path, errors as OpenAI's clients read them."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Query
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from ftlab.errors import (
    AuthenticationError,
    FineTuneLabError,
    InvalidRequestError,
    MalformedRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from ftlab.openai.ids import in_openai_ids
from serve.http.errors import error_response, request_id_of
from serve.http.json_body import JsonRoute
from serve.http.problems import request_error
from serve.http.query import refuse_unknown

After = Annotated[str | None, Query(max_length=100, description="Id of the last item of the page before.")]
CLIENT_ERROR = "invalid_request_error"
_CODES = {
    "job_not_found": ("fine_tune_not_found", "fine_tune_id"),
    "dataset_not_found": ("file_not_found", "file_id"),
}
"""Codes, and parameters, that have another name at OpenAI."""


class OpenAiRoute(JsonRoute):
    """A `JsonRoute` whose errors have OpenAI's statuses, codes and ids."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def with_errors(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                problem = request_error(error.errors())
            except FineTuneLabError as error:
                problem = error
            return error_response(in_their_words(problem), request_id_of(request))

        return with_errors


def strict_router(prefix: str) -> APIRouter:
    """A router of paths that refuse unknown query parameters."""
    strict = [Depends(refuse_unknown)]
    return APIRouter(prefix=prefix, tags=["OpenAI-compatible"], route_class=OpenAiRoute, dependencies=strict)


class _KeyRefused(AuthenticationError):
    type: ClassVar[str] = CLIENT_ERROR


class _Forbidden(PermissionDeniedError):
    type: ClassVar[str] = CLIENT_ERROR


def in_their_words(error: FineTuneLabError) -> FineTuneLabError:
    """The error as OpenAI would give it: 400 for every value that is refused, their codes, their ids."""
    message = in_openai_ids(error.message)
    code, param = _CODES.get(error.code, (error.code, error.param))
    match error:
        case InvalidRequestError() | MalformedRequestError():
            return MalformedRequestError(message, code, param)
        case AuthenticationError():
            return _KeyRefused(message, code, param)
        case PermissionDeniedError():
            return _Forbidden(message, code, param)
        case NotFoundError():
            return NotFoundError(message, code, param)
    changed = type(error)(*error.args)
    changed.message = message
    return changed
