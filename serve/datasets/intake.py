"""Make a dataset of an uploaded file. Every function blocks on the store, the disk or a bucket."""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ftlab.errors import InvalidRequestError
from ftlab.files import check_space
from ftlab.schemas import Dataset
from serve.accounts.quotas import check_upload
from serve.context import Services
from serve.datasets.options import DatasetOptions
from serve.datasets.receive import MAX_NAME_CHARS, Upload, display_name
from serve.http.responses import in_thread
from tracking.buckets import canonical_key
from tracking.store import Transaction
from tracking.store.ids import new_id
from tracking.store.records import DatasetRecord
from train.data.convert import Conversion, convert
from train.data.rows.canonical import VERSION

STALE_UPLOAD = timedelta(hours=24)
"""Uploads are removed after this time without a new piece."""
SWEEP_INTERVAL_S = 600.0
SOURCE = "source"
"""Name of the uploaded file in the folder of its upload."""
ROWS = "canonical.arrow"
"""Name of the file with its rows in the normal form that training reads."""

Before = Callable[[Transaction, str], object]

logger = logging.getLogger(__name__)


class _SameDataset(Exception):
    """The upload is of a dataset that exists, so its row is not added."""

    def __init__(self, dataset: DatasetRecord) -> None:
        super().__init__(dataset)
        self.dataset = dataset


def uploads_folder(services: Services) -> Path:
    return services.settings.home / "uploads"


def make_incoming(services: Services, owner: str, options: DatasetOptions, num_bytes: int) -> Path:
    """A new folder for an upload of at least `num_bytes`.

    Raise `RateLimitError` (code `quota_exceeded`) when it would exceed the owner's quota, and `InvalidRequestError`
    for invalid options.
    """
    check_options(services, options)
    with services.store.read() as tx:
        check_upload(tx, services.settings, owner, num_bytes)
    try_to_sweep(services)
    folder = uploads_folder(services) / new_id("up")
    folder.mkdir(parents=True)
    return folder


def check_options(services: Services, options: DatasetOptions) -> None:
    """Raise `InvalidRequestError` for a bucket, a shape or columns that do not exist."""
    services.buckets.check_name(options.bucket)
    _ = options.mapping


def accept(services: Services, owner: str, upload: Upload, options: DatasetOptions, before: Before) -> Dataset:
    """Check the rows of an upload and make it a dataset. `before` gets its id in the transaction that adds the row.

    A dataset of the same file with the same name and options is returned instead of a second one.

    Raise `DatasetInvalidError` with the lines and rules that are broken, and `InvalidRequestError` (code
    `checksum_mismatch`) when the hash is not the one that the client gave. The caller removes the upload's folder.
    """
    if options.sha256 not in (None, upload.sha256):
        raise checksum_mismatch()
    filename = display_name(upload.filename)
    rows = upload.path.with_name(ROWS)
    check_space(rows.parent, upload.size_bytes)
    conversion = convert(upload.path, rows, filename, mapping=options.mapping, accept_partial=options.accept_partial)
    record = _record(owner, upload, filename, options, conversion)

    def add(tx: Transaction) -> None:
        # Uploads of the same content wait for each other here, so that one of them adds the row.
        if known := tx.datasets.find_equal(record):
            raise _SameDataset(known)
        before(tx, record.id)

    try:
        services.dataset_files.add(record, upload.path, rows, add)
    except _SameDataset as same:
        with services.store.begin() as tx:
            before(tx, same.dataset.id)
        return Dataset.of(same.dataset, is_duplicate=True)
    return Dataset.of(record)


def checksum_mismatch() -> InvalidRequestError:
    return InvalidRequestError(
        "The file that was received does not match sha256; send it again.", "checksum_mismatch", "sha256"
    )


def discard(folder: Path) -> None:
    """Remove a folder with everything in it, if it exists."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(services: Services) -> None:
    """Remove files and records of uploads that a killed process or a client has left behind."""
    cutoff = datetime.now(UTC) - STALE_UPLOAD
    with services.store.read() as tx:
        stale = tx.uploads.untouched_since(cutoff)
    for upload_id in stale:
        with services.store.begin() as tx:
            is_removed = tx.uploads.remove(upload_id, untouched_since=cutoff)
        if is_removed:
            discard(uploads_folder(services) / upload_id)
    with services.store.read() as tx:
        # A record may be renewed while its file is old.
        recorded = set(tx.uploads.untouched_since(datetime.max.replace(tzinfo=UTC)))
    for folder in uploads_folder(services).glob("up-*"):
        if folder.name not in recorded and _touched_at(folder) < cutoff.timestamp():
            discard(folder)
    services.dataset_files.sweep()


def try_to_sweep(services: Services) -> None:
    """Sweep, and only log errors, for callers that must not fail because of them."""
    try:
        sweep(services)
    except Exception:
        logger.exception("Abandoned uploads could not be removed")


async def sweep_now_and_then(services: Services) -> None:
    """Sweep periodically until cancelled, so that disk space is freed even when no upload comes."""
    while True:
        await asyncio.sleep(SWEEP_INTERVAL_S)
        await in_thread(try_to_sweep, services)


def _touched_at(folder: Path) -> float:
    """Time of the last write, in seconds since the epoch."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.glob("*")))
    except FileNotFoundError:
        return time.time()  # something is being removed from it at this moment


def _record(
    owner: str, upload: Upload, filename: str, options: DatasetOptions, conversion: Conversion
) -> DatasetRecord:
    canonical = canonical_key(
        upload.sha256,
        version=VERSION,
        format=conversion.format,
        shape=conversion.shape,
        columns=options.columns or {},
        num_skipped=conversion.num_skipped,
    )
    return DatasetRecord(
        id=new_id("ds"),
        owner=owner,
        name=options.name or filename[:MAX_NAME_CHARS] or "dataset",
        bucket=options.bucket,
        format=conversion.format,
        shape=conversion.shape,
        num_rows=conversion.num_rows,
        size_bytes=upload.size_bytes,
        sha256=upload.sha256,
        created_at=datetime.now(UTC),
        kind=conversion.kind,
        canonical=canonical,
        num_skipped=conversion.num_skipped,
        column_mapping=options.column_mapping,
        confidence=conversion.confidence,
        compression=conversion.compression,
        problems=[str(problem) for problem in conversion.problems],
        fields=[asdict(count) for count in conversion.fields],
    )
