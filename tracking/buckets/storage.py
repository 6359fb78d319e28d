"""Interface of every bucket, wherever its files are stored, and the keys of its files.

Keys are made of hashes, never of what a user sent.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Protocol


def blob_key(sha256: str) -> str:
    """The key of a file as it was uploaded."""
    return f"blobs/{sha256}"


def canonical_key(
    sha256: str, *, version: str, format: str, shape: str, columns: Mapping[str, str], num_skipped: int = 0
) -> str:
    """The key of the canonical rows of that file. It covers everything that they depend on.

    That includes how many rows were skipped: a row that the detected shape refuses may be read where it was named.
    """
    conversion: dict[str, object] = {"version": version, "format": format, "shape": shape, "columns": dict(columns)}
    if num_skipped:
        conversion["num_skipped"] = num_skipped
    text = json.dumps(conversion, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{canonical_prefix(sha256)}{hashlib.sha256(text.encode()).hexdigest()[:12]}.arrow"


def canonical_prefix(sha256: str) -> str:
    """The common beginning of the keys of all canonical rows of that file."""
    return f"canonical/{sha256}-"


class Storage(Protocol):
    """Files by key. A file never changes once it is there, so writing it again is writing the same.

    A storage that cannot be reached raises `ServiceUnavailableError` (code `bucket_unavailable`).
    """

    @property
    def folder(self) -> Path | None:
        """The folder with the files, if they are on this machine."""

    def size_of(self, key: str) -> int | None:
        """Size in bytes; `None` when there is no such file."""

    def put(self, key: str, file: Path) -> None:
        """Store a file, unless it is there already. It is durable once this returns."""

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading at any position. Raise `FileNotFoundError` when there is none."""

    def remove(self, key: str) -> None:
        """Remove a file, if it is there."""

    def keys(self, prefix: str) -> list[str]:
        """The keys in one folder that begin with `prefix`."""

    def signed_url(self, key: str, expires_s: int, filename: str) -> str | None:
        """A URL at which anyone can read the file for `expires_s`; `None` where the storage offers none."""
