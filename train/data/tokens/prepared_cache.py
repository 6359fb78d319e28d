"""A folder of prepared data that many processes share: made once, used by many, evicted when space is short.

Each entry has a lock, exclusive for its maker and shared by its users; the kernel releases it when a process ends,
however that happens. An entry is built aside and renamed into place, so one that exists is complete.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ftlab.files import sync

MANIFEST = "manifest.json"
POLL_S = 0.05
"""Interval at which a process that waits for another maker checks again."""

Build = Callable[[Path], dict[str, Any]]
"""Writes the files of an entry into an empty folder and returns its manifest."""


class Entry:
    """An entry that is not evicted until `close` or the end of the process."""

    def __init__(self, folder: Path, manifest: dict[str, Any], lock: IO[str]) -> None:
        self.folder = folder
        self.manifest = manifest
        self._lock = lock

    def close(self) -> None:
        self._lock.close()


class PreparedCache:
    """Entries below one folder, by key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str, build: Build, on_wait: Callable[[], None] = lambda: None) -> Entry:
        """The entry of that key, made with `build` if it does not exist.

        While another thread or process makes it, `on_wait` is called repeatedly. An exception of `on_wait` or `build`
        ends the call and leaves nothing behind.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        while (entry := self.find(key)) is None:
            lock = _lock(self._lock_file(key), fcntl.LOCK_EX)
            if lock is None:
                on_wait()
                time.sleep(POLL_S)
                continue
            with lock:
                if self._manifest(key) is None:
                    self._make(key, build)
        return entry

    def find(self, key: str) -> Entry | None:
        """The entry of that key; `None` if it does not exist."""
        if self._manifest(key) is None:
            return None
        lock = _lock(self._lock_file(key), fcntl.LOCK_SH)
        if lock is None:
            return None
        manifest = self._manifest(key)
        if manifest is None:
            lock.close()
            return None
        os.utime(self._lock_file(key))
        return Entry(self._folder / key, manifest, lock)

    def evict(self, limit_bytes: int) -> list[str]:
        """Remove the least recently used entries until the rest fits; return their keys. Entries in use stay."""
        removed: list[str] = []
        entries = sorted((_last_used(file), file.stem) for file in self._folder.glob("*.lock"))
        sizes = {key: self._size(key) for _, key in entries}
        total = sum(sizes.values())
        for _, key in entries:
            if total <= limit_bytes and sizes[key]:
                continue
            if self._remove(key):
                removed.append(key)
                total -= sizes[key]
        return removed

    def _make(self, key: str, build: Build) -> None:
        aside = self._folder / f".tmp-{key}"
        shutil.rmtree(aside, ignore_errors=True)  # left by a maker that was killed
        aside.mkdir()
        try:
            manifest = build(aside)
            manifest["files"] = {file.name: file.stat().st_size for file in aside.iterdir()}
            (aside / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
            sync(aside / MANIFEST)
            shutil.rmtree(self._folder / key, ignore_errors=True)  # damaged
            aside.rename(self._folder / key)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            self._lock_file(key).unlink(missing_ok=True)
            raise

    def _remove(self, key: str) -> bool:
        lock = _lock(self._lock_file(key), fcntl.LOCK_EX)
        if lock is None:
            return False
        with lock:
            shutil.rmtree(self._folder / f".tmp-{key}", ignore_errors=True)
            shutil.rmtree(self._folder / key, ignore_errors=True)
            self._lock_file(key).unlink(missing_ok=True)
        return True

    def _manifest(self, key: str) -> dict[str, Any] | None:
        """The manifest of a complete entry."""
        folder = self._folder / key
        try:
            manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
            is_whole = all((folder / name).stat().st_size == size for name, size in manifest["files"].items())
        except (FileNotFoundError, ValueError, KeyError):
            return None
        return manifest if is_whole else None

    def _size(self, key: str) -> int:
        """Size in bytes; 0 for an entry that does not exist, or that another process is removing."""
        try:
            return sum(file.stat().st_size for file in (self._folder / key).glob("*"))
        except FileNotFoundError:
            return 0

    def _lock_file(self, key: str) -> Path:
        return self._folder / f"{key}.lock"


def _lock(file: Path, mode: int) -> IO[str] | None:
    """Lock the file; `None` if a conflicting lock is held."""
    while True:
        stream = file.open("a", encoding="utf-8")
        try:
            fcntl.flock(stream, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
        if _is_still(file, stream):
            return stream
        stream.close()  # just evicted, so the lock is on a deleted file


def _is_still(file: Path, stream: IO[str]) -> bool:
    try:
        return file.stat().st_ino == os.fstat(stream.fileno()).st_ino
    except FileNotFoundError:
        return False


def _last_used(lock_file: Path) -> float:
    try:
        return lock_file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
