"""Analytics of a job: what its recorded metrics, attempts and events say about its training.

A value is `None` where it is not known or cannot be computed yet. No number is NaN or infinite.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from ftlab.schemas.common import WireModel
from ftlab.status import JobStatus

Trend = Literal["falling", "flat", "rising"]


class BestEvaluation(WireModel):
    """The best evaluation of the job, without that of step 0, which measures the model before training."""

    metric: str
    """What decides: `eval_loss` (lowest) or, for `grpo`, `eval_reward` (highest)."""
    step: int
    value: float
    before_training: float | None = None
    """The same metric at step 0."""
    steps_since: int
    """Steps of the job after it."""
    evaluations_since: int
    last_third_gain: float | None = None
    """How much the best value improved in the last third of the steps; 0 or below where it did not. `None` without an
    evaluation in both parts."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """All evaluation metrics of this step."""


class BestValue(WireModel):
    """The best value of one evaluation metric; its step may differ from that of the best evaluation."""

    metric: str
    step: int
    value: float


class ShareOfSteps(WireModel):
    """Where the training stood after a share of the steps."""

    share: float
    """0, 0.25, 0.5, 0.75 or 1 of the steps that are recorded so far."""
    step: int
    """The recorded step that is nearest to it."""
    value: float
    """Training loss (`grpo`: reward): the mean over about a twentieth of the steps around it."""
    evaluation: float | None = None
    """Newest `eval_loss` (`grpo`: `eval_reward`) up to this step."""


class Convergence(WireModel):
    """Course of the training loss (`grpo`: reward)."""

    metric: str
    num_points: int
    first: float
    """Mean over the first twentieth of the points."""
    last: float
    """Mean over the last twentieth of the points."""
    trend: Trend | None = None
    """Direction in the last third of the steps; `flat` where it changed by less than 1 % or less than its noise."""
    slope_per_100_steps: float | None = None
    """Slope of the line through the last third, fitted by least squares."""
    settled_step: int | None = None
    """Step from which on the values stay within 5 % of their total change of the last ones, by medians over twentieths
    of the steps; `None` unless the last third is flat and the whole series is not."""


class Gap(WireModel):
    """Difference of the evaluation and the training at the newest evaluation."""

    step: int
    train: float
    """Mean of the training metric between the evaluation before and this one."""
    evaluation: float
    gap: float
    """How much worse the evaluation is than the training; below 0 where it is better."""
    at_best: float | None = None
    """The same at the best evaluation."""
    is_widening: bool | None = None
    """Whether the gap grew since the best evaluation by more than 5 % of the evaluation's value there."""


class Spike(WireModel):
    """A logged value far above the values before it."""

    step: int
    value: float
    usual: float
    """Median of the values before it."""


class Spikes(WireModel):
    """Spikes of the training loss."""

    count: int
    largest: list[Spike] = Field(default_factory=list)
    """The ten that stand out most, by step."""


class GradientNorm(WireModel):
    """Gradient norms of the logged steps, before they are clipped."""

    median: float
    max: float
    max_step: int
    last: float
    clipped_share: float | None = None
    """Share of the logged steps whose norm was above `training.max_grad_norm`."""
    spikes: int
    """Logged norms above ten times the median of those before them."""


class SpeedOfPart(WireModel):
    """Median speed in one quarter of the steps."""

    from_step: int
    to_step: int
    tokens_per_s: float | None = None
    step_time_s: float | None = None
    data_wait_s: float | None = None


class Throughput(WireModel):
    """Speed of the training, without evaluations and checkpoints."""

    tokens_per_s: float | None = None
    """Median of the logged steps."""
    parts: list[SpeedOfPart] = Field(default_factory=list)
    """Quarters of the steps, in order."""


class TimeUse(WireModel):
    """Where the time since the submission went, in seconds. Its parts add up to `total_s`."""

    total_s: float
    """From the submission to the end of the job, or until now."""
    queued_s: float
    """In the queue, also after interruptions, and between attempts."""
    paused_s: float
    starting_s: float
    """Starting the processes, loading the model and the data: of all attempts whose training was kept."""
    data_s: float | None = None
    """Waits of the steps for their rows. This and the parts of a step are `None` for jobs that an older version ran."""
    generation_s: float | None = None
    """Generating and scoring answers (`grpo`)."""
    forward_s: float | None = None
    backward_s: float | None = None
    """Also the exchange of gradients between workers."""
    optimizer_s: float | None = None
    evaluation_s: float | None = None
    sampling_s: float | None = None
    """Answering `training.sample_prompts`."""
    saving_s: float | None = None
    """Writing checkpoints."""
    finishing_s: float
    """After the last checkpoint of an attempt: delivering and evaluating the tuned model, and releasing the devices."""
    lost_s: float
    """Work that was done again: of attempts after the checkpoint that the job continued from."""
    other_s: float
    """The rest of the attempts: the memory probe, the work between steps, and everything that was not measured."""
    lost_steps: int = 0
    """Steps that were trained again."""
    missing: str | None = None
    """Why parts are `None`."""


class EarlierRun(WireModel):
    """An earlier completed job of the same owner with the same base model and method."""

    job_id: str
    name: str
    created_at: datetime
    steps: int
    best: float | None = None
    """Its best `eval_loss` (`grpo`: `eval_reward`)."""
    best_step: int | None = None
    last: float | None = None
    """Mean of its training loss (`grpo`: reward) over the last twentieth of the points."""
    tokens_per_s: float | None = None
    run_time_s: float | None = None
    is_comparable: bool
    """Whether it was evaluated on the same rows in the same way, so that `best` may be compared."""
    differences: dict[str, list[Any]] = Field(default_factory=dict)
    """Settings that differ: the value of that job, then that of this one."""


class JobAnalytics(WireModel):
    """What the record of a job says about its training."""

    job_id: str
    status: JobStatus
    method: str | None = None
    step: int
    total_steps: int | None = None
    num_attempts: int
    summary: list[str]
    """The most important results, one sentence each."""
    best: BestEvaluation | None = None
    """`None` for a job without an evaluation after step 0."""
    best_values: list[BestValue] = Field(default_factory=list)
    """Best values of the method's other evaluation metrics, such as `eval_rewards/margins`."""
    shares: list[ShareOfSteps] = Field(default_factory=list)
    convergence: Convergence | None = None
    gap: Gap | None = None
    spikes: Spikes | None = None
    gradient_norm: GradientNorm | None = None
    throughput: Throughput | None = None
    time: TimeUse
    earlier_runs: list[EarlierRun] = Field(default_factory=list)
    """Up to five, the newest first."""
    is_thinned: bool = False
    """Whether a series has more points than are analysed (5,000), so that some are left out."""
