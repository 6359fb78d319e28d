"""Reads a Parquet file in a process of its own: `python -P parquet_process.py FILE ROW ENCODED DECODED MEMORY`.

The numbers are the limits in bytes of a row, of all encoded and of all decoded rows, and of the process. Arrow ends its
process over some damaged files, and a small file may need any amount of memory to be read. The rows go to standard
output as an Arrow stream, a few in a batch; a batch without rows stands for a row that is too long. The exit status
says how it ended; a death by signal counts as damage.
"""

import os
import resource
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

DAMAGED, TOO_LARGE, NO_MEMORY = 10, 11, 12
"""Exit statuses: the file is damaged; its rows are too large in all; reading it takes too much memory."""
ERRNO = 100
"""Added to the number of an error of the system, such as a failing disk: the exit status."""
BATCH_ROWS = 64
"""Rows decoded at once: few, as each may be a huge value from a dictionary."""
BATCH_BYTES = 16 * 1024**2
BUFFER_BYTES = 1024**2


def main(path: str, max_row_bytes: int, max_encoded_bytes: int, max_bytes: int, memory_bytes: int) -> int:
    """Write the rows of the file to standard output; return the exit status."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the others reserve address space that they do not use
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, buffer_size=BUFFER_BYTES) as file:
            groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
            if sum(group.total_byte_size for group in groups) > max_encoded_bytes:
                return TOO_LARGE
            with pa.ipc.new_stream(sys.stdout.buffer, file.schema_arrow) as out:
                num_bytes = 0
                for batch in _batches(file):
                    num_bytes += batch.nbytes
                    if num_bytes > max_bytes:
                        return TOO_LARGE
                    for piece in _pieces(batch, max_row_bytes):
                        out.write_batch(piece)
    except MemoryError:
        return NO_MEMORY
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        number: int | None = getattr(error, "errno", None)
        return DAMAGED if number is None else ERRNO + number
    return 0


def _batches(file: "parquet.ParquetFile") -> "Iterator[pa.RecordBatch]":
    for i in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(i)
        row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
        size = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
        yield from (each for each in file.iter_batches(size, row_groups=[i], use_threads=False) if each.num_rows)


def _pieces(batch: "pa.RecordBatch", max_row_bytes: int) -> "Iterator[pa.RecordBatch]":
    if batch.nbytes <= max_row_bytes:
        yield batch
        return
    for i in range(batch.num_rows):
        row = batch.slice(i, 1)
        yield row if row.nbytes <= max_row_bytes else row.slice(0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
