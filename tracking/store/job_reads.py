"""Queries for jobs."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, or_, select, union, union_all

from ftlab.status import JobKind, JobStatus
from tracking.store.chains import IS_OPEN, chain_links
from tracking.store.errors import StaleJobError
from tracking.store.evaluations import job_sources
from tracking.store.naming import find_key, not_found
from tracking.store.paging import newest_first
from tracking.store.records import JobRecord, JobRef
from tracking.store.rows import IS_BEHIND_MLFLOW, IS_LIVE, columns_of, idempotency_keys, jobs

COLUMNS = columns_of(jobs, JobRecord, submitted_config="config", config="resolved_config")
JobRecords = list[JobRecord]


class JobReads:
    """Base class of `JobRepository`: queries, also those that lock a job."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, job_id: str, *, owner: str | None = None) -> JobRecord:
        """Raise `NotFoundError` when there is no such job, or it is another owner's."""
        statement = select(*COLUMNS).where(jobs.c.id == job_id)
        if owner is not None:
            statement = statement.where(jobs.c.owner == owner)
        found = self._records(statement)
        if not found:
            raise not_found("job", job_id)
        return found[0]

    def exists(self, job_id: str) -> bool:
        found = select(jobs.c.id).where(jobs.c.id == job_id)
        return self._connection.execute(found).one_or_none() is not None

    def resolve(self, text: str, *, owner: str, by_prefix: bool = True) -> JobRecord:
        """Find a job by its id, else by its name, else, unless `by_prefix` is off, by the beginning of its id.

        Raises `NotFoundError`, or `ConflictError` (code `ambiguous`) when several jobs match.
        """
        key = jobs.c.queue_seq
        number = find_key(self._connection, jobs, key, text, owner=owner, kind="job", prefix="job" if by_prefix else "")
        return self._records(select(*COLUMNS).where(key == number))[0]

    def list(
        self,
        *,
        owner: str | None = None,
        statuses: Collection[JobStatus] | None = None,
        kinds: Collection[JobKind] | None = None,
        search: str | None = None,
        sweep_id: str | None = None,
        after: str | None = None,
        limit: int = 20,
        conditions: Sequence[ColumnElement[bool]] = (),
        oldest_first: bool = False,
    ) -> JobRecords:
        """One page, newest first. `after` is the id of the last job of the page before.

        `statuses` and `kinds` name those of the jobs that are wanted; `None` stands for all of them.
        `sweep_id` limits them to the trials of a sweep,
        `search` is a part of the name, in upper or lower case, or the beginning of the id; `conditions` are others that
        the jobs meet. Without both, the time does not depend on the number of jobs. Filtering by status needs an owner.
        """
        assert owner is not None or statuses is None, "no index covers one status of all owners"
        page = newest_first(
            self._connection,
            select(jobs.c.queue_seq).where(*conditions),
            jobs,
            jobs.c.queue_seq,
            owner=owner,
            after=after,
            limit=limit,
            oldest_first=oldest_first,
        )
        if kinds is not None:
            page = page.where(jobs.c.kind.in_(sorted(set(kinds))))
        if sweep_id is not None:
            page = page.where(jobs.c.sweep_id == sweep_id)
        if search is not None:
            page = page.where(
                or_(jobs.c.name.icontains(search, autoescape=True), jobs.c.id.startswith(search, autoescape=True))
            )
        if statuses is None:
            return self._records(page.with_only_columns(*COLUMNS))
        if not statuses:
            return []
        # The index orders the jobs of one status only: read one page of each, and merge.
        pages = [page.where(jobs.c.status == status).subquery() for status in sorted(set(statuses))]
        numbers = union_all(*(select(one.c.queue_seq) for one in pages))
        statement = select(*COLUMNS).where(jobs.c.queue_seq.in_(numbers))
        return self._records(statement.order_by(jobs.c.queue_seq.desc()).limit(limit))

    def owned(self, job_ids: Collection[str], *, owner: str) -> set[str]:
        """Those of the ids that are jobs of this owner."""
        found = select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.owner == owner)
        return set(self._connection.execute(found).scalars())

    def lock(self, ref: JobRef) -> JobRecord:
        """The job, locked until the transaction ends.

        Raises `StaleJobError` when it has a newer attempt than `ref`.
        """
        mine = select(*COLUMNS).where(jobs.c.id == ref.id, jobs.c.attempt == ref.attempt)
        found = self._records(mine.with_for_update(key_share=True))
        if not found:
            raise StaleJobError(f"Attempt {ref.attempt} of job {ref.id!r} is no longer the newest.")
        return found[0]

    def hold(self, job_id: str) -> None:
        """Keep a job from being deleted until the transaction ends. Raises `NotFoundError` when there is none."""
        held = select(jobs.c.id).where(jobs.c.id == job_id).with_for_update(read=True, key_share=True)
        if self._connection.execute(held).one_or_none() is None:
            raise not_found("job", job_id)

    def bases_of(self, job_id: str) -> Sequence[str]:
        """The jobs whose files this job starts from or reads, or that it waits for, also those that were deleted."""
        base: str | None = self._connection.execute(select(jobs.c.base_job_id).where(jobs.c.id == job_id)).scalar_one()
        sources = select(job_sources.c.source_job_id).where(job_sources.c.job_id == job_id)
        awaited = select(chain_links.c.parent_id).where(chain_links.c.job_id == job_id, IS_OPEN)
        found = self._connection.execute(union(sources, awaited)).scalars().all()
        return [*([base] if base else []), *found]

    def readers_of(self, job_id: str, kind: JobKind) -> JobRecords:
        """The jobs of a kind that read the files of a job, newest first, also those that have ended."""
        reading = select(job_sources.c.job_id).where(job_sources.c.source_job_id == job_id)
        found = select(*COLUMNS).where(jobs.c.id.in_(reading), jobs.c.kind == kind)
        return self._records(found.order_by(jobs.c.queue_seq.desc()))

    def of_ids(self, job_ids: Collection[str]) -> dict[str, JobRecord]:
        """The jobs by id; those that were deleted are left out."""
        return {record.id: record for record in self._records(select(*COLUMNS).where(jobs.c.id.in_(job_ids)))}

    def statuses_of(self, job_ids: Collection[str]) -> dict[str, JobStatus]:
        """The statuses of jobs by id; those that were deleted are left out."""
        found = self._connection.execute(select(jobs.c.id, jobs.c.status).where(jobs.c.id.in_(job_ids)))
        return {row.id: row.status for row in found}

    def live(self) -> JobRecords:
        """Jobs with devices or about to get them: pending to cancelling."""
        return self._records(select(*COLUMNS).where(IS_LIVE).order_by(jobs.c.queue_seq))

    def find_idempotent(self, owner: str, key: str) -> tuple[str, str] | None:
        """The job id and the body's SHA-256 of the submission that used this key."""
        row = self._connection.execute(
            select(idempotency_keys.c.job_id, idempotency_keys.c.body_sha256).where(
                idempotency_keys.c.owner == owner, idempotency_keys.c.key == key
            )
        ).one_or_none()
        return None if row is None else (row.job_id, row.body_sha256)

    def behind_mlflow(self, limit: int = 50) -> JobRecords:
        """Jobs with events that MLflow does not have yet, oldest first."""
        return self._records(select(*COLUMNS).where(IS_BEHIND_MLFLOW).order_by(jobs.c.queue_seq).limit(limit))

    def _records(self, statement: Select[Any]) -> JobRecords:
        return [JobRecord(*row) for row in self._connection.execute(statement)]
