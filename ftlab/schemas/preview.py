"""The first rows of a dataset, before and after."""

from typing import Any

from ftlab.schemas.common import WireModel


class PreviewRow(WireModel):
    """One row; either `row` or `problem` is there."""

    line: int
    """Number of the line in the uploaded file, in JSON and Parquet of the row, from 1."""
    raw: Any = None
    """As it stands in the file; `null` where it cannot be read. Long texts are cut."""
    row: dict[str, Any] | None = None
    """As it is trained on. Long texts are cut."""
    problem: str | None = None
    """Why it was left out."""


class DatasetPreview(WireModel):
    """The first rows of a dataset, and how they were read."""

    dataset_id: str
    format: str
    shape: str
    kind: str
    confidence: float
    """How sure the shape was, 0 to 1."""
    rows: list[PreviewRow]
