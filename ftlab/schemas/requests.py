"""Bodies of requests that change something, except a job's config."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from ftlab.schemas.common import Name, StrictModel
from ftlab.schemas.config import MAX_DATASETS, DatasetId
from ftlab.schemas.costs import Amount
from ftlab.schemas.templates import MAX_CHARS
from ftlab.settings import DEFAULT_BUCKET

MAX_BYTES = 2**53
MAX_COUNT = 1_000_000
SHA256 = r"^[0-9a-f]{64}$"


class JobChange(StrictModel):
    """A change of a job that is queued or paused; one of the fields."""

    priority: int | None = Field(default=None, ge=0, le=100)
    after: list[str] | None = Field(default=None, max_length=0)
    """`[]` lets the job start without the jobs that it waits for."""

    @model_validator(mode="after")
    def _one_change(self) -> Self:
        if (self.priority is None) == (self.after is None):
            raise ValueError("priority or after must be given, and only one of them")
        return self


MAX_CHAIN_JOBS = 100


class ChainRequest(StrictModel):
    """Jobs to submit together."""

    jobs: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_CHAIN_JOBS)
    """Configs of any kind, as in a submission of one job. Each may name those before it by their `name`, in `after` and
    as `job:NAME` where a model is named."""


class Resume(StrictModel):
    """Where a job continues, and with which settings."""

    checkpoint: str | None = Field(default=None, min_length=1, max_length=100)
    """`latest`, `best`, or the name of a checkpoint. Default: the newest intact checkpoint, which is also `latest`."""
    config_adjustments: dict[str, Any] | None = None
    """Settings of the job's config with new values: a part of the config, or paths such as `training.learning_rate`."""
    suggested: bool = False
    """Make the changes that the analysis of the failure suggests first, and continue from the checkpoint that it names
    unless `checkpoint` names one."""
    original: bool = False
    """Undo all adjustments: continue with the config as it was submitted."""


class Batches(StrictModel):
    """Files to append to a job."""

    datasets: list[DatasetId] = Field(min_length=1, max_length=MAX_DATASETS)
    """Ids or unique names of datasets to train on after those that the job has, in this order."""
    after: int | None = Field(default=None, ge=1, le=MAX_DATASETS)
    """Number of files that the job has so far. The request is refused where the job has another number, so that a
    repeated request appends once."""


class Move(StrictModel):
    """A new place in the queue, among the jobs with the same priority."""

    to: Literal["front", "behind"]
    """`front`: ahead of all of them; `behind`: right behind `job`."""
    job: str | None = Field(default=None, min_length=1, max_length=200)
    """Id or unique name of a queued job; only with `behind`."""

    @model_validator(mode="after")
    def _a_job_to_be_behind(self) -> Self:
        if (self.job is not None) != (self.to == "behind"):
            raise ValueError("job must be given with to: behind, and only then")
        return self


class TemplateText(StrictModel):
    """The new text of a template."""

    text: str = Field(min_length=1, max_length=MAX_CHARS)
    """YAML with any settings of a job's config."""


class ModelReference(StrictModel):
    """A model to check."""

    model: str = Field(min_length=1, max_length=512)
    """Reference as in a job's config."""


class CheckpointChange(StrictModel):
    """Whether a checkpoint is pinned."""

    is_pinned: bool


class ModelChange(StrictModel):
    """Whether a tuned model is pinned."""

    is_pinned: bool


class CheckpointRule(StrictModel):
    """Which checkpoints to delete. Those that are pinned or still needed always stay."""

    jobs: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field(
        default_factory=list, max_length=1000
    )
    """Ids or names of jobs; none means all of yours."""
    older_than_days: float = Field(default=0.0, ge=0.0, le=100_000.0)
    """Only those that were saved longer ago."""
    keep_best: bool = True
    """Keep the one with the lowest eval loss of each job."""
    dry_run: bool = False
    """Only report what would be deleted."""


class ModelRule(StrictModel):
    """Which tuned models to delete. Those that are still needed, or made of a pinned checkpoint, always stay."""

    models: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field(
        default_factory=list, max_length=1000
    )
    """Ids or names of models; none means all of yours. All models of a job go together."""
    older_than_days: float = Field(default=0.0, ge=0.0, le=100_000.0)
    """Only those that were delivered longer ago."""
    keep_newest: int = Field(default=1, ge=0, le=10_000)
    """Keep this many of the newest of each base model."""
    keep_best: bool = True
    """Keep the one with the lowest eval loss of each base model, method and evaluation dataset."""
    dry_run: bool = False
    """Only report what would be deleted."""


class QuotaChange(StrictModel):
    """New limits. Fields that are left out stay as they are; `null` returns to the service's setting."""

    max_queued_jobs: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    max_running_gpus: float | None = Field(default=None, ge=0, le=MAX_COUNT)
    max_running_cpus: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    max_disk_bytes: int | None = Field(default=None, ge=0, le=MAX_BYTES)
    max_upload_bytes: int | None = Field(default=None, ge=0, le=MAX_BYTES)
    weight: float | None = Field(default=None, gt=0, le=1000)
    max_monthly_cost: Amount | None = None
    """What the jobs may cost in a calendar month (UTC), in the currency of the service."""


class UploadStart(StrictModel):
    """A file to upload in pieces, and how to make a dataset of it."""

    filename: str = Field(min_length=1, max_length=4096)
    size_bytes: int = Field(ge=1, le=MAX_BYTES)
    """Size of the whole file."""
    sha256: str | None = Field(default=None, pattern=SHA256)
    """Hash of the whole file."""
    name: Name | None = None
    bucket: str = Field(default=DEFAULT_BUCKET, max_length=100)
    shape: str | None = Field(default=None, max_length=100)
    columns: dict[str, str] | None = None
    accept_partial: bool = False


class UploadEnd(StrictModel):
    """How to make a dataset of an upload. Fields that are set replace those of the start."""

    shape: str | None = Field(default=None, max_length=100)
    columns: dict[str, str] | None = None
    accept_partial: bool | None = None


class DatasetMove(StrictModel):
    """The bucket to move a dataset to."""

    bucket: str = Field(min_length=1, max_length=100)


class UrlRequest(StrictModel):
    """A signed URL to make."""

    expires_s: int = Field(default=24 * 3600, ge=1, le=7 * 24 * 3600)
    """Lifetime in seconds; S3 signs for at most seven days."""
