"""Jobs as OpenAI's clients see them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ftlab.openai.ids import in_openai_ids
from ftlab.schemas import Job, JobConfig
from ftlab.settings import Settings
from ftlab.status import JobKind, JobStatus, ReasonCode, StopKind
from serve.jobs.views.job_view import describe_all
from serve.openai.ids import file_id, fine_tune_id, result_file_id, seconds
from serve.openai.job_config import hyperparameters_of, method_name, own_fields_of
from serve.openai.names import base_name, tuned_name
from serve.openai.objects import JobState, OpenAiHyperparameters, OpenAiJob, OpenAiJobError
from tracking.store import Transaction
from tracking.store.naming import not_found
from tracking.store.openai_jobs import OpenAiJobRecord
from tracking.store.records import JobRecord

S = JobStatus

_STATES: dict[JobStatus, JobState] = {
    S.QUEUED: "queued",
    S.PENDING: "running",
    S.INITIALIZING: "running",
    S.RUNNING: "running",
    S.PAUSING: "pausing",
    S.PAUSED: "paused",
    S.CANCELLING: "cancelled",
    S.COMPLETED: "succeeded",
    S.FAILED: "failed",
    S.CANCELLED: "cancelled",
}
_DETAILS = ("step", "total_steps", "epoch", "loss", "eval_loss", "phase", "attempt", "priority", "waiting_for")
"""Fields of our job that a reply has besides OpenAI's."""


def to_jobs(settings: Settings, tx: Transaction, records: Sequence[JobRecord]) -> list[OpenAiJob]:
    """The jobs as replies, in their order."""
    requests = tx.openai_jobs.of_jobs([record.id for record in records])
    described = describe_all(settings, tx, list(records))
    return [_to_job(tx, record, job, requests.get(record.id)) for record, job in zip(records, described, strict=True)]


def fine_tuning_job(tx: Transaction, owner: str, job: str) -> JobRecord:
    """The job with our id. Raises `NotFoundError`, also for a job of another kind, which OpenAI's API does not have."""
    record = tx.jobs.get(job, owner=owner)
    if record.kind is not JobKind.TRAINING:
        raise not_found("job", job)
    return record


def has_results(record: JobRecord) -> bool:
    """Whether the job has a file with its results: it has ended, and trained at least a step."""
    return record.kind is JobKind.TRAINING and record.status.is_terminal and record.step > 0


def _to_job(tx: Transaction, record: JobRecord, job: Job, request: OpenAiJobRecord | None) -> OpenAiJob:
    config = record.training_config
    hyperparameters = hyperparameters_of(config) if config else {}
    is_done = record.status is S.COMPLETED
    details = {name: getattr(job, name) for name in _DETAILS}
    return OpenAiJob(
        **(own_fields_of(config) if config else {}) | details,
        id=fine_tune_id(record.id),
        created_at=seconds(record.created_at),
        finished_at=record.finished_at and seconds(record.finished_at),
        model=base_name(record, request),
        fine_tuned_model=tuned_name(record, request) if is_done else None,
        organization_id=f"org-{record.owner}",
        status=_state(record),
        training_file=file_id(record.dataset_id),
        validation_file=record.eval_dataset_id and file_id(record.eval_dataset_id),
        result_files=[result_file_id(record.id)] if has_results(record) else [],
        hyperparameters=OpenAiHyperparameters(**_three(hyperparameters)),
        trained_tokens=_trained_tokens(tx, record) if is_done else None,
        seed=config.training.seed if config else 0,
        error=_error(record),
        estimated_finish=None if job.eta_s is None else seconds(datetime.now(UTC)) + round(job.eta_s),
        integrations=[],
        metadata=(request.metadata or None) if request else None,
        method=_method(config, hyperparameters, request),
        job_id=record.id,
        message=in_openai_ids(job.message),
        queue_position=job.queue_position,
        reason=record.reason,
    )


def _state(record: JobRecord) -> JobState:
    if record.status is S.PAUSING and record.stop_kind is not StopKind.PAUSE:
        return "running"  # the service stops the run for a reason of its own, and the job continues by itself
    return _STATES[record.status]


def _three(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values.get(name, "auto") for name in OpenAiHyperparameters.model_fields}


def _method(
    config: JobConfig | None, hyperparameters: dict[str, Any], request: OpenAiJobRecord | None
) -> dict[str, Any] | None:
    name = method_name(config) if config else None
    if name is None:
        return None
    settings: dict[str, Any] = {"hyperparameters": hyperparameters}
    if name == "reinforcement":
        grader = request.method.get("grader") if request else None
        if grader is None:
            return None  # our rewards of a job that was not made here have no grader
        settings["grader"] = grader
    return {"type": name, name: settings}


def _error(record: JobRecord) -> OpenAiJobError | None:
    if record.status is not S.FAILED:
        return None
    reason, message = record.reason or ReasonCode.INTERNAL_ERROR, in_openai_ids(record.message)
    if reason is ReasonCode.DATASET_INVALID:
        return OpenAiJobError(code="invalid_training_file", message=message, param="training_file")
    return OpenAiJobError(code=reason.value, message=message, param=None)


def _trained_tokens(tx: Transaction, record: JobRecord) -> int | None:
    points = tx.metrics.series(record.id, ["num_tokens"], 2)
    return round(points[-1].value) if points else None
