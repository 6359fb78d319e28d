"""What the record says about a tuned model, for its model card. Light: the coordinator gathers it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MeasuredMetric:
    """A metric of an evaluation, of the tuned model and of its base model."""

    dataset: str
    metric: str
    num_rows: int
    base: float | None
    tuned: float | None
    p_value: float | None
    """Of the paired test of the two; `None` where there is none."""


@dataclass(frozen=True)
class TunedFacts:
    """A tuned model as the record of its job describes it."""

    job_id: str = ""
    job_name: str = ""
    base_model: str = ""
    base_revision: str | None = None
    tuning: str = ""
    """Method and tuning: `sft, lora`."""
    quantised_by: str | None = None
    """The setting that rounded the base weights of the training."""
    step: int = 0
    datasets: tuple[tuple[str, int], ...] = ()
    """Names, with the number of rows."""
    config: str = ""
    """The settings that differ from their defaults, as YAML."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The newest training loss at this step or before, and the eval losses of this step."""
    measured: tuple[MeasuredMetric, ...] = ()
    cost: str | None = None
    run_time_s: float | None = None
