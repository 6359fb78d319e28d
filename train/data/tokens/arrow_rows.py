"""Token rows as an Arrow stream on disk, which the `datasets` library maps into memory."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ftlab.files import sync

BATCH_TOKENS = 1_000_000
"""Tokens after which a record batch is written: so many are held in memory."""

Tokens = npt.NDArray[np.int32]


class ArrowRowWriter:
    """Writes rows of token ids and labels; `lengths` of the documents that share a row where rows are packed."""

    def __init__(self, file: Path, *, is_packed: bool) -> None:
        names = ["input_ids", "labels", "seq_lengths"] if is_packed else ["input_ids", "labels"]
        self._schema = pa.schema([(name, pa.list_(pa.int32())) for name in names])
        self._columns: dict[str, list[Tokens]] = {name: [] for name in names}
        self._num_waiting = 0
        self._out = pa.OSFile(str(file), "wb")
        self._writer = pa.ipc.new_stream(self._out, self._schema)
        self._file = file

    def write(self, input_ids: Tokens, labels: Tokens, seq_lengths: Tokens | None = None) -> None:
        self._columns["input_ids"].append(input_ids)
        self._columns["labels"].append(labels)
        if seq_lengths is not None:
            self._columns["seq_lengths"].append(seq_lengths)
        self._num_waiting += len(input_ids)
        if self._num_waiting >= BATCH_TOKENS:
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._writer.close()
        self._out.close()
        if error is None:
            sync(self._file)

    def _flush(self) -> None:
        if not self._num_waiting:
            return
        arrays = [_lists(rows) for rows in self._columns.values()]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._columns = {name: [] for name in self._columns}
        self._num_waiting = 0


def _lists(rows: Iterable[Tokens]) -> pa.Array:
    kept = list(rows)
    offsets = np.zeros(len(kept) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in kept], out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(kept)))
