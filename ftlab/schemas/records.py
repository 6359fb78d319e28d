"""Records that the service replies with: jobs, attempts, metric points, checkpoints, models, quotas."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import Field

from ftlab.schemas.adjustments import Adjustment
from ftlab.schemas.auto import AutoValue, without_auto
from ftlab.schemas.common import DEFAULT_PRIORITY, WireModel
from ftlab.status import JobKind, JobStatus, Phase, ReasonCode


class ChainedJob(WireModel):
    """A job that another one waits for, or waited for; or, among `children`, one that waits or waited for it."""

    job_id: str
    name: str
    status: JobStatus
    attempt: int | None = None
    """The attempt of the parent whose completion released the child; `None` while the child waits."""
    model_id: str | None = None
    """The model that the parent had delivered by then."""


class JobCost(WireModel):
    """What a job costs so far."""

    amount: Decimal
    """All attempts, the present one until now; electricity is added when an attempt ends."""
    currency: str
    is_final: bool
    """Whether the job has ended and every attempt has its record. An ended job may be resumed."""
    rate_per_hour: Decimal = Decimal(0)
    """What it costs now; 0 while it holds no device."""
    expected: Decimal | None = None
    """Amount at the last step, by the estimated time left; only while it trains."""
    estimated: Decimal | None = None
    """What the training or the evaluation was expected to cost when it began: `estimated_time_s` of the job, on the
    devices of its first attempt."""


class Job(WireModel):
    """One job."""

    id: str
    owner: str
    name: str
    kind: JobKind = JobKind.TRAINING
    status: JobStatus
    message: str
    """One sentence: what the job is doing, or why it ended and what to do."""
    reason: ReasonCode | None = None
    """Set once the job is terminal."""
    config: dict[str, Any]
    """The config of its kind that it was submitted with, with the files that were appended and its `adjustments`."""
    resolved_config: dict[str, Any] | None = None
    """The same with every default filled in, as it was at the submission, and a value for each `auto`; `None` where
    this version cannot read it."""
    adjustments: list[Adjustment] = Field(default_factory=list)
    """Changes of the config since the submission, oldest first."""
    auto: dict[str, AutoValue] = Field(default_factory=dict)
    """What each setting that is `auto` in `config` became, by its dotted name."""
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
    phase: Phase | None = None
    """Current phase of its run; only while it has devices."""
    run_time_s: float | None = None
    """Seconds of all its attempts, without the time in the queue and in pauses; `None` before the first attempt."""
    estimated_time_s: float | None = None
    """What the training was expected to take when it began, without evaluations, loading and saving, in seconds; of an
    evaluation, what reading and answering was. `None` where no earlier job had measured the speed."""
    cost: JobCost | None = None
    """`None` where the service has no prices, and before the first attempt."""
    file: int | None = None
    """Number of the file in training, or trained last; 1 is the first. `None` before the first step."""
    num_files: int = 1
    file_progress: float | None = None
    """Share of this file that is done, 0 to 1; `progress` is that of all files."""
    queue_position: int | None = None
    """Position in the queue, 1 is next; only while queued."""
    waiting_for: str | None = None
    """What a queued job waits for, in one sentence."""
    parents: list[ChainedJob] = Field(default_factory=list)
    """The jobs of `after` in its config that still exist."""
    children: list[ChainedJob] = Field(default_factory=list)
    """The jobs that wait, or waited, for this one."""
    last_seq: int = 0
    """Sequence number of the job's newest event."""
    model_id: str | None = None
    """The tuned model, once completed."""
    sweep_id: str | None = None
    """The sweep whose trial it is."""
    mlflow_run_id: str | None = None
    mlflow_url: str | None = None
    """The page of this run in MLflow; for a browser on the machine of the service."""
    created_at: datetime
    started_at: datetime | None = None
    paused_at: datetime | None = None
    """Only while paused."""
    finished_at: datetime | None = None

    is_replay: bool = Field(default=False, exclude=True)
    """Set by the client: the submission found this job by its idempotency key, instead of creating a new one."""
    is_cached: bool = Field(default=False, exclude=True)
    """Set by the client: it is a completed evaluation that had measured the same."""

    @property
    def datasets(self) -> list[str]:
        """The ids of its files, in their order."""
        named = self.config.get("dataset")
        return [str(item) for item in (named if isinstance(named, list) else [named] if named else [])]

    @property
    def fixed_config(self) -> dict[str, Any]:
        """The config that makes the same job anywhere: `config`, with a value for each `auto`."""
        return without_auto(self.config, self.resolved_config)

    @property
    def progress(self) -> float:
        """0 to 1."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0


class Attempt(WireModel):
    """One run of a job. Every crash, restart or preemption is followed by another one."""

    number: int
    """1 is the first."""
    driver: str | None = None
    """Name of its run driver among the actors of Ray; the names of the run's other actors begin with it."""
    cpus: int
    gpus: float
    resumed_from_step: int | None = None
    """Step of the checkpoint that it resumed from; `None` when it started from the base model."""
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
    """For example `step-00000120`; `job:<id>/step-120` and downloads refer to it."""
    job_id: str
    step: int
    attempt: int
    size_bytes: int
    metrics: dict[str, float] = Field(default_factory=dict)
    is_best: bool = False
    is_pinned: bool = False
    """Whether it stays until it is unpinned: neither a limit nor a rule removes it."""
    created_at: datetime


