"""Rules for the settings that determine how much memory a pass takes: each returns a value and the reason for it.

Activations are recomputed only where the smallest pass does not fit otherwise. A pass is then the largest one that
fits, up to the rows of a step, and passes are accumulated to these rows.
"""

from math import ceil, gcd

from ftlab.formatting import counted
from ftlab.schemas import GrpoMethod, JobConfig, SftMethod
from ftlab.schemas.auto import AutoValue, is_auto
from train.auto.facts import Facts, Lengths
from train.estimate.devices import Fit

MOST_ROWS, FEWEST_ROWS = 32, 4
"""Rows of an optimizer step."""
MOST_PROMPTS = 8
"""Prompts of an optimizer step of `grpo`, each with all its answers."""
MIN_STEPS = 50
"""Steps that a run should have: with fewer, a step takes fewer rows."""
USUAL_ROWS = 16
"""Rows of a step where the number of steps is given."""
LENGTH_STEP = 64
SHORTEST = 512
"""Tokens below which `method.max_length` is not lowered to save memory: the rest is that of the model."""
MOST = 4096
"""Bound of the batch size and of the accumulation."""


def gradient_checkpointing(config: JobConfig, facts: Facts) -> AutoValue:
    """Recompute activations only where not even the smallest pass fits otherwise."""
    batch, length = config.training.per_device_train_batch_size, length_of(config, facts)
    smallest = _unit(config, facts)[0] if is_auto(batch) else batch
    if not facts.knows_memory:
        return AutoValue(value=True, reason=f"{_unknown(facts)}, and this needs the least")
    rows = f"{_counted(config, smallest)} at {length:,} tokens"
    where = facts.tightest.description
    if facts.fit_of(_trial(config, facts, smallest, recompute=False), length) is Fit.FITS:
        return AutoValue(value=False, reason=f"a pass of {rows} fits {where} without it")
    return AutoValue(value=True, reason=f"a pass of {rows} does not surely fit {where} without it")


def per_device_train_batch_size(config: JobConfig, facts: Facts) -> AutoValue:
    """The largest pass that fits, up to the rows of a step; sizes double."""
    smallest, wanted = _unit(config, facts)
    length = length_of(config, facts)
    if not facts.knows_memory:
        return AutoValue(value=smallest, reason=f"the smallest, because {_unknown(facts)}")
    where = f"{facts.tightest.description} at {length:,} tokens"
    found = facts.fit_of(_trial(config, facts, smallest), length)
    if found is not Fit.FITS:
        doubt = "not even that fits" if found is Fit.DOES_NOT_FIT else "it is too close to call whether that fits"
        return AutoValue(value=smallest, reason=f"the smallest; by the estimate, {doubt} {where}")
    size = smallest
    while 2 * size <= wanted:
        if facts.fit_of(_trial(config, facts, 2 * size), length) is not Fit.FITS:
            return AutoValue(value=size, reason=f"the largest that fits {where}")
        size *= 2
    step = f"a step takes {_counted(config, wanted)} on one device"
    return AutoValue(value=size, reason=f"{step}, and {_counted(config, size)} fit {where}")


def gradient_accumulation_steps(config: JobConfig, facts: Facts) -> AutoValue:
    """As many passes as the rows of a step need."""
    rows = rows_per_step(config, facts)
    per_pass = config.training.per_device_train_batch_size * config.resources.num_workers
    value = _passes(config, per_pass, rows)
    taken = value * per_pass
    return AutoValue(value=value, reason=f"{_counted(config, taken)} a step: {_run_of(config, facts, taken)}")


def per_device_eval_batch_size(config: JobConfig, _: Facts) -> AutoValue:
    """An evaluation keeps nothing for a backward pass, so what fits in training fits here."""
    batch = config.training.per_device_train_batch_size
    return AutoValue(value=batch, reason="as in training, which needs more memory")


def fitting_length(config: JobConfig, facts: Facts, wanted: int, least: int) -> int:
    """The most tokens of a row, up to `wanted`, with which the smallest pass fits; lengths are halved.

    `wanted` itself where the memory is not known, or where not even rows of `SHORTEST` tokens fit. Never below `least`.
    """
    if not facts.knows_memory:
        return wanted
    length = wanted
    while length >= max(SHORTEST, least):
        method = config.method.model_copy(update={"max_length": length})
        changed = config.model_copy(update={"method": method})
        if facts.fit_of(_smallest_pass(changed, facts), length_of(changed, facts)) is Fit.FITS:
            return length
        length = length // 2 // LENGTH_STEP * LENGTH_STEP
    return wanted


