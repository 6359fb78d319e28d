"""Committed checkpoints. The files define what is in a checkpoint, the rows which checkpoints exist."""

import math
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, update

from ftlab.errors import NotFoundError
from ftlab.status import JobKind
from tracking.store.attempts import require_live_attempt
from tracking.store.database import insert_into
from tracking.store.evaluations import job_sources
from tracking.store.records import CheckpointRecord, JobRef
from tracking.store.rows import UNFINISHED, checkpoints, columns_of, jobs

COLUMNS = columns_of(checkpoints, CheckpointRecord)
KEYS = ("job_id", "step")
KEPT = (*KEYS, "is_pinned")
"""Columns that a checkpoint keeps when it is saved again at the same step."""
IS_THERE = checkpoints.c.deleting_at.is_(None)


class CheckpointRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, ref: JobRef, record: CheckpointRecord) -> None:
        """Add a checkpoint, or replace that of the same step, whose pin stays.

        Metrics that are not finite are left out.

        Raises `StaleJobError` when the attempt is no longer live.
        """
        require_live_attempt(self._connection, ref)
        finite = {name: value for name, value in record.metrics.items() if math.isfinite(value)}
        insert = insert_into(self._connection, checkpoints)
        self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=[checkpoints.c[name] for name in KEYS],
                set_={column.name: insert.excluded[column.name] for column in COLUMNS if column.name not in KEPT}
                | {"deleting_at": None},
            ),
            {**vars(record), "metrics": finite},
        )
        self._count_bytes(record.job_id)
        if record.is_best:
            self.mark_best(record.job_id, record.step)

    def of_job(self, job_id: str) -> list[CheckpointRecord]:
        """Newest step first."""
        return self.of_jobs([job_id]).get(job_id, [])

    def of_jobs(self, job_ids: Collection[str]) -> dict[str, list[CheckpointRecord]]:
        """Those of several jobs, newest step first; a job without checkpoints has no entry."""
        found: dict[str, list[CheckpointRecord]] = {}
        chosen = select(*COLUMNS).where(checkpoints.c.job_id.in_(job_ids), IS_THERE)
        for row in self._connection.execute(chosen.order_by(checkpoints.c.step.desc())):
            record = CheckpointRecord(*row)
            found.setdefault(record.job_id, []).append(record)
        return found

    def get(self, job_id: str, name: str) -> CheckpointRecord:
        row = self._connection.execute(
            select(*COLUMNS).where(checkpoints.c.job_id == job_id, checkpoints.c.name == name, IS_THERE)
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

    def jobs_of_owner(self, owner: str) -> list[str]:
        """Ids of the owner's jobs that have checkpoints, oldest job first."""
        found = select(jobs.c.id).where(jobs.c.owner == owner, jobs.c.disk_bytes > 0).order_by(jobs.c.queue_seq)
        return list(self._connection.execute(found).scalars())

    def lock(self, job_id: str) -> None:
        """Keep the job from being started, and from becoming the base of a new job, until the transaction ends."""
        # The strongest lock: a submission holds the job that it starts from.
        self._connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())

    def set_pinned(self, job_id: str, step: int, is_pinned: bool) -> None:
        self._connection.execute(update(checkpoints).where(*_is(job_id, step)).values(is_pinned=is_pinned))

    def mark_deleting(self, job_id: str, step: int, *, now: datetime) -> None:
        """The checkpoint is no longer there for anybody; its row stays until its files are gone."""
        self._connection.execute(update(checkpoints).where(*_is(job_id, step)).values(deleting_at=now))

    def in_deletion(self) -> list[CheckpointRecord]:
        """Checkpoints whose files may still have to be removed."""
        rows = self._connection.execute(select(*COLUMNS).where(~IS_THERE))
        return [CheckpointRecord(*row) for row in rows]

    def end_deletion(self, job_id: str, step: int) -> None:
        """Forget a checkpoint whose files are gone."""
        self._connection.execute(delete(checkpoints).where(*_is(job_id, step), ~IS_THERE))
        self._count_bytes(job_id)

    def users_of(self, job_id: str) -> list[tuple[str, str]]:
        """The jobs that start from this job, and those that still read it, with the models that they name."""
        # An engine or an evaluation that has ended leaves nothing that needs the files.
        is_in_need = or_(jobs.c.kind == JobKind.TRAINING, jobs.c.status.in_(UNFINISHED))
        starting = select(jobs.c.id, jobs.c.config).where(jobs.c.base_job_id == job_id, is_in_need)
        found = [(row.id, str(row.config.get("model", ""))) for row in self._connection.execute(starting)]
        reading = (
            select(jobs.c.id, jobs.c.config)
            .join(job_sources, job_sources.c.job_id == jobs.c.id)
            .where(job_sources.c.source_job_id == job_id, jobs.c.status.in_(UNFINISHED))
        )
        readers = self._connection.execute(reading)
        return found + [(row.id, model) for row in readers for model in _models_of(row.config)]

    def _count_bytes(self, job_id: str) -> None:
        """Keep the sum in the job's row, so that the sum of an owner need not read every checkpoint."""
        total = select(func.coalesce(func.sum(checkpoints.c.size_bytes), 0)).where(checkpoints.c.job_id == job_id)
        self._connection.execute(update(jobs).where(jobs.c.id == job_id).values(disk_bytes=total.scalar_subquery()))


def _models_of(config: dict[str, Any]) -> list[str]:
    """The models that a job reads: those of an evaluation, or that of an export."""
    return list(config["models"]) if "models" in config else [str(config.get("model", ""))]


def pinned_after(found: Sequence[CheckpointRecord], name: str | None) -> str | None:
    """The pinned checkpoint that a resume from the one called `name` would remove, because it is newer."""
    step = next((each.step for each in found if each.name == name), None)
    return next((each.name for each in found if step is not None and each.is_pinned and each.step > step), None)


def _is(job_id: str, step: int) -> tuple[ColumnElement[bool], ...]:
    return checkpoints.c.job_id == job_id, checkpoints.c.step == step
