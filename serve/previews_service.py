"""What a dataset's first rows look like. Every function blocks on the store or a bucket."""

from ftlab.schemas.preview import DatasetPreview, PreviewRow
from serve.services import Services
from tracking.buckets import source_key
from train.data.mapping import ColumnMapping
from train.data.preview import preview
from train.data.read import DatasetFile
from train.data.shapes import Shape
from train.data.source import FileFormat


def preview_dataset(services: Services, owner: str, dataset_id: str, num_rows: int) -> DatasetPreview:
    """The first rows of the uploaded file; raise `NotFoundError` when there is no such dataset or file."""
    with services.store.read() as tx:
        record = tx.datasets.get(dataset_id, owner=owner)
    path = services.buckets.local_path(record.bucket, source_key(record))
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
