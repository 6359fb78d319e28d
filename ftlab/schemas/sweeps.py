"""Sweeps: a search for the settings of a job, whose trials are ordinary jobs."""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ftlab.schemas.auto import AutoValue, with_settings
from ftlab.schemas.base_config import YEAR_S
from ftlab.schemas.common import Name, StrictModel, WireModel, named_by_type
from ftlab.schemas.costs import Amount
from ftlab.status import JobStatus, ReasonCode

MAX_TRIALS = 1000
DEFAULT_TRIALS = 20
MAX_PARAMETERS = 50
MAX_VALUES = 1000
MAX_NAME_CHARS = 200
"""Characters of the name of a parameter."""
MAX_STEPS = 10**9
"""Steps of a range."""
LARGEST = 1e300
"""Largest number of a range: differences and quotients of such numbers are finite."""
Number = int | float
Value = bool | int | float | str
"""A value that a parameter takes."""


class SweepStatus(StrEnum):
    """The state of a sweep."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    """All of its trials have ended, or its budget is used up."""
    CANCELLED = "cancelled"
    FAILED = "failed"
    """Too many trials failed in a row, or no more trials can be made."""

    @property
    def has_ended(self) -> bool:
        return self not in (SweepStatus.RUNNING, SweepStatus.PAUSED)


class TrialState(StrEnum):
    """The state of a trial in its sweep; the status of its job says more."""

    RUNNING = "running"
    """Its job is queued, runs, or was paused by a user: see `job_status`."""
    PRUNED = "pruned"
    """Its job was paused at a rung, and is not among the best so far; it may be promoted while the sweep runs."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _as_parameter(value: object) -> object:
    return {"values": value} if isinstance(value, list) else value


class Parameter(StrictModel):
    """The values that a setting may take: a list of them, or a range. In a file, a plain list is one of values."""

    values: list[Value] | None = Field(default=None, min_length=1, max_length=MAX_VALUES)
    """The values to choose from."""
    min: Number | None = None
    """Lowest value of a range."""
    max: Number | None = None
    """Highest value of a range."""
    log: bool = False
    """Whether the range is searched on a logarithmic scale, as learning rates should be."""
    step: Number | None = None
    """Distance between two values of a range. Default: 1 for whole numbers, else any value."""

    @property
    def bounds(self) -> tuple[Number, Number]:
        """The ends of a range."""
        assert self.min is not None
        assert self.max is not None
        return self.min, self.max


class RandomSearch(StrictModel):
    """Independent random values."""

    type: Literal["random"] = "random"


class GridSearch(StrictModel):
    """Every combination once, in order; the last parameter changes fastest. Ranges need a `step`."""

    type: Literal["grid"] = "grid"


class TpeSearch(StrictModel):
    """Tree-structured Parzen estimator: values near those of the best trials so far."""

    type: Literal["tpe"] = "tpe"
    num_random: int = Field(default=10, ge=1, le=MAX_TRIALS)
    """Trials with random values before the estimator begins."""


class SuccessiveHalving(StrictModel):
    """Many short trials, of which the best continue: asynchronous successive halving (ASHA)."""

    type: Literal["successive_halving"] = "successive_halving"
    min_steps: int | None = Field(default=None, ge=1, le=10_000_000)
    """Optimizer steps of the first rung. Default: `training.max_steps` divided twice by `reduction_factor`."""
    reduction_factor: int = Field(default=3, ge=2, le=10)
    """Of this number of trials, one continues to the next rung, which has this number of times the steps."""
    sampler: Literal["random", "tpe"] = "random"
    """How the values of new trials are chosen."""


SearchMethod = Annotated[
    RandomSearch | GridSearch | TpeSearch | SuccessiveHalving,
    Field(discriminator="type"),
]


_HIGHER_IS_BETTER = re.compile(
    r"(?:^|[/_])(?:reward|accuracy|accuracies|margins?|tokens_per_s)$|^(?:eval_)?(?:rewards/.+/mean|(?:rewards|logps)/chosen)$"
)
"""Metrics of which higher values are better."""


class Objective(StrictModel):
    """What makes one trial better than another."""

    metric: str = Field(default="eval_loss", min_length=1, max_length=100)
    """A metric of the jobs, such as `eval_loss` or `loss`."""
    direction: Literal["minimise", "maximise"] = "minimise"
    """Which values are better. Default: `maximise` for rewards, accuracies, margins and speeds."""
    value: Literal["best", "last"] = "best"
    """Which value of the metric counts; that of step 0, before any training, never does. A job delivers the checkpoint
    with the best eval loss, unless `training.load_best_model_at_end` is off."""

    @model_validator(mode="before")
    @classmethod
    def _direction_of_metric(cls, values: Any) -> Any:
        if (
            isinstance(values, dict)
            and "direction" not in values
            and _HIGHER_IS_BETTER.search(str(values.get("metric")))
        ):
            return {**values, "direction": "maximise"}
        return values

    @property
    def is_minimised(self) -> bool:
        return self.direction == "minimise"


