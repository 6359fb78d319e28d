"""The part of the fake service that knows one tuned model."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ftlab.errors import NotFoundError

MODEL = {
    "id": "mdl-1",
    "owner": "local",
    "job_id": "job-001",
    "name": "my model",
    "kind": "adapter",
    "base_model": "org/base",
    "step": 10,
    "created_at": "2026-01-01T00:00:00+00:00",
}


async def list_models(_: Any, request: Request) -> Response:
    return JSONResponse({"data": [MODEL], "has_more": False, "next_cursor": None})


async def get_model(_: Any, request: Request) -> Response:
    if request.path_params["model"] != MODEL["id"]:
        raise NotFoundError("No such model.", "model_not_found")
    return JSONResponse(MODEL)
