"""Files that outlive a crash or a power cut, their hashes, and the free space of the disk they are on."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ftlab.errors import ServiceUnavailableError

MIN_FREE_BYTES = 256 * 1024**2
"""Free space that uploads, conversions and copies of bucket files leave to the jobs and the database."""


def sync(path: Path) -> None:
    """Make the content of a file, or the renames inside a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(target: Path, *, aside: Path | None = None) -> Iterator[Path]:
    """A path to write a new `target` to, by default beside it; the folder must exist.

    When the block ends without an error, the file appears as `target`, whole and durable. Otherwise it is removed, and
    an earlier `target` stays.
    """
    aside = aside or target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield aside
        sync(aside)
        os.replace(aside, target)
    finally:
        # After an error; and a rename between two links to the same file leaves both.
        aside.unlink(missing_ok=True)
    sync(target.parent)


def sha256_of(path: Path) -> str:
    """The hash of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_bytes(path: Path) -> int:
    """Free space of the disk that `path` is on, or would be on."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(there).free


def check_space(folder: Path, num_bytes: int = 0) -> None:
    """Raise `ServiceUnavailableError` (code `disk_full`) when `num_bytes` more would leave too little.

    Cheap enough to be called for every mebibyte that is written.
    """
    if shutil.disk_usage(folder).free - num_bytes < MIN_FREE_BYTES:
        raise disk_full(folder)


def disk_full(folder: Path) -> ServiceUnavailableError:
    """The error that names the free space."""
    free = shutil.disk_usage(folder).free
    return ServiceUnavailableError(
        f"Not enough disk space for this file: {free} bytes are free, {MIN_FREE_BYTES} are reserved for jobs.",
        "disk_full",
    )


def is_disk_full(error: OSError) -> bool:
    """Whether the system reports that no space is left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
