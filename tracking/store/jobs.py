"""Jobs. This is the only writer of their status."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import ColumnElement, bindparam, case, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate

from ftlab.schemas import AnyJobConfig, JobConfig, NoticePayload, StatusPayload
from ftlab.schemas.auto import as_submitted
from ftlab.status import (
    ATTEMPT_STATUSES,
    SENTENCES_OF_KINDS,
    JobKind,
    JobStatus,
    Phase,
    ReasonCode,
    StopKind,
    sources_of,
)
from tracking.store.column_types import clean_text, finite_or_none
from tracking.store.errors import DuplicateError, StaleJobError
from tracking.store.evaluations import job_sources
from tracking.store.events import write_events
from tracking.store.job_queue import JobQueue
from tracking.store.leases import COORDINATOR
from tracking.store.records import AttemptRecord, EventRecord, JobRecord, JobRef, MlflowCursor, NewEvent
from tracking.store.rows import attempts, idempotency_keys, jobs, leases

DEFAULT_REASONS = {
    JobStatus.COMPLETED: ReasonCode.OK,
    JobStatus.CANCELLED: ReasonCode.USER_CANCELLED,
    JobStatus.FAILED: ReasonCode.INTERNAL_ERROR,
}
_REPLACED = ("step", "eta_s", "updated_at")
_KEPT = ("total_steps", "epoch", "loss", "eval_loss", "file", "file_progress", "phase")
_NEW = {name: bindparam(f"new_{name}", type_=jobs.c[name].type) for name in _REPLACED + _KEPT}
_PROGRESS = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"), jobs.c.live_attempt == bindparam("of_attempt"))
    .values({name: new if name in _REPLACED else func.coalesce(new, jobs.c[name]) for name, new in _NEW.items()})
)


class MoveFields(TypedDict, total=False):
    """Fields that may change together with the status."""

    retries_used: int
    not_before: datetime | None
    model_id: str
    priority: int
    queue_shift: int
    stop_kind: StopKind
    resume_from: str | None


class JobRepository(JobQueue):
    """Every write about an attempt is guarded by its number: it changes nothing when a newer attempt exists."""

    def add(
        self,
        job_id: str,
        *,
        owner: str,
        name: str,
        config: AnyJobConfig,
        now: datetime,
        idempotency_key: str | None = None,
        body_sha256: str = "",
        model_revision: str | None = None,
        base_job_id: str | None = None,
        source_job_ids: Collection[str] = (),
        auto: dict[str, Any] | None = None,
        sweep_id: str | None = None,
        notices: Sequence[NoticePayload] = (),
    ) -> JobRecord:
        """Add a job at the end of its priority in the queue, with its first events: its status, and `notices`.

        `body_sha256` is kept with an idempotency key. `model_revision` pins the base model from the start; by default
        the first attempt does. `base_job_id` is the job whose files it starts from, and `source_job_ids` are those
        whose files an evaluation reads; the caller holds them with `hold`. `auto` and `sweep_id` are as in `JobRecord`.
        Raises `DuplicateError` for an idempotency key of this owner: find the job with `find_idempotent` in a new
        transaction.
        """
        submitted, resolved = as_submitted(config, auto or {}), config.resolved()
        values = {
            **NEW_JOB,
            "id": job_id,
            "owner": owner,
            "name": name,
            "auto": auto or {},
            "kind": JobKind(config.kind),
            "dataset_id": next(iter(config.datasets), ""),
            "eval_dataset_id": config.eval_dataset if isinstance(config, JobConfig) else None,
            "priority": config.priority,
            "sweep_id": sweep_id,
            "model_revision": model_revision,
            "created_at": now.astimezone(UTC),
            "updated_at": now.astimezone(UTC),
            "last_seq": 1 + len(notices),
        }
        try:
            more = {"config": submitted, "resolved_config": resolved, "base_job_id": base_job_id}
            queue_seq = self._connection.execute(_ADD, values | more).scalar_one()
            if idempotency_key is not None:
                key = {"owner": owner, "key": idempotency_key, "body_sha256": body_sha256, "job_id": job_id}
                self._connection.execute(_ADD_KEY, key)
            if source_job_ids:
                sources = [{"job_id": job_id, "source_job_id": source} for source in sorted(set(source_job_ids))]
                self._connection.execute(insert(job_sources), sources)
        except IntegrityError as error:
            raise DuplicateError("The idempotency key or the job id has been used before.") from error
        record = JobRecord(queue_seq=queue_seq, submitted_config=submitted, config=resolved, **values)
        first = [StatusPayload(status=record.status, message=record.message, reason=None), *notices]
        write_events(self._connection, record.ref, record.last_seq, [NewEvent(payload, now) for payload in first])
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

        A terminal job always gets a reason, by default from `DEFAULT_REASONS`. `not_before` is valid for one wait in
        the queue: a move without it clears it. `stop_kind`, by default a pause, is kept while the job is pausing,
        `paused_at` while it is paused, `waiting_for` while it is queued, and `resume_from` until it runs. Raises
        `StaleJobError` when the job or its attempt has already moved on.
        """
        text = clean_text(message) if message else _sentence_of_kind(target)
        reason = (reason or DEFAULT_REASONS[target]) if target.is_terminal else None
        values: dict[str, Any] = {"last_seq": jobs.c.last_seq + 1, **_STATUS_FIELDS, **fields}
        if target is JobStatus.PAUSING:
            values["stop_kind"] = fields.get("stop_kind", StopKind.PAUSE)
        if target is JobStatus.PAUSED:
            values["paused_at"] = now
        if target is JobStatus.RUNNING:
            values |= {"started_at": func.coalesce(jobs.c.started_at, now), "resume_from": None}
        if target not in ATTEMPT_STATUSES:
            values |= {"eta_s": None, "phase": None}
        if target.is_terminal:
            values["finished_at"] = now
        moved = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == ref.id, jobs.c.attempt == ref.attempt, jobs.c.status.in_(sources_of(target)))
            .values(status=target, message=text, reason=reason, updated_at=now, **values)
            .returning(jobs.c.last_seq, jobs.c.message)
        ).one_or_none()
        if moved is None:
            raise StaleJobError(
                f"Job {ref.id!r} (attempt {ref.attempt}) has moved on and cannot become {target.value} now."
            )
        return self._write_status(ref, moved.last_seq, target, moved.message, reason, now)

    def reopen(
        self,
        ref: JobRef,
        *,
        message: str,
        now: datetime,
        source: JobStatus = JobStatus.COMPLETED,
        resume_from: str | None = None,
    ) -> EventRecord:
        """Put a job that has ended back into the queue, from a status in `REOPENED`; the only way out of it.

        Its retry budget is reset, and its current model, if any, stays until the next one is delivered. Raises
        `StaleJobError` when the job is not `source`, or has already been reopened.
        """
        target, values = JobStatus.QUEUED, {"retries_used": 0, "finished_at": None, "resume_from": resume_from}
        last_seq = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == ref.id, jobs.c.attempt == ref.attempt, jobs.c.status == source)
            .values(status=target, message=message, reason=None, updated_at=now, **_STATUS_FIELDS, **values)
            .values(last_seq=jobs.c.last_seq + 1)
            .returning(jobs.c.last_seq)
        ).scalar_one_or_none()
        if last_seq is None:
            raise StaleJobError(f"Job {ref.id!r} (attempt {ref.attempt}) is not {source.value} and cannot be reopened.")
        return self._write_status(ref, last_seq, target, message, None, now)

    def claim(
        self,
        job_id: str,
        *,
        driver: str,
        cpus: int,
        gpus: float,
        epoch: int,
        now: datetime,
        resumed_from_step: int | None = None,
        placement: Sequence[tuple[str, int | None]] = (),
        gpu_types: Mapping[str, float] | None = None,
    ) -> AttemptRecord:
        """Take a job out of the queue and start its next attempt.

        Raises `StaleJobError` when the job is no longer queued or still has a live attempt, and when the coordinator's
        lease has a newer epoch.
        """
        claimed = self._connection.execute(_claim(job_id, epoch, now)).one_or_none()
        if claimed is None:
            raise StaleJobError(
                f"Job {job_id!r} cannot be started: its record or the coordinator's lease has changed in the meantime."
            )
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
            placement=tuple(placement),
            gpu_types=dict(gpu_types or {}),
        )
        self._connection.execute(insert(attempts), vars(record))
        ref, status = JobRef(job_id, record.number), JobStatus.PENDING
        self._write_status(ref, claimed.last_seq, status, status.sentence, None, now)
        return record

    def set_stop_kind(self, ref: JobRef, kind: StopKind) -> StopKind:
        """Change why a pausing job must stop, unless the present reason is more urgent. Returns the resulting reason.

        Raises `StaleJobError` when the job is not pausing, or its attempt has moved on.
        """
        weaker = [other for other in StopKind if other.urgency < kind.urgency]
        held: StopKind | None = self._connection.execute(
            update(jobs)
            .where(jobs.c.id == ref.id, jobs.c.attempt == ref.attempt, jobs.c.status == JobStatus.PAUSING)
            .values(stop_kind=case((jobs.c.stop_kind.in_(weaker), kind), else_=jobs.c.stop_kind))
            .returning(jobs.c.stop_kind)
        ).scalar_one_or_none()
        if held is None:
            raise StaleJobError(f"Job {ref.id!r} (attempt {ref.attempt}) is not pausing any more.")
        return held

    def forget_resume_choice(self, ref: JobRef) -> None:
        """Clear `resume_from` once the live attempt trains: the next attempt resumes from the newest checkpoint."""
        self._connection.execute(
            update(jobs)
            .where(jobs.c.id == ref.id, jobs.c.live_attempt == ref.attempt, jobs.c.resume_from.is_not(None))
            .values(resume_from=None)
        )

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
        file: int | None = None,
        file_progress: float | None = None,
        phase: Phase | None = None,
        now: datetime,
    ) -> bool:
        """Store the training progress. A value that is `None` or not finite stays as it was, except `eta_s`.

        Returns False when the attempt is no longer live.
        """
        values = {
            "job": ref.id,
            "of_attempt": ref.attempt,
            "new_step": step,
            "new_eta_s": finite_or_none(eta_s),
            "new_updated_at": now,
            "new_total_steps": total_steps,
            "new_epoch": epoch,
            "new_loss": finite_or_none(loss),
            "new_eval_loss": finite_or_none(eval_loss),
            "new_file": file,
            "new_file_progress": finite_or_none(file_progress),
            "new_phase": phase,
        }
        return self._connection.execute(_PROGRESS, values).rowcount == 1

    def set_model_revision(self, ref: JobRef, revision: str) -> str:
        """Pin the base model's revision, unless it is pinned already. Returns the pinned revision.

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

    def set_estimate(self, ref: JobRef, time_s: float) -> None:
        """Keep the estimated time of the training, in seconds, while the attempt is live."""
        is_live = (jobs.c.id == ref.id) & (jobs.c.live_attempt == ref.attempt)
        self._connection.execute(update(jobs).where(is_live).values(estimated_time_s=time_s))

    def set_mlflow(
        self,
        job_id: str,
        *,
        run_id: str | None = None,
        experiment_id: str | None = None,
        cursor: MlflowCursor | None = None,
    ) -> None:
        """Store the job's MLflow run, and how much of the job MLflow has; the cursor never moves back."""
        values: dict[str, str | ColumnElement[int]] = {}
        if run_id is not None:
            values["mlflow_run_id"] = run_id
        if experiment_id is not None:
            values["mlflow_experiment_id"] = experiment_id
        if cursor is not None:
            for name, value in vars(cursor).items():
                column = jobs.c[f"mlflow_{name}"]
                values[column.name] = case((jobs.c.mlflow_seq < cursor.seq, value), else_=column)
        if values:
            self._connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))

    def _write_status(
        self, ref: JobRef, seq: int, status: JobStatus, message: str, reason: ReasonCode | None, now: datetime
    ) -> EventRecord:
        new = NewEvent(StatusPayload(status=status, message=message, reason=reason), now)
        return write_events(self._connection, ref, seq, [new])[0]


