"""Domain types of the store, without SQL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ftlab.schemas import AnyJobConfig, BaseJobConfig, EventKind, EventPayload, JobConfig
from ftlab.schemas.adjustments import Adjustment
from ftlab.schemas.auto import without_auto
from ftlab.schemas.events import parse_payload
from ftlab.status import JobKind, JobStatus, Phase, ReasonCode, StopKind


@dataclass(frozen=True)
class JobRef:
    """A job at one attempt, which guards every write about that attempt."""

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
class UnreadableConfig:
    """Placeholder for a job's config that another version accepted and this one cannot read."""

    why: str
    """What is wrong with it, in one sentence."""


@dataclass(frozen=True)
class JobRecord:
    """One job. Its position in the queue follows from `priority`, `queue_shift` and `queue_seq`, in this order."""

    id: str
    owner: str
    name: str
    submitted_config: dict[str, Any]
    """As it was submitted, with the files that were appended and with the adjustments."""
    config: AnyJobConfig | UnreadableConfig
    """The same with all defaults filled in, as they were at the submission or at the last adjustment, and a value for
    each `auto`."""
    auto: dict[str, Any]
    """What each setting that was `auto` became: documents of `AutoValue` by the dotted names."""
    dataset_id: str
    """The first of its datasets; empty for a kind that reads none."""
    eval_dataset_id: str | None
    status: JobStatus
    message: str
    reason: ReasonCode | None
    priority: int
    queue_shift: int
    """Below 0 if it was moved to the front of its priority."""
    queue_seq: int
    """Submit order, unchanged by retries and restarts."""
    attempt: int
    """Number of the newest attempt; 0 before the first."""
    retries_used: int
    not_before: datetime | None
    """The earliest start of a retry."""
    waiting_for: str | None
    """What the job waits for, in one sentence; only while queued."""
    data_findings: str | None
    """The doctor's findings about its data, if that was ready while the job kept waiting."""
    has_new_files: bool
    """Whether it needs other data since its newest attempt was claimed: of appended files, or after an adjustment."""
    stop_kind: StopKind | None
    """Why the live attempt must stop; only while pausing."""
    resume_from: str | None
    """Name of the checkpoint that the next attempt must start from; cleared when it runs."""
    step: int
    total_steps: int | None
    epoch: float | None
    loss: float | None
    eval_loss: float | None
    eta_s: float | None
    phase: Phase | None
    """Phase of the live attempt, as far as it has reported it."""
    file: int | None
    """The number of the file in training, or trained last, from 1; `None` before the first step."""
    file_progress: float | None
    """Progress in this file, 0 to 1."""
    last_seq: int
    mlflow_seq: int
    mlflow_step: int
    mlflow_eval_step: int
    mlflow_run_id: str | None
    mlflow_experiment_id: str | None
    model_revision: str | None
    """The base model's revision, pinned by the first attempt."""
    estimated_time_s: float | None
    """What the training or the evaluation was expected to take when it began, at the speed of an earlier job."""
    model_id: str | None
    created_at: datetime
    started_at: datetime | None
    paused_at: datetime | None
    """Only while paused."""
    finished_at: datetime | None
    updated_at: datetime
    adjustments: tuple[Adjustment, ...] = ()
    """Changes of its config since the submission, oldest first."""
    kind: JobKind = JobKind.TRAINING
    sweep_id: str | None = None
    """The sweep whose trial it is."""

    @property
    def training_config(self) -> JobConfig | None:
        """The config of a training job; `None` for a job of another kind, and where the config is unreadable."""
        return self.config if isinstance(self.config, JobConfig) else None

    @property
    def dataset_ids(self) -> list[str]:
        """The datasets that it reads, in their order; only the first where the config is unreadable."""
        return self.config.datasets if isinstance(self.config, BaseJobConfig) else [self.dataset_id]

    @property
    def num_files(self) -> int:
        return len(self.dataset_ids)

    @property
    def document(self) -> dict[str, Any]:
        """The submitted config, with the resolved values in place of `auto`; adjustments change this document."""
        return without_auto(self.submitted_config, self.resolved_document)

    @property
    def resolved_document(self) -> dict[str, Any] | None:
        """The document of `config`; `None` where that is unreadable."""
        return self.config.model_dump(mode="json") if isinstance(self.config, BaseJobConfig) else None

    @property
    def mlflow_cursor(self) -> MlflowCursor:
        return MlflowCursor(self.mlflow_seq, self.mlflow_step, self.mlflow_eval_step)

    @property
    def ref(self) -> JobRef:
        """The job at its newest attempt."""
        return JobRef(self.id, self.attempt)


