"""Options that a client may give with a dataset's file."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Self

from fastapi import Depends, Query

from ftlab.errors import InvalidRequestError
from ftlab.schemas.common import Name
from ftlab.schemas.requests import SHA256, UploadStart
from ftlab.settings import DEFAULT_BUCKET
from serve.http.json_body import REFUSED_TEXT
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import Shape

MAX_COLUMNS_CHARS = 20_000

BucketName = Annotated[str, Query(max_length=100, description="Bucket to store it in.")]


@dataclass(frozen=True)
class DatasetOptions:
    """How to make a dataset of a file. `name` is for display."""

    bucket: str
    name: str | None = None
    shape: str | None = None
    columns: dict[str, str] | None = None
    accept_partial: bool = False
    sha256: str | None = None

    @property
    def mapping(self) -> ColumnMapping:
        """The parsed mapping; raise `InvalidRequestError` with code `invalid_mapping`."""
        try:
            return ColumnMapping.parse(self.shape, self.columns)
        except InvalidRequestError as error:
            param = "shape" if error.param == "shape" else "columns"
            raise InvalidRequestError(error.message, error.code, param) from None

    @property
    def column_mapping(self) -> dict[str, Any] | None:
        """The mapping as it is kept in the record."""
        if self.shape is None and not self.columns:
            return None
        return {"shape": self.shape, "columns": self.columns or {}}

    @classmethod
    def of_start(cls, start: UploadStart) -> Self:
        return cls(start.bucket, start.name, start.shape, start.columns, start.accept_partial, start.sha256)


def _query_options(
    name: Annotated[Name | None, Query(description="Display name; default: the file's name.")] = None,
    bucket: BucketName = DEFAULT_BUCKET,
    shape: Annotated[
        str | None,
        Query(
            max_length=100,
            description="Shape of the rows; default: detected.",
            json_schema_extra={"enum": [*map(str, Shape), None]},
        ),
    ] = None,
    columns: Annotated[
        str | None, Query(max_length=MAX_COLUMNS_CHARS, description="JSON object: field of the shape to column.")
    ] = None,
    accept_partial: Annotated[bool, Query(description="Skip rows that cannot be read.")] = False,
    sha256: Annotated[
        str | None,
        Query(pattern=SHA256, description="SHA-256 of the file; the service rejects a file that does not match."),
    ] = None,
) -> DatasetOptions:
    return DatasetOptions(bucket, name, shape, _parse_columns(columns), accept_partial, sha256)


QueryOptions = Annotated[DatasetOptions, Depends(_query_options)]


def _parse_columns(text: str | None) -> Any:
    if text is None:
        return None
    try:
        columns = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequestError("columns must be a JSON object.", "invalid_mapping", "columns") from None
    names = [*columns, *columns.values()] if isinstance(columns, dict) else []
    if any(isinstance(name, str) and REFUSED_TEXT.search(name) for name in names):
        # JSON escapes can contain characters that the query itself cannot.
        raise InvalidRequestError(
            "columns contains a NUL character or half of a surrogate pair.", "invalid_mapping", "columns"
        )
    return columns
