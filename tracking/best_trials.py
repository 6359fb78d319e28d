"""The best trial of a sweep, and the best one so far. Pure functions of its trials."""

from collections.abc import Sequence
from itertools import accumulate

from ftlab.schemas.sweeps import TrialState
from tracking.store.sweeps import TrialRecord


def best_trial(trials: Sequence[TrialRecord], *, is_minimised: bool) -> TrialRecord | None:
    """The completed trial with the best value; of equal ones the first. One that was pruned trained less."""
    return next(reversed(best_so_far(trials, is_minimised=is_minimised)), None)


def best_so_far(trials: Sequence[TrialRecord], *, is_minimised: bool) -> list[TrialRecord]:
    """The best trial after each one that completed, in the order in which they ended."""

    def better(one: TrialRecord, other: TrialRecord) -> TrialRecord:
        return min(one, other, key=lambda trial: (loss_of(trial.value or 0.0, is_minimised=is_minimised), trial.number))

    done = [trial for trial in trials if trial.state is TrialState.COMPLETED and trial.value is not None]
    done.sort(key=lambda trial: (trial.finished_at or trial.created_at, trial.number))
    return list(accumulate(done, better))


def loss_of(value: float, *, is_minimised: bool) -> float:
    """A number that is lower for better values."""
    return value if is_minimised else -value
