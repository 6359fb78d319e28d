"""Bringing an upload to the disk: constant memory, hashed on the way, nothing left behind when it fails."""

import errno
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from starlette.requests import Request

from ftlab.errors import InvalidRequestError, PayloadTooLargeError, ServiceUnavailableError
from serve.multipart import MultipartFile
from serve.replies import in_thread

WRITE_BYTES = 1024**2
"""How much is gathered before it goes to the disk: one change of thread for each."""
MIN_FREE_BYTES = 256 * 1024**2
"""Space that uploads leave to the jobs and the database."""
MAX_NAME_CHARS = 200
FILENAME_HEADER = "x-filename"


@dataclass(frozen=True)
class Upload:
    """A file that came in. `filename` is what the client calls it, and is never used as a path."""

    path: Path
    filename: str
    size_bytes: int
    sha256: str


async def receive(request: Request, path: Path, max_bytes: int) -> Upload:
    """Write the request's file to `path` and make it last.

    Raise `PayloadTooLargeError`, `ServiceUnavailableError` with code `disk_full`, and `InvalidRequestError` for a
    request without a file. The caller removes `path` when this raises.
    """
    declared = request.headers.get("content-length", "")
    check_space(path.parent, int(declared) if declared.isdecimal() else 0)
    body = _Body(request)
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


def display_name(filename: str) -> str:
    """A name to show, without folders, control and format characters; empty when nothing is left."""
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(char for char in name if char.isprintable()).strip()
    return shown if shown.strip(".") else ""


def check_space(folder: Path, num_bytes: int) -> None:
    """Raise `ServiceUnavailableError` when `num_bytes` more would fill the disk."""
    free = shutil.disk_usage(folder).free
    if free - num_bytes < MIN_FREE_BYTES:
        raise _disk_full(free)


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Turn the system's "no space left" into an error that names the free space."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _disk_full(shutil.disk_usage(folder).free) from None


class _Body:
    """The file in a request's body, whichever way it was sent; `filename` is known after the last chunk."""

    def __init__(self, request: Request) -> None:
        self._request = request
        content_type = request.headers.get("content-type", "")
        is_form = content_type.lower().startswith("multipart/")
        self._form = MultipartFile(content_type) if is_form else None
        self.filename = "" if is_form else _header_name(request)

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._request.stream():
            yield self._form.feed(chunk) if self._form and chunk else chunk
        if self._form:
            self._form.finish()
            self.filename = self._form.filename


class _Writing:
    """The file being written, with its running hash and size."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.file: BinaryIO = path.open("xb")
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0
        self._folder = path.parent
        self._max_bytes = max_bytes
        self._checked_at = 0

    def write(self, data: bytes) -> None:
        self.num_bytes += len(data)
        if self.num_bytes > self._max_bytes:
            raise PayloadTooLargeError(f"The file is larger than {self._max_bytes} bytes.")
        if self.num_bytes - self._checked_at >= MIN_FREE_BYTES // 4:
            check_space(self._folder, 0)
            self._checked_at = self.num_bytes
        self.sha256.update(data)
        with full_disk_named(self._folder):
            self.file.write(data)

    def finish(self, data: bytes) -> None:
        self.write(data)
        with full_disk_named(self._folder):
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


def _disk_full(free: int) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        f"The disk is too full for this file: {free} bytes are free, {MIN_FREE_BYTES} are kept for the jobs.",
        "disk_full",
    )
