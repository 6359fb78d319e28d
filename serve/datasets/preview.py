"""`/api/datasets/{id}/preview`: the first rows, before and after conversion."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from ftlab.schemas import DatasetPreview, PreviewRow
from serve.context import Caller, Services
from serve.http.query import RecordId
from serve.http.responses import reply
from tracking.buckets import blob_key
from train.data.convert import DatasetFile
from train.data.formats.source import FileFormat
from train.data.preview import preview
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import Shape

router = APIRouter(prefix="/api/datasets", tags=["datasets"])

Rows = Annotated[int, Query(ge=1, le=50, description="Rows to show.")]


@router.get("/{dataset_id}/preview", response_model=DatasetPreview, summary="The first rows, before and after")
async def preview_dataset(caller: Caller, dataset_id: RecordId, rows: Rows = 5) -> Response:
    """Each row as it stands in the uploaded file, and as it is trained on; long texts are cut."""
    return reply(await caller.call(first_rows, dataset_id, rows))


def first_rows(services: Services, owner: str, dataset_id: str, num_rows: int) -> DatasetPreview:
    """The first rows of the uploaded file; raise `NotFoundError` when the dataset or its file does not exist."""
    with services.store.read() as tx:
        record = tx.datasets.resolve(dataset_id, owner=owner)
    path = services.buckets.local_path(record.bucket, blob_key(record.sha256))
    said = record.column_mapping or {}
    mapping = ColumnMapping.parse(said.get("shape"), said.get("columns"))
    rows = preview(DatasetFile(path, FileFormat(record.format)), Shape(record.shape), mapping, num_rows)
    return DatasetPreview.of(record, dataset_id=record.id, rows=[PreviewRow.of(row) for row in rows])