@dataclass(frozen=True)
class JobState:
    """The state of a job, which its live attempt reads at every heartbeat."""

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
    """Devices held by this attempt: whole cores, and GPUs or a share of one."""
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
    failure: dict[str, Any] | None = None
    """What its run reported of its failure besides reason and message, as JSON values."""
    placement: tuple[tuple[str, int | None], ...] = ()
    """For each worker, the node and the index of its GPU there (`None` without one), as scheduled."""
    gpu_types: Mapping[str, float] = field(default_factory=dict)
    """GPUs held by type, for those whose type is known."""
    process_devices: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """For each of `pids`, the node that the process is on and the numbers of its GPUs there."""


@dataclass(frozen=True)
class NewEvent:
    """An event without its sequence number."""

    payload: EventPayload
    at: datetime


@dataclass(frozen=True)
class EventRecord:
    job_id: str
    seq: int
    """Its place in the log of its job: 1, 2, 3, ... without a gap."""
    attempt: int
    at: datetime
    kind: EventKind
    data: dict[str, Any]
    owner: str
    position: int
    """Its place among the events of all jobs of this owner, in the order of their commits. Deleted jobs leave holes."""

    @property
    def payload(self) -> EventPayload:
        """`data` as the payload type of this kind."""
        return parse_payload(self.kind, self.data)


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
    is_pinned: bool = False
    """Whether only its owner may remove it, after taking the pin off."""


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
    """SHA-256 of the uploaded bytes."""
    kind: str
    """The kind of its canonical rows: `messages`, `preference`, `unpaired` or `text`."""
    canonical: str
    """Key of the canonical rows inside the bucket."""
    created_at: datetime
    num_skipped: int = 0
    """Invalid rows that were skipped, as the uploader allowed."""
    column_mapping: dict[str, Any] | None = None
    """The column mapping given at the upload."""
    confidence: float = 1.0
    """Confidence of the shape detection, 0 to 1."""
    compression: str | None = None
    """Compression of the uploaded file: `gzip` or `zstd`."""
    problems: list[str] = field(default_factory=list)
    """Descriptions of the first rows that were left out."""
    fields: list[dict[str, Any]] = field(default_factory=list)
    """Fields of its rows, each with `name`, `used_as` and `num_rows`."""


@dataclass(frozen=True)
class UploadRecord:
    """A file that is uploaded in pieces."""

    id: str
    owner: str
    bucket: str
    filename: str
    size_bytes: int
    """Declared by the client."""
    sha256: str | None
    """Declared by the client."""
    received_bytes: int
    """Durable bytes: the next piece starts here."""
    options: dict[str, Any]
    """Options of the dataset to be made of it."""
    dataset_id: str | None
    """The dataset that was made of it."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class ContentClaim:
    """The right to store and remove the files of one content in one bucket, until it expires."""

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
    is_pinned: bool = False


@dataclass(frozen=True)
class QuotaRecord:
    """Limits of what an owner may use at once. `None` stands for the default of the settings."""

    owner: str
    max_queued_jobs: int | None = None
    max_running_gpus: float | None = None
    max_running_cpus: int | None = None
    max_disk_bytes: int | None = None
    max_upload_bytes: int | None = None
    weight: float | None = None
    """Relative share of the devices while other owners wait too; the default is 1."""
    max_monthly_cost: Decimal | None = None
    """What the owner's jobs may cost in a calendar month, in the service's currency."""


@dataclass(frozen=True)
class TemplateRecord:
    """A template that an owner saved."""

    owner: str
    name: str
    text: str
    updated_at: datetime


@dataclass(frozen=True)
class UsageRecord:
    """An owner's current use."""

    queued_jobs: int
    running_gpus: float
    running_cpus: int
    disk_bytes: int
    upload_bytes: int


@dataclass(frozen=True)
class AttemptTotals:
    """Sums over attempts that ended for the same reason; `reason` is `None` for those that have not ended."""

    reason: ReasonCode | None
    num_attempts: int
    run_s: float
    """Seconds from start to end."""
    cpu_s: float
    """Seconds times the CPU cores that they held."""
    gpu_s: float
    num_waits: int
    """Jobs whose first attempt is among these."""
    wait_s: float
    """Seconds that these jobs waited from their submission to this attempt."""


@dataclass(frozen=True)
class Lease:
    """The coordinator's right to schedule. A newer epoch fences an older coordinator."""

    name: str
    holder: str
    epoch: int
    expires_at: datetime