class SweepConfig(StrictModel):
    """A sweep: the job to repeat, the settings to vary, and how to search."""

    name: Name | None = None
    """Display name. Default: the name of the job, or that of its model."""
    job: dict[str, Any]
    """Config of a training job, the template of all trials. It may leave out what `parameters` sets."""
    parameters: dict[str, Annotated[Parameter, BeforeValidator(_as_parameter)]] = Field(
        min_length=1, max_length=MAX_PARAMETERS
    )
    """The values to search, by the dotted names of settings of the groups `training`, `lora` and `method`."""
    method: Annotated[SearchMethod, BeforeValidator(named_by_type)] = TpeSearch()
    """How values are chosen: a mapping with `type`, or just the type."""
    objective: Objective = Objective()
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Seed of the search. Trials have the seed of their job, `training.seed`."""
    max_trials: int | None = Field(default=None, ge=1, le=MAX_TRIALS)
    """Trials to make. Default: all combinations of a grid, else 20."""
    max_parallel: int = Field(default=2, ge=1, le=100)
    """Trials in the queue or running at once; the queue decides how many of them run."""
    max_time_s: int | None = Field(default=None, ge=1, le=YEAR_S)
    """Seconds that the trials may run, all together; then the sweep ends, and so do the trials that still run."""
    max_cost: Amount | None = None
    """What the trials may cost together, in the currency of the service; then the sweep ends as with `max_time_s`."""
    max_failures: int = Field(default=3, ge=1, le=MAX_TRIALS)
    """Failed trials in a row after which the sweep fails."""

    @model_validator(mode="after")
    def _ranges_are_whole(self) -> Self:
        for name, parameter in self.parameters.items():
            if len(name) > MAX_NAME_CHARS:
                raise ValueError(f"parameters has a name of more than {MAX_NAME_CHARS} characters")
            if (why := _fault_of(parameter)) is not None:
                raise ValueError(f"parameters.{name} {why}")
            if isinstance(self.method, GridSearch) and parameter.values is None and parameter.step is None:
                raise ValueError(f"parameters.{name} needs 'values' or a 'step' with method 'grid'")
        return self

    def trial_document(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """The config of the job of a trial, not checked."""
        return with_settings(self.job, values)


def _fault_of(parameter: Parameter) -> str | None:
    low, high = parameter.min, parameter.max
    if parameter.values is not None:
        if (low, high, parameter.step) != (None, None, None) or parameter.log:
            return "must have either 'values', or 'min' and 'max'"
        return None if len(set(parameter.values)) == len(parameter.values) else "must not have a value twice"
    if low is None or high is None:
        return "needs 'values', or 'min' and 'max'"
    if any(abs(end) > LARGEST for end in (low, high, parameter.step or 0)):
        return f"must have numbers of at most {LARGEST:g}"
    if low >= high:
        return "must have a 'min' below its 'max'"
    if parameter.log and low <= 0:
        return "must have a 'min' above 0, because 'log' is on"
    if parameter.log and parameter.step is not None:
        return "must not have both 'log' and 'step'"
    if parameter.step is not None and not 0 < parameter.step <= high - low:
        return "must have a 'step' above 0 that is not larger than the range"
    if parameter.step is not None and high - low > parameter.step * MAX_STEPS:
        return f"must have a 'step' that gives at most {MAX_STEPS:,} values"
    return None


class Trial(WireModel):
    """One trial of a sweep."""

    number: int
    """Its place in the order of the suggestions, from 0."""
    job_id: str | None = None
    """Its job; `None` where the values did not make a valid config. The trial stays when the job is deleted."""
    parameters: dict[str, Value]
    state: TrialState
    job_status: JobStatus | None = None
    """Status of its job while the trial is running: whether it still waits in the queue. `None` for other trials."""
    value: float | None = None
    """Value of the objective, so far where the trial has not ended; `None` before the first."""
    rung_values: list[float] = Field(default_factory=list)
    """With successive halving: the value at each rung that was reached."""
    reason: ReasonCode | None = None
    """Why a failed trial failed."""
    message: str | None = None
    run_time_s: float | None = None
    """Seconds that its job ran; set once the trial has ended."""
    created_at: datetime
    finished_at: datetime | None = None


class SweepSummary(WireModel):
    """A sweep in a list."""

    id: str
    owner: str
    name: str
    status: SweepStatus
    message: str
    """One sentence: what the sweep is doing, or why it ended."""
    method: str
    objective: Objective
    max_trials: int
    num_trials: int
    """Trials so far."""
    num_open: int
    """Those of them whose jobs have not ended."""
    best: Trial | None = None
    """The trial with the best value so far."""
    created_at: datetime
    finished_at: datetime | None = None


class Sweep(SweepSummary):
    """A sweep with its trials."""

    config: dict[str, Any]
    """The sweep as it runs: with the ids of the datasets, and a value for each `auto`."""
    auto: dict[str, AutoValue] = Field(default_factory=dict)
    """What each `auto` of the job became, for all trials."""
    rungs: list[int] = Field(default_factory=list)
    """With successive halving: the steps at which trials are compared."""
    trials: list[Trial]
    importance: dict[str, float] | None = None
    """Share of each parameter in the spread of the objective, from 0 to 1; `None` where it cannot be computed."""
    importance_note: str | None = None
    """Why there is no importance, in one sentence."""
    mlflow_url: str | None = None
    """The page of its run in MLflow, which has those of its trials below it; `None` until it is recorded."""
    run_time_s: float
    """Seconds that its jobs have run together."""
    cost: Decimal | None = None
    """What its jobs have cost so far; `None` where the service has no prices."""
    currency: str | None = None

    is_replay: bool = Field(default=False, exclude=True)
    """Set by the client: the submission found this sweep by its idempotency key, instead of creating a new one."""


class SweepPreview(WireModel):
    """What a sweep would do; nothing is stored."""

    name: str
    max_trials: int
    rungs: list[int] = Field(default_factory=list)
    trials: list[dict[str, Value]]
    """The values of the first trials."""
    job: dict[str, Any]
    """The config of the first trial, with every default filled in."""
