"""The one file form that training reads: an Arrow IPC file, memory-mapped, whatever shape was uploaded.

Every row keeps `line`, its number in the uploaded file. The other columns depend on the kind of the rows; as
Python dicts they are

- messages: `{"messages": [message, ...], "tools": [...]?, "is_joined": true?}`
- preference: `{"prompt": [message, ...], "chosen": [...], "rejected": [...], "tools": [...]?, "is_joined": true?}`
- unpaired: `{"prompt": [message, ...], "completion": [...], "label": bool, "tools": [...]?, "is_joined": true?}`
- text: `{"text": str}`
- prompts: `{"prompt": [message, ...], "tools": [...]?, "is_joined": true?}`

`is_joined` marks a prompt and its answers that were uploaded as texts, or a prompt that was uploaded as a text: without
a chat template, the answer follows the prompt in one text.

A message is `{"role", "content"}`, with `weight` (0 or 1), `tool_calls`, `reasoning_content`, `name` and
`tool_call_id` where the uploaded row has them.
"""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.files import check_space, replacing
from ftlab.schemas.methods import RowKind
from train.data.rows.columns import column_of, values_of
from train.data.rows.errors import DatasetInvalidError, rows_missing

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa

Row = dict[str, Any]
Message = dict[str, Any]

VERSION = "3"
READABLE_VERSIONS = frozenset({"2", VERSION})
"""Rows of version 2 are the same, but pairs and rated answers have no `is_joined`."""
BATCH_ROWS = 1000
"""Maximum number of rows in a record batch."""
BATCH_CHARS = 8 * 1024**2
"""Characters after which a record batch ends early, so that huge rows do not accumulate in memory."""


Kind = RowKind

_COLUMNS: dict[Kind, dict[str, str]] = {
    Kind.MESSAGES: {"messages": "messages", "tools": "json", "is_joined": "bool"},
    Kind.PREFERENCE: {
        "prompt": "messages",
        "chosen": "messages",
        "rejected": "messages",
        "tools": "json",
        "is_joined": "bool",
    },
    Kind.UNPAIRED: {
        "prompt": "messages",
        "completion": "messages",
        "label": "bool",
        "tools": "json",
        "is_joined": "bool",
    },
    Kind.TEXT: {"text": "string"},
    Kind.PROMPTS: {"prompt": "messages", "tools": "json", "is_joined": "bool"},
}


class CanonicalWriter:
    """Takes rows one at a time and writes them in batches."""

    def __init__(self, path: Path, kind: Kind) -> None:
        import pyarrow as pa

        self._columns = {name: column_of(type_name) for name, type_name in _COLUMNS[kind].items()}
        fields = [("line", pa.int64()), *((name, column.type) for name, column in self._columns.items())]
        metadata = {"ftlab.kind": str(kind), "ftlab.version": VERSION}
        self._schema = pa.schema(fields, metadata=metadata)
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, self._schema)
        self._folder = path.parent
        self._lines: list[int] = []
        self.num_rows = 0

    def write(self, line: int, row: Row) -> None:
        """Add a row of this file's kind; `line` is its number in the source."""
        self._lines.append(line)
        self.num_rows += 1
        num_chars = 0
        for name, column in self._columns.items():
            num_chars += column.add(row.get(name))
        if len(self._lines) >= BATCH_ROWS or num_chars >= BATCH_CHARS:
            self.flush()

    def flush(self) -> None:
        """Write the buffered rows."""
        import pyarrow as pa

        if self._lines:
            check_space(self._folder)
            arrays = [pa.array(self._lines, pa.int64()), *(column.take() for column in self._columns.values())]
            self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
            self._lines = []

    def close(self) -> None:
        self._writer.close()
        self._file.close()


@contextmanager
def write_canonical(path: Path, kind: Kind) -> Iterator[CanonicalWriter]:
    """A writer whose file appears at `path`, complete and synced to disk, when the block ends without an error."""
    with replacing(path) as aside, closing(CanonicalWriter(aside, kind)) as writer:
        yield writer
        writer.flush()


class CanonicalFile:
    """A file that `write_canonical` wrote, memory-mapped: rows take up memory only while they are in use.

    Use it as a context manager. Threads may read at the same time.
    """

    @classmethod
    def open(cls, path: Path) -> "CanonicalFile":
        """Raise `DatasetInvalidError` for a file that is missing, damaged or of another version."""
        import pyarrow as pa

        try:
            source = pa.memory_map(str(path))
        except FileNotFoundError:
            raise rows_missing() from None
        try:
            reader = pa.ipc.open_file(source)
            metadata = reader.schema.metadata or {}
            if metadata.get(b"ftlab.version", b"").decode() not in READABLE_VERSIONS:
                raise pa.ArrowInvalid
            return cls(source, reader, Kind(metadata[b"ftlab.kind"].decode()))
        except pa.ArrowInvalid:
            source.close()
            raise DatasetInvalidError(
                "The dataset's converted rows are damaged or of another version; upload the file again."
            ) from None

    def __init__(self, source: "pa.MemoryMappedFile", reader: "pa.RecordBatchFileReader", kind: Kind) -> None:
        self.kind = kind
        self._source = source
        self._reader = reader

    def __enter__(self) -> "CanonicalFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self._source.close()

    @property
    def num_rows(self) -> int:
        return self._ends[-1]

    def batches(self, size: int = BATCH_ROWS) -> Iterator[list[tuple[int, Row]]]:
        """All rows in order with their lines in the source, at most `size` at a time."""
        for index in range(self._reader.num_record_batches):
            batch = self._reader.get_batch(index)
            for start in range(0, batch.num_rows, size):
                yield self._rows(batch.slice(start, size))

    def rows(self) -> Iterator[tuple[int, Row]]:
        """All rows in order with their lines in the source."""
        for batch in self.batches():
            yield from batch

    def row(self, index: int) -> tuple[int, Row]:
        """The line in the source and the row at this index; raise `IndexError` when it is out of range."""
        if not 0 <= index < self.num_rows:
            raise IndexError(index)
        number = bisect_right(self._ends, index) - 1
        return self._rows(self._reader.get_batch(number).slice(index - self._ends[number], 1))[0]

    @cached_property
    def _ends(self) -> list[int]:
        """Cumulative number of rows: before each record batch, and in total at the end."""
        batches = range(self._reader.num_record_batches)
        return list(accumulate((self._reader.get_batch(i).num_rows for i in batches), initial=0))

    def _rows(self, batch: "pa.RecordBatch") -> list[tuple[int, Row]]:
        columns = {name: kind for name, kind in _COLUMNS[self.kind].items() if name in batch.schema.names}
        values = [values_of(batch.column(name), type_name) for name, type_name in columns.items()]
        names = list(columns)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
        for name in ("tools", "is_joined"):
            if name in columns:
                for row in rows:
                    if row[name] is None:
                        del row[name]
        return list(zip(batch.column("line").to_pylist(), rows, strict=True))
