"""Space on the disk that large files leave to the jobs and the database."""

import errno
import shutil
from pathlib import Path

from ftlab.errors import ServiceUnavailableError

MIN_FREE_BYTES = 256 * 1024**2
"""What uploads, conversions and copies of files in buckets leave free."""


def check_space(folder: Path, num_bytes: int = 0) -> None:
    """Raise `ServiceUnavailableError` (code `disk_full`) when `num_bytes` more would leave too little.

    Cheap enough to be asked for every mebibyte that is written.
    """
    if shutil.disk_usage(folder).free - num_bytes < MIN_FREE_BYTES:
        raise disk_full(folder)


def disk_full(folder: Path) -> ServiceUnavailableError:
    """The error that names the free space."""
    free = shutil.disk_usage(folder).free
    return ServiceUnavailableError(
        f"The disk is too full for this file: {free} bytes are free, {MIN_FREE_BYTES} are kept for the jobs.",
        "disk_full",
    )


def is_disk_full(error: OSError) -> bool:
    """Whether it is the system's "no space left"."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