def _sentence_of_kind(status: JobStatus) -> str | ColumnElement[str]:
    """The sentence about a status, by the kind of the job in the row."""
    special = [(jobs.c.kind == kind, known[status]) for kind, known in SENTENCES_OF_KINDS.items() if status in known]
    return case(*special, else_=status.sentence) if special else status.sentence


def _claim(job_id: str, epoch: int, now: datetime) -> ReturningUpdate[tuple[int, int]]:
    # On PostgreSQL, the share lock makes a coordinator that takes over the lease wait for the claim.
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
            **_STATUS_FIELDS,
            attempt=jobs.c.attempt + 1,
            live_attempt=jobs.c.attempt + 1,
            has_new_files=False,
            last_seq=jobs.c.last_seq + 1,
            updated_at=now,
        )
        .returning(jobs.c.attempt, jobs.c.last_seq)
    )


_ADD = insert(jobs).returning(jobs.c.queue_seq)
_ADD_KEY = insert(idempotency_keys)
_STATUS_FIELDS: dict[str, Any] = dict.fromkeys(("not_before", "waiting_for", "stop_kind", "paused_at"))
"""Fields that are valid for one status only."""

NEW_JOB: dict[str, Any] = {
    "status": JobStatus.QUEUED,
    "message": JobStatus.QUEUED.sentence,
    "queue_shift": 0,
    "attempt": 0,
    "retries_used": 0,
    "step": 0,
    "last_seq": 1,
    "mlflow_seq": 0,
    "mlflow_step": -1,
    "mlflow_eval_step": -1,
    "has_new_files": False,
    "adjustments": (),
    "auto": {},
} | dict.fromkeys(
    (
        *("reason", "not_before", "waiting_for", "data_findings", "stop_kind", "resume_from"),
        *("total_steps", "epoch", "loss", "eval_loss", "eta_s", "phase", "file", "file_progress"),
        *("mlflow_run_id", "mlflow_experiment_id", "model_revision", "estimated_time_s", "model_id", "sweep_id"),
        *("started_at", "paused_at", "finished_at"),
    )
)
"""The fields of a new job whose only event says that it is queued."""
