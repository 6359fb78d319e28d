"""Translation of jobs and events into MLflow's terms. Pure functions."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ftlab.schemas import CheckpointPayload, MetricsPayload, StatusPayload
from ftlab.schemas.config_changes import flat
from ftlab.schemas.events import FINAL_EVAL_LOSS
from ftlab.status import JobKind, JobStatus
from tracking.mlflow_record.metric_names import RUN_TIME, is_eval, metric_key, valid_key
from tracking.store.records import AttemptRecord, DatasetRecord, EventRecord, JobRecord, ModelRecord

MAX_PARAM_LENGTH = 6000
MAX_TAG_LENGTH = 8000
DIGEST_LENGTH = 8
"""Characters of the sha256 that become a dataset's digest, as in MLflow's own digests: its tables show them in full."""

JOB_TAG = "ftlab.job_id"
PARENT_TAG = "mlflow.parentRunId"
"""MLflow shows a run below the run that this tag names."""

RUN_STATUS: dict[JobStatus, str] = {
    JobStatus.QUEUED: "SCHEDULED",
    JobStatus.PENDING: "SCHEDULED",
    JobStatus.INITIALIZING: "RUNNING",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.PAUSING: "RUNNING",
    JobStatus.PAUSED: "SCHEDULED",
    JobStatus.CANCELLING: "RUNNING",
    JobStatus.COMPLETED: "FINISHED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "KILLED",
}


@dataclass(frozen=True)
class Point:
    """One value of one metric, as MLflow stores it."""

    key: str
    value: float
    timestamp_ms: int
    step: int
    is_eval: bool = False
    """Whether the metric comes from an evaluation."""

    @property
    def is_final(self) -> bool:
        """Whether the metric measures the tuned model: once, at a step that may be long over."""
        return self.key == metric_key(FINAL_EVAL_LOSS)


@dataclass(frozen=True)
class DatasetInput:
    """A dataset that a run used."""

    name: str
    digest: str
    source: str
    num_rows: int
    context: str
    """`training` or `evaluation`."""


def to_ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def points_of(event: EventRecord) -> list[Point]:
    """The points of a metrics event, including its epoch; `None` values are left out."""
    payload = event.payload
    assert isinstance(payload, MetricsPayload)
    values = dict(payload.values)
    values.setdefault("epoch", payload.epoch)
    return [
        Point(metric_key(name), value, to_ms(event.at), payload.step, is_eval(name))
        for name, value in values.items()
        if value is not None
    ]


def run_time_points(attempts: Sequence[AttemptRecord]) -> list[Point]:
    """The run time up to the end of each attempt, without queue and pauses; the attempt's number is the step."""
    points, total_s = [], 0.0
    for attempt in attempts:
        if attempt.ended_at is not None:
            total_s += max(0.0, (attempt.ended_at - attempt.created_at).total_seconds())
            points.append(Point(metric_key(RUN_TIME), total_s, to_ms(attempt.ended_at), attempt.number))
    return points


def run_status(status: JobStatus, models: Sequence[ModelRecord]) -> str:
    """The run's status in MLflow. A reopened job that is cancelled still has its earlier model, so its run is good."""
    return RUN_STATUS[JobStatus.COMPLETED if status is JobStatus.CANCELLED and models else status]


def run_tags(job: JobRecord) -> dict[str, str]:
    """The tags of a new run; one of them says what each `auto` became, and why."""
    chosen = {"ftlab.auto": json.dumps(job.auto, ensure_ascii=False)} if job.auto else {}
    if job.sweep_id:
        chosen = chosen | {"ftlab.sweep": job.sweep_id}
    attempt = {"ftlab.attempt": str(job.attempt)}
    return chosen | attempt | identity_tags(JOB_TAG, job.id, kind=job.kind, owner=job.owner)


def identity_tags(id_tag: str, record_id: str, *, kind: str, owner: str) -> dict[str, str]:
    """The tags of a new run that say what it records."""
    return {
        id_tag: record_id,
        "ftlab.kind": kind,
        "ftlab.owner": owner,
        "mlflow.user": owner,
        "mlflow.source.name": "FineTune Lab",
        "mlflow.source.type": "JOB",
    }


