"""Events and checkpoints of a job as OpenAI's clients see them. Every function blocks on the store."""

from typing import Any, Literal

from ftlab.openai.ids import in_openai_ids
from ftlab.schemas import CheckpointPayload, EventKind, MetricsPayload, NoticePayload, StatusPayload
from ftlab.schemas.events import ALARMS, FAILURE_ANALYSED
from ftlab.status import JobStatus
from serve.context import Services
from serve.openai.ids import checkpoint_id, checkpoint_step, event_id, event_seq, fine_tune_id, seconds
from serve.openai.job_views import fine_tuning_job
from serve.openai.names import checkpoint_name, tuned_name
from serve.openai.objects import OpenAiCheckpoint, OpenAiEvent, OpenAiList, page
from tracking.store.paging import invalid_cursor
from tracking.store.records import CheckpointRecord, EventRecord

KINDS = (EventKind.STATUS, EventKind.METRICS, EventKind.NOTICE, EventKind.CHECKPOINT)
"""Kinds of our events that OpenAI's clients get; log lines and samples are in our own API."""
METRICS = {
    "train_loss": "loss",
    "train_mean_token_accuracy": "mean_token_accuracy",
    "valid_loss": "eval_loss",
    "valid_mean_token_accuracy": "eval_mean_token_accuracy",
    "full_valid_loss": "eval_loss",
    "full_valid_mean_token_accuracy": "eval_mean_token_accuracy",
}
"""OpenAI's metrics, and ours. An evaluation always reads the whole validation file, so both losses are the same."""

Level = Literal["info", "warn", "error"]


def list_events(services: Services, owner: str, job: str, after: str | None, limit: int) -> OpenAiList[OpenAiEvent]:
    """One page, newest first. Raises `NotFoundError`, and `MalformedRequestError` (`invalid_cursor`)."""
    with services.store.read() as tx:
        record = fine_tuning_job(tx, owner, job)
        before = record.last_seq + 1 if after is None else event_seq(after, record.id)
        if before is None:
            raise invalid_cursor()
        found = tx.events.before(record.id, before, limit + 1, KINDS)
        name = tuned_name(record, tx.openai_jobs.of_jobs([record.id]).get(record.id))
    return page([_to_event(event, name) for event in found[:limit]], has_more=len(found) > limit)


def list_checkpoints(
    services: Services, owner: str, job: str, after: str | None, limit: int
) -> OpenAiList[OpenAiCheckpoint]:
    """One page, newest first. Raises as `list_events` does."""
    with services.store.read() as tx:
        record = fine_tuning_job(tx, owner, job)
        found = tx.checkpoints.of_job(record.id)
        if after is not None:
            last = checkpoint_step(after, record.id)
            if last is None:
                raise invalid_cursor()
            found = [checkpoint for checkpoint in found if checkpoint.step < last]
        values = tx.metrics.at_steps(record.id, set(METRICS.values()), [each.step for each in found[:limit]])
        name = tuned_name(record, tx.openai_jobs.of_jobs([record.id]).get(record.id))
    shown = [_to_checkpoint(checkpoint, name, values.get(checkpoint.step, {})) for checkpoint in found[:limit]]
    return page(shown, has_more=len(found) > limit)


def in_their_metrics(values: dict[str, Any]) -> dict[str, float]:
    """Our metrics of one step under OpenAI's names, as far as they were measured."""
    return {theirs: values[ours] for theirs, ours in METRICS.items() if values.get(ours) is not None}


def _to_event(event: EventRecord, name: str) -> OpenAiEvent:
    level, message, data = _said(event, name)
    return OpenAiEvent(
        id=event_id(event.job_id, event.seq),
        created_at=seconds(event.at),
        level=level,
        message=in_openai_ids(message),
        type="message" if data is None else "metrics",
        data=data,
    )


def _said(event: EventRecord, name: str) -> tuple[Level, str, dict[str, Any] | None]:
    payload = event.payload
    match payload:
        case StatusPayload():
            return _status(event, payload, name)
        case MetricsPayload():
            return _metrics(payload)
        case CheckpointPayload():
            return "info", f"Checkpoint saved: {checkpoint_name(name, payload.step)}", None
    assert isinstance(payload, NoticePayload)
    level: Level = "error" if payload.code == FAILURE_ANALYSED else "warn" if payload.code in ALARMS else "info"
    return level, payload.message, None


def _status(event: EventRecord, payload: StatusPayload, name: str) -> tuple[Level, str, None]:
    if event.seq == 1:
        return "info", f"Created fine-tuning job: {fine_tune_id(event.job_id)}", None
    if payload.status is JobStatus.COMPLETED:
        return "info", f"The job has successfully completed. New fine-tuned model created: {name}", None
    return ("error" if payload.status is JobStatus.FAILED else "info"), payload.message, None


def _metrics(payload: MetricsPayload) -> tuple[Level, str, dict[str, Any]]:
    shown = in_their_metrics(payload.values)
    losses = {"training loss": "train_loss", "full validation loss": "full_valid_loss"}
    parts = [f"{label}={shown[metric]:.2f}" for label, metric in losses.items() if metric in shown]
    step = f"Step {payload.step}/{payload.total_steps or '?'}"
    message = f"{step}: {', '.join(parts)}" if parts else step
    return "info", message, {"step": payload.step, "total_steps": payload.total_steps, **shown}


def _to_checkpoint(checkpoint: CheckpointRecord, name: str, values: dict[str, float]) -> OpenAiCheckpoint:
    return OpenAiCheckpoint(
        id=checkpoint_id(checkpoint.job_id, checkpoint.step),
        created_at=seconds(checkpoint.created_at),
        fine_tuning_job_id=fine_tune_id(checkpoint.job_id),
        fine_tuned_model_checkpoint=checkpoint_name(name, checkpoint.step),
        step_number=checkpoint.step,
        metrics={"step": float(checkpoint.step), **in_their_metrics(values | checkpoint.metrics)},
        is_best=checkpoint.is_best,
    )
