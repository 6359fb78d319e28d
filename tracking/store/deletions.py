"""Deletion of jobs that have ended, and of their models alone.

What remains of a job: its owner's device usage, its idempotency key, which stays taken, and one row of
`deleted_records`, which keeps page cursors valid and lists the folders that must still be removed.
"""

from datetime import datetime
from pathlib import PurePath
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, literal, or_, select, union, update

from ftlab.errors import ConflictError
from ftlab.status import JobStatus
from tracking.store.chains import IS_OPEN, chain_links
from tracking.store.deleted_rows import LEAVES_FILES, deleted_records
from tracking.store.errors import JobBusyError
from tracking.store.evaluations import evaluations, job_sources
from tracking.store.naming import not_found
from tracking.store.openai_jobs import job_metadata, openai_jobs
from tracking.store.rows import (
    IS_UNCOUNTED,
    IS_UNRELEASED,
    UNFINISHED,
    attempts,
    checkpoints,
    events,
    job_files,
    jobs,
    metrics,
    models,
)
from tracking.store.telemetry_rows import telemetry

TABLES_OF_JOB = (
    *(events, metrics, telemetry, checkpoints, job_files, job_sources, evaluations, models, attempts),
    *(openai_jobs, job_metadata, chain_links),
)


class DeletionRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def delete_job(self, job_id: str, *, now: datetime) -> None:
        """Delete an ended job with its events, metrics, telemetry, attempts, checkpoints and models.

        Its folder is the caller's.

        Raises `NotFoundError`; `ConflictError` (code `job_not_ended`) for a job that has not ended, (code
        `model_in_use`) that names an unfinished job which needs its files, (code `job_awaited`) that names one which
        waits for it, and (code `checkpoint_pinned` or `model_pinned`) for what is pinned; `JobBusyError` (code
        `job_ending` or `job_not_recorded`) while the service still needs the record.
        """
        self._note_deleted(self.lock(job_id), now)
        for table in TABLES_OF_JOB:
            self._connection.execute(delete(table).where(table.c.job_id == job_id))
        self._connection.execute(delete(jobs).where(jobs.c.id == job_id))

    def lock(self, job_id: str) -> Row[*tuple[Any, ...]]:
        """The job, locked until the transaction ends. Raises as `delete_job` does where it cannot be deleted."""
        # The strongest lock: it waits for a submission that holds the job as its base, so that the query sees that one.
        job = self._connection.execute(select(*_COLUMNS).where(jobs.c.id == job_id).with_for_update()).one_or_none()
        if job is None:
            raise not_found("job", job_id)
        self._check(job)
        return job

    def delete_models(self, job_id: str, *, now: datetime) -> None:
        """Delete the models of an ended job, which keeps everything else. Their folders are the caller's.

        Raises as `delete_job` does.
        """
        self.lock(job_id)
        self._note_models(job_id, now, files_removed_at=None)
        self._connection.execute(delete(models).where(models.c.job_id == job_id))
        self._connection.execute(update(jobs).where(jobs.c.id == job_id).values(model_id=None))

    def was_deleted(self, record_id: str, *, owner: str) -> bool:
        """Whether the owner had a record with this id and deleted it."""
        former = select(deleted_records.c.id).where(deleted_records.c.id == record_id, deleted_records.c.owner == owner)
        return self._connection.execute(former).one_or_none() is not None

    def with_files(self) -> list[tuple[str, str]]:
        """Deleted records whose folder may still exist: the id of each, and its folder below that of all jobs."""
        left = select(deleted_records.c.id, deleted_records.c.folder).where(LEAVES_FILES)
        return [(row.id, row.folder or row.id) for row in self._connection.execute(left)]

    def is_folder_free(self, folder: str) -> bool:
        """Whether no model is in this folder below that of all jobs; a job that trained again may have one there."""
        job_id, _, name = folder.partition("/")
        paths = self._connection.execute(select(models.c.path).where(models.c.job_id == job_id)).scalars()
        return all(PurePath(path).name != name for path in paths)

    def files_removed(self, record_id: str, *, now: datetime) -> None:
        """Record that the folder of a deleted job or model is gone."""
        self._connection.execute(
            update(deleted_records).where(deleted_records.c.id == record_id).values(files_removed_at=now)
        )

    def _check(self, job: Row[*tuple[object, ...]]) -> None:
        if not job.status.is_terminal:
            raise ConflictError(
                f"Job {job.id!r} is {job.status}, and only a job that has ended can be deleted. Cancel it first, for "
                f"example with 'ftlab cancel {job.id}'.",
                "job_not_ended",
                "job_id",
            )
        if user := self._find_user(job.id):
            if user.status is JobStatus.CANCELLING:
                raise JobBusyError(
                    f"Job {user.id!r}, which needs the model of job {job.id!r}, is being cancelled. Try again in a few "
                    "seconds.",
                    "model_in_use",
                    "job_id",
                )
            raise ConflictError(
                f"Job {job.id!r} cannot be deleted while job {user.id!r} needs its model. Cancel that job or wait "
                "until it ends.",
                "model_in_use",
                "job_id",
            )
        if child := self._find_child(job.id):
            raise ConflictError(
                f"Job {job.id!r} cannot be deleted while job {child!r} waits for it. Cancel that job first, for "
                f"example with 'ftlab cancel {child}'.",
                "job_awaited",
                "job_id",
            )
        pinned = select(checkpoints.c.name).where(checkpoints.c.job_id == job.id, checkpoints.c.is_pinned).limit(1)
        if name := self._connection.execute(pinned).scalar_one_or_none():
            raise ConflictError(
                f"Checkpoint {name} of job {job.id!r} is pinned. Unpin it before you delete the job.",
                "checkpoint_pinned",
                "job_id",
            )
        kept = select(models.c.name).where(models.c.job_id == job.id, models.c.is_pinned).limit(1)
        if name := self._connection.execute(kept).scalar_one_or_none():
            raise ConflictError(
                f"Model {name!r} of job {job.id!r} is pinned. Unpin it first.", "model_pinned", "job_id"
            )
        needed = select(attempts.c.number).where(
            attempts.c.job_id == job.id, or_(attempts.c.ended_at.is_(None), IS_UNRELEASED, IS_UNCOUNTED)
        )
        if self._connection.execute(needed.limit(1)).one_or_none() is not None:
            raise JobBusyError(
                f"The scheduler still releases what the last run of job {job.id!r} held. Try again in a few seconds.",
                param="job_id",
            )
        if job.attempt > 0 and job.last_seq > job.mlflow_seq:
            raise JobBusyError(
                f"MLflow does not have the whole record of job {job.id!r} yet. Try again later; 'ftlab status' shows "
                "whether MLflow answers.",
                "job_not_recorded",
                "job_id",
            )

    def _find_user(self, job_id: str) -> Row[*tuple[Any, ...]] | None:
        """An unfinished job that starts from this one or from an adapter that was trained on it, or evaluates such.

        One that is being cancelled only where there is no other.
        """
        users = select(jobs.c.id, jobs.c.status).where(jobs.c.base_job_id == job_id).cte("users", recursive=True)
        users = users.union(select(jobs.c.id, jobs.c.status).where(jobs.c.base_job_id == users.c.id))
        bases = union(select(literal(job_id)), select(users.c.id)).subquery()
        readers = select(jobs.c.id, jobs.c.status).join(job_sources, job_sources.c.job_id == jobs.c.id)
        readers = readers.where(job_sources.c.source_job_id.in_(select(bases.c[0])))
        found = union(select(users.c.id, users.c.status), readers).subquery()
        unfinished = select(found.c.id, found.c.status).where(found.c.status.in_(UNFINISHED))
        last = unfinished.order_by(found.c.status == JobStatus.CANCELLING).limit(1)
        return self._connection.execute(last).one_or_none()

    def _find_child(self, job_id: str) -> str | None:
        """An unfinished job that still waits for this one."""
        waiting = select(jobs.c.id).join(chain_links, chain_links.c.job_id == jobs.c.id)
        waiting = waiting.where(chain_links.c.parent_id == job_id, IS_OPEN, jobs.c.status.in_(UNFINISHED)).limit(1)
        return self._connection.execute(waiting).scalar_one_or_none()

    def _note_deleted(self, job: Row[*tuple[object, ...]], now: datetime) -> None:
        former_job = {"id": job.id, "kind": jobs.name, "owner": job.owner, "seq": job.queue_seq, "deleted_at": now}
        self._connection.execute(insert(deleted_records), former_job)
        self._note_models(job.id, now, files_removed_at=now)  # with the folder of the job

    def _note_models(self, job_id: str, now: datetime, *, files_removed_at: datetime | None) -> None:
        mine = select(models.c.id, models.c.owner, models.c.seq, models.c.path).where(models.c.job_id == job_id)
        values = {"kind": models.name, "deleted_at": now, "files_removed_at": files_removed_at}
        former = [
            {"id": row.id, "owner": row.owner, "seq": row.seq, "folder": f"{job_id}/{PurePath(row.path).name}"} | values
            for row in self._connection.execute(mine)
        ]
        if former:
            self._connection.execute(insert(deleted_records), former)


_COLUMNS = (
    jobs.c.id,
    jobs.c.owner,
    jobs.c.queue_seq,
    jobs.c.status,
    jobs.c.attempt,
    jobs.c.last_seq,
    jobs.c.mlflow_seq,
)
