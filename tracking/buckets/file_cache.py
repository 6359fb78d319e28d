"""Local copies of files in remote buckets; the least recently used ones are removed first."""

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
"""So few lock files exist that they need not be removed; files that share one are fetched one after the other."""
MIN_AGE_S = 3600.0
"""Copies used more recently are kept: a job is about to read them. An open file may be unlinked at any time."""


class FileCache:
    """A file never changes under its key, so a copy never becomes stale."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def path(self, bucket: str, key: str) -> Path:
        """The path of the copy of a file, whether or not it exists yet."""
        return self._folder / bucket / key

    def fetch(self, bucket: str, key: str, storage: Storage) -> Path:
        """The copy of a file, fetched unless it exists. Concurrent callers wait for the first one.

        Raises `FileNotFoundError` when the bucket has no such file, and `ServiceUnavailableError`.
        """
        path = self.path(bucket, key)
        try:
            os.utime(path)
        except FileNotFoundError:
            with self._exclusive(path):
                if not path.exists():
                    _download(storage, key, path)
                    self._trim()
        return path

    @contextmanager
    def _exclusive(self, path: Path) -> Iterator[None]:
        """Exclude other threads and processes that fetch this file; the kernel unlocks it when a process ends."""
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
                continue  # removed by another process
            if path.is_file():
                found.append((status.st_mtime, status.st_size, path))
        excess = sum(size for _, size, _ in found) - self._max_bytes
        for used_at, size, path in sorted(found):
            if excess <= 0 or time.time() - used_at < MIN_AGE_S:
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
                f"{aside.stat().st_size} of {num_bytes} bytes were received from the bucket; try again.",
                "bucket_unavailable",
            )
