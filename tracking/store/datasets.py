"""Uploaded datasets."""

from sqlalchemy import Connection, delete, insert, or_, select
from sqlalchemy.exc import IntegrityError

from ftlab.errors import ConflictError, NotFoundError
from ftlab.life import JobStatus
from tracking.store.errors import DuplicateError
from tracking.store.paging import newest_first
from tracking.store.records import DatasetRecord
from tracking.store.rows import columns_of, datasets, jobs

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
            raise DuplicateError(f"There is a dataset {record.id!r} already.") from error

    def get(self, dataset_id: str, *, owner: str | None = None) -> DatasetRecord:
        """Raise `NotFoundError` when there is no such dataset, or it is another owner's.

        In a write transaction the dataset cannot be removed before the transaction ends.
        """
        statement = select(*COLUMNS).where(datasets.c.id == dataset_id)
        if owner is not None:
            statement = statement.where(datasets.c.owner == owner)
        if self._is_writing:
            statement = statement.with_for_update(read=True, key_share=True)
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            raise _not_found(dataset_id)
        return DatasetRecord(*row)

    def list(self, *, owner: str, after: str | None = None, limit: int = 20) -> DatasetRecords:
        """One page, newest first. `after` is the id of the last dataset of the page before."""
        statement = newest_first(
            self._connection,
            select(*COLUMNS),
            datasets,
            datasets.c.seq,
            owner=owner,
            after=after,
            limit=limit,
        )
        return [DatasetRecord(*row) for row in self._connection.execute(statement)]

    def remove(self, dataset_id: str, *, owner: str) -> None:
        """Remove a dataset that no unfinished job uses.

        Raises `NotFoundError`, or `ConflictError` (code `dataset_in_use`) that names such a job.
        """
        mine = (datasets.c.id == dataset_id, datasets.c.owner == owner)
        # Locked first: a submit that holds the dataset finishes, and the look at the jobs then sees its job.
        locked = self._connection.execute(select(datasets.c.id).where(*mine).with_for_update())
        if locked.one_or_none() is None:
            raise _not_found(dataset_id)
        user = self._connection.execute(
            select(jobs.c.id)
            .where(or_(jobs.c.dataset_id == dataset_id, jobs.c.eval_dataset_id == dataset_id))
            .where(jobs.c.status.not_in(TERMINAL_STATUSES))
            .limit(1)
        ).scalar_one_or_none()
        if user is not None:
            raise ConflictError(
                f"Dataset {dataset_id!r} is in use by job {user!r}. Cancel the job or wait for its end.",
                "dataset_in_use",
                "dataset_id",
            )
        self._connection.execute(delete(datasets).where(*mine))


def _not_found(dataset_id: str) -> NotFoundError:
    return NotFoundError(f"No dataset {dataset_id!r}.", "dataset_not_found", "dataset_id")
