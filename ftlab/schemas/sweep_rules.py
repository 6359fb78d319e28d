"""Rules of a sweep that need the config of its job: whether each parameter is a setting that takes its values."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from ftlab.errors import InvalidRequestError
from ftlab.schemas.config import JobConfig
from ftlab.schemas.job_file import json_of, parse_job_config, read_document
from ftlab.schemas.sweep_scales import obstacle_to_comparison
from ftlab.schemas.sweeps import (
    DEFAULT_TRIALS,
    MAX_TRIALS,
    MAX_VALUES,
    GridSearch,
    Parameter,
    SuccessiveHalving,
    SweepConfig,
    Value,
)
from ftlab.status import JobKind

GROUPS = ("training", "lora", "method")
"""Groups of settings that a sweep may vary. All trials share model, data and devices, which are checked once."""
STEPS = ("training.max_steps", "training.num_train_epochs")
MAX_JOB_CHARS = 100_000
"""Longest config of the job: it is checked again with every value of a parameter."""


@dataclass(frozen=True)
class CheckedSweep:
    """A sweep that keeps the rules, and what follows from its job."""

    job: JobConfig
    """The trial with the largest values, which needs the most memory."""
    variants: tuple[tuple[str, Value], ...]
    """The other end, or all values, of each parameter: that trial accepts each of them."""
    whole: frozenset[str]
    """Parameters whose ranges are of whole numbers."""
    max_trials: int
    rungs: tuple[int, ...] = ()


def parse_sweep(value: Any, source: str = "The sweep") -> SweepConfig:
    """Check a decoded document by the rules that need no config of a job; `check_sweep` has the others.

    Raises `InvalidRequestError` that names every field at fault, in one line.
    """
    if not isinstance(value, dict):
        message = f"{source} must be a mapping with 'job' and 'parameters'."
        raise InvalidRequestError(message, "invalid_config")
    return read_document(SweepConfig, value, source)


def check_sweep(sweep: SweepConfig) -> CheckedSweep:
    """Check the parameters against the settings of the job.

    Raise `InvalidRequestError` (code `invalid_config`) for a setting that does not exist or cannot be varied, for a
    value that it does not take, and for successive halving without `training.max_steps`.
    """
    _check_names(sweep)
    largest = {name: _largest(parameter) for name, parameter in sweep.parameters.items()}
    job = parse_job_config(sweep.trial_document(largest), "The job with the largest values of parameters")
    variants = tuple((name, value) for name, parameter in sweep.parameters.items() for value in _others(parameter))
    _check_number(len(variants), "parameters")
    if isinstance(sweep.method, GridSearch):
        for name, parameter in sweep.parameters.items():
            _check_number(_num_grid_values(parameter), f"parameters.{name}")
    for name, value in variants:
        parse_job_config(sweep.trial_document(largest | {name: value}), f"parameters.{name}")
    whole = frozenset(name for name in sweep.parameters if _is_whole(job, name))
    for name in whole:
        _check_whole(name, sweep.parameters[name])
    _check_objective(sweep, job)
    return CheckedSweep(job, variants, whole, _max_trials(sweep), _rungs(sweep, job))


def grid_values(parameter: Parameter) -> list[Value]:
    """The values of a parameter of a grid, in order."""
    if parameter.values is not None:
        return list(parameter.values)
    low, _ = parameter.bounds
    step = parameter.step
    assert step is not None
    # Not summed up, so that errors do not add; the last value may miss the end by a rounding error.
    return [low + number * step for number in range(_num_grid_values(parameter))]


def _num_grid_values(parameter: Parameter) -> int:
    if parameter.values is not None:
        return len(parameter.values)
    (low, high), step = parameter.bounds, parameter.step
    assert step is not None
    return math.floor((high - low) / step + 1e-9) + 1


def _check_names(sweep: SweepConfig) -> None:
    if len(json_of(sweep.job, "The job")) > MAX_JOB_CHARS:
        raise _invalid(f"job must have at most {MAX_JOB_CHARS:,} characters as JSON", "job")
    kind = sweep.job.get("kind", JobKind.TRAINING)
    if kind != JobKind.TRAINING:
        raise _invalid("job must be of the kind 'training': a sweep repeats training jobs only", "job.kind")
    if sweep.job.get("register_as") is not None:
        message = "job.register_as would register the model of every trial; leave it out, and register the best one"
        raise _invalid(message, "job.register_as")
    if sweep.job.get("after"):
        raise _invalid(
            "job.after is not supported in a sweep: start the sweep when those jobs have completed", "job.after"
        )
    for name in sweep.parameters:
        group, _, field = name.partition(".")
        if group not in GROUPS or not field or "." in field or name == "method.type":
            raise _invalid(
                f"parameters.{name} cannot be varied; a sweep varies settings of {', '.join(GROUPS[:-1])} and "
                f"{GROUPS[-1]}, such as training.learning_rate, except method.type",
                f"parameters.{name}",
            )
    if isinstance(sweep.method, SuccessiveHalving):
        for name in set(STEPS) & set(sweep.parameters):
            message = f"parameters.{name} cannot be varied with 'successive_halving', which compares at equal steps"
            raise _invalid(message, f"parameters.{name}")


def _largest(parameter: Parameter) -> Value:
    if parameter.values is None:
        return parameter.bounds[1]
    numbers = [value for value in parameter.values if isinstance(value, int | float) and not isinstance(value, bool)]
    return max(numbers) if len(numbers) == len(parameter.values) else parameter.values[0]


def _others(parameter: Parameter) -> Iterator[Value]:
    if parameter.values is not None:
        yield from parameter.values
    else:
        yield parameter.bounds[0]


def _is_whole(job: JobConfig, name: str) -> bool:
    """Whether the setting takes whole numbers only."""
    group, _, field = name.partition(".")
    found = type(getattr(job, group)).model_fields.get(field)
    kinds = set(_types_in(found.annotation)) if found is not None else set()
    return int in kinds and float not in kinds


def _types_in(annotation: object) -> Iterator[object]:
    yield annotation
    for argument in get_args(annotation):
        yield from _types_in(argument)


def _check_whole(name: str, parameter: Parameter) -> None:
    for end in ("min", "max", "step"):
        value = getattr(parameter, end)
        if value is not None and value != int(value):
            raise _invalid(f"parameters.{name}.{end} must be a whole number, as the setting is", f"parameters.{name}")


def _check_number(num_values: int, field: str) -> None:
    if num_values > MAX_VALUES:
        raise _invalid(f"{field} has {num_values:,} values, and a sweep has at most {MAX_VALUES:,}", field)


def _check_objective(sweep: SweepConfig, job: JobConfig) -> None:
    metric = sweep.objective.metric
    if metric.startswith("eval_") and not job.has_evaluation:
        raise _invalid(
            f"objective.metric is '{metric}', and the job does not evaluate; give it eval_dataset or eval_split, or "
            "choose a metric of the training, such as 'loss'",
            "objective.metric",
        )
    for name, parameter in sweep.parameters.items():
        is_varied = parameter.values is None or len(parameter.values) > 1
        if is_varied and (obstacle := obstacle_to_comparison(job, name, metric)) is not None:
            message = f"parameters.{name} cannot be varied with objective.metric '{metric}', {obstacle}"
            raise _invalid(message, f"parameters.{name}")


def _max_trials(sweep: SweepConfig) -> int:
    if not isinstance(sweep.method, GridSearch):
        return sweep.max_trials or DEFAULT_TRIALS
    size = math.prod(map(_num_grid_values, sweep.parameters.values()))
    if sweep.max_trials is None and size > MAX_TRIALS:
        raise _invalid(
            f"parameters has {size:,} combinations, and a sweep has at most {MAX_TRIALS:,} trials; set max_trials, or "
            "use fewer values",
            "parameters",
        )
    return min(size, sweep.max_trials or size)


def _rungs(sweep: SweepConfig, job: JobConfig) -> tuple[int, ...]:
    """The steps at which successive halving compares trials, before the last step."""
    method = sweep.method
    if not isinstance(method, SuccessiveHalving):
        return ()
    most = job.training.max_steps
    if most is None:
        message = "method 'successive_halving' needs job.training.max_steps, the steps of a trial that is not stopped"
        raise _invalid(message, "job.training.max_steps")
    is_eval = sweep.objective.metric.startswith("eval_")
    name = "training.eval_steps" if is_eval else "training.logging_steps"
    interval = job.training.eval_steps if is_eval else job.training.logging_steps
    if interval is None or name in sweep.parameters:
        raise _invalid(
            f"method 'successive_halving' needs one job.{name} for all trials, so that there is a value at each rung",
            f"job.{name}",
        )
    first = method.min_steps or max(1, most // method.reduction_factor**2)
    if method.min_steps is not None and first % interval:
        raise _invalid(
            f"method.min_steps ({first}) must be a multiple of job.{name} ({interval}), so that there is a value at "
            "each rung",
            "method.min_steps",
        )
    step, rungs = first + -first % interval, []
    while step < most:
        rungs.append(step)
        step *= method.reduction_factor
    if not rungs:
        raise _invalid(
            f"method 'successive_halving' needs a first rung below job.training.max_steps ({most}); it is {step} now, "
            f"so set a smaller method.min_steps or job.{name}",
            "method.min_steps",
        )
    return tuple(rungs)


def _invalid(message: str, field: str) -> InvalidRequestError:
    return InvalidRequestError(f"{message}.", "invalid_config", field)
