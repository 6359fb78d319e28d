"""The requests of an upload: a small file in one, a large one in pieces that continue after a cut connection."""

import json
from pathlib import Path
from urllib.parse import quote

from ftlab.client.retry import Failure
from ftlab.client.wire import FILES_TIMEOUT_S, FileBody, OnProgress, Request, UploadOptions, segment
from ftlab.errors import InvalidRequestError
from ftlab.schemas import Upload

PIECES_FROM_BYTES = 64 * 1024**2
"""Files of at least this size are uploaded in pieces, which costs three more requests."""
PIECE_BYTES = 64 * 1024**2
"""A piece that is cut off is not lost: the service keeps the bytes that it received."""
UPLOADS = "/api/uploads"


def size_of(path: Path) -> int:
    """The size in bytes. Raises `InvalidRequestError` when there is no such file."""
    if not path.is_file():
        raise InvalidRequestError(f"There is no file {str(path)!r}.", "file_not_found", "file")
    return path.stat().st_size


def whole(path: Path, size_bytes: int, options: UploadOptions, on_progress: OnProgress | None) -> Request:
    fields = options.fields(path)
    params = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    headers = {"content-type": "application/octet-stream", "x-filename": quote(path.name)}
    body = FileBody(path, size_bytes, on_progress)
    return Request("POST", "/api/datasets", params, headers, file=body, timeout_s=FILES_TIMEOUT_S)


def begin(path: Path, size_bytes: int, sha256: str, options: UploadOptions) -> Request:
    """The request that starts an upload, or resumes the one of the same hash."""
    document = {"filename": path.name, "size_bytes": size_bytes, "sha256": sha256, **options.fields(path)}
    return Request("POST", UPLOADS, document=document, may_repeat=True)


def progress(begun: Upload) -> Request:
    return Request("GET", _path(begun))


def piece(path: Path, begun: Upload, offset: int, on_progress: OnProgress | None) -> Request:
    size_bytes = min(PIECE_BYTES, begun.size_bytes - offset)
    headers = {"content-type": "application/offset+octet-stream", "upload-offset": str(offset)}
    body = FileBody(path, size_bytes, on_progress, offset, begun.size_bytes)
    return Request("PATCH", _path(begun), headers=headers, file=body, timeout_s=FILES_TIMEOUT_S)


def complete(begun: Upload) -> Request:
    return Request("POST", f"{_path(begun)}/complete", timeout_s=FILES_TIMEOUT_S, may_repeat=True)


def next_offset(reply: Failure) -> int | None:
    """Where the next piece starts, if the reply says so: a successful reply, or the reply to a piece at the wrong
    offset.
    """
    if isinstance(reply, Exception) or not (reply.is_success or reply.status_code == 409):
        return None
    offset = reply.headers.get("upload-offset", "")
    return int(offset) if offset.isdecimal() else None


def _path(begun: Upload) -> str:
    return f"{UPLOADS}/{segment(begun.id)}"
