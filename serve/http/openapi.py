"""The API's description: the bodies that are not JSON, and the one shape of errors."""

from collections.abc import Callable
from typing import Any

from ftlab.schemas.field_texts import add_descriptions

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


PART: dict[int | str, dict[str, Any]] = {206: {"description": "The part of the file that `Range` asks for."}}
"""`responses` of a download."""


def also_as(media_type: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that replies with a text of this type where `format` asks for it."""
    return {200: {"content": {media_type: {"schema": {"type": "string"}}}}}


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


def complete(document: dict[str, Any], *additions: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """FastAPI's description of the API, with errors as they are sent; each of `additions` adds what else is missing."""
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Error"] = _ERROR_SCHEMA
    add_descriptions(schemas)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for add in additions:
        add(document)
    error = {
        "description": "Error",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = error
    return document
