"""The datasets of jobs with several files, in their order."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from ftlab.schemas import JobConfig
from tracking.store.records import JobRecord
from tracking.store.rows import job_files, jobs


class JobFileRepository:
    """A job with one file has no rows here; its config always names all of a job's files."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of_job(self, job_id: str) -> list[str]:
        """The datasets of the job's files in their order; empty for a job with one file or none of this id."""
        mine = select(job_files.c.dataset_id).where(job_files.c.job_id == job_id)
        return list(self._connection.execute(mine.order_by(job_files.c.position)).scalars())

    def add(self, job_id: str, dataset_ids: Sequence[str], *, now: datetime) -> None:
        """Record the files of a job; those recorded earlier stay."""
        known = len(self.of_job(job_id))
        rows = [
            {"job_id": job_id, "position": position, "dataset_id": dataset_id, "added_at": now}
            for position, dataset_id in enumerate(dataset_ids)
        ]
        self._connection.execute(insert(job_files), rows[known:])

    def append(self, job: JobRecord, dataset_ids: Sequence[str], *, now: datetime) -> list[str]:
        """Append files to a job that the caller has locked and whose config is readable; return all of its files."""
        assert isinstance(job.config, JobConfig)
        files = [*job.config.datasets, *dataset_ids]
        changes: dict[str, object] = {"dataset": files}
        if job.config.eval_split is not None and job.config.eval_split_files is None:
            changes["eval_split_files"] = len(job.config.datasets)
        self.add(job.id, files, now=now)
        write = update(jobs).where(jobs.c.id == job.id)
        longer = {
            "config": job.submitted_config | changes,
            "resolved_config": job.config.model_copy(update=changes),
        }
        self._connection.execute(write.values(**longer, has_new_files=True, data_findings=None, updated_at=now))
        return files
