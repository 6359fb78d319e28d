"""Replies that exist over HTTP only: lists of one job, attempts, liveness."""

from typing import Any, Literal

from ftlab.schemas import Attempt, Checkpoint, Dataset, Event, Job, LogLine, MetricPoint, Upload, WireModel
from ftlab.schemas.checks import TokenRow


class TokenRowList(WireModel):
    data: list[TokenRow]


class MetricList(WireModel):
    data: list[MetricPoint]


class EventList(WireModel):
    data: list[Event]
    last_seq: int
    """Sequence number of the job's newest event, in this list or not."""


class LogList(WireModel):
    data: list[LogLine]


class CheckpointList(WireModel):
    data: list[Checkpoint]


class AttemptList(WireModel):
    data: list[Attempt]


class UploadList(WireModel):
    data: list[Upload]


class JobOverview(WireModel):
    """A job with what belongs to it, as the earlier clients read it."""

    job: Job
    dataset: Dataset | None
    metrics: list[MetricPoint]
    cost_records: list[dict[str, Any]]


class Health(WireModel):
    status: Literal["ok"] = "ok"


class Part(WireModel):
    """One thing the service depends on."""

    ok: bool
    message: str


class Readiness(WireModel):
    status: Literal["ready", "unavailable"]
    parts: dict[str, Part]
