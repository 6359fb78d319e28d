"""The value of a trial, and the best trial."""

from collections.abc import Mapping, Sequence

from ftlab.schemas.sweeps import Objective, TrialState
from tracking.store.sweeps import TrialRecord


def objective_value(objective: Objective, series: Mapping[int, float], until: int | None = None) -> float | None:
    """The value of an objective in a series of values by step; those of step 0 are from before the training."""
    values = [series[step] for step in sorted(series) if step > 0 and (until is None or step <= until)]
    if not values:
        return None
    if objective.value == "last":
        return values[-1]
    return min(values) if objective.is_minimised else max(values)


def best_trial(trials: Sequence[TrialRecord], *, is_minimised: bool) -> TrialRecord | None:
    """The completed trial with the best value; of equal ones the first. One that was pruned trained less."""
    done = [trial for trial in trials if trial.state is TrialState.COMPLETED and trial.value is not None]
    return min(
        done, key=lambda trial: (loss_of(trial.value or 0.0, is_minimised=is_minimised), trial.number), default=None
    )


def loss_of(value: float, *, is_minimised: bool) -> float:
    """A number that is lower for better values."""
    return value if is_minimised else -value
