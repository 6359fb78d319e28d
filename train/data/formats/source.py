"""The uploaded file as a stream of uncompressed bytes, and the format of its rows."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ftlab.schemas.dataset_files import COMPRESSION_SUFFIXES, FORMAT_SUFFIXES
from train.data.formats.jsonl import ByteStream, parse_jsonl
from train.data.rows.errors import DatasetInvalidError, RowError, Rule

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_UNPACKED_RATIO = 200
"""Maximum expansion of a compressed file; ordinary text stays below 20 times."""
MIN_UNPACKED_BYTES = 64 * 1024**2
"""Size that any compressed file may expand to, however small it is."""
MAX_UNPACKED_BYTES = 64 * 1024**3
"""Maximum size of any file after decompression."""

HEAD_BYTES = 4096
BUFFER_BYTES = 256 * 1024
PIECE_BYTES = 4096
"""Bytes decompressed at once, and lost where a file is cut off."""


class FileFormat(StrEnum):
    """How rows are written in a file, which may also be compressed."""

    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"


_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_PARQUET_MAGIC = b"PAR1"
_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_ENDINGS = ".jsonl, .json, .csv, .tsv or .parquet, and may have .gz or .zst behind it"


def compression_of(path: Path) -> str | None:
    """`gzip`, `zstd` or `None`, by the first bytes, since file names are unreliable."""
    with path.open("rb") as file:
        head = file.read(4)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


@contextmanager
def open_plain(path: Path) -> Iterator[ByteStream]:
    """The file's bytes, decompressed if necessary.

    Reading raises `RowError` (`cut_off`, `damaged_file`, `too_large_unpacked`) where a compressed file ends too
    early, is damaged, or expands beyond its limit.
    """
    compression = compression_of(path)
    if compression is None:
        with io.BufferedReader(io.FileIO(path), BUFFER_BYTES) as file:
            yield file
        return
    limit = min(max(path.stat().st_size * MAX_UNPACKED_RATIO, MIN_UNPACKED_BYTES), MAX_UNPACKED_BYTES)
    with io.BufferedReader(_Unpacked(path, compression, limit), BUFFER_BYTES) as unpacked:
        yield unpacked


def format_of(path: Path, filename: str) -> FileFormat:
    """The format of a file that was uploaded as `filename`.

    Raise `DatasetInvalidError` when it is empty, binary, not in UTF-8 or of an unknown format.
    """
    named = named_format(filename)
    head = _head(path)
    if not head:
        raise DatasetInvalidError("The file is empty.")
    if head.startswith(_PARQUET_MAGIC):
        return FileFormat.PARQUET
    if named is FileFormat.PARQUET:
        raise DatasetInvalidError("The file's name ends in .parquet, but it is not a Parquet file.")
    _refuse_binary(head)
    if named in (FileFormat.CSV, FileFormat.TSV):
        return named
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if start == b"[":
        return FileFormat.JSON
    if named is None and start not in (b"{", b""):
        raise _misnamed()
    if named is FileFormat.JSON and not _has_whole_first_line(path):
        return FileFormat.JSON
    return FileFormat.JSONL


def unpacked_too_large(limit: int) -> RowError:
    """The error for a compressed file that expands to more than `limit` bytes."""
    return RowError(
        Rule.TOO_LARGE_UNPACKED,
        f"Unpacked, the file is larger than {limit // 1024**2} MiB: at most {MAX_UNPACKED_RATIO} times its size and "
        f"{MAX_UNPACKED_BYTES // 1024**3} GiB are unpacked.",
    )


def named_format(filename: str) -> FileFormat | None:
    """The format that the name implies, if any. Raise `DatasetInvalidError` for an unknown suffix."""
    name = filename.lower()
    for compressed in COMPRESSION_SUFFIXES:
        name = name.removesuffix(compressed)
    suffix = PurePosixPath(name).suffix
    if not suffix:
        return None
    if suffix not in FORMAT_SUFFIXES:
        raise _misnamed()
    return FileFormat(FORMAT_SUFFIXES[suffix])


def _has_whole_first_line(path: Path) -> bool:
    """Whether the first line is valid JSON on its own, as in a JSONL file named `.json`."""
    with open_plain(path) as file:
        try:
            first = next(parse_jsonl(file), None)
        except RowError:
            return False
    return first is not None and not isinstance(first[1], RowError)


def _misnamed() -> DatasetInvalidError:
    return DatasetInvalidError(f"The file name must end in {_ENDINGS}.")


def _head(path: Path) -> bytes:
    try:
        with open_plain(path) as file:
            head = file.read(HEAD_BYTES)
    except RowError as error:
        raise DatasetInvalidError(f"{error.message} [{error.rule}]") from None
    if compression_of(path) and any(head.startswith(magic) for magic in _MAGIC):
        raise DatasetInvalidError("The file is compressed twice; unpack it once.")
    return head


def _refuse_binary(head: bytes) -> None:
    for mark, encoding in _OTHER_ENCODINGS.items():
        if head.startswith(mark):
            raise DatasetInvalidError(f"The file is text in {encoding}; save it as UTF-8. [{Rule.INVALID_UTF8}]")
    if b"\0" not in head:
        return
    # In UTF-16, every second byte of Latin letters is zero.
    if not any(head[0::2]) or not any(head[1::2]):
        raise DatasetInvalidError(f"The file is text in UTF-16; save it as UTF-8. [{Rule.INVALID_UTF8}]")
    raise DatasetInvalidError("The file is not text in UTF-8: it is binary or in another encoding.")


class _Unpacked(io.RawIOBase):
    """The decompressed content of a file, up to a size limit."""

    def __init__(self, path: Path, compression: str, limit: int) -> None:
        import pyarrow as pa

        self._file = pa.OSFile(str(path))
        self._stream = pa.CompressedInputStream(self._file, compression)
        self._limit = limit
        self._num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        import pyarrow as pa

        view = memoryview(buffer).cast("B")
        try:
            data = self._stream.read(min(len(view), PIECE_BYTES))
        except (OSError, pa.ArrowException) as error:
            if getattr(error, "errno", None) is not None:
                raise
            if "runcated" in str(error):
                raise RowError(Rule.CUT_OFF, "The compressed file ends too early: it is cut off.") from None
            raise RowError(Rule.DAMAGED_FILE, "The compressed file is damaged and cannot be unpacked.") from None
        self._num_bytes += len(data)
        if self._num_bytes > self._limit:
            raise unpacked_too_large(self._limit)
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._file.close()
        super().close()
