"""Datasets of before there were buckets by content get the files that others have."""

import logging
import tempfile
from pathlib import Path

from ftlab.errors import FineTuneLabError
from ftlab.settings import Settings
from tracking.buckets import Buckets, DatasetFiles, canonical_key, source_key
from tracking.store import Store
from tracking.store.records import DatasetRecord
from train.data.convert import convert
from train.data.rows.canonical import VERSION

logger = logging.getLogger(__name__)


def adopt_old_datasets(settings: Settings, store: Store) -> None:
    """Convert each of them once. One that cannot be converted stays as it is, and a job with it says so."""
    with store.read() as tx:
        old = tx.datasets.without_canonical()
    buckets = Buckets.open(settings)
    for record in old:
        try:
            _adopt(record, settings, buckets, DatasetFiles(store, buckets))
        except (FineTuneLabError, OSError) as error:
            logger.warning("Dataset %s could not be brought into its bucket's new order: %s", record.id, error)


def _adopt(record: DatasetRecord, settings: Settings, buckets: Buckets, files: DatasetFiles) -> None:
    source = buckets.local_path(record.bucket, source_key(record))
    aside = settings.home / "uploads"
    aside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=aside, prefix="up-") as folder:
        rows = Path(folder) / "canonical.arrow"
        conversion = convert(source, rows, f"source.{record.format}")
        key = canonical_key(
            record.sha256, version=VERSION, format=conversion.format, shape=conversion.shape, columns={}
        )
        files.adopt(record, conversion.kind, key, rows)
