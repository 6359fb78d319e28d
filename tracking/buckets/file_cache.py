"""Copies on this machine of files that lie in buckets elsewhere, the least recently used ones removed first."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ftlab.errors import ServiceUnavailableError
from ftlab.files import check_space, replacing
from tracking.buckets.storage import Storage

COPY_BYTES = 1024**2
LOCK_NAME_CHARS = 3
"""Few lock files are made, so that they can stay; two files that share one are fetched one after the other."""
SPARED_S = 3600.0
"""A copy that was asked for so lately is kept: a job is about to read it. One that is open may go at any time."""


class FileCache:
    """A file never changes under its key, so a copy is good for as long as it is there."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def path(self, bucket: str, key: str) -> Path:
        """Where the copy of a file is, or will be."""
        return self._folder / bucket / key

    def fetch(self, bucket: str, key: str, storage: Storage) -> Path:
        """The copy of a file, made if it is not there. Who comes while it is made waits for it.

        Raises `FileNotFoundError` when the bucket has no such file, and `ServiceUnavailableError`.
        """
        path = self.path(bucket, key)
        try:
            os.utime(path)
        except FileNotFoundError:
            with self._only_one(path):
                if not path.exists():
                    _download(storage, key, path)
                    self._trim()
        return path

    @contextmanager
    def _only_one(self, path: Path) -> Iterator[None]:
        """Of all threads and processes that fetch this file; the kernel lets go when a process ends."""
        locks = self._folder.with_name(f"{self._folder.name}-locks")
        locks.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(str(path.relative_to(self._folder)).encode()).hexdigest()[:LOCK_NAME_CHARS]
        with (locks / name).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _trim(self) -> None:
        found = []
        for path in self._folder.rglob("*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # another process trims too
            if path.is_file():
                found.append((status.st_mtime, status.st_size, path))
        excess = sum(size for _, size, _ in found) - self._max_bytes
        for used_at, size, path in sorted(found):
            if excess <= 0 or time.time() - used_at < SPARED_S:
                return
            path.unlink(missing_ok=True)
            excess -= size


def _download(storage: Storage, key: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    num_bytes = storage.size_of(key)
    check_space(path.parent, num_bytes or 0)
    with replacing(path) as aside:
        with storage.open(key) as source, aside.open("wb") as target:
            while piece := source.read(COPY_BYTES):
                check_space(path.parent, len(piece))
                target.write(piece)
        if aside.stat().st_size != num_bytes:
            raise ServiceUnavailableError(
                f"{aside.stat().st_size} of {num_bytes} bytes came from the bucket; try again.", "bucket_unavailable"
            )
