"""Datasets: their records, previews, uploads in pieces and signed URLs."""

from datetime import datetime
from typing import Any

from ftlab.schemas.common import WireModel


class DatasetField(WireModel):
    """A field of a dataset's rows."""

    name: str
    """Name in the file; `messages[].NAME` is a field of the objects in `messages`, and `(other fields)` stands for all
    beyond 100."""
    used_as: str | None = None
    """What it becomes in the trained rows, for example `messages`, `user message` or `tools`; `null` where it is not
    used.
    """
    num_rows: int
    """Rows in which it is neither null nor an empty text."""

    def __str__(self) -> str:
        rows = "1 row has" if self.num_rows == 1 else f"{self.num_rows:,} rows have"
        used = "is not used" if self.used_as is None else f"is used as '{self.used_as}'"
        return f"{rows} a field '{self.name}' that {used}."


class Dataset(WireModel):
    """An uploaded dataset."""

    id: str
    owner: str
    name: str
    bucket: str
    format: str
    """File format, for example `jsonl` or `csv`."""
    shape: str
    """Row shape that it was normalised from, for example `messages` or `sharegpt`."""
    num_rows: int
    size_bytes: int
    """Size of the file as it was uploaded."""
    sha256: str
    """Hash of the file as it was uploaded."""
    created_at: datetime
    kind: str = "messages"
    """Kind of its rows: `messages`, `preference`, `unpaired`, `text` or `prompts`."""
    num_skipped: int = 0
    """Unreadable rows that were skipped, as the uploader allowed."""
    column_mapping: dict[str, Any] | None = None
    """The uploader's mapping of columns to fields."""
    confidence: float = 1.0
    """Confidence of the shape detection, 0 to 1."""
    compression: str | None = None
    """Compression of the uploaded file: `gzip` or `zstd`."""
    problems: tuple[str, ...] = ()
    """Problems of the first ten rows that were left out, with their lines and rules."""
    is_duplicate: bool = False
    """Whether the same file was uploaded before with the same name and options; only in the reply to an upload."""
    fields: tuple[DatasetField, ...] = ()
    """Fields of its rows; those that are used come first."""

    @property
    def unused_fields(self) -> list[DatasetField]:
        """The fields that training does not use."""
        return [field for field in self.fields if field.used_as is None]


class PreviewRow(WireModel):
    """One row; either `row` or `problem` is set."""

    line: int
    """Number of the line in the uploaded file, from 1; in JSON and Parquet files, of the row."""
    raw: Any = None
    """The row as it is in the file; `null` where it cannot be read. Long texts are cut."""
    row: dict[str, Any] | None = None
    """The row as it is trained on. Long texts are cut."""
    problem: str | None = None
    """Reason why it was left out."""
    template_problem: str | None = None
    """What the chat template leaves out of the row, or why it refuses it; only where a model was named."""


class DatasetPreview(WireModel):
    """The first rows of a dataset, and how they were read."""

    dataset_id: str
    format: str
    shape: str
    kind: str
    confidence: float
    """Confidence of the shape detection, 0 to 1."""
    fields: tuple[DatasetField, ...] = ()
    """Fields of all its rows, and what each is used as."""
    rows: list[PreviewRow]


class Upload(WireModel):
    """A file that is uploaded in pieces."""

    id: str
    owner: str
    bucket: str
    filename: str
    size_bytes: int
    """Size of the whole file."""
    received_bytes: int
    """Bytes that are safe on disk; the next piece starts here."""
    sha256: str | None = None
    """Hash of the whole file, if the client gave one."""
    dataset_id: str | None = None
    """The dataset that was made of it."""
    created_at: datetime
    expires_at: datetime
    """It is removed then, unless another piece arrives first."""


class SignedUrl(WireModel):
    """A URL at which anyone can download a file until it expires."""

    url: str
    expires_at: datetime
