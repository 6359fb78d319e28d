"""Sizes of folders, kept for a while: a walk over many files is too slow for every request."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

KEEP_S = 300.0
MAX_FOLDERS = 50_000


@dataclass(frozen=True)
class FolderSize:
    """The files below a folder."""

    num: int
    size_bytes: int
    own_bytes: int
    """Bytes of the files that no other folder shares."""


class FolderSizes:
    """Measures folders, each at most once in `KEEP_S`. Of several callers, one measures and the others wait for it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._measuring = threading.Lock()
        self._known: dict[Path, tuple[float, FolderSize]] = {}

    def of(self, folder: Path) -> FolderSize:
        """The size of a folder, which may be `KEEP_S` old; that of one that does not exist is 0."""
        with self._measuring:
            at, size = self._known.get(folder, (-KEEP_S, _NOTHING))
            if self._clock() - at < KEEP_S:
                return size
            size = measure(folder)
            self._known.pop(folder, None)
            self._known[folder] = (self._clock(), size)
            if len(self._known) > MAX_FOLDERS:
                del self._known[next(iter(self._known))]
            return size


_NOTHING = FolderSize(0, 0, 0)


def measure(folder: Path) -> FolderSize:
    """The size of a folder now."""
    num = size_bytes = own_bytes = 0
    for file in _files(folder):
        num += 1
        size_bytes += file.st_size
        own_bytes += file.st_size if file.st_nlink == 1 else 0
    return FolderSize(num, size_bytes, own_bytes)


def _files(folder: Path) -> Iterator[os.stat_result]:
    """The files below a folder, without following links; those that go meanwhile are left out."""
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(path, name))
            except FileNotFoundError:
                continue
            yield found
