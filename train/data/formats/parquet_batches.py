"""Rows of a Parquet file in batches that fit in memory, however small the file is.

A dictionary holds a long text once and refers to it from any number of rows, in a few bytes each. So the size of the
file, and the size of its columns without compression, say little about what its rows unpack to.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.data.formats.source import unpacked_too_large
from train.data.rows.errors import DatasetInvalidError, Rule, shown_name

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 64
"""Maximum number of rows in a batch."""
BATCH_BYTES = 16 * 1024**2
"""Bytes of a batch, if its rows are as long as those of its row group on average."""
WORST_BATCH_BYTES = 256 * 1024**2
"""Bytes that a batch may have at worst, if its rows refer to the longest texts only."""
PARTS = 8
"""Parts in which a row group is read whose texts stay in dictionaries; each one has a copy of the dictionaries."""
VALUE_BYTES = 8
"""Least memory that a value takes, also if it is empty or null."""

_TEXT = "BYTE_ARRAY"
_PREFIXED = "DELTA_BYTE_ARRAY"
"""Encoding in which a text may begin like the one before it, for a few bits."""


def batches(file: Any, path: Path, limit: int) -> "Iterator[pa.RecordBatch]":
    """All rows of an open Parquet file at `path`, in order.

    Raise `DatasetInvalidError` for a file that unpacks to more than `limit` bytes.
    """
    from pyarrow import parquet

    _refuse_large(file, limit)
    num_bytes = 0
    with parquet.ParquetFile(path, metadata=file.metadata, read_dictionary=range(file.metadata.num_columns)) as packed:
        for number in range(file.metadata.num_row_groups):
            for batch in _of_group(file, packed, number):
                num_bytes += unpacked_bytes(batch)
                if num_bytes > limit:
                    raise _too_large(limit)
                yield batch


def unpacked_bytes(data: "pa.RecordBatch | pa.Array") -> int:
    """Memory that values take once their dictionaries are resolved, at least `VALUE_BYTES` each."""
    import pyarrow as pa
    from pyarrow import compute

    if isinstance(data, pa.RecordBatch):
        return sum(map(unpacked_bytes, data.columns))
    if isinstance(data, pa.ExtensionArray):
        return unpacked_bytes(data.storage)
    least = VALUE_BYTES * len(data)
    if isinstance(data, pa.DictionaryArray):
        lengths = compute.binary_length(data.dictionary)
        return least + int(compute.sum(lengths.take(data.indices)).as_py() or 0)
    if pa.types.is_nested(data.type):
        return least + sum(map(unpacked_bytes, _inside(data)))
    return max(least, int(data.nbytes))


def _inside(array: "pa.Array") -> "list[pa.Array]":
    """The values of a nested array, without those outside of its slice."""
    import pyarrow as pa

    if isinstance(array, pa.StructArray):
        fields: list[pa.Array] = array.flatten()
        return fields
    if isinstance(array, pa.MapArray):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return [values.slice(first, last - first) for values in (array.keys, array.items)]
    return [array.flatten()]


def _refuse_large(file: Any, limit: int) -> None:
    """Refuse by the footer what is too large in any case."""
    num_bytes = VALUE_BYTES * file.metadata.num_rows
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for place in range(group.num_columns):
            chunk = group.column(place)
            width = VALUE_BYTES if chunk.physical_type == _TEXT else max(VALUE_BYTES, file.schema.column(place).length)
            num_bytes += max(chunk.total_uncompressed_size, width * chunk.num_values)
    if num_bytes > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> DatasetInvalidError:
    error = unpacked_too_large(limit)
    return DatasetInvalidError(f"{error.message} [{error.rule}]")


def _of_group(file: Any, packed: Any, number: int) -> "Iterator[pa.RecordBatch]":
    group = file.metadata.row_group(number)
    if not group.num_rows:
        return
    row_bytes = max(1, group.total_byte_size // group.num_rows)
    size = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
    longest = {place: group.column(place).total_uncompressed_size for place in _repeating(group)}
    if _worst(file, group, longest, size) > WORST_BATCH_BYTES:
        texts = [place for place in longest if _PREFIXED not in group.column(place).encodings]
        longest |= _longest_in_dictionaries(file, packed, number, texts)
        size = next((rows for rows in (size, 1) if _worst(file, group, longest, rows) <= WORST_BATCH_BYTES), 0)
    if size:
        yield from file.iter_batches(batch_size=size, row_groups=[number], use_threads=False)
        return
    _refuse_prefixed(group, longest)
    for part in packed.iter_batches(batch_size=-(-group.num_rows // PARTS), row_groups=[number], use_threads=False):
        for start in range(0, part.num_rows, BATCH_ROWS):
            yield part.slice(start, BATCH_ROWS)


def _repeating(group: Any) -> Iterator[int]:
    """The columns of texts in which a few bytes may stand for a long text."""
    for place in range(group.num_columns):
        chunk = group.column(place)
        if chunk.physical_type == _TEXT and any("DICT" in each or each == _PREFIXED for each in chunk.encodings):
            yield place


def _worst(file: Any, group: Any, longest: dict[int, int], num_rows: int) -> int:
    """Bytes of this many rows if each text is the longest of its column. One row may have all texts of a list."""
    return sum(
        length * (group.column(place).num_values if _is_in_list(file, place) else num_rows)
        for place, length in longest.items()
    )


def _is_in_list(file: Any, place: int) -> bool:
    return bool(file.schema.column(place).max_repetition_level)


def _longest_in_dictionaries(file: Any, packed: Any, number: int, places: list[int]) -> dict[int, int]:
    """Length of the longest text in the dictionary of each column, as far as the first row shows the dictionary."""
    import pyarrow as pa
    from pyarrow import compute

    if not places:
        return {}
    names = [file.schema.column(place).path for place in places]
    first = next(packed.iter_batches(batch_size=1, row_groups=[number], columns=names, use_threads=False))
    leaves = [leaf for column in first.columns for leaf in _leaves(column)]
    if len(leaves) != len(places):
        return {}
    return {
        place: compute.max(compute.binary_length(leaf.dictionary)).as_py()
        for place, leaf in zip(places, leaves, strict=True)
        if isinstance(leaf, pa.DictionaryArray) and len(leaf.dictionary)
    }


def _leaves(array: "pa.Array") -> "Iterator[pa.Array]":
    """The arrays without others inside, in the order of the columns of the file."""
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        yield from _leaves(array.storage)
    elif pa.types.is_nested(array.type):
        for values in _inside(array):
            yield from _leaves(values)
    else:
        yield array


def _refuse_prefixed(group: Any, places: Iterable[int]) -> None:
    """Refuse texts of which each may begin like the one before it, where the batch that is read may have any number."""
    for place in places:
        chunk = group.column(place)
        if _PREFIXED in chunk.encodings:
            raise DatasetInvalidError(
                f"The column {shown_name(chunk.path_in_schema)} is encoded as {_PREFIXED}, with which a small file may "
                f"unpack to any size; write the file with another encoding. [{Rule.TOO_LARGE_UNPACKED}]"
            )
