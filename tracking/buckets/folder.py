"""A bucket in a local folder."""

import os
import shutil
import time
import uuid
from pathlib import Path
from typing import BinaryIO

from ftlab.files import replacing

INCOMING = ".incoming"
"""Folder inside the bucket for files that are being written."""
STALE_S = 24 * 3600


class LocalFolder:
    """Files appear whole and durable, or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def size_of(self, key: str) -> int | None:
        try:
            return (self.folder / key).stat().st_size
        except FileNotFoundError:
            return None

    def put(self, key: str, file: Path) -> None:
        """Store a hard link where possible; `file` must not change afterwards."""
        target = self.folder / key
        if self.size_of(key) == file.stat().st_size:
            return
        incoming = self.folder / INCOMING
        for folder in (incoming, target.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with replacing(target, aside=incoming / uuid.uuid4().hex) as aside:
            try:
                os.link(file, aside)
            except OSError:
                shutil.copyfile(file, aside)  # on another disk

    def open(self, key: str) -> BinaryIO:
        return (self.folder / key).open("rb")

    def remove(self, key: str) -> None:
        (self.folder / key).unlink(missing_ok=True)

    def keys(self, prefix: str) -> list[str]:
        folder, _, start = prefix.rpartition("/")
        try:
            names = os.listdir(self.folder / folder)
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{name}" for name in names if name.startswith(start))

    def sweep(self) -> None:
        """Remove partial files that killed processes left."""
        for aside in (self.folder / INCOMING).glob("*"):
            try:
                # The time of the link; the modification time is that of the original file.
                linked_at = aside.stat().st_ctime
            except FileNotFoundError:
                continue  # its writer has finished
            if time.time() - linked_at > STALE_S:
                aside.unlink(missing_ok=True)

    def signed_url(self, key: str, expires_s: int, filename: str) -> str | None:
        """The service signs its own URLs."""
        return None
