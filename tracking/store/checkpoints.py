"""Committed checkpoints. The files define what is in a checkpoint, the rows which checkpoints exist."""

import math
from collections.abc import Collection

from sqlalchemy import Connection, delete, func, select, update

from ftlab.errors import NotFoundError
from tracking.store.attempts import require_live_attempt
from tracking.store.database import insert_into
from tracking.store.records import CheckpointRecord, JobRef
from tracking.store.rows import checkpoints, columns_of, jobs

COLUMNS = columns_of(checkpoints, CheckpointRecord)


class CheckpointRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, ref: JobRef, record: CheckpointRecord) -> None:
        """Add a checkpoint, or replace that of the same step. Metrics that are not finite are left out.

        Raises `StaleJobError` when the attempt is no longer live.
        """
        require_live_attempt(self._connection, ref)
        finite = {name: value for name, value in record.metrics.items() if math.isfinite(value)}
        insert = insert_into(self._connection, checkpoints)
        keys = ("job_id", "step")
        self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=[checkpoints.c[name] for name in keys],
                set_={column.name: insert.excluded[column.name] for column in COLUMNS if column.name not in keys},
            ),
            {**vars(record), "metrics": finite},
        )
        self._count_bytes(record.job_id)
        if record.is_best:
            self.mark_best(record.job_id, record.step)

    def of_job(self, job_id: str) -> list[CheckpointRecord]:
        """Newest step first."""
        rows = self._connection.execute(
            select(*COLUMNS).where(checkpoints.c.job_id == job_id).order_by(checkpoints.c.step.desc())
        )
        return [CheckpointRecord(*row) for row in rows]

    def get(self, job_id: str, name: str) -> CheckpointRecord:
        row = self._connection.execute(
            select(*COLUMNS).where(checkpoints.c.job_id == job_id, checkpoints.c.name == name)
        ).one_or_none()
        if row is None:
            raise NotFoundError(f"Job {job_id!r} has no checkpoint {name!r}.", "checkpoint_not_found", "checkpoint")
        return CheckpointRecord(*row)

    def mark_best(self, job_id: str, step: int) -> None:
        """Make the checkpoint of this step the only best one."""
        self._connection.execute(
            update(checkpoints).where(checkpoints.c.job_id == job_id).values(is_best=checkpoints.c.step == step)
        )

    def remove(self, job_id: str, steps: Collection[int]) -> None:
        self._connection.execute(
            delete(checkpoints).where(checkpoints.c.job_id == job_id, checkpoints.c.step.in_(steps))
        )
        self._count_bytes(job_id)

    def _count_bytes(self, job_id: str) -> None:
        """Keep the sum in the job's row, so that the sum of an owner need not read every checkpoint."""
        total = select(func.coalesce(func.sum(checkpoints.c.size_bytes), 0)).where(checkpoints.c.job_id == job_id)
        self._connection.execute(update(jobs).where(jobs.c.id == job_id).values(disk_bytes=total.scalar_subquery()))
