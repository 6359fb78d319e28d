"""File downloads over HTTP: whole, or the part that a `Range` header asks for, with constant memory."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Generator
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ftlab.errors import RangeNotSatisfiableError
from serve.http.errors import error_response, request_id_of
from serve.http.responses import in_thread

CHUNK_BYTES = 512 * 1024
"""Size of the pieces in which files are read: smaller ones cost calls, larger ones memory."""

Pieces = Generator[bytes, None, None]

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def file_response(
    request: Request,
    pieces: Callable[[int, int], Pieces],
    *,
    num_bytes: int,
    etag: str,
    filename: str,
    media_type: str = "application/octet-stream",
) -> Response:
    """Send the file, or the part that `Range` and `If-Range` ask for; only the headers for HEAD.

    `pieces(start, stop)` reads the bytes from `start` up to `stop`.
    """
    headers = {"accept-ranges": "bytes", "content-disposition": attachment(filename), "etag": etag}
    is_same = request.headers.get("if-range", etag) == etag
    asked = request.headers.get("range") if request.method == "GET" and is_same else None
    try:
        part = parse_range(asked, num_bytes)
    except RangeNotSatisfiableError as error:
        return error_response(error, request_id_of(request), {"content-range": f"bytes */{num_bytes}"})
    start, stop = part or (0, num_bytes)
    headers["content-length"] = str(stop - start)
    if part:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{num_bytes}"
    body = iter(()) if request.method == "HEAD" else stream(pieces(start, stop))
    return StreamingResponse(body, 206 if part else 200, headers, media_type)


def parse_range(header: str | None, num_bytes: int) -> tuple[int, int] | None:
    """The `(start, stop)` that a `Range` header asks for; `None` for all bytes, also where the header is to be ignored.

    Raises `RangeNotSatisfiableError` when it asks for nothing that exists (RFC 9110, 14.1.2).
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, num_bytes - int(last)), num_bytes
    else:
        start, stop = int(first), min(int(last) + 1, num_bytes) if last else num_bytes
        if last and int(last) < start:
            return None
    if start >= num_bytes:
        raise RangeNotSatisfiableError(f"The file has {num_bytes} bytes.", param="range")
    return start, stop


def attachment(filename: str) -> str:
    """A `Content-Disposition` for every client: an ASCII name, and the full name in the encoding of RFC 5987."""
    quoted = quote(filename, safe="")
    if quoted == filename:
        return f'attachment; filename="{filename}"'
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", filename).lstrip("-")
    if not plain or plain.startswith("."):
        plain = f"download{plain}"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quoted}"


async def stream(pieces: Pieces) -> AsyncIterator[bytes]:
    """Read the pieces in threads, each while the one before it is sent, so that memory holds two."""
    coming = asyncio.ensure_future(in_thread(next, pieces, None))
    try:
        while (piece := await asyncio.shield(coming)) is not None:
            coming = asyncio.ensure_future(in_thread(next, pieces, None))
            if piece:
                yield piece
    finally:
        # The generator may be busy with a piece; its files are closed as soon as that is done.
        coming.add_done_callback(lambda made: _end(made, pieces))


def _end(made: asyncio.Future[bytes | None], pieces: Pieces) -> None:
    if not made.cancelled():
        made.exception()  # nobody else asks for it when the client is gone
    pieces.close()
