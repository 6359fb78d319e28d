"""`/api/datasets/{id}/preview`: the first rows, before and after conversion."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from ftlab.schemas import DatasetPreview, PreviewRow
from ftlab.schemas.methods import SftMethod
from serve.context import Caller, Services
from serve.datasets.checks import CheckTarget, read_template_problems
from serve.http.query import RecordId
from serve.http.responses import reply
from tracking.buckets import blob_key
from train.data.convert import DatasetFile
from train.data.formats.source import FileFormat
from train.data.preview import preview
from train.data.shapes.mapping import ColumnMapping
from train.data.shapes.shapes import Shape

router = APIRouter(prefix="/api/datasets", tags=["datasets"])

Rows = Annotated[int, Query(ge=1, le=50, description="Number of rows to show.")]
Model = Annotated[
    str | None,
    Query(min_length=1, max_length=512, description="Model whose chat template is applied, as in a job's config."),
]


@router.get(
    "/{dataset_id}/preview",
    response_model=DatasetPreview,
    summary="Preview the first rows, before and after conversion",
)
async def preview_dataset(caller: Caller, dataset_id: RecordId, rows: Rows = 5, model: Model = None) -> Response:
    """Each row as it is in the uploaded file, and as it is trained; long texts are cut.

    With `model`, each row also has what the chat template of the model leaves out of it.
    """
    shown = await caller.call(first_rows, dataset_id, rows)
    if model is not None:
        problems = await read_template_problems(caller, CheckTarget(shown.dataset_id, model, SftMethod()), rows)
        marked = [row.model_copy(update={"template_problem": problems.get(row.line)}) for row in shown.rows]
        shown = shown.model_copy(update={"rows": marked})
    return reply(shown)


def first_rows(services: Services, owner: str, dataset_id: str, num_rows: int) -> DatasetPreview:
    """The first rows of the uploaded file; raise `NotFoundError` when the dataset or its file does not exist."""
    with services.store.read() as tx:
        record = tx.datasets.resolve(dataset_id, owner=owner)
    path = services.buckets.local_path(record.bucket, blob_key(record.sha256))
    said = record.column_mapping or {}
    mapping = ColumnMapping.parse(said.get("shape"), said.get("columns"))
    rows = preview(DatasetFile(path, FileFormat(record.format)), Shape(record.shape), mapping, num_rows)
    return DatasetPreview.of(record, dataset_id=record.id, rows=[PreviewRow.of(row) for row in rows])
