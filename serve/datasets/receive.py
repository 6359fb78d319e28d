"""Write an upload to disk with constant memory and a running hash."""

import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from starlette.requests import Request

from ftlab.errors import InvalidRequestError, PayloadTooLargeError
from ftlab.files import check_space
from serve.access.identity import identity_of
from serve.context import services_of
from serve.http.multipart import MultipartFile
from serve.http.responses import in_thread

WRITE_BYTES = 1024**2
"""Bytes that are collected before each write, as every write takes a thread."""
MAX_NAME_CHARS = 200
FILENAME_HEADER = "x-filename"


@dataclass(frozen=True)
class Upload:
    """A received file. `filename` is the client's name for it and is never used as a path."""

    path: Path
    filename: str
    size_bytes: int
    sha256: str


async def receive(request: Request, path: Path, max_bytes: int, form: MultipartFile | None = None) -> Upload:
    """Write the request's file to `path` and sync it. `form` reads a form that has other fields besides the file.

    Raise `PayloadTooLargeError`, `ServiceUnavailableError` with code `disk_full`, `InvalidRequestError` for a request
    without a file, and what `file_chunks` raises. The caller removes `path` when this raises.
    """
    check_space(path.parent, declared_bytes(request))
    body = _Body(request, form)
    writing = _Writing(path, max_bytes)
    try:
        buffer = bytearray()
        async for data in body.chunks():
            buffer += data
            if len(buffer) >= WRITE_BYTES:
                await in_thread(writing.write, bytes(buffer))
                buffer.clear()
        await in_thread(writing.finish, bytes(buffer))
    finally:
        writing.file.close()
    return Upload(path, body.filename, writing.num_bytes, writing.sha256.hexdigest())


async def file_chunks(request: Request) -> AsyncIterator[bytes]:
    """The body of a request, whose bytes count towards what the caller's key may upload in an hour.

    Raise `RateLimitError` (code `upload_rate_limited`), before the first byte where the client gives the length.
    """
    limits, key_id = services_of(request).limits, identity_of(request).key_id
    limits.check_upload(key_id, declared_bytes(request))
    async for chunk in request.stream():
        limits.count_upload(key_id, len(chunk))
        yield chunk


def declared_bytes(request: Request) -> int:
    """The length of the body as the client gives it; 0 if it does not."""
    declared = request.headers.get("content-length", "")
    return int(declared[:20]) if declared.isdecimal() else 0


def display_name(filename: str) -> str:
    """A name to show, without folders, control and format characters; empty when nothing is left."""
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(char for char in name if char.isprintable()).strip()
    return shown if shown.strip(".") else ""


class _Body:
    """The file in a request's body, sent as a form or bare; `filename` is known after the last chunk."""

    def __init__(self, request: Request, form: MultipartFile | None) -> None:
        self._request = request
        content_type = request.headers.get("content-type", "")
        is_form = content_type.lower().startswith("multipart/")
        self._form = form or (MultipartFile(content_type) if is_form else None)
        self.filename = "" if self._form else _header_name(request)

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in file_chunks(self._request):
            yield self._form.feed(chunk) if self._form and chunk else chunk
        if self._form:
            self._form.finish()
            self.filename = self._form.filename


class _Writing:
    """A file that is being written, with its running hash and size."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.file: BinaryIO = path.open("xb")
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0
        self._folder = path.parent
        self._max_bytes = max_bytes

    def write(self, data: bytes) -> None:
        self.num_bytes += len(data)
        if self.num_bytes > self._max_bytes:
            raise PayloadTooLargeError(f"The file is larger than {self._max_bytes} bytes.")
        check_space(self._folder, len(data))
        self.sha256.update(data)
        self.file.write(data)

    def finish(self, data: bytes) -> None:
        self.write(data)
        self.file.flush()
        os.fsync(self.file.fileno())


def _header_name(request: Request) -> str:
    """The name in `x-filename`: percent-encoded, or UTF-8 as it is."""
    given = request.headers.get(FILENAME_HEADER)
    if not given:
        raise InvalidRequestError(
            "Send the file as form field 'file', or as the body with its name in the header x-filename.",
            "missing_file",
            FILENAME_HEADER,
        )
    return unquote(given.encode("latin-1").decode("utf-8", "replace"))
