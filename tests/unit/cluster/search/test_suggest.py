"""Suggestions: pure functions of the trials, inside the ranges, better than chance with TPE."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster.search.importance import importance
from cluster.search.suggest import next_values
from ftlab.schemas.sweep_rules import check_sweep
from ftlab.schemas.sweeps import SweepConfig, TrialState

JOB = {"model": "org/name", "dataset": "ds-1", "eval_split": 0.2, "training": {"max_steps": 90, "eval_steps": 10}}
PARAMETERS: dict[str, Any] = {
    "training.learning_rate": {"min": 1e-5, "max": 1e-2, "log": True},
    "lora.r": [4, 8, 16],
    "training.warmup_steps": {"min": 0, "max": 9, "step": 2},
    "lora.lora_dropout": {"min": 0, "max": 0.5},
}


@dataclass(frozen=True)
class Told:
    number: int
    parameters: dict[str, Any]
    state: TrialState = TrialState.COMPLETED
    value: float | None = None
    rung_values: tuple[float, ...] = field(default=())


def sweep_of(method: Any = "random", **fields: Any) -> SweepConfig:
    return SweepConfig.model_validate({"job": JOB, "parameters": PARAMETERS, "method": method, **fields})


def search(sweep: SweepConfig, number: int, told: list[Told] | None = None) -> list[Told]:
    """Trials whose value is the distance of the learning rate from 1e-3, in decades."""
    from math import log10

    whole, trials = check_sweep(sweep).whole, list(told or [])
    for _ in range(number):
        values = next_values(sweep, whole, (), trials)
        value = abs(log10(float(values["training.learning_rate"])) + 3)
        trials.append(Told(len(trials), values, value=value))
    return trials


@pytest.mark.parametrize("method", ["random", {"type": "tpe", "num_random": 3}])
def test_the_next_suggestion_is_the_same_after_every_restart(method: Any):
    sweep = sweep_of(method)
    whole = check_sweep(sweep).whole
    trials = search(sweep, 6)
    for number, trial in enumerate(trials):
        again = next_values(SweepConfig.model_validate_json(sweep.model_dump_json()), whole, (), trials[:number])
        assert repr(again) == repr(trial.parameters)
    assert len({repr(trial.parameters) for trial in trials}) == 6
    assert search(sweep_of(method, seed=7), 1)[0].parameters != trials[0].parameters


def test_values_stay_in_their_ranges_and_keep_their_types():
    for trial in search(sweep_of(), 30):
        rate, rank, warmup, dropout = trial.parameters.values()
        assert 1e-5 <= float(rate) <= 1e-2
        assert rank in (4, 8, 16)
        assert warmup in (0, 2, 4, 6, 8)
        assert isinstance(warmup, int)
        assert isinstance(dropout, float)


def test_trials_that_run_and_those_that_were_pruned_change_the_next_one():
    """Failed and cancelled ones do not."""
    differ = set()
    for seed in range(8):
        sweep = sweep_of({"type": "tpe", "num_random": 2}, seed=seed)
        whole = check_sweep(sweep).whole
        done = search(sweep, 8)
        likely = next_values(sweep, whole, (), done)
        told = {
            state: [Told(8 + number, likely, state, value, rung_values) for number in range(8)]
            for state, value, rung_values in (
                (TrialState.FAILED, None, ()),
                (TrialState.CANCELLED, None, ()),
                (TrialState.RUNNING, None, ()),
                (TrialState.PRUNED, 9.0, (9.0,)),
            )
        }
        found = {state: next_values(sweep, whole, (10,), done + trials) for state, trials in told.items()}
        assert found[TrialState.CANCELLED] == found[TrialState.FAILED]
        differ |= {state for state, values in found.items() if values != found[TrialState.FAILED]}
    assert differ == {TrialState.RUNNING, TrialState.PRUNED}


def test_tpe_finds_the_valley_that_random_values_do_not():
    found = search(sweep_of({"type": "tpe", "num_random": 5}), 30)
    late = sum(trial.value or 0 for trial in found[15:]) / 15
    by_chance = sum(trial.value or 0 for trial in search(sweep_of(), 30)) / 30
    assert late < by_chance * 0.6


def test_maximising_turns_the_valley_round():
    sweep = sweep_of({"type": "tpe", "num_random": 5}, objective={"direction": "maximise"})
    found = search(sweep, 30)
    assert sum(trial.value or 0 for trial in found[15:]) > sum(trial.value or 0 for trial in found[:15])


def test_a_grid_has_every_combination_once():
    parameters = {"lora.r": [4, 8], "training.warmup_steps": {"min": 0, "max": 5, "step": 2}}
    sweep = SweepConfig.model_validate({"job": JOB, "parameters": parameters, "method": "grid"})
    assert check_sweep(sweep).max_trials == 6
    points = [next_values(sweep, (), (), [None] * number) for number in range(6)]  # type: ignore[list-item]
    assert [tuple(point.values()) for point in points] == [(4, 0), (4, 2), (4, 4), (8, 0), (8, 2), (8, 4)]


def test_importance_names_the_parameter_that_matters():
    sweep = sweep_of()
    found = importance(sweep, check_sweep(sweep).whole, search(sweep, 40))
    assert found.shares is not None
    assert next(iter(found.shares)) == "training.learning_rate"
    assert sum(found.shares.values()) == pytest.approx(1)


def test_importance_says_why_there_is_none():
    sweep = sweep_of()
    whole = check_sweep(sweep).whole
    assert "from 5 completed trials on; there are 4" in (importance(sweep, whole, search(sweep, 4)).note or "")
    equal = [Told(number, trial.parameters, value=1.0) for number, trial in enumerate(search(sweep, 6))]
    assert "the same value" in (importance(sweep, whole, equal).note or "")
