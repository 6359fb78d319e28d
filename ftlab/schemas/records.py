"""What the service answers: jobs, datasets, events, checkpoints, models."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from ftlab.schemas.common import WireModel
from ftlab.schemas.config import DEFAULT_PRIORITY
from ftlab.status import JobStatus, ReasonCode


class Job(WireModel):
    """One fine-tuning job."""

    id: str
    owner: str
    name: str
    status: JobStatus
    message: str
    """One sentence: what the job does, or why it ended and what to do."""
    reason: ReasonCode | None = None
    """Set once the job is terminal."""
    config: dict[str, Any]
    """The `JobConfig` it was submitted with."""
    resolved_config: dict[str, Any] | None = None
    """The same with every default filled in, as it was at the submit; `None` where this version cannot read it."""
    priority: int = DEFAULT_PRIORITY
    attempt: int = 0
    retries_used: int = 0
    step: int = 0
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    eta_s: float | None = None
    """Estimated seconds until the last step."""
    file: int | None = None
    """Which of its files the job trains, or trained last; 1 is the first. `None` before the first step."""
    num_files: int = 1
    file_progress: float | None = None
    """How far it is in this file, 0 to 1; `progress` is that of all files."""
    queue_position: int | None = None
    """1 is next; only while queued."""
    waiting_for: str | None = None
    """What a queued job waits for, in one sentence."""
    last_seq: int = 0
    """Sequence number of the job's newest event."""
    model_id: str | None = None
    """The tuned model, once completed."""
    mlflow_run_id: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    paused_at: datetime | None = None
    """Only while paused."""
    finished_at: datetime | None = None

    @property
    def datasets(self) -> list[str]:
        """The ids of its files, in their order."""
        named = self.config.get("dataset")
        return [str(item) for item in (named if isinstance(named, list) else [named])]

    @property
    def progress(self) -> float:
        """0 to 1."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0


COMPRESSION_SUFFIXES = {"gzip": ".gz", "zstd": ".zst"}
"""What the name of a compressed dataset file ends in."""


class Dataset(WireModel):
    """An uploaded dataset."""

    id: str
    owner: str
    name: str
    bucket: str
    format: str
    """File format, as `jsonl` or `csv`."""
    shape: str
    """Row shape it was normalised from, as `messages` or `sharegpt`."""
    num_rows: int
    size_bytes: int
    """Of the file as it was uploaded."""
    sha256: str
    """Of the file as it was uploaded."""
    created_at: datetime
    kind: str = "messages"
    """What its rows are: `messages`, `preference`, `unpaired` or `text`."""
    num_skipped: int = 0
    """Rows that could not be read and were left out, as the uploader accepted."""
    column_mapping: dict[str, Any] | None = None
    """What the uploader said about the columns."""
    confidence: float = 1.0
    """How sure the detection of the shape was, 0 to 1."""
    compression: str | None = None
    """Of the uploaded file: `gzip` or `zstd`."""
    problems: tuple[str, ...] = ()
    """What is wrong with the first ten rows that were left out, with their lines and rules."""


DATA_CHECKED = "data_checked"
"""Code of the notice that says what the doctor found in a job's data."""


class EventKind(StrEnum):
    STATUS = "status"
    METRICS = "metrics"
    LOG = "log"
    CHECKPOINT = "checkpoint"
    SAMPLE = "sample"
    NOTICE = "notice"
    PROGRESS = "progress"


class Event(WireModel):
    """One line of a job's append-only event log. `seq` starts at 1 and has no gap."""

    job_id: str
    seq: int
    attempt: int
    at: datetime
    kind: EventKind
    data: dict[str, Any]
    """By kind: status {status, message, reason}; metrics {step, epoch, values: {name: number}}; log {level, text};
    checkpoint {step, size_bytes, metrics, is_best}; notice {code, message}; progress {step, total_steps, epoch, eta_s,
    step_time_s, data_wait_s}."""


class LogLine(WireModel):
    """One line that a job's training processes logged."""

    at: datetime
    level: str
    text: str
    attempt: int = 0


class Attempt(WireModel):
    """One try at a job; a job has a new one after every crash, restart or preemption."""

    number: int
    """1 is the first."""
    cpus: int
    gpus: float
    resumed_from_step: int | None = None
    """Step of the checkpoint it went on from; `None` when it started from the base model."""
    created_at: datetime
    ended_at: datetime | None = None
    """`None` while it is alive."""
    reason: ReasonCode | None = None
    message: str | None = None


class MetricPoint(WireModel):
    name: str
    step: int
    value: float
    at: datetime
    attempt: int


class Checkpoint(WireModel):
    """A committed checkpoint of a job."""

    name: str
    """`step-00000120`: usable in `job:<id>/step-120` and in downloads."""
    job_id: str
    step: int
    attempt: int
    size_bytes: int
    metrics: dict[str, float] = Field(default_factory=dict)
    is_best: bool = False
    created_at: datetime


class TunedModel(WireModel):
    """What a completed job delivers."""

    id: str
    owner: str
    job_id: str
    name: str
    kind: str
    """`adapter` (LoRA) or `full`."""
    base_model: str
    base_revision: str | None = None
    step: int
    mlflow_version: str | None = None
    created_at: datetime


class QueueEntry(WireModel):
    position: int
    job_id: str
    name: str
    owner: str | None = None
    priority: int = DEFAULT_PRIORITY
    waiting_for: str | None = None
    """What this job waits for, in one sentence."""
    created_at: datetime


class Queue(WireModel):
    """The queue as it stands."""

    running: list[str]
    queued: list[QueueEntry]
    """One page, next job first."""
    num_queued: int = 0
    """On all pages."""
    has_more: bool = False
    next_cursor: str | None = None
    """Goes into `after` of the next request."""
    waiting_for: str | None = None
    """What the head of the queue waits for, in one sentence."""


class Quota(WireModel):
    """What an owner may use at once, and uses now. A limit that is `None` does not exist."""

    owner: str
    max_queued_jobs: int | None = None
    max_running_gpus: float | None = None
    max_running_cpus: int | None = None
    max_disk_bytes: int | None = None
    max_upload_bytes: int | None = None
    weight: float = 1.0
    """Share of the devices that the owner gets while others wait too, relative to theirs."""
    queued_jobs: int = 0
    running_gpus: float = 0.0
    running_cpus: int = 0
    disk_bytes: int = 0
    """Datasets and checkpoints. A tuned model shares the files of its checkpoint."""
    upload_bytes: int = 0
    """Datasets."""
