"""What can be asked about datasets. Every function blocks on the store or the disk."""

import os
import shutil
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from ftlab.errors import NotFoundError
from ftlab.schemas import Dataset, Page
from serve.convert import to_dataset
from serve.pages import to_page
from serve.quotas_service import check_upload
from serve.services import Services
from serve.upload import MAX_NAME_CHARS, Upload, check_space, display_name, full_disk_named
from tracking.store.ids import new_id
from tracking.store.records import DatasetRecord
from train.data.read import convert


class Bucket(StrEnum):
    """Where datasets lie: folders below `home/buckets`."""

    TRAINING_FILES = "training-files"
    LORA_DATASETS = "lora-datasets"


INCOMING = ".incoming-"
"""Begins the name of a folder that is no dataset yet."""
STALE_UPLOAD_S = 24 * 3600
SOURCE = "source"
"""The file as it was uploaded."""
ROWS = "rows.jsonl"
"""The same rows in the one shape that training reads."""


def make_incoming(services: Services, owner: str, bucket: Bucket, num_bytes: int) -> Path:
    """A new folder for an upload of at least so many bytes, beside the datasets, so that it becomes one by a rename.

    Raise `RateLimitError` (code `quota_exceeded`) when it would be too much for the owner.
    """
    with services.store.read() as tx:
        check_upload(tx, services.settings, owner, num_bytes)
    bucket_folder = services.settings.home / "buckets" / bucket
    _sweep(bucket_folder)
    folder = bucket_folder / f"{INCOMING}{new_id('up')}"
    folder.mkdir(parents=True)
    return folder


def accept(services: Services, owner: str, bucket: Bucket, upload: Upload, name: str | None) -> Dataset:
    """Check the uploaded rows and make the folder a dataset; the folder is removed when that fails.

    Raise `DatasetInvalidError` with the lines and rules that are broken.
    """
    folder = upload.path.parent
    try:
        return _accept(services, owner, bucket, upload, name)
    except BaseException:
        discard(folder)
        raise


def discard(folder: Path) -> None:
    """Remove a folder with everything in it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def list_datasets(services: Services, owner: str, after: str | None, limit: int) -> Page[Dataset]:
    with services.store.read() as tx:
        records = tx.datasets.list(owner=owner, after=after, limit=limit + 1)
    return to_page([to_dataset(record) for record in records], limit)


def get(services: Services, owner: str, dataset_id: str) -> Dataset:
    return to_dataset(_record(services, owner, dataset_id))


def remove(services: Services, owner: str, dataset_id: str) -> None:
    """Remove the record, then the files; raise `ConflictError` while a job that has not ended uses it."""
    with services.store.begin() as tx:
        record = tx.datasets.get(dataset_id, owner=owner)
        tx.datasets.remove(dataset_id, owner=owner)
    discard(_folder(services, record.bucket, record.id))


def content(services: Services, owner: str, dataset_id: str) -> tuple[Path, str]:
    """The uploaded file and a name to save it under."""
    record = _record(services, owner, dataset_id)
    path = _folder(services, record.bucket, record.id) / SOURCE
    if not path.is_file():
        raise NotFoundError("The dataset's file is no longer on the disk.", "dataset_content_missing")
    return path, display_name(record.name) or "dataset"


def _accept(services: Services, owner: str, bucket: Bucket, upload: Upload, name: str | None) -> Dataset:
    filename = display_name(upload.filename)
    folder = upload.path.parent
    check_space(folder, upload.size_bytes)
    with full_disk_named(folder):
        conversion = convert(upload.path, folder / ROWS, filename)
    record = DatasetRecord(
        id=new_id("ds"),
        owner=owner,
        name=name or filename[:MAX_NAME_CHARS] or "dataset",
        bucket=bucket,
        format=conversion.format,
        shape=conversion.shape,
        num_rows=conversion.num_rows,
        size_bytes=upload.size_bytes,
        sha256=upload.sha256,
        created_at=datetime.now(UTC),
    )
    # Files first: a record without its files would be a job's failure, files without a record are only space.
    target = _folder(services, bucket, record.id)
    folder.rename(target)
    try:
        _sync(target.parent)
        with services.store.begin() as tx:
            check_upload(tx, services.settings, owner, record.size_bytes)
            tx.datasets.add(record)
    except BaseException:
        discard(target)
        raise
    return to_dataset(record)


def _sweep(bucket_folder: Path) -> None:
    """Remove uploads that a killed process left; one that still comes in has been written to lately."""
    for folder in bucket_folder.glob(f"{INCOMING}*"):
        touched_at = max((path.stat().st_mtime for path in (folder, *folder.glob("*")) if path.exists()), default=0.0)
        if time.time() - touched_at > STALE_UPLOAD_S:
            discard(folder)


def _record(services: Services, owner: str, dataset_id: str) -> DatasetRecord:
    with services.store.read() as tx:
        return tx.datasets.get(dataset_id, owner=owner)


def _folder(services: Services, bucket: str, dataset_id: str) -> Path:
    return services.settings.home / "buckets" / bucket / dataset_id


def _sync(folder: Path) -> None:
    """Make a rename inside the folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
