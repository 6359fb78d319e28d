"""Token rows, packed or not, as an Arrow stream on disk, which the `datasets` library maps into memory."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from ftlab.files import sync
from train.data.tokens.encode import Tokens
from train.data.tokens.pack import Lengths, best_fit, piece_lengths

DATA_FILE = "data.arrow"
BATCH_TOKENS = 1_000_000
"""Tokens after which a record batch is written; they are held in memory until then."""


def write_rows(rows: Iterable[tuple[Tokens, Tokens]], folder: Path) -> Lengths:
    """Write ids and labels row by row; return the lengths of the rows."""
    lengths = []
    with ArrowRowWriter(folder / DATA_FILE, is_packed=False) as out:
        for ids, labels in rows:
            out.write(ids, labels)
            lengths.append(len(ids))
    return np.asarray(lengths, dtype=np.int64)


def write_packed(rows: Iterable[tuple[Tokens, Tokens]], capacity: int, folder: Path) -> Lengths:
    """Write ids and labels of documents packed into rows of at most `capacity` tokens; return the lengths of the rows.

    The tokens go to temporary files first, then row by row to the result; only the lengths are held in memory.
    """
    pieces: list[int] = []
    aside = [folder / "ids.tmp", folder / "labels.tmp"]
    with aside[0].open("wb") as ids_file, aside[1].open("wb") as labels_file:
        for ids, labels in rows:
            ids_file.write(ids.tobytes())
            labels_file.write(labels.tobytes())
            pieces += piece_lengths(len(ids), capacity)
    if not pieces:
        return np.empty(0, dtype=np.int64)
    row_lengths = _write_in_rows(np.asarray(pieces, dtype=np.int64), capacity, folder, aside)
    for file in aside:
        file.unlink()
    return row_lengths


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


def _write_in_rows(lengths: Lengths, capacity: int, folder: Path, files: list[Path]) -> Lengths:
    ids, labels = (np.memmap(file, dtype=np.int32, mode="r") for file in files)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    row_lengths = []
    with ArrowRowWriter(folder / DATA_FILE, is_packed=True) as out:
        for documents in best_fit(lengths, capacity):
            spans = [slice(starts[number], starts[number + 1]) for number in documents]
            row_ids = np.concatenate([ids[span] for span in spans])
            row_labels = np.concatenate([labels[span] for span in spans])
            out.write(row_ids, row_labels, lengths[documents].astype(np.int32))
            row_lengths.append(len(row_ids))
    return np.asarray(row_lengths, dtype=np.int64)


def _lists(rows: Iterable[Tokens]) -> pa.Array:
    kept = list(rows)
    offsets = np.zeros(len(kept) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in kept], out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(kept)))
