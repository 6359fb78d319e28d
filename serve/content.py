"""Sending a file of a bucket: whole, or the part that is asked for, with constant memory."""

from collections.abc import Generator
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ftlab.errors import RangeNotSatisfiableError
from serve.archives import CHUNK_BYTES, parse_range
from serve.datasets_service import Content
from serve.downloads import stream
from serve.errors import error_response, request_id_of


def content_response(request: Request, content: Content) -> Response:
    """The file, or the part that `Range` and `If-Range` ask for; for HEAD, the headers alone."""
    headers = {
        "accept-ranges": "bytes",
        "content-disposition": _attachment(content.filename),
        "etag": content.etag,
    }
    is_same = request.headers.get("if-range", content.etag) == content.etag
    asked = request.headers.get("range") if request.method == "GET" and is_same else None
    try:
        part = parse_range(asked, content.num_bytes)
    except RangeNotSatisfiableError as error:
        return error_response(error, request_id_of(request), {"content-range": f"bytes */{content.num_bytes}"})
    start, stop = part or (0, content.num_bytes)
    headers["content-length"] = str(stop - start)
    if part:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{content.num_bytes}"
    body = iter(()) if request.method == "HEAD" else stream(_pieces(content, start, stop))
    return StreamingResponse(body, 206 if part else 200, headers, "application/octet-stream")


def _pieces(content: Content, start: int, stop: int) -> Generator[bytes, None, None]:
    with content.storage.open(content.key) as file:
        file.seek(start)
        while start < stop and (piece := file.read(min(CHUNK_BYTES, stop - start))):
            start += len(piece)
            yield piece


def _attachment(filename: str) -> str:
    """Plain where that is enough, else as RFC 5987 has it."""
    quoted = quote(filename)
    if quoted == filename:
        return f'attachment; filename="{filename}"'
    return f"attachment; filename*=utf-8''{quoted}"
