"""Arguments of the tools. Agents read the docstrings of the fields as descriptions."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from ftlab.mcp.job_settings import GROUPS
from ftlab.schemas.common import Name, StrictModel
from ftlab.schemas.job_file import read_plain_yaml
from ftlab.schemas.requests import Resume
from ftlab.status import JobStatus

MAX_WAIT_S = 300.0
DEFAULT_WAIT_S = 45.0
"""Below the 60 seconds for which many clients wait for a tool."""
MAX_CONTENT = 900_000
"""Most characters of a file in an argument; a request has at most 1 MiB."""

Reference = Annotated[str, StringConstraints(min_length=1, max_length=512)]
WaitTime = Annotated[float, Field(ge=0.0, le=MAX_WAIT_S)]


def _read_config(value: object) -> object:
    """A config that was sent as text, as some agents do."""
    return read_plain_yaml(value, "config") if isinstance(value, str) else value


Config = Annotated[dict[str, Any], BeforeValidator(_read_config)]


class NoArguments(StrictModel):
    """Arguments of a tool that needs none."""


class ListArguments(StrictModel):
    """How much of a list to return."""

    limit: int = Field(default=20, ge=1, le=100)
    """Most records to return."""


class DatasetArguments(StrictModel):
    """A dataset."""

    dataset: Reference
    """Id or unique name of the dataset."""


class PreviewArguments(DatasetArguments):
    """The rows of a dataset to show."""

    rows: int = Field(default=3, ge=1, le=20)
    """Number of rows, from the first."""
    model: Reference | None = None
    """Base model: also report what its chat template leaves out of each row."""


class CheckArguments(DatasetArguments):
    """What the doctor checks."""

    model: Reference
    """Base model that the dataset is checked for, as in a job's config."""
    max_length: int | None = Field(default=None, ge=1)
    """Longest row in tokens: `method.max_length` in a job's config."""
    assistant_only_loss: bool | None = None
    """Whether only answers are trained: `method.assistant_only_loss` in a job's config."""
    packing: bool | None = None
    """Whether rows share a sequence: `method.packing` in a job's config."""
    eval_dataset: Reference | None = None
    """Id or unique name of an evaluation dataset, which must share no rows with this one."""
    rewards: list[str] = Field(default_factory=list, max_length=20)
    """Types of rewards of a `grpo` job: check the reference answers that they compare with."""
    max_findings: int = Field(default=20, ge=0, le=100)
    """Most findings to describe; all are counted."""
    wait_s: WaitTime = DEFAULT_WAIT_S
    """Seconds to wait for the report."""


class UploadOptionsArguments(StrictModel):
    """How a file becomes a dataset."""

    shape: str | None = None
    """Shape of the rows, such as `messages` or `prompt_completion`; detected by default."""
    columns: dict[str, str] | None = None
    """From a field of the shape to a column of the file, where they are named differently."""
    accept_partial: bool = False
    """Skip rows that cannot be read instead of refusing the file."""


class UploadFileArguments(UploadOptionsArguments):
    """A file on the machine of the agent."""

    path: str = Field(min_length=1, max_length=4096)
    """Absolute path of the file on this machine; its name ends in .jsonl, .json, .csv, .tsv or .parquet."""
    name: Name | None = None
    """Display name; the file's name by default."""


class UploadContentArguments(UploadOptionsArguments):
    """A file that the agent writes."""

    name: Name
    """Name of the file with its ending: .jsonl, .json, .csv or .tsv."""
    content: str = Field(min_length=1, max_length=MAX_CONTENT)
    """The text of the file."""


class ModelArguments(StrictModel):
    """A base model."""

    model: Reference
    """Base model: `org/name` on the Hugging Face hub, a path on the machine of the service, `job:<id>` or
    `model:<id>`."""


class SettingsArguments(StrictModel):
    """A group of settings."""

    group: str = Field(default="job", json_schema_extra={"enum": list(GROUPS)})
    """The settings of a job itself, one of its groups, or the group `method` of one training method."""


class TemplateArguments(StrictModel):
    """A template."""

    template: Reference
    """Name of the template."""


class ConfigArguments(StrictModel):
    """A job that may be submitted."""

    config: Config
    """The job's config: at least `model` and `dataset`. `describe_settings` describes its groups. Many settings accept
    `auto`, which leaves the value to the service."""
    template: Reference | None = None
    """Name of a template that fills in what the config leaves out; see `list_templates`."""


class SubmitArguments(ConfigArguments):
    """A job to submit."""

    dry_run: bool = False
    """Only validate and estimate the job; nothing is stored."""
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=255)
    """Submitting again with the same key returns the first job instead of starting another one."""


class JobListArguments(ListArguments):
    """The jobs to list."""

    status: list[JobStatus] = Field(default_factory=list, max_length=20)
    """Only jobs with one of these statuses."""


class JobArguments(StrictModel):
    """A job."""

    job: Reference
    """Id, unique name, or unique beginning of the id of the job."""


class WaitArguments(JobArguments):
    """A job to wait for."""

    wait_s: WaitTime = DEFAULT_WAIT_S
    """Most seconds to wait. The reply comes earlier if the job ends or is paused."""


class LogArguments(JobArguments):
    """A part of the log of a job."""

    tail: int = Field(default=40, ge=1, le=500)
    """Number of lines, from the end of the log."""


class MetricsArguments(JobArguments):
    """Metrics of a job."""

    names: list[str] = Field(default_factory=list, max_length=20)
    """Names of metrics. By default: the losses, rewards, learning rate and speed."""
    max_points: int = Field(default=20, ge=2, le=200)
    """Most points of each metric, spread over the whole run."""


class CompareArguments(StrictModel):
    """Jobs to compare."""

    jobs: list[Reference] = Field(min_length=2, max_length=10)
    """Ids or unique names of two to ten jobs."""


class ResumeArguments(Resume, JobArguments):
    """A job to put back into the queue, and with which settings."""


class DownloadArguments(JobArguments):
    """A model to download."""

    folder: str = Field(min_length=1, max_length=4096)
    """Absolute path of an existing folder on this machine."""
    checkpoint: str | None = Field(default=None, min_length=1, max_length=100)
    """Name of a checkpoint to download instead of the tuned model; see `list_checkpoints`."""
