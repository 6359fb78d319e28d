"""The values of the next trial, as a pure function of the trials so far.

Optuna's samplers are asked through a study in memory that is rebuilt from the trials each time, with a seed made of
the sweep's and of the trial's number. Nothing is kept between two suggestions, so a restart cannot change the next one.
"""

import hashlib
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ftlab.schemas.sweep_rules import grid_values
from ftlab.schemas.sweeps import (
    GridSearch,
    Parameter,
    RandomSearch,
    SuccessiveHalving,
    SweepConfig,
    TpeSearch,
    TrialState,
    Value,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


class SearchTrial(Protocol):
    """What the search reads of a trial."""

    @property
    def number(self) -> int: ...
    @property
    def parameters(self) -> dict[str, Value]: ...
    @property
    def state(self) -> TrialState: ...
    @property
    def value(self) -> float | None: ...
    @property
    def rung_values(self) -> Sequence[float]: ...


def next_values(
    sweep: SweepConfig, whole: Collection[str], rungs: Sequence[int], trials: Sequence[SearchTrial]
) -> dict[str, Value]:
    """The values of the trial after `trials`. `whole` names the parameters whose ranges are of whole numbers.

    The import of Optuna takes a third of a second, and a suggestion after hundreds of trials some hundredths.
    """
    number = len(trials)
    if isinstance(sweep.method, GridSearch):
        return _grid_point(sweep, number)
    num_judged = sum(trial.state in (TrialState.COMPLETED, TrialState.PRUNED) for trial in trials)
    sampler = _sampler(sweep.method, num_judged, _seed(sweep.seed, number))
    space = space_of(sweep, whole)
    study = study_of(sweep, space, rungs, trials, sampler)
    asked = study.ask(space)
    assert asked.number == number
    return dict(asked.params)


def study_of(
    sweep: SweepConfig,
    space: "dict[str, BaseDistribution]",
    rungs: Sequence[int],
    trials: Sequence[SearchTrial],
    sampler: "BaseSampler | None" = None,
) -> "Study":
    """A study in memory with the trials of a sweep. A failed or cancelled one is a failed one.

    A running one counts as the worst so far ("constant liar"), so that trials that run at once keep apart. Optuna's own
    constant liar knows running trials only by attributes that its study writes when it is asked.
    """
    import optuna
    from optuna.trial import TrialState as OptunaState
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="minimize" if sweep.objective.is_minimised else "maximize",
        sampler=sampler,
        pruner=optuna.pruners.NopPruner(),
    )
    states = {TrialState.COMPLETED: OptunaState.COMPLETE, TrialState.PRUNED: OptunaState.PRUNED}
    done = [trial.value for trial in trials if trial.state is TrialState.COMPLETED and trial.value is not None]
    if done:
        states[TrialState.RUNNING] = OptunaState.COMPLETE
    worst = (max if sweep.objective.is_minimised else min)(done, default=None)
    values = {TrialState.RUNNING: worst}
    study.add_trials(
        create_trial(
            state=states.get(trial.state, OptunaState.FAIL),
            value=trial.value if trial.state is TrialState.COMPLETED else values.get(trial.state),
            params=trial.parameters,
            distributions=space,
            intermediate_values=dict(zip(rungs, trial.rung_values, strict=False)),
        )
        for trial in trials
    )
    return study


def space_of(sweep: SweepConfig, whole: Collection[str]) -> "dict[str, BaseDistribution]":
    """The parameters as distributions of Optuna."""
    return {name: _distribution(parameter, name in whole) for name, parameter in sweep.parameters.items()}


def _seed(seed: int, number: int) -> int:
    """Seeds of neighbouring trials must not make similar values, so the two numbers are hashed."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")


def _sampler(method: RandomSearch | TpeSearch | SuccessiveHalving, num_judged: int, seed: int) -> "BaseSampler":
    """The sampler of the next trial; TPE begins once enough trials have a value of their own."""
    from optuna.samplers import RandomSampler, TPESampler

    num_random = None
    if isinstance(method, TpeSearch):
        num_random = method.num_random
    elif isinstance(method, SuccessiveHalving) and method.sampler == "tpe":
        num_random = TpeSearch().num_random
    if num_random is None or num_judged < num_random:
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=0, constant_liar=False)


def _distribution(parameter: Parameter, is_whole: bool) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values is not None:
        return CategoricalDistribution(tuple(parameter.values))
    (low, high), step = parameter.bounds, parameter.step
    if is_whole:
        width = int(step or 1)
        return IntDistribution(int(low), _last(int(low), int(high), width), log=parameter.log, step=width)
    if step is None:
        return FloatDistribution(float(low), float(high), log=parameter.log)
    return FloatDistribution(float(low), _last(float(low), float(high), float(step)), step=float(step))


def _last(low: Any, high: Any, step: Any) -> Any:
    """The highest value that a number of steps reaches; Optuna warns about a range that ends elsewhere."""
    return low + math.floor((high - low) / step + 1e-9) * step


def _grid_point(sweep: SweepConfig, number: int) -> dict[str, Value]:
    """The combination of this number; the last parameter changes fastest."""
    values: dict[str, Value] = {}
    for name, parameter in reversed(sweep.parameters.items()):
        choices = grid_values(parameter)
        number, place = divmod(number, len(choices))
        values[name] = choices[place]
    return {name: values[name] for name in sweep.parameters}
