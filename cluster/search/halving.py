"""Successive halving: which trials pass a rung. Asynchronous (ASHA): no trial waits until a rung is full."""

from collections.abc import Sequence

from ftlab.schemas.sweeps import TrialState
from tracking.best_trials import loss_of
from tracking.store.sweeps import TrialRecord


def promotable(
    trials: Sequence[TrialRecord], num_rungs: int, reduction_factor: int, *, is_minimised: bool, is_last_call: bool
) -> TrialRecord | None:
    """The trial that continues next: the best of the highest rung that still has a place; `None` if none has.

    Of the trials that reached a rung, one of `reduction_factor` passes it. On the last call, when no trial runs and no
    new one follows, at least one passes each rung, so that a short sweep also trains its best trial to the end.
    """
    for rung in reversed(range(num_rungs)):
        reached = _reached(trials, rung)
        places = max(len(reached) // reduction_factor, int(is_last_call))
        ranked = sorted(reached, key=lambda trial: (_loss(trial, rung, is_minimised=is_minimised), trial.number))
        for trial in ranked[:places]:
            if trial.rung == rung and trial.state is TrialState.PRUNED:
                return trial
    return None


def passes(
    trials: Sequence[TrialRecord], trial: TrialRecord, value: float, reduction_factor: int, *, is_minimised: bool
) -> bool:
    """Whether a trial that has just reached its rung with this value is among those that pass it."""
    rung = trial.rung
    others = [other for other in _reached(trials, rung) if other.number != trial.number]
    places = (len(others) + 1) // reduction_factor
    own = loss_of(value, is_minimised=is_minimised), trial.number
    return sum((_loss(other, rung, is_minimised=is_minimised), other.number) < own for other in others) < places


def _reached(trials: Sequence[TrialRecord], rung: int) -> list[TrialRecord]:
    """The trials with a value at a rung that have completed, or may still do so."""
    return [
        trial
        for trial in trials
        if len(trial.rung_values) > rung and (trial.is_open or trial.state is TrialState.COMPLETED)
    ]


def _loss(trial: TrialRecord, rung: int, *, is_minimised: bool) -> float:
    return loss_of(trial.rung_values[rung], is_minimised=is_minimised)