def rows_per_step(config: JobConfig, facts: Facts) -> int:
    """Rows that an optimizer step should take on all devices, as batch sizes count them."""
    method = config.method
    answers = method.answers_per_row
    most = max(1, min(MOST_PROMPTS, MOST // answers)) if isinstance(method, GrpoMethod) else MOST_ROWS
    least = 1 if isinstance(method, GrpoMethod) else FEWEST_ROWS
    lengths = facts.lengths
    assert lengths is not None, "train.auto.resolve.NEEDS_LENGTHS names the settings that need them"
    if config.training.max_steps is not None:
        rows = min(most, USUAL_ROWS)
    else:
        trained, rows = lengths.num_rows * config.training.num_train_epochs, most
        while rows > least and trained / rows < MIN_STEPS:
            rows //= 2
    return max(1, round(rows / _rows_in_one(config, lengths))) * answers


def _rows_in_one(config: JobConfig, lengths: Lengths) -> float:
    """Rows in what batch sizes count: 1, and with packing the rows of a sequence."""
    method = config.method
    if not (isinstance(method, SftMethod) and method.packing):
        return 1.0
    return max(1.0, method.max_length / max(1.0, lengths.mean(method.max_length)))


def _run_of(config: JobConfig, facts: Facts, taken: int) -> str:
    """What the run is like with `taken` rows in each step, as batch sizes count them."""
    training, method, lengths = config.training, config.method, facts.lengths
    assert lengths is not None, "rows_per_step has read them"
    in_one = _rows_in_one(config, lengths)
    if training.max_steps is not None:
        what = f"the run has training.max_steps, {training.max_steps:,}"
    else:
        an_epoch = ceil(lengths.num_rows / in_one * method.answers_per_row / taken) * method.steps_per_answer
        steps = max(1, ceil(an_epoch * training.num_train_epochs))
        what = f"the run has about {steps:,} {'step' if steps == 1 else 'steps'}"
    return what if in_one == 1 else f"{what}, and a packed row holds about {in_one:.0f} rows"


def length_of(config: JobConfig, facts: Facts) -> int:
    """Tokens of the longest row that a pass may have."""
    method, lengths = config.method, facts.lengths
    is_packed = isinstance(method, SftMethod) and method.packing
    if lengths is None or not lengths.is_exact or not lengths.longest or is_packed:
        return method.max_length
    answer = method.max_completion_length if isinstance(method, GrpoMethod) else 0
    return min(lengths.longest + answer, method.max_length)


def _smallest_pass(config: JobConfig, facts: Facts) -> JobConfig:
    """The config with every setting that is `auto` at what needs the least memory."""
    training = config.training
    batch, recompute = training.per_device_train_batch_size, training.gradient_checkpointing
    smallest = _unit(config, facts)[0] if is_auto(batch) else batch
    return _trial(config, facts, smallest, recompute=True if is_auto(recompute) else recompute)


def _unit(config: JobConfig, facts: Facts) -> tuple[int, int]:
    """The smallest batch size that the method allows, and the one with which a device trains its share of a step."""
    training, workers, method = config.training, config.resources.num_workers, config.method
    rows = rows_per_step(config, facts)
    passes = training.gradient_accumulation_steps
    if is_auto(passes):
        return method.min_batch_size, min(MOST, ceil(rows / workers))
    # All answers to a prompt are in one step.
    unit = method.answers_per_row // gcd(method.answers_per_row, passes * workers)
    smallest = ceil(method.min_batch_size / unit) * unit
    return smallest, min(MOST, max(smallest, rows // (workers * passes)))


def _passes(config: JobConfig, rows_per_pass: int, rows: int) -> int:
    """Passes of a step of about `rows`, so that all answers to a prompt are in one step."""
    unit = config.method.answers_per_row // gcd(config.method.answers_per_row, rows_per_pass)
    return max(1, min(MOST // unit, round(rows / (rows_per_pass * unit)))) * unit


def _trial(config: JobConfig, facts: Facts, batch: int, *, recompute: bool | None = None) -> JobConfig:
    """The config with this batch size, and what would follow from it."""
    training = config.training
    changes: dict[str, int | bool] = {"per_device_train_batch_size": batch}
    if recompute is not None:
        changes["gradient_checkpointing"] = recompute
    if is_auto(training.per_device_eval_batch_size):
        changes["per_device_eval_batch_size"] = batch
    if is_auto(training.gradient_accumulation_steps):
        rows = rows_per_step(config, facts)
        changes["gradient_accumulation_steps"] = _passes(config, batch * config.resources.num_workers, rows)
    return config.model_copy(update={"training": training.model_copy(update=changes)})


def _unknown(facts: Facts) -> str:
    if facts.shape is None:
        return "the memory of this model cannot be estimated"
    return f"{facts.tightest.description} is not known"


def _counted(config: JobConfig, number: int) -> str:
    """A number of what batch sizes count."""
    noun = "row"
    if isinstance(config.method, GrpoMethod):
        noun = "answer"
    elif isinstance(config.method, SftMethod) and config.method.packing:
        noun = "packed row"
    return counted(number, noun)