def parent_tags(parent_run_id: str | None) -> dict[str, str]:
    """The tag that puts the run of a trial below that of its sweep."""
    return {PARENT_TAG: parent_run_id} if parent_run_id else {}


def event_tags(job: JobRecord, events: Sequence[EventRecord]) -> dict[str, str]:
    """The tags that these events change, each with its newest value."""
    tags: dict[str, str] = {}
    for event in events:
        payload = event.payload
        if isinstance(payload, StatusPayload):
            tags |= {"ftlab.status": payload.status, "ftlab.attempt": str(event.attempt)}
            tags["ftlab.message"] = payload.message
            if payload.reason:
                tags["ftlab.reason"] = payload.reason
            if job.model_revision:
                tags["ftlab.model_revision"] = job.model_revision
            if job.adjustments:
                tags["ftlab.adjustments"] = json.dumps([each.model_dump(mode="json") for each in job.adjustments])
            if job.num_files > 1:
                tags["ftlab.datasets"] = json.dumps(job.dataset_ids)
        elif isinstance(payload, CheckpointPayload):
            tags["ftlab.checkpoint.latest_step"] = str(payload.step)
    return {key: value[:MAX_TAG_LENGTH] for key, value in tags.items()}


def params_of(job: JobRecord, dataset: DatasetRecord | None, eval_dataset: DatasetRecord | None) -> dict[str, str]:
    """The job's config as flat names such as `training.learning_rate`, with the computed defaults.

    The first dataset and the eval dataset are recorded by id, name and sha256; a removed one only by its id.
    """
    params = params_from(job.resolved_document or job.submitted_config)
    for role, dataset_id, record in (
        ("dataset", job.dataset_id, dataset),
        ("eval_dataset", job.eval_dataset_id, eval_dataset),
    ):
        params.pop(role, None)
        if dataset_id:
            params[f"{role}.id"] = dataset_id
        if record:
            params |= {f"{role}.name": record.name, f"{role}.sha256": record.sha256}
    return params


def params_from(document: Mapping[str, Any]) -> dict[str, str]:
    """Every setting of a config as a parameter of MLflow, by its path; those that are `None` are left out."""
    settings = {name: value for name, value in flat(document).items() if value is not None}
    return {valid_key(name): _param(value)[:MAX_PARAM_LENGTH] for name, value in settings.items()}


def job_file(job: JobRecord) -> dict[str, Any]:
    """The config that makes the same job when it is submitted again: as submitted, with a value for each `auto`."""
    return job.document


def dataset_inputs(
    job: JobRecord, datasets: Sequence[DatasetRecord | None], eval_dataset: DatasetRecord | None
) -> list[DatasetInput]:
    """The datasets that a run used; removed ones are left out."""
    context = "training" if job.kind is JobKind.TRAINING else "evaluation"
    inputs = [*((dataset, context) for dataset in datasets), (eval_dataset, "evaluation")]
    return [
        DatasetInput(record.name, record.sha256[:DIGEST_LENGTH], record.id, record.num_rows, context)
        for record, context in inputs
        if record
    ]


def model_tags(job: JobRecord, model: ModelRecord) -> dict[str, str]:
    """The tags of a registered model version."""
    tags = {
        JOB_TAG: job.id,
        "ftlab.model_id": model.id,
        "ftlab.owner": job.owner,
        "ftlab.kind": model.kind,
        "ftlab.base_model": model.base_model,
        "ftlab.step": str(model.step),
    }
    return tags | ({"ftlab.base_revision": model.base_revision} if model.base_revision else {})


def registered_name(job: JobRecord) -> str | None:
    """The name of the registered model that gets the tuned model as a version; `None` when the job asked for none.

    It is `register_as`, or else the name that the job was submitted with, without characters that MLflow or a URL does
    not allow. A job without either is not registered: the registry would fill up with generated names.
    """
    config = job.submitted_config
    chosen = config.get("register_as")
    name = config.get("name") if chosen is None else chosen
    if not isinstance(name, str):
        return None
    return re.sub(r"[^\w. -]+", "-", name).strip(" .-") or job.id


def _param(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
