"""From the store's records to what travels over HTTP."""

from ftlab.schemas import Attempt, Checkpoint, Dataset, Job, JobConfig, LogLine, MetricPoint, TunedModel
from ftlab.status import JobStatus
from tracking.store.records import (
    AttemptRecord,
    CheckpointRecord,
    DatasetRecord,
    EventRecord,
    JobRecord,
    MetricRecord,
    ModelRecord,
)


def to_job(
    record: JobRecord,
    *,
    queue_position: int | None = None,
    waiting_for: str | None = None,
    message: str | None = None,
) -> Job:
    """The job; `message` replaces the stored one, as a queued job's depends on the jobs before it."""
    return Job(
        id=record.id,
        owner=record.owner,
        name=record.name,
        status=record.status,
        message=message or record.message,
        reason=record.reason,
        config=record.submitted_config,
        resolved_config=record.config.model_dump(mode="json") if isinstance(record.config, JobConfig) else None,
        priority=record.priority,
        attempt=record.attempt,
        retries_used=record.retries_used,
        step=record.step,
        total_steps=record.total_steps,
        epoch=record.epoch,
        loss=record.loss,
        eval_loss=record.eval_loss,
        eta_s=record.eta_s if record.status is JobStatus.RUNNING else None,
        file=record.file,
        num_files=record.num_files,
        file_progress=record.file_progress,
        queue_position=queue_position,
        waiting_for=waiting_for,
        last_seq=record.last_seq,
        model_id=record.model_id,
        mlflow_run_id=record.mlflow_run_id,
        created_at=record.created_at,
        started_at=record.started_at,
        paused_at=record.paused_at,
        finished_at=record.finished_at,
    )


def to_dataset(record: DatasetRecord) -> Dataset:
    return Dataset(
        id=record.id,
        owner=record.owner,
        name=record.name,
        bucket=record.bucket,
        format=record.format,
        shape=record.shape,
        num_rows=record.num_rows,
        size_bytes=record.size_bytes,
        sha256=record.sha256,
        created_at=record.created_at,
        kind=record.kind,
        num_skipped=record.num_skipped,
        column_mapping=record.column_mapping,
        confidence=record.confidence,
        compression=record.compression,
        problems=tuple(record.problems),
    )


def to_log_line(record: EventRecord) -> LogLine:
    return LogLine(
        at=record.at,
        level=str(record.data.get("level", "info")),
        text=str(record.data.get("text", "")),
        attempt=record.attempt,
    )


def to_metric_point(record: MetricRecord) -> MetricPoint:
    return MetricPoint(name=record.name, step=record.step, value=record.value, at=record.at, attempt=record.attempt)


def to_checkpoint(record: CheckpointRecord) -> Checkpoint:
    return Checkpoint(
        name=record.name,
        job_id=record.job_id,
        step=record.step,
        attempt=record.attempt,
        size_bytes=record.size_bytes,
        metrics=record.metrics,
        is_best=record.is_best,
        created_at=record.created_at,
    )


def to_attempt(record: AttemptRecord) -> Attempt:
    return Attempt(
        number=record.number,
        cpus=record.cpus,
        gpus=record.gpus,
        resumed_from_step=record.resumed_from_step,
        created_at=record.created_at,
        ended_at=record.ended_at,
        reason=record.reason,
        message=record.message,
    )


def to_model(record: ModelRecord) -> TunedModel:
    return TunedModel(
        id=record.id,
        owner=record.owner,
        job_id=record.job_id,
        name=record.name,
        kind=record.kind,
        base_model=record.base_model,
        base_revision=record.base_revision,
        step=record.step,
        mlflow_version=record.mlflow_version,
        created_at=record.created_at,
    )
