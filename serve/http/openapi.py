"""The API's description, with the bodies that the routes read by hand."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ftlab.schemas import JobConfig
from ftlab.schemas.requests import (
    Batches,
    DatasetMove,
    JobChange,
    ModelReference,
    Move,
    QuotaChange,
    Resume,
    UploadEnd,
    UploadStart,
    UrlRequest,
)

_COMPONENTS = "#/components/schemas/{model}"
_BODIES = (
    JobConfig,
    Batches,
    JobChange,
    ModelReference,
    Move,
    QuotaChange,
    Resume,
    DatasetMove,
    UploadEnd,
    UploadStart,
    UrlRequest,
)


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a body of this model by hand."""
    content = {"application/json": {"schema": {"$ref": _COMPONENTS.format(model=model.__name__)}}}
    return {"requestBody": {"required": required, "content": content}}


FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""`openapi_extra` of the upload: one form field `file`, or the bare file with its name in `x-filename`."""

PIECE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/offset+octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""`openapi_extra` of a piece of an upload: any bytes, under any content type."""

_ERROR_SCHEMA: dict[str, Any] = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code", "request_id"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
                "request_id": {"type": ["string", "null"]},
            },
        }
    },
}


def describe(app: FastAPI) -> None:
    """Make `app.openapi()` complete: bodies read by hand, and the one shape of errors."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _build(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    _, bodies = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_COMPONENTS)
    schemas |= bodies["$defs"] | {"Error": _ERROR_SCHEMA}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    error = {
        "description": "Error",
        "content": {"application/json": {"schema": {"$ref": _COMPONENTS.format(model="Error")}}},
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = error
    return document
