"""Jobs: the only writer of their status."""

from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import ColumnElement, case, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate

from ftlab.life import ATTEMPT_STATUSES, JobStatus, ReasonCode, sources_of
from ftlab.schemas import EventKind
from tracking.store.column_types import clean_text, finite_or_none
from tracking.store.errors import DuplicateError, StaleJobError
from tracking.store.events import write_events
from tracking.store.job_reads import JobReads
from tracking.store.leases import COORDINATOR
from tracking.store.records import AttemptRecord, EventRecord, JobRecord, JobRef, NewEvent
from tracking.store.rows import attempts, idempotency_keys, jobs, leases

DEFAULT_REASONS = {
    JobStatus.COMPLETED: ReasonCode.OK,
    JobStatus.CANCELLED: ReasonCode.USER_CANCELLED,
    JobStatus.FAILED: ReasonCode.INTERNAL_ERROR,
}


class MoveFields(TypedDict, total=False):
    """What may change together with the status."""

    retries_used: int
    not_before: datetime | None
    model_id: str
    priority: int


class JobRepository(JobReads):
    """Every write about an attempt carries its number and changes nothing when a newer one exists."""

    def add(
        self,
        job_id: str,
        *,
        owner: str,
        name: str,
        config: dict[str, Any],
        dataset_id: str,
        eval_dataset_id: str | None,
        idempotency_key: str | None,
        body_sha256: str,
        now: datetime,
    ) -> JobRecord:
        """Put a new job at the end of the queue, with its first event.

        Raises `DuplicateError` when the owner has used the idempotency key before: `find_idempotent` in a new
        transaction gives the job.
        """
        values = {
            **_NEW_JOB,
            "id": job_id,
            "owner": owner,
            "name": name,
            "config": config,
            "dataset_id": dataset_id,
            "eval_dataset_id": eval_dataset_id,
            "created_at": now.astimezone(UTC),
            "updated_at": now.astimezone(UTC),
        }
        try:
            queue_seq = self._connection.execute(insert(jobs).returning(jobs.c.queue_seq), values).scalar_one()
            if idempotency_key is not None:
                key = {"owner": owner, "key": idempotency_key, "body_sha256": body_sha256, "job_id": job_id}
                self._connection.execute(insert(idempotency_keys), key)
        except IntegrityError as error:
            raise DuplicateError("The idempotency key or the job id has been used before.") from error
        record = JobRecord(queue_seq=queue_seq, **values)
        self._write_status(record.ref, record.last_seq, record.status, record.message, None, now)
        return record

    def move(
        self,
        ref: JobRef,
        target: JobStatus,
        *,
        now: datetime,
        message: str | None = None,
        reason: ReasonCode | None = None,
        **fields: Unpack[MoveFields],
    ) -> EventRecord:
        """Change the status and append the status event.

        A terminal job always gets a reason, by default that of `DEFAULT_REASONS`. `not_before` holds for one
        wait in the queue: a move that does not give it clears it. Raises `StaleJobError` when the job or its
        attempt has already moved on.
        """
        text = clean_text(message) if message else target.sentence
        reason = (reason or DEFAULT_REASONS[target]) if target.is_terminal else None
        values: dict[str, Any] = {"last_seq": jobs.c.last_seq + 1, "not_before": None, **fields}
        if target is JobStatus.RUNNING:
            values["started_at"] = func.coalesce(jobs.c.started_at, now)
        if target not in ATTEMPT_STATUSES:
            values["eta_s"] = None
        if target.is_terminal:
            values["finished_at"] = now
        last_seq = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == ref.id, jobs.c.attempt == ref.attempt, jobs.c.status.in_(sources_of(target)))
            .values(status=target, message=text, reason=reason, updated_at=now, **values)
            .returning(jobs.c.last_seq)
        ).scalar_one_or_none()
        if last_seq is None:
            raise StaleJobError(
                f"Job {ref.id!r} (attempt {ref.attempt}) has moved on and cannot become {target.value} now."
            )
        return self._write_status(ref, last_seq, target, text, reason, now)

    def claim(
        self,
        job_id: str,
        *,
        driver: str,
        cpus: int,
        gpus: int,
        resumed_from_step: int | None,
        epoch: int,
        now: datetime,
    ) -> AttemptRecord:
        """Take a queued job out of the queue and open its next attempt.

        Raises `StaleJobError` when the job is not queued any more or still has a live attempt, and when the
        coordinator's lease has a newer epoch.
        """
        claimed = self._connection.execute(_claim(job_id, epoch, now)).one_or_none()
        if claimed is None:
            raise StaleJobError(f"Job {job_id!r} cannot be started: it, or the coordinator's lease, has moved on.")
        record = AttemptRecord(
            job_id=job_id,
            number=claimed.attempt,
            driver=driver,
            cpus=cpus,
            gpus=gpus,
            placement_groups=(),
            pids=(),
            resumed_from_step=resumed_from_step,
            created_at=now.astimezone(UTC),
            heartbeat_at=now.astimezone(UTC),
            ended_at=None,
            reason=None,
            message=None,
        )
        self._connection.execute(insert(attempts), vars(record))
        ref, status = JobRef(job_id, record.number), JobStatus.PENDING
        self._write_status(ref, claimed.last_seq, status, status.sentence, None, now)
        return record

    def record_progress(
        self,
        ref: JobRef,
        *,
        step: int,
        total_steps: int | None,
        epoch: float | None,
        loss: float | None = None,
        eval_loss: float | None = None,
        eta_s: float | None = None,
        now: datetime,
    ) -> bool:
        """Keep where training stands; a loss that is `None` or not finite leaves the old one.

        Returns False when the attempt is no longer live.
        """
        values: dict[str, Any] = {
            "step": step,
            "total_steps": total_steps,
            "epoch": epoch,
            "eta_s": finite_or_none(eta_s),
            "updated_at": now,
        }
        losses = {"loss": finite_or_none(loss), "eval_loss": finite_or_none(eval_loss)}
        values |= {column: value for column, value in losses.items() if value is not None}
        changed = self._connection.execute(
            update(jobs).where(jobs.c.id == ref.id, jobs.c.live_attempt == ref.attempt).values(**values)
        )
        return changed.rowcount == 1

    def set_model_revision(self, ref: JobRef, revision: str) -> str:
        """Pin the base model's revision; the first attempt's stays. Returns the one that holds.

        Raises `StaleJobError` when the attempt is no longer live.
        """
        pinned: str | None = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == ref.id, jobs.c.live_attempt == ref.attempt)
            .values(model_revision=func.coalesce(jobs.c.model_revision, revision))
            .returning(jobs.c.model_revision)
        ).scalar_one_or_none()
        if pinned is None:
            raise StaleJobError(f"Attempt {ref.attempt} of job {ref.id!r} is no longer live.")
        return pinned

    def set_mlflow(self, job_id: str, *, run_id: str | None = None, seq: int | None = None) -> None:
        """Keep the job's MLflow run and the newest event that MLflow has; that number never goes back."""
        values: dict[str, str | ColumnElement[int]] = {}
        if run_id is not None:
            values["mlflow_run_id"] = run_id
        if seq is not None:
            values["mlflow_seq"] = case((jobs.c.mlflow_seq < seq, seq), else_=jobs.c.mlflow_seq)
        if values:
            self._connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))

    def _write_status(
        self,
        ref: JobRef,
        seq: int,
        status: JobStatus,
        message: str,
        reason: ReasonCode | None,
        now: datetime,
    ) -> EventRecord:
        data = {"status": status.value, "message": message, "reason": reason.value if reason else None}
        new = NewEvent(EventKind.STATUS, data, now)
        return write_events(self._connection, ref, seq, [new])[0]


