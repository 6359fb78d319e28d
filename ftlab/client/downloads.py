"""The file beside a download's target: it grows, continues after a cut, and is renamed into place when complete."""

import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import httpx2

from ftlab.client.retry import Failure
from ftlab.client.wire import Fault

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class PartFile:
    """The file while it grows. Raises `OSError` when it cannot be written."""

    def __init__(self, target: Path) -> None:
        self.size_bytes = 0
        self.total_bytes: int | None = None
        self._etag: str | None = None
        self._target = target
        self._path = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        self._file: BinaryIO = self._path.open("wb")

    def headers(self) -> Mapping[str, str]:
        """Headers that request the rest, if the service named a version that it can continue."""
        identity = {"accept-encoding": "identity"}
        if self._etag is None or self.size_bytes == 0:
            return identity
        return identity | {"range": f"bytes={self.size_bytes}-", "if-range": self._etag}

    def begin(self, response: httpx2.Response) -> None:
        """Place the file where the bytes of this reply belong; raise `Fault` if they belong nowhere."""
        length = response.headers.get("content-length", "")
        content_range = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if response.status_code != 206:
            self._restart()
            self.total_bytes = int(length) if length.isdecimal() else None
        elif content_range is None or int(content_range[1]) != self.size_bytes:
            self._restart()
            raise Fault("the service continued at another position")
        elif content_range[2] != "*":
            self.total_bytes = int(content_range[2])
        etag = response.headers.get("etag")
        # A weak tag does not promise equal bytes (RFC 9110, section 13.1.5).
        self._etag = etag if etag and not etag.startswith("W/") else None

    def end(self) -> None:
        """Raise `Fault` when bytes are missing."""
        if self.total_bytes is not None and self.size_bytes != self.total_bytes:
            raise Fault(f"{self.size_bytes} of {self.total_bytes} bytes were received")

    def restart_if_refused(self, failure: Failure) -> bool:
        """Whether the service refused to continue, so that the file starts from its first byte again."""
        is_refused = not isinstance(failure, Fault) and failure.status_code == 416 and self.size_bytes > 0
        if is_refused:
            self._restart()
        return is_refused

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
