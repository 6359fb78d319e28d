"""Adjustments of a job's config, which are made when the job is resumed."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, update

from ftlab.schemas import JobConfig
from ftlab.schemas.adjustments import Adjustment
from ftlab.schemas.auto import as_submitted, setting
from ftlab.schemas.events import AdjustedPayload
from tracking.store.errors import StaleJobError
from tracking.store.events import write_events
from tracking.store.records import EventRecord, JobRecord, NewEvent
from tracking.store.rows import job_files, jobs


class AdjustmentRepository:
    """The config of a job changes only here, where files are appended, and where an awaited job delivers its model."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def apply(
        self,
        job: JobRecord,
        config: JobConfig,
        adjustment: Adjustment,
        *,
        needs_data: bool = False,
        **columns: Any,
    ) -> EventRecord:
        """Give a job without a live attempt another config, record the adjustment, and write its event.

        `needs_data` says that other prepared data is needed, and `columns` are other columns that follow from the
        config, such as `priority`. A setting that is `auto` stays so unless its value changes. Raises `StaleJobError`
        when the job has changed since `job` was read.
        """
        kept = {name: found for name, found in job.auto.items() if setting(config, name) == found["value"]}
        values = {
            "config": as_submitted(config, kept),
            "resolved_config": config.resolved(),
            "auto": kept,
            "dataset_id": config.datasets[0],
            "eval_dataset_id": config.eval_dataset,
            "adjustments": (*job.adjustments, adjustment),
            "last_seq": jobs.c.last_seq + 1,
            "updated_at": adjustment.at,
            **columns,
        }
        if needs_data:
            values |= {"has_new_files": True, "data_findings": None}
        is_mine = (jobs.c.id == job.id, jobs.c.attempt == job.attempt, jobs.c.live_attempt.is_(None))
        last_seq = self._connection.execute(
            update(jobs).where(*is_mine, jobs.c.status == job.status).values(**values).returning(jobs.c.last_seq)
        ).scalar_one_or_none()
        if last_seq is None:
            raise StaleJobError(f"Job {job.id!r} has changed, and its config cannot be adjusted now.")
        if config.datasets != job.dataset_ids:
            self._replace_files(job.id, config.datasets, adjustment.at)
        payload = AdjustedPayload.of_adjustment(adjustment)
        return write_events(self._connection, job.ref, last_seq, [NewEvent(payload, adjustment.at)])[0]

    def _replace_files(self, job_id: str, dataset_ids: list[str], now: datetime) -> None:
        self._connection.execute(delete(job_files).where(job_files.c.job_id == job_id))
        rows = [
            {"job_id": job_id, "position": position, "dataset_id": dataset_id, "added_at": now}
            for position, dataset_id in enumerate(dataset_ids)
        ]
        if len(rows) > 1:  # a job with one file has no rows
            self._connection.execute(insert(job_files), rows)
