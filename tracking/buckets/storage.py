"""What a bucket can do, wherever its files lie."""

from pathlib import Path
from typing import BinaryIO, Protocol


class Storage(Protocol):
    """Files by key. A file never changes once it is there, so writing it again is writing the same.

    A storage that is away raises `ServiceUnavailableError` (code `bucket_unavailable`).
    """

    @property
    def folder(self) -> Path | None:
        """Where the files lie, if they lie on this machine."""

    def size_of(self, key: str) -> int | None:
        """Size in bytes; `None` when there is no such file."""

    def put(self, key: str, file: Path) -> None:
        """Store a file, unless it is there already. It lasts once this returns."""

    def open(self, key: str) -> BinaryIO:
        """Open a file to read from any place. Raise `FileNotFoundError` when there is none."""

    def remove(self, key: str) -> None:
        """Remove a file, if it is there."""

    def keys(self, prefix: str) -> list[str]:
        """The keys in one folder that begin with `prefix`."""

    def signed_url(self, key: str, expires_s: int, filename: str) -> str | None:
        """A URL at which anybody can read the file for so long; `None` where the storage has no such thing."""
