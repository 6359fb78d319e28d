"""Several jobs over each other: results, curves, settings, data and samples."""

from typing import Any

from pydantic import Field

from ftlab.schemas.analytics import BestEvaluation
from ftlab.schemas.common import WireModel
from ftlab.schemas.records import JobCost
from ftlab.status import JobStatus


class ComparedRun(WireModel):
    """The results of one job."""

    job_id: str
    name: str
    status: JobStatus
    model: str | None = None
    """The base model. This and the method are `None` where this version cannot read the job's config."""
    method: str | None = None
    step: int
    total_steps: int | None = None
    metric: str
    """The training metric: `loss` or, for `grpo`, `reward`."""
    last: float | None = None
    """Mean of the training metric over the last twentieth of the points."""
    best: BestEvaluation | None = None
    """`None` for a job without an evaluation after step 0."""
    evaluation_group: int | None = None
    """Jobs with the same number were evaluated on the same rows in the same way, so that `best` may be compared."""
    is_best: bool = False
    """Whether no other job of its group, which has several, has a better `best`."""
    tokens_per_s: float | None = None
    run_time_s: float | None = None
    cost: JobCost | None = None


class ComparedSetting(WireModel):
    """A setting in which the jobs differ, with defaults filled in."""

    field: str
    values: list[Any]
    """The value of each job, in the order of the jobs; `None` also for a job that has no such setting."""


class ComparedDataset(WireModel):
    """A dataset that at least one of the jobs uses."""

    dataset_id: str
    name: str | None = None
    """`None` for one that was deleted."""
    num_rows: int | None = None
    same_as: str | None = None
    """An earlier dataset of this list with the same rows."""
    trained_by: list[str] = Field(default_factory=list)
    """Ids of the jobs that train on it."""
    evaluated_by: list[str] = Field(default_factory=list)


class ComparedAnswer(WireModel):
    """The newest answer of a job to a prompt."""

    job_id: str
    step: int
    text: str


class ComparedPrompt(WireModel):
    """A sample prompt with the newest answer of each job that was asked."""

    prompt: str
    answers: list[ComparedAnswer]


class ComparedCurve(WireModel):
    """One metric of one job."""

    name: str
    job_id: str
    steps: list[int]
    values: list[float]


class ComparedValue(WireModel):
    """A metric that an evaluation measured of the model of one job."""

    evaluation_id: str
    value: float | None = None
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    num_rows: int = 0
    """Rows with a score."""


class ComparedMetric(WireModel):
    """A metric that evaluations measured on the same rows with the same settings."""

    metric: str
    dataset_id: str | None = None
    """`None` for a metric of a task."""
    is_lower_better: bool = False
    base: float | None = None
    """The value of the base model."""
    values: list[ComparedValue | None]
    """In the order of the jobs; `None` for one that was not measured in this way."""


class Comparison(WireModel):
    """What several jobs have reached, and in what they differ."""

    runs: list[ComparedRun]
    """In the order of the request."""
    notes: list[str] = Field(default_factory=list)
    """What must be known to read the results, one sentence each."""
    settings: list[ComparedSetting] = Field(default_factory=list)
    datasets: list[ComparedDataset] = Field(default_factory=list)
    evaluations: list[ComparedMetric] = Field(default_factory=list)
    """What evaluations measured of the models that the jobs delivered; of each job, the newest one counts."""
    samples: list[ComparedPrompt] = Field(default_factory=list)
    curves: list[ComparedCurve] = Field(default_factory=list)
    """Training and evaluation metrics, thinned; every step once, as the attempt that counts measured it."""
