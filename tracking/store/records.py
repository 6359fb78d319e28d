"""Domain types of the store: what the rows mean, without SQL."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ftlab.schemas import EventKind
from ftlab.status import JobStatus, ReasonCode, StopKind


@dataclass(frozen=True)
class JobRef:
    """A job at one attempt: the guard of every write about that attempt."""

    id: str
    attempt: int


@dataclass(frozen=True)
class MlflowCursor:
    """How much of a job MLflow has."""

    seq: int = 0
    """The newest event."""
    step: int = -1
    """The newest step with training metrics."""
    eval_step: int = -1
    """The newest step with the metrics of an evaluation."""


@dataclass(frozen=True)
class JobRecord:
    """One job. Its place in the queue follows from `priority`, `queue_shift` and `queue_seq`, in this order."""

    id: str
    owner: str
    name: str
    config: dict[str, Any]
    dataset_id: str
    eval_dataset_id: str | None
    status: JobStatus
    message: str
    reason: ReasonCode | None
    priority: int
    queue_shift: int
    """Below 0: moved to the front of its priority."""
    queue_seq: int
    """Submit order, kept over retries and restarts."""
    attempt: int
    """Number of the newest attempt; 0 before the first."""
    retries_used: int
    not_before: datetime | None
    """A retry waits until then."""
    waiting_for: str | None
    """What the scheduler found missing, in one sentence; only while queued."""
    data_findings: str | None
    """What the doctor says of its data, where that was ready while the job went on waiting."""
    has_new_files: bool
    """Whether files were appended that its newest attempt does not know."""
    stop_kind: StopKind | None
    """Why the live attempt is asked to stop; only while pausing."""
    resume_from: str | None
    """Name of the checkpoint that the next attempt must start from; cleared when it runs."""
    step: int
    total_steps: int | None
    epoch: float | None
    loss: float | None
    eval_loss: float | None
    eta_s: float | None
    file: int | None
    """Which of its files it trains, or trained last; 1 is the first. `None` before the first step."""
    file_progress: float | None
    """How far it is in this file, 0 to 1."""
    last_seq: int
    mlflow_seq: int
    mlflow_step: int
    mlflow_eval_step: int
    mlflow_run_id: str | None
    model_revision: str | None
    """The base model's revision, pinned by the first attempt."""
    model_id: str | None
    created_at: datetime
    started_at: datetime | None
    paused_at: datetime | None
    """Only while paused."""
    finished_at: datetime | None
    updated_at: datetime

    @property
    def dataset_ids(self) -> list[str]:
        """The datasets that it is to be trained on, in their order."""
        named = self.config.get("dataset")
        return named if isinstance(named, list) else [self.dataset_id]

    @property
    def num_files(self) -> int:
        return len(self.dataset_ids)

    @property
    def mlflow_cursor(self) -> MlflowCursor:
        return MlflowCursor(self.mlflow_seq, self.mlflow_step, self.mlflow_eval_step)

    @property
    def ref(self) -> JobRef:
        """The job at its newest attempt."""
        return JobRef(self.id, self.attempt)


@dataclass(frozen=True)
class JobState:
    """What a live attempt is told at every heartbeat."""

    status: JobStatus
    stop_kind: StopKind | None
    """Set while the job is pausing."""


@dataclass(frozen=True)
class AttemptRecord:
    """One attempt. It is live until `ended_at`; a job has at most one live attempt."""

    job_id: str
    number: int
    driver: str
    """Name of the run-driver actor."""
    cpus: int
    gpus: float
    """Devices this attempt holds: whole cores, and GPUs or a share of one."""
    placement_groups: tuple[str, ...]
    """Ray placement group ids (hex) to remove when the attempt ends."""
    pids: tuple[int, ...]
    """Process ids of its training workers, rank 0 first."""
    resumed_from_step: int | None
    created_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    reason: ReasonCode | None
    message: str | None
    placement: tuple[tuple[str, int | None], ...] = ()
    """Of each worker the machine and, where it has one, the number of its GPU there, as the scheduler planned it."""


@dataclass(frozen=True)
class NewEvent:
    """An event before the log gave it its sequence number."""

    kind: EventKind
    data: dict[str, Any]
    at: datetime


@dataclass(frozen=True)
class EventRecord:
    job_id: str
    seq: int
    attempt: int
    at: datetime
    kind: EventKind
    data: dict[str, Any]


@dataclass(frozen=True)
class MetricRecord:
    job_id: str
    name: str
    step: int
    value: float
    at: datetime
    attempt: int


@dataclass(frozen=True)
class CheckpointRecord:
    job_id: str
    step: int
    attempt: int
    name: str
    size_bytes: int
    manifest_sha256: str
    created_at: datetime
    metrics: dict[str, float] = field(default_factory=dict)
    is_best: bool = False


@dataclass(frozen=True)
class DatasetRecord:
    id: str
    owner: str
    name: str
    bucket: str
    format: str
    shape: str
    num_rows: int
    size_bytes: int
    sha256: str
    """Of the uploaded bytes."""
    kind: str
    """What its canonical rows are: `messages`, `preference`, `unpaired` or `text`."""
    canonical: str
    """Key of the canonical rows inside the bucket."""
    created_at: datetime
    num_skipped: int = 0
    """Rows that were left out because the uploader accepted a part."""
    column_mapping: dict[str, Any] | None = None
    """What the uploader said about the columns."""
    confidence: float = 1.0
    """How sure the detection of the shape was, 0 to 1."""
    compression: str | None = None
    """Of the uploaded file: `gzip` or `zstd`."""
    problems: list[str] = field(default_factory=list)
    """What is wrong with the first rows that were left out."""


@dataclass(frozen=True)
class UploadRecord:
    """A file that comes in pieces."""

    id: str
    owner: str
    bucket: str
    filename: str
    size_bytes: int
    """What the client said it will be."""
    sha256: str | None
    """What the client said it will be."""
    received_bytes: int
    """What is safe on disk: the next piece starts here."""
    options: dict[str, Any]
    """How the dataset is to be made of it."""
    dataset_id: str | None
    """What became of it."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class ContentClaim:
    """The right to put and remove the files of one content in one bucket, until it expires."""

    bucket: str
    sha256: str
    holder: str
    expires_at: datetime


@dataclass(frozen=True)
class ModelRecord:
    id: str
    owner: str
    job_id: str
    name: str
    kind: str
    base_model: str
    base_revision: str | None
    step: int
    path: Path
    mlflow_version: str | None
    created_at: datetime


@dataclass(frozen=True)
class QuotaRecord:
    """What an owner may use at once. `None`: the default of the settings holds."""

    owner: str
    max_queued_jobs: int | None = None
    max_running_gpus: float | None = None
    max_running_cpus: int | None = None
    max_disk_bytes: int | None = None
    max_upload_bytes: int | None = None
    weight: float | None = None
    """Share of the devices while others wait too, relative to theirs; the default is 1."""


@dataclass(frozen=True)
class UsageRecord:
    """What an owner uses now."""

    queued_jobs: int
    running_gpus: float
    running_cpus: int
    disk_bytes: int
    upload_bytes: int


@dataclass(frozen=True)
class Lease:
    """The coordinator's right to schedule. A newer epoch fences an older coordinator."""

    name: str
    holder: str
    epoch: int
    expires_at: datetime