class TunedModel(WireModel):
    """The model that a completed job delivers."""

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
    is_pinned: bool = False
    """Kept until it is unpinned: neither a rule nor a delete removes it."""


class ModelCheck(WireModel):
    """A base model that a job may start from."""

    model: str
    """The reference in its normal form."""
    kind: str
    """What the reference names: `hub`, `path`, `job` or `model` (a tuned model)."""
    is_checked: bool
    """False while Hugging Face is unreachable: a job then looks the model up when it starts."""
    is_local: bool
    """Whether it is on this machine, so that nothing is downloaded."""
    revision: str | None = None
    """Commit on Hugging Face that a job submitted now would use."""
    base_model: str | None = None
    """The model that an adapter was trained on. The fields below describe both together."""
    architecture: str | None = None
    """Class of the model, for example `LlamaForCausalLM`."""
    parameters: int | None = None
    """Number of stored weights."""
    size_bytes: int | None = None
    """Size of the files that training reads."""
    max_positions: int | None = None
    """Tokens of the longest row that the model was made for; `None` where it has no limit, or is not known."""
    target_modules: list[str] | None = None
    """Names of its linear layers, for `lora.target_modules`; `None` before it is on this machine."""
    has_chat_template: bool | None = None
    licence: str | None = None
    """Licence according to the model's card."""
    warnings: list[str] = Field(default_factory=list)
    """Reasons to be careful with the model, one sentence each."""


class ServiceInfo(WireModel):
    """Addresses of a service's components."""

    version: str
    mlflow_url: str
    """MLflow, for a browser on the machine of the service."""
    dashboard_url: str
    """The Ray dashboard, for a browser on the machine of the service."""
    dashboard_token_file: str | None = None
    """File with the token of the dashboard; `None` where callers on other machines can reach the API."""


class Quota(WireModel):
    """Limits and current usage of an owner. `None` means that there is no limit."""

    owner: str
    max_queued_jobs: int | None = None
    max_running_gpus: float | None = None
    max_running_cpus: int | None = None
    max_disk_bytes: int | None = None
    max_upload_bytes: int | None = None
    weight: float = 1.0
    """Weight of the owner's share of the devices while other owners wait too."""
    max_monthly_cost: Decimal | None = None
    """Budget for a calendar month (UTC). Once it is used up, queued jobs are held until the next month."""
    monthly_cost: Decimal = Decimal(0)
    """What jobs have cost this month, those that run until now."""
    currency: str | None = None
    """Currency of the two; `None` where the service has no prices."""
    queued_jobs: int = 0
    running_gpus: float = 0.0
    running_cpus: int = 0
    disk_bytes: int = 0
    """Size of datasets and checkpoints. A tuned model shares the files of its checkpoint."""
    upload_bytes: int = 0
    """Size of datasets."""
