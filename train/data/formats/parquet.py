"""Rows of a Parquet file, a few at a time."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.files import check_space
from train.data.formats import jsonl
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

BATCH_ROWS = 64
"""Rows decoded at once: few, as each may be a huge value from a dictionary."""
BATCH_BYTES = 16 * 1024**2


def parse_parquet(path: Path) -> Iterator[Parsed]:
    """Number each row from 1. Raise `DatasetInvalidError` when the file has no readable footer."""
    import pyarrow as pa
    from pyarrow import parquet

    number = 0
    with _seekable(path) as plain:
        try:
            with parquet.ParquetFile(plain) as file:
                limit = max(plain.stat().st_size * MAX_UNPACKED_RATIO, MIN_UNPACKED_BYTES)
                _refuse_bomb(file.metadata, min(limit, MAX_UNPACKED_BYTES))
                _refuse_repeated_name(file.schema_arrow)
                for batch in _batches(file):
                    for value in _values(batch):
                        number += 1
                        yield number, value
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            if not number:
                raise DatasetInvalidError(f"The Parquet file is damaged or cut off. [{Rule.DAMAGED_FILE}]") from None
            yield number + 1, RowError(Rule.DAMAGED_FILE, "The Parquet file is damaged here.")


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


def _refuse_bomb(metadata: Any, limit: int) -> None:
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if size > limit:
        raise _bomb(limit)


def _bomb(limit: int) -> DatasetInvalidError:
    error = unpacked_too_large(limit)
    return DatasetInvalidError(f"{error.message} [{error.rule}]")


def _batches(file: Any) -> Iterator["pa.RecordBatch"]:
    num_bytes = 0
    for i in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(i)
        row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
        size = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
        for batch in file.iter_batches(batch_size=size, row_groups=[i], use_threads=False):
            num_bytes += batch.nbytes
            if num_bytes > MAX_UNPACKED_BYTES:
                raise _bomb(MAX_UNPACKED_BYTES)
            yield batch


def _values(batch: "pa.RecordBatch") -> list[Any]:
    if batch.nbytes <= jsonl.MAX_ROW_BYTES:
        with suppress(UnicodeDecodeError, ValueError, OverflowError):
            return _to_rows(batch)
    return [_value(batch.slice(i, 1)) for i in range(batch.num_rows)]


def _value(row: "pa.RecordBatch") -> Any:
    if row.nbytes > jsonl.MAX_ROW_BYTES:
        return too_long("row")
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
