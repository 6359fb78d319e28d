"""`/api/datasets/{id}/preview`: the first rows, before and after."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ftlab.schemas.preview import DatasetPreview, PreviewRow
from serve.context import Services, services_of
from serve.http.caller import current_owner
from serve.http.query import RecordId
from serve.http.responses import in_thread, reply
from tracking.buckets import blob_key
from train.data.convert import DatasetFile
from train.data.formats.source import FileFormat
from train.data.preview import preview
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import Shape

router = APIRouter(prefix="/api/datasets", tags=["datasets"])

Rows = Annotated[int, Query(ge=1, le=50, description="Rows to show.")]


@router.get("/{dataset_id}/preview", response_model=DatasetPreview, summary="The first rows, before and after")
async def preview_dataset(request: Request, dataset_id: RecordId, rows: Rows = 5) -> Response:
    """Each row as it stands in the uploaded file, and as it is trained on; long texts are cut."""
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(first_rows, services, owner, dataset_id, rows))


def first_rows(services: Services, owner: str, dataset_id: str, num_rows: int) -> DatasetPreview:
    """The first rows of the uploaded file; raise `NotFoundError` when there is no such dataset or file."""
    with services.store.read() as tx:
        record = tx.datasets.get(dataset_id, owner=owner)
    path = services.buckets.local_path(record.bucket, blob_key(record.sha256))
    said = record.column_mapping or {}
    mapping = ColumnMapping.parse(record.shape, said.get("columns"))
    rows = preview(DatasetFile(path, FileFormat(record.format)), Shape(record.shape), mapping, num_rows)
    return DatasetPreview(
        dataset_id=record.id,
        format=record.format,
        shape=record.shape,
        kind=record.kind,
        confidence=record.confidence,
        rows=[PreviewRow(line=row.line, raw=row.raw, row=row.row, problem=row.problem) for row in rows],
    )
