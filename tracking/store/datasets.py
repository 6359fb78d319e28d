"""Datasets."""

from collections.abc import Collection
from itertools import product
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ftlab.errors import ConflictError, NotFoundError
from ftlab.status import JobStatus
from tracking.store.errors import DuplicateError
from tracking.store.naming import find_key, not_found
from tracking.store.paging import newest_first
from tracking.store.records import DatasetRecord
from tracking.store.rows import columns_of, datasets, job_files, jobs

COLUMNS = columns_of(datasets, DatasetRecord)
TERMINAL_STATUSES = tuple(status for status in JobStatus if status.is_terminal)

DatasetRecords = list[DatasetRecord]


class DatasetRepository:
    def __init__(self, connection: Connection, *, is_writing: bool) -> None:
        self._connection = connection
        self._is_writing = is_writing

    def add(self, record: DatasetRecord) -> None:
        try:
            self._connection.execute(insert(datasets), vars(record))
        except IntegrityError as error:
            raise DuplicateError(f"Dataset {record.id!r} already exists.") from error

    def get(self, dataset_id: str, *, owner: str | None = None) -> DatasetRecord:
        """Raise `NotFoundError` when there is no such dataset, or it is another owner's.

        In a write transaction the dataset cannot be removed before the transaction ends.
        """
        statement = _GET[owner is not None, self._is_writing]
        row = self._connection.execute(statement, {"dataset_id": dataset_id, "of": owner}).one_or_none()
        if row is None:
            raise not_found("dataset", dataset_id)
        return DatasetRecord(*row)

    def of_ids(self, dataset_ids: Collection[str], *, owner: str) -> DatasetRecords:
        """Those of the ids that are datasets of this owner, in no order."""
        found = select(*COLUMNS).where(datasets.c.id.in_(dataset_ids), datasets.c.owner == owner)
        return [DatasetRecord(*row) for row in self._connection.execute(found)]

    def resolve(self, text: str, *, owner: str) -> DatasetRecord:
        """Find a dataset by its id, else by its name; in a write transaction it is locked as by `get`.

        Raises `NotFoundError`, or `ConflictError` (code `ambiguous`) when several datasets have this name.
        """
        try:
            return self.get(text, owner=owner)  # by far the most common case
        except NotFoundError:
            number = find_key(self._connection, datasets, datasets.c.seq, text, owner=owner, kind="dataset")
        found = self._connection.execute(select(datasets.c.id).where(datasets.c.seq == number)).scalar_one()
        return self.get(found, owner=owner)

    def find_equal(self, record: DatasetRecord) -> DatasetRecord | None:
        """The owner's dataset that has the same file, rows and name in the same bucket, if there is one."""
        same = ("owner", "bucket", "sha256", "canonical", "num_skipped", "name")
        statement = select(*COLUMNS).where(*(datasets.c[name] == getattr(record, name) for name in same))
        row = self._connection.execute(statement.order_by(datasets.c.seq).limit(1)).one_or_none()
        return None if row is None else DatasetRecord(*row)

    def newest_number(self) -> int:
        """A number that changes when a dataset is added; 0 when there is none."""
        number: int | None = self._connection.execute(select(func.max(datasets.c.seq))).scalar_one()
        return number or 0

    def list(
        self, *, owner: str, after: str | None = None, limit: int = 20, oldest_first: bool = False
    ) -> DatasetRecords:
        """One page, newest first. `after` is the id of the last dataset of the page before."""
        statement = newest_first(
            self._connection,
            select(*COLUMNS),
            datasets,
            datasets.c.seq,
            owner=owner,
            after=after,
            limit=limit,
            oldest_first=oldest_first,
        )
        return [DatasetRecord(*row) for row in self._connection.execute(statement)]

    def remove(self, dataset_id: str, *, owner: str) -> None:
        """Remove a dataset that no unfinished job uses.

        Raises `NotFoundError`, or `ConflictError` (code `dataset_in_use`) that names such a job.
        """
        self.check_unused(dataset_id, owner=owner)
        self._connection.execute(delete(datasets).where(datasets.c.id == dataset_id))

    def relocate(self, dataset_id: str, *, owner: str, source: str, target: str) -> None:
        """Record that a dataset which no unfinished job uses was moved to another bucket.

        Raises `NotFoundError`, and `ConflictError` (code `dataset_in_use`) also when it is no longer in `source`.
        """
        self.check_unused(dataset_id, owner=owner)
        mine = (datasets.c.id == dataset_id, datasets.c.bucket == source)
        moved = self._connection.execute(update(datasets).where(*mine).values(bucket=target))
        if moved.rowcount == 0:
            raise ConflictError(
                f"Dataset {dataset_id!r} is being moved by another request.", "dataset_in_use", "dataset_id"
            )

    def canonicals(self, bucket: str, sha256: str) -> frozenset[str]:
        """The canonical keys of all datasets with this content; empty when no owner needs it."""
        same = (datasets.c.bucket == bucket, datasets.c.sha256 == sha256)
        return frozenset(self._connection.execute(select(datasets.c.canonical).where(*same)).scalars())

    def check_unused(self, dataset_id: str, *, owner: str) -> None:
        """Lock a dataset against new jobs, or raise as `remove` does."""
        mine = (datasets.c.id == dataset_id, datasets.c.owner == owner)
        # Locked first: this waits for a submission that holds the dataset, so that the query below sees its job.
        locked = self._connection.execute(select(datasets.c.id).where(*mine).with_for_update())
        if locked.one_or_none() is None:
            raise not_found("dataset", dataset_id)
        in_files = select(job_files.c.job_id).where(job_files.c.dataset_id == dataset_id)
        names_it = or_(jobs.c.dataset_id == dataset_id, jobs.c.eval_dataset_id == dataset_id, jobs.c.id.in_(in_files))
        user = self._connection.execute(
            select(jobs.c.id).where(names_it, jobs.c.status.not_in(TERMINAL_STATUSES)).limit(1)
        ).scalar_one_or_none()
        if user is not None:
            raise ConflictError(
                f"Dataset {dataset_id!r} is in use by job {user!r}. Cancel the job or wait until it ends.",
                "dataset_in_use",
                "dataset_id",
            )


def _get(is_mine: bool, is_locked: bool) -> Select[Any]:
    statement = select(*COLUMNS).where(datasets.c.id == bindparam("dataset_id"))
    if is_mine:
        statement = statement.where(datasets.c.owner == bindparam("of"))
    return statement.with_for_update(read=True, key_share=True) if is_locked else statement


_GET = {flags: _get(*flags) for flags in product((False, True), repeat=2)}
"""Built once: every submission runs one, and building a statement takes longer than running it."""
