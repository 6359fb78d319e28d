"""Downloads: to a file beside the target, continued after a cut, and renamed into place when complete."""

import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ftlab.client.endpoint import Endpoint
from ftlab.client.retry import Retries
from ftlab.client.steps import Sleep, Steps, open_body, read_body, work
from ftlab.client.wire import Fault, OnProgress, Reply, Request

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def download(endpoint: Endpoint, request: Request, target: Path, on_progress: OnProgress | None = None) -> Steps[Path]:
    """Fetch a file and return its path. Nothing is left at the target, nor beside it, when that fails.

    Raises `OSError` when the file cannot be written.
    """
    part = yield from work(lambda: _Part(target))
    retries = Retries(endpoint, request)
    try:
        while True:
            before = part.size_bytes
            try:
                reply = yield from open_body(replace(request, headers=part.headers()))
                if reply.is_success:
                    yield from _read(part, reply, on_progress)
                    break
                failure: Fault | Reply = reply
            except Fault as fault:
                failure = fault
            if part.size_bytes > before:
                retries.restart()
            yield Sleep(retries.after(failure) if not part.refuses_range(failure) else 0.0)
        yield from work(part.publish)
    finally:
        part.discard()
    return target


def _read(part: "_Part", reply: Reply, on_progress: OnProgress | None) -> Steps[None]:
    part.begin(reply)
    while chunk := (yield from read_body()):
        yield from work(lambda data=chunk: part.write(data))  # type: ignore[misc]
        if on_progress:
            on_progress(part.size_bytes, part.total_bytes)
    if part.total_bytes is not None and part.size_bytes != part.total_bytes:
        raise Fault(f"{part.size_bytes} of {part.total_bytes} bytes came")


class _Part:
    """The file while it grows."""

    def __init__(self, target: Path) -> None:
        self.size_bytes = 0
        self.total_bytes: int | None = None
        self._etag: str | None = None
        self._target = target
        self._path = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        self._file: BinaryIO = self._path.open("wb")

    def headers(self) -> Mapping[str, str]:
        """Ask for the rest, if the service named a version that it can continue."""
        identity = {"accept-encoding": "identity"}
        if self._etag is None or self.size_bytes == 0:
            return identity
        return identity | {"range": f"bytes={self.size_bytes}-", "if-range": self._etag}

    def begin(self, reply: Reply) -> None:
        """Place the file where the bytes of this answer belong; raise `Fault` if they belong nowhere."""
        length = reply.headers.get("content-length", "")
        content_range = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", ""))
        if reply.status != 206:
            self._restart()
            self.total_bytes = int(length) if length.isdigit() else None
        elif content_range is None or int(content_range[1]) != self.size_bytes:
            self._restart()
            raise Fault("the service continued at another place")
        elif content_range[2] != "*":
            self.total_bytes = int(content_range[2])
        etag = reply.headers.get("etag")
        # A weak tag does not promise equal bytes (RFC 9110, section 13.1.5).
        self._etag = etag if etag and not etag.startswith("W/") else None

    def refuses_range(self, failure: Fault | Reply) -> bool:
        """Whether the service would not continue, so that the file begins anew."""
        if not isinstance(failure, Reply) or failure.status != 416 or self.size_bytes == 0:
            return False
        self._restart()
        return True

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.size_bytes += len(data)

    def publish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.replace(self._target)

    def discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.size_bytes = 0
        self.total_bytes = self._etag = None