def _claim(job_id: str, epoch: int, now: datetime) -> ReturningUpdate[tuple[int, int]]:
    # The share lock (PostgreSQL) makes a coordinator that takes the lease right now wait for the claim.
    holds_lease = (
        select(leases.c.name)
        .where(leases.c.name == COORDINATOR, leases.c.epoch == epoch)
        .with_for_update(read=True)
        .exists()
    )
    is_free = (jobs.c.status.in_(sources_of(JobStatus.PENDING)), jobs.c.live_attempt.is_(None))
    return (
        update(jobs)
        .where(jobs.c.id == job_id, *is_free, holds_lease)
        .values(
            status=JobStatus.PENDING,
            message=JobStatus.PENDING.sentence,
            not_before=None,
            attempt=jobs.c.attempt + 1,
            live_attempt=jobs.c.attempt + 1,
            last_seq=jobs.c.last_seq + 1,
            updated_at=now,
        )
        .returning(jobs.c.attempt, jobs.c.last_seq)
    )


_NEW_JOB: dict[str, Any] = {
    "status": JobStatus.QUEUED,
    "message": JobStatus.QUEUED.sentence,
    "priority": 0,
    "attempt": 0,
    "retries_used": 0,
    "step": 0,
    "last_seq": 1,
    "mlflow_seq": 0,
} | dict.fromkeys(
    (
        "reason",
        "not_before",
        "total_steps",
        "epoch",
        "loss",
        "eval_loss",
        "eta_s",
        "mlflow_run_id",
        "model_revision",
        "model_id",
        "started_at",
        "finished_at",
    )
)
"""How every job begins; its event number 1 says that it is queued."""
