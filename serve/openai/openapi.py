"""The forms of `/v1` in the API's description, which FastAPI cannot derive."""

from typing import Any


def _form(**fields: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": list(fields), "properties": fields}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


FILE_FORM = _form(purpose={"type": "string", "enum": ["fine-tune"]}, file={"type": "string", "format": "binary"})
"""`openapi_extra` of the upload of a file."""
PART_FORM = _form(data={"type": "string", "format": "binary"})
"""`openapi_extra` of a part of an upload."""
