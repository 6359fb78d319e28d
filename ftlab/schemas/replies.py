"""Replies that only HTTP has: lists without pages, the overview of earlier clients, liveness."""

from typing import Literal

from pydantic import Field

from ftlab.schemas.accounts import ApiKey, User
from ftlab.schemas.checks import TokenRow
from ftlab.schemas.common import WireModel
from ftlab.schemas.costs import CostRecord
from ftlab.schemas.datasets import Dataset, Upload
from ftlab.schemas.evaluation_results import AnsweredRow
from ftlab.schemas.events import Event, LogLine
from ftlab.schemas.export_results import Export
from ftlab.schemas.notifications import Channel
from ftlab.schemas.records import Attempt, Checkpoint, Job, MetricPoint, TunedModel
from ftlab.schemas.templates import TemplateSummary
from ftlab.status import JobKind


class TokenRowList(WireModel):
    data: list[TokenRow]


class MetricList(WireModel):
    data: list[MetricPoint]


class JobSeries(WireModel):
    """One metric series of one job, as columns of the same length."""

    job_id: str
    name: str
    steps: list[int]
    values: list[float]


class SeriesList(WireModel):
    data: list[JobSeries]


class EventList(WireModel):
    data: list[Event]
    last_seq: int
    """Sequence number of the job's newest event, in this list or not."""


class LogList(WireModel):
    data: list[LogLine]


class AnsweredRowList(WireModel):
    """One page of the rows of an evaluation; the number of its last row goes into `after` of the next request."""

    data: list[AnsweredRow]
    has_more: bool = False


class JobList(WireModel):
    """The jobs of a chain, in its order."""

    data: list[Job]


class CheckedJob(WireModel):
    """A job of a chain that was checked, and not submitted."""

    name: str
    kind: JobKind = JobKind.TRAINING
    after: list[str] = Field(default_factory=list)
    """Names of the jobs that it waits for."""
    checked: list[str] = Field(default_factory=list)
    """What was checked."""
    later: list[str] = Field(default_factory=list)
    """What can only be checked once the jobs that it waits for have completed."""
    notices: list[str] = Field(default_factory=list)


class ChainCheck(WireModel):
    data: list[CheckedJob]


class CheckpointList(WireModel):
    data: list[Checkpoint]


class AttemptList(WireModel):
    data: list[Attempt]


class KeptCheckpoint(WireModel):
    """A checkpoint that a rule does not delete."""

    job_id: str
    name: str
    reason: str
    """Why it stays, in one sentence."""


class CheckpointPrune(WireModel):
    """What a rule deletes, or would delete."""

    dry_run: bool
    data: list[Checkpoint] = Field(default_factory=list)
    """The checkpoints that were deleted, or in a dry run would be."""
    size_bytes: int
    """Their size together. Files that a tuned model shares with them stay on the disk."""
    kept: list[KeptCheckpoint] = Field(default_factory=list)
    """Those that are old enough, and stay."""


class KeptModel(WireModel):
    """A tuned model that a rule names, and that stays."""

    model_id: str
    name: str
    reason: str


class ModelPrune(WireModel):
    """What a rule deletes, or would delete."""

    dry_run: bool
    data: list[TunedModel] = Field(default_factory=list)
    """The models that were deleted, or in a dry run would be."""
    size_bytes: int
    """Bytes on the disk that they free: files that a checkpoint shares with them stay."""
    kept: list[KeptModel] = Field(default_factory=list)
    """Those that are old enough, and stay."""


class DeviceUse(WireModel):
    """The devices of one type."""

    device: str
    """`cpu` for cores, the type of the GPUs such as `H100`, or `gpu` where their type is not known."""
    total: float | None
    """Number of them; `None` while the scheduler does not respond, or if no machine that has them is there any more."""
    used: float
    """Number of those that jobs hold, of all owners; a share of a GPU as a fraction."""
    out: float = 0
    """Number of those that are taken out, because one job after another failed on them."""
    free: float | None


class DeviceList(WireModel):
    data: list[DeviceUse]


class ExportList(WireModel):
    data: list[Export]


class TemplateList(WireModel):
    data: list[TemplateSummary]


class CostRecordList(WireModel):
    data: list[CostRecord]


class UserList(WireModel):
    data: list[User]


class KeyList(WireModel):
    data: list[ApiKey]


class ChannelList(WireModel):
    data: list[Channel]


class UploadList(WireModel):
    data: list[Upload]


class JobOverview(WireModel):
    """A job with its dataset and newest metric points, as the earlier clients read it."""

    job: Job
    dataset: Dataset | None
    metrics: list[MetricPoint]
    cost_records: list[CostRecord]


class Health(WireModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Part(WireModel):
    """Something that the service depends on."""

    ok: bool
    message: str


class Readiness(WireModel):
    """Whether the service would run a job that is submitted now."""

    status: Literal["ready", "unavailable"]
    parts: dict[str, Part]
