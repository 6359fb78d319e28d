"""Rows of a Parquet file, a few at a time."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.files import check_space
from train.data.formats import jsonl, parquet_process
from train.data.formats.jsonl import Parsed, too_long
from train.data.formats.source import (
    MAX_UNPACKED_BYTES,
    MAX_UNPACKED_RATIO,
    MIN_UNPACKED_BYTES,
    compression_of,
    open_plain,
    unpacked_too_large,
)
from train.data.rows.errors import DatasetInvalidError, RowError, Rule, shown_name

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY_BYTES = 4 * 1024**3
"""Address space of the process that reads a file; ordinary files need a tenth of it."""


def parse_parquet(path: Path) -> Iterator[Parsed]:
    """Number each row from 1. Raise `DatasetInvalidError` when the file has no readable footer."""
    number = 0
    with _seekable(path) as plain:
        try:
            for batch in _batches(plain):
                for value in _values(batch):
                    number += 1
                    yield number, value
        except _DamagedError:
            if not number:
                raise DatasetInvalidError(f"The Parquet file is damaged or cut off. [{Rule.DAMAGED_FILE}]") from None
            yield number + 1, RowError(Rule.DAMAGED_FILE, "The Parquet file is damaged here.")


class _DamagedError(Exception):
    """The Parquet file cannot be read, or not from here on."""


@contextmanager
def _seekable(path: Path) -> Iterator[Path]:
    """The Parquet file itself, or unpacked beside it: its footer is read first."""
    if compression_of(path) is None:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as unpacked:
        try:
            with open_plain(path) as file:
                while piece := file.read(1024**2):
                    check_space(path.parent, len(piece))
                    unpacked.write(piece)
        except RowError as error:
            raise DatasetInvalidError(f"{error.message} [{error.rule}]") from None
        unpacked.flush()
        yield Path(unpacked.name)


def _refuse_repeated_name(fields: "Iterable[pa.Field]", place: str = "") -> None:
    """Refuse two columns of one name, or two fields of a nested column, of which only one could be read."""
    import pyarrow as pa

    seen: set[str] = set()
    for field in fields:
        if field.name in seen:
            what = f"fields of the column {shown_name(place)}" if place else "columns of the file"
            message = f"Two {what} have the name {shown_name(field.name)}; rename or remove one."
            raise DatasetInvalidError(f"{message} [{Rule.REPEATED_KEY}]")
        seen.add(field.name)
        if pa.types.is_nested(field.type):
            inner = (field.type.field(i) for i in range(field.type.num_fields))
            _refuse_repeated_name(inner, place or field.name)


def _batches(path: Path) -> Iterator["pa.RecordBatch"]:
    """What another process reads of the file: no file can end this one, or take its memory."""
    import pyarrow as pa

    limit = min(max(path.stat().st_size * MAX_UNPACKED_RATIO, MIN_UNPACKED_BYTES), MAX_UNPACKED_BYTES)
    # A long text that many rows have is encoded once, so the decoded rows may be far larger than the file.
    limits = jsonl.MAX_ROW_BYTES, limit, MAX_UNPACKED_BYTES, MEMORY_BYTES
    command = [sys.executable, "-P", parquet_process.__file__, str(path), *map(str, limits)]
    is_whole = False
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        try:
            with suppress(pa.ArrowException, OSError), pa.ipc.open_stream(reader.stdout) as stream:
                _refuse_repeated_name(stream.schema)
                yield from stream
                is_whole = True
            while reader.stdout.read(parquet_process.BUFFER_BYTES):
                pass  # until all is read, the process waits
            status = reader.wait()
        finally:
            reader.kill()
    if status == parquet_process.TOO_LARGE:
        error = unpacked_too_large(limit)
        raise DatasetInvalidError(f"{error.message} [{error.rule}]")
    if status in (parquet_process.NO_MEMORY, -signal.SIGKILL):
        raise DatasetInvalidError(
            f"Reading the Parquet file takes more than {MEMORY_BYTES // 1024**3} GiB of memory; write it again with "
            f"smaller pages, or as JSONL. [{Rule.TOO_LARGE_UNPACKED}]"
        )
    if status > parquet_process.ERRNO:
        raise OSError(status - parquet_process.ERRNO, os.strerror(status - parquet_process.ERRNO), str(path))
    if status > 0 and status != parquet_process.DAMAGED:
        raise RuntimeError(f"The process that reads Parquet files ended with status {status}; the log says why.")
    if status or not is_whole:
        raise _DamagedError


def _values(batch: "pa.RecordBatch") -> list[Any]:
    if not batch.num_rows:
        return [too_long("row")]
    with suppress(UnicodeDecodeError, ValueError, OverflowError):
        return _to_rows(batch)
    return [_value(batch.slice(i, 1)) for i in range(batch.num_rows)]


def _value(row: "pa.RecordBatch") -> Any:
    try:
        return _to_rows(row)[0]
    except UnicodeDecodeError:
        return RowError(Rule.INVALID_UTF8, "A text of the row is not valid UTF-8.")
    except (ValueError, OverflowError):
        return RowError(Rule.WRONG_TYPE, "A value of the row, such as a date, is out of range.")


def _to_rows(batch: "pa.RecordBatch") -> list[dict[str, Any]]:
    import pyarrow as pa

    rows: list[dict[str, Any]] = batch.to_pylist()
    for name in [field.name for field in batch.schema if pa.types.is_nested(field.type)]:
        for row in rows:
            row[name] = _without_nulls(row[name])
    return rows


def _without_nulls(value: Any) -> Any:
    """A nested value without the null fields of its objects: Arrow gives each object the fields of all objects."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
