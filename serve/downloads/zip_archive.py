"""ZIP archives of committed folders, made while they are sent; they are never whole in memory or on disk.

What goes in is what the folder's manifest lists, opened without following links. Nothing is compressed (weights do not
shrink), so the size is known beforehand and the same folder always gives the same bytes: an interrupted download
resumes where it stopped.
"""

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from zipstream import ZipStream

from ftlab.errors import NotFoundError
from ftlab.manifest import MANIFEST, MAX_MANIFEST_BYTES, Manifest
from serve.http.ranges import CHUNK_BYTES

LAYOUT = b"stored-zip-1"
"""To be changed whenever the same manifest would give other bytes than before."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_CENTRAL_RECORD = b"PK\x01\x02"


@dataclass(frozen=True)
class FolderArchive:
    """The archive of a committed folder."""

    folder: Path
    sizes: dict[str, int]
    """Size of each member by its name, in the order of the archive."""
    committed_at: datetime
    etag: str
    """Strong: archives with the same tag are the same, byte for byte."""

    @classmethod
    def of(cls, folder: Path, *, is_wanted: Callable[[str], bool] = lambda name: True) -> Self:
        """Read the manifest and look at every file whose name `is_wanted`.

        Raises `FileNotFoundError` where no folder was committed, and `NotFoundError` (code `files_damaged`) when
        something in it is not the regular file that the manifest lists.
        """
        content = _read_manifest(folder)
        try:
            manifest = Manifest.parse(content, folder.name)
            sizes = {name: manifest.files[name].size for name in sorted(manifest.files) if is_wanted(name)}
            for name, size in sizes.items():
                os.close(open_regular(folder, name, size))
        except (OSError, ValueError):
            raise _damaged() from None
        tag = sha256(b"\0".join([LAYOUT, content, *(name.encode() for name in sizes)])).hexdigest()
        return cls(folder, sizes, manifest.committed_at.astimezone(UTC), f'"{tag}"')

    @property
    def num_bytes(self) -> int:
        return len(self._stream())

    def pieces(self, start: int, stop: int) -> Generator[bytes, None, None]:
        """The bytes from `start` to `stop`.

        The bytes before `start` are made as well, for its checksums: each of those pieces comes out empty.
        """
        end = 0
        for piece in self._dated():
            begin, end = end, end + len(piece)
            if begin < start or end > stop:
                piece = piece[max(0, start - begin) : max(0, stop - begin)]
            yield piece
            if end >= stop:
                return

    def _stream(self) -> Any:
        stream = ZipStream(sized=True)
        for name, size in self.sizes.items():
            stream.add(_read(self.folder, name, size), name, size=size)
        return stream

    def _dated(self) -> Iterator[bytes]:
        """The stream with the time of the commit in place of the present time, which zipstream-ng writes.

        The time is at byte 10 of a local header and at byte 12 of a central record (APPNOTE 4.3.7 and 4.3.12).
        """
        stream, stamp = self._stream(), _dos_time(self.committed_at)
        for _ in self.sizes:
            entry = stream.file()
            header = next(entry)
            yield header[:10] + stamp + header[14:]
            yield from entry
        for record in stream.footer():
            yield record[:12] + stamp + record[16:] if record.startswith(_CENTRAL_RECORD) else record


def open_regular(folder: Path, name: str, size: int | None = None) -> int:
    """A descriptor of the file `name` (a relative POSIX path) in `folder`, reached without following any link.

    Raises `OSError` when it is not a regular file, or not one of `size` bytes.
    """
    *parents, leaf = name.split("/")
    if {"", ".", ".."} & {*parents, leaf} or "\\" in name or "\0" in name:
        raise OSError(errno.EINVAL, "not a plain relative name", name)
    directory = os.open(folder, _DIRECTORY)
    try:
        for parent in parents:
            inner = os.open(parent, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = inner
        descriptor = os.open(leaf, _FILE, dir_fd=directory)
    finally:
        os.close(directory)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and size in (None, status.st_size):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not the regular file that was expected", name)


def read_up_to(descriptor: int, num_bytes: int) -> Iterator[bytes]:
    """At most `num_bytes` of an open file, in chunks; closes it."""
    try:
        while num_bytes > 0 and (chunk := os.read(descriptor, min(CHUNK_BYTES, num_bytes))):
            num_bytes -= len(chunk)
            yield chunk
    finally:
        os.close(descriptor)


def _read(folder: Path, name: str, size: int) -> Iterator[bytes]:
    # A generator, so that the file is opened only when the archive reaches it.
    yield from read_up_to(open_regular(folder, name, size), size)


def _read_manifest(folder: Path) -> bytes:
    try:
        descriptor = open_regular(folder, MANIFEST)
    except FileNotFoundError:
        raise
    except OSError:
        raise _damaged() from None
    return b"".join(read_up_to(descriptor, MAX_MANIFEST_BYTES + 1))


def _dos_time(at: datetime) -> bytes:
    """The time in ZIP format, which begins in 1980 and has a resolution of two seconds (APPNOTE 4.4.6)."""
    at = max(at, datetime(1980, 1, 1, tzinfo=UTC))  # some machines start in 1970, until they find out the time
    date = (at.year - 1980) << 9 | at.month << 5 | at.day
    time = at.hour << 11 | at.minute << 5 | at.second // 2
    return time.to_bytes(2, "little") + date.to_bytes(2, "little")


def _damaged() -> NotFoundError:
    return NotFoundError("The files on disk do not match their manifest; the download was refused.", "files_damaged")
