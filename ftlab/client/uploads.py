"""Uploads: a small file in one request, a large one in pieces that go on after a cut connection."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from ftlab.client import calls, flows
from ftlab.client.calls import Call
from ftlab.client.endpoint import Endpoint
from ftlab.client.retry import Retries
from ftlab.client.steps import Sleep, Steps, send, work
from ftlab.client.wire import Fault, FileBody, OnProgress, Reply, Request, UploadOptions
from ftlab.errors import InvalidRequestError
from ftlab.schemas import Dataset, Upload

PIECES_FROM_BYTES = 64 * 1024**2
"""From this size on a file goes in pieces: it is worth more than the three requests that this takes."""
PIECE_BYTES = 64 * 1024**2
"""A piece that is cut off is not lost: the service keeps what came of it."""
TIMEOUT_S = 900.0
"""The service checks every row of an upload before it answers."""
BINARY = "application/octet-stream"
UPLOADS = "/api/uploads"


def upload(
    endpoint: Endpoint, path: Path, options: UploadOptions, on_progress: OnProgress | None = None
) -> Steps[Dataset]:
    """Upload a file. One that was begun before, by this process or by another, goes on where it was cut.

    Raises `InvalidRequestError` when there is no such file, and with the code `dataset_invalid` for bad rows.
    """
    if not path.is_file():
        raise InvalidRequestError(f"There is no file {str(path)!r}.", "file_not_found", "file")
    size_bytes = path.stat().st_size
    if size_bytes < PIECES_FROM_BYTES:
        return (yield from flows.call(endpoint, _whole(path, size_bytes, options, on_progress)))
    sha256 = yield from work(lambda: _sha256_of(path))
    begun = yield from flows.call(endpoint, _begin(path, size_bytes, sha256, options))
    yield from _send_rest(endpoint, path, begun, on_progress)
    return (yield from flows.call(endpoint, _complete(begun)))


def _send_rest(endpoint: Endpoint, path: Path, begun: Upload, on_progress: OnProgress | None) -> Steps[None]:
    offset = begun.received_bytes
    retries = Retries(endpoint, _piece(path, begun, offset, None))
    while offset < begun.size_bytes:
        try:
            reply: Reply | Fault = yield from send(_piece(path, begun, offset, on_progress))
        except Fault as fault:
            reply = fault
        received = _offset_of(reply)
        if received is None or received <= offset:
            # What came of the piece counts before its failure is judged.
            if (yield from _ask_received(endpoint, begun)) > offset:
                retries.restart()
            yield Sleep(retries.after(reply))
            # Once more: the service may have noticed only now that the connection was cut, and kept the rest.
            received = yield from _ask_received(endpoint, begun)
        if received > offset:
            retries.restart()
        offset = received


def _ask_received(endpoint: Endpoint, begun: Upload) -> Steps[int]:
    """How many bytes the service has."""
    asked = yield from flows.call(endpoint, Call(Request("GET", _path(begun)), calls.reader(Upload)))
    return asked.received_bytes


def _offset_of(reply: Reply | Fault) -> int | None:
    """Where the next piece starts, if the answer says so: that of success, or of a piece at another place."""
    if isinstance(reply, Fault) or not (reply.is_success or reply.status == 409):
        return None
    offset = reply.headers.get("upload-offset", "")
    return int(offset) if offset.isdecimal() else None


def _whole(path: Path, size_bytes: int, options: UploadOptions, on_progress: OnProgress | None) -> Call[Dataset]:
    fields = options.fields(path)
    params = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    headers = {"content-type": BINARY, "x-filename": quote(path.name)}
    body = FileBody(path, size_bytes, on_progress)
    request = Request("POST", "/api/datasets", params, headers, body, timeout_s=TIMEOUT_S)
    return Call(request, calls.reader(Dataset))


def _begin(path: Path, size_bytes: int, sha256: str, options: UploadOptions) -> Call[Upload]:
    """With the hash, beginning again is going on."""
    document = {"filename": path.name, "size_bytes": size_bytes, "sha256": sha256, **options.fields(path)}
    request = calls.with_json("POST", UPLOADS, document)
    return Call(replace(request, may_repeat=True), calls.reader(Upload))


def _piece(path: Path, begun: Upload, offset: int, on_progress: OnProgress | None) -> Request:
    size_bytes = min(PIECE_BYTES, begun.size_bytes - offset)
    headers = {"content-type": "application/offset+octet-stream", "upload-offset": str(offset)}
    body = FileBody(path, size_bytes, on_progress, offset, begun.size_bytes)
    return Request("PATCH", _path(begun), headers=headers, body=body, timeout_s=TIMEOUT_S)


def _complete(begun: Upload) -> Call[Dataset]:
    request = Request("POST", f"{_path(begun)}/complete", timeout_s=TIMEOUT_S, may_repeat=True)
    return Call(request, calls.reader(Dataset))


def _path(begun: Upload) -> str:
    return f"{UPLOADS}/{calls.segment(begun.id)}"


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
