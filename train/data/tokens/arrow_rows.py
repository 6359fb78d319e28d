"""Token rows, packed or not, as an Arrow stream on disk, which the `datasets` library maps into memory."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from ftlab.files import sync
from train.data.tokens.encode import Tokens
from train.data.tokens.pack import Lengths, best_fit, piece_lengths

DATA_FILE = "data.arrow"
TEXT_COLUMNS = ("input_ids", "labels")
PACKED_COLUMNS = (*TEXT_COLUMNS, "seq_lengths")
"""`seq_lengths` are those of the documents that share the row."""
PAIR_COLUMNS = ("chosen_ids", "chosen_labels", "rejected_ids", "rejected_labels")
"""Both answers of a pair, each after the prompt."""
RATED_COLUMNS = (*TEXT_COLUMNS, "is_desirable")
"""An answer after its prompt, and a list of one number: 1 where the answer is rated good, else 0."""
BATCH_NUMBERS = 2_000_000
"""Ids and labels after which a record batch is written; they are held in memory until then."""


def write_rows(rows: Iterable[list[tuple[Tokens, ...]]], folder: Path, columns: Sequence[str]) -> Lengths:
    """Write the lists of each text of a row, the ids first; return the lengths of the texts (rows x texts)."""
    lengths = []
    with ArrowRowWriter(folder / DATA_FILE, columns) as out:
        for texts in rows:
            out.write(*(tokens for text in texts for tokens in text))
            lengths.append([len(text[0]) for text in texts])
    return np.asarray(lengths, dtype=np.int64)


def write_packed(rows: Iterable[tuple[Tokens, Tokens]], capacity: int, folder: Path) -> Lengths:
    """Write ids and labels of documents packed into rows of at most `capacity` tokens; return their lengths (rows x 1).

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
        return np.empty((0, 1), dtype=np.int64)
    row_lengths = _write_in_rows(np.asarray(pieces, dtype=np.int64), capacity, folder, aside)
    for file in aside:
        file.unlink()
    return row_lengths


class ArrowRowWriter:
    """Writes rows of lists of numbers, one list for each of `columns`."""

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self._schema = pa.schema([(name, pa.list_(pa.int32())) for name in columns])
        self._columns: dict[str, list[Tokens]] = {name: [] for name in columns}
        self._num_waiting = 0
        self._out = pa.OSFile(str(file), "wb")
        self._writer = pa.ipc.new_stream(self._out, self._schema)
        self._file = file

    def write(self, *lists: Tokens) -> None:
        """Write one row, its lists in the order of the columns."""
        for column, values in zip(self._columns.values(), lists, strict=True):
            column.append(values)
            self._num_waiting += len(values)
        if self._num_waiting >= BATCH_NUMBERS:
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
    with ArrowRowWriter(folder / DATA_FILE, PACKED_COLUMNS) as out:
        for documents in best_fit(lengths, capacity):
            spans = [slice(starts[number], starts[number + 1]) for number in documents]
            row_ids = np.concatenate([ids[span] for span in spans])
            row_labels = np.concatenate([labels[span] for span in spans])
            out.write(row_ids, row_labels, lengths[documents].astype(np.int32))
            row_lengths.append([len(row_ids)])
    return np.asarray(row_lengths, dtype=np.int64)


def _lists(rows: Iterable[Tokens]) -> pa.Array:
    kept = list(rows)
    offsets = np.zeros(len(kept) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in kept], out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(kept)))
