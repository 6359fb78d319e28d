"""Adding, removing and moving datasets: their rows and files together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ftlab.errors import NotFoundError
from tracking.buckets.buckets import Buckets, content_missing
from tracking.buckets.contents import Contents
from tracking.buckets.storage import blob_key
from tracking.store import Store, Transaction
from tracking.store.records import DatasetRecord


class DatasetFiles:
    """Every method blocks on the store and on the buckets."""

    def __init__(self, store: Store, buckets: Buckets, contents: Contents | None = None) -> None:
        self._store = store
        self._buckets = buckets
        self._contents = contents or Contents(store, buckets)

    def add(
        self, record: DatasetRecord, source: Path, canonical: Path, before: Callable[[Transaction], object]
    ) -> None:
        """Store both files and add the row. `before` runs in the row's transaction; an exception from it undoes all.

        Raises `ServiceUnavailableError` when the bucket is unavailable.
        """
        with self._contents.claimed(record.bucket, record.sha256) as claim:
            # Files first: a job would fail on a row without files.
            self._contents.put(claim, blob_key(record.sha256), source)
            self._contents.put(claim, record.canonical, canonical)
            with self._store.begin() as tx:
                before(tx)
                tx.datasets.add(record)
                claim.release(tx)

    def remove(self, dataset_id: str, *, owner: str) -> None:
        """Remove the row, and the files unless another dataset needs them.

        Raises `NotFoundError`, and `ConflictError` (code `dataset_in_use`) while an unfinished job needs it.
        """
        with self._store.begin() as tx:
            # Locked before it is read: two concurrent removals would wait for each other's read lock.
            tx.datasets.check_unused(dataset_id, owner=owner)
            record = tx.datasets.get(dataset_id)
            tx.datasets.remove(dataset_id, owner=owner)
            claim = self._contents.claim_removed(tx, record)
        if claim is not None:
            self._contents.remove_unneeded(claim)

    def move(self, dataset_id: str, *, owner: str, bucket: str) -> DatasetRecord:
        """Move the files into another bucket; the id stays.

        Raises `NotFoundError`, `ServiceUnavailableError`, and `ConflictError` (code `dataset_in_use`) while an
        unfinished job uses it.
        """
        record = self._get(dataset_id, owner)
        while record.bucket != bucket:
            try:
                return self._move(record, bucket)
            except NotFoundError:
                found = self._get(dataset_id, owner)
                if found.bucket == record.bucket:
                    raise
                # Another request moved it meanwhile: continue from its new bucket.
                record = found
        return record

    def _get(self, dataset_id: str, owner: str) -> DatasetRecord:
        with self._store.read() as tx:
            return tx.datasets.get(dataset_id, owner=owner)

    def _move(self, record: DatasetRecord, bucket: str) -> DatasetRecord:
        with self._store.begin() as tx:
            # Checked again with the row below; checked here to avoid a useless copy.
            tx.datasets.check_unused(record.id, owner=record.owner)
        moved = replace(record, bucket=bucket)
        keys = (blob_key(record.sha256), record.canonical)
        paths = {key: self._buckets.local_path(record.bucket, key) for key in keys}
        with self._contents.claimed(bucket, record.sha256) as claim:
            try:
                for key, path in paths.items():
                    self._contents.put(claim, key, path)
            except FileNotFoundError:
                raise content_missing() from None
            with self._store.begin() as tx:
                tx.datasets.relocate(record.id, owner=record.owner, source=record.bucket, target=bucket)
                # Locked in the order of the bucket names: two moves in opposite directions would deadlock.
                if bucket < record.bucket:
                    claim.release(tx)
                claim_on_source = self._contents.claim_removed(tx, record)
                if bucket > record.bucket:
                    claim.release(tx)
        if claim_on_source is not None:
            self._contents.remove_unneeded(claim_on_source)
        return moved

    def sweep(self) -> None:
        """Remove files that killed processes left behind."""
        self._contents.sweep()
        self._buckets.sweep()
