"""Translation of jobs and events into MLflow's terms. Pure functions."""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ftlab.schemas import CheckpointPayload, JobConfig, MetricsPayload, StatusPayload
from ftlab.schemas.events import FINAL_EVAL_LOSS
from ftlab.status import JobStatus
from tracking.store.records import DatasetRecord, EventRecord, JobRecord, ModelRecord

MAX_KEY_LENGTH = 250
MAX_PARAM_LENGTH = 6000
MAX_TAG_LENGTH = 8000
DIGEST_LENGTH = 32
"""Characters of the sha256 that become a dataset's digest; MLflow accepts up to 36."""

JOB_TAG = "ftlab.job_id"

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

    @property
    def is_eval(self) -> bool:
        """Whether the metric comes from an evaluation."""
        return self.key.startswith("eval_")

    @property
    def is_final(self) -> bool:
        """Whether the metric measures the tuned model: once, at a step that may be long over."""
        return self.key == FINAL_EVAL_LOSS


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
        Point(valid_key(name), value, to_ms(event.at), payload.step)
        for name, value in values.items()
        if value is not None
    ]


def run_tags(job: JobRecord) -> dict[str, str]:
    """The tags of a new run."""
    return {
        JOB_TAG: job.id,
        "ftlab.owner": job.owner,
        "ftlab.attempt": str(job.attempt),
        "mlflow.user": job.owner,
        "mlflow.source.name": "FineTune Lab",
        "mlflow.source.type": "JOB",
    }


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
            if job.num_files > 1:
                tags["ftlab.datasets"] = json.dumps(job.dataset_ids)
        elif isinstance(payload, CheckpointPayload):
            tags["ftlab.checkpoint.latest_step"] = str(payload.step)
    return {key: value[:MAX_TAG_LENGTH] for key, value in tags.items()}


def params_of(job: JobRecord, dataset: DatasetRecord | None, eval_dataset: DatasetRecord | None) -> dict[str, str]:
    """The job's config as flat names such as `training.learning_rate`, with the computed defaults.

    The first dataset and the eval dataset are recorded by id, name and sha256; a removed one only by its id.
    """
    config = job.config
    flat = dict(_flatten(config.model_dump(mode="json") if isinstance(config, JobConfig) else job.submitted_config))
    for role, dataset_id, record in (
        ("dataset", job.dataset_id, dataset),
        ("eval_dataset", job.eval_dataset_id, eval_dataset),
    ):
        flat.pop(role, None)
        if dataset_id:
            flat[f"{role}.id"] = dataset_id
        if record:
            flat |= {f"{role}.name": record.name, f"{role}.sha256": record.sha256}
    return {valid_key(name): value[:MAX_PARAM_LENGTH] for name, value in flat.items()}


def dataset_inputs(datasets: Sequence[DatasetRecord | None], eval_dataset: DatasetRecord | None) -> list[DatasetInput]:
    """The datasets that a run used; removed ones are left out."""
    inputs = [*((dataset, "training") for dataset in datasets), (eval_dataset, "evaluation")]
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


def registered_name(job: JobRecord) -> str:
    """The registered model's name: the job's name without characters that MLflow or a URL does not allow."""
    return re.sub(r"[^\w. -]+", "-", job.name).strip(" .-") or job.id


def valid_key(name: str) -> str:
    """The closest name that MLflow accepts for a metric or a parameter."""
    plain = posixpath.normpath(re.sub(r"[^/\w.\- :]", "_", name)).lstrip("/.")
    return plain[:MAX_KEY_LENGTH].rstrip("/") or "_"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)
        elif value is not None:
            yield f"{prefix}{name}", str(value)
