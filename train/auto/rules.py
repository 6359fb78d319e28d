"""Rules for the settings that do not depend on the memory: each returns a value and the reason for it.

A rule reads a config in which the settings of the rules before it (`train.auto.resolve.RULES`) have their values.
"""

from ftlab.schemas import GrpoMethod, JobConfig, SftMethod
from ftlab.schemas.auto import AutoValue, is_auto
from train.auto.facts import Facts, Lengths
from train.auto.memory_rules import LENGTH_STEP, fitting_length
from train.device_defaults import AMPERE

COVERED_SHARE = 0.99
"""Share of the rows that `method.max_length` does not cut."""
DEFAULT_CONTEXT = 4096
"""Most tokens of a row for a model that does not say how long its rows may be."""
PACKED_LENGTH = 1024
"""Fewest tokens of a packed row, so that several rows share one."""
SHORT_ROWS = 0.5
"""Mean / long rows below which padding costs more than half of the computation."""
EPOCHS_BY_ROWS = ((100, 5.0), (1_000, 3.0), (10_000, 2.0))
"""Epochs of a dataset with fewer rows; with more, one."""
LARGE_FOR_SFT, LARGE_FOR_OTHERS, LARGE_FOR_FULL = 30e9, 6e9, 10e9
"""Parameters from which the peak learning rate is halved: with LoRA for `sft` and for other methods, and without."""
TOKENS_OF_A_LONG_PASS = 32_768
LOADER_WORKERS = 2


def packing(config: JobConfig, facts: Facts) -> AutoValue:
    """Pack where short rows would be padded to long ones."""
    lengths, most = _lengths(facts), config.method.max_length
    if facts.shape is None or not facts.shape.is_measured:
        return AutoValue(value=False, reason="it is not known whether this model keeps packed rows apart")
    long = lengths.at_most(COVERED_SHARE)
    long = long if is_auto(most) else min(long, most)
    mean = lengths.mean(long)
    means = f"the mean row has {mean:,.0f} tokens, and long ones have {long:,}"
    return AutoValue(value=bool(mean < SHORT_ROWS * long), reason=means + _sampled(lengths))


def max_length(config: JobConfig, facts: Facts) -> AutoValue:
    """The length of the longest rows but 1 %, as far as the model's context and the memory go."""
    lengths, method = _lengths(facts), config.method
    context = facts.max_positions or DEFAULT_CONTEXT
    answer = method.max_completion_length if isinstance(method, GrpoMethod) else 0
    covered = lengths.at_most(COVERED_SHARE)
    needed = -(-(covered + answer) // LENGTH_STEP) * LENGTH_STEP
    is_packed = isinstance(method, SftMethod) and method.packing
    if is_packed:
        needed = max(needed, PACKED_LENGTH)
    least = max(LENGTH_STEP, answer + 1)
    readable = max(least, min(needed, context))
    if not lengths.num_counted:
        return AutoValue(value=readable, reason="no row has a trained token")
    reason = f"{COVERED_SHARE * 100:.0f} % of the rows have at most {covered:,} tokens"
    if answer:
        reason = f"{COVERED_SHARE * 100:.0f} % of the prompts have at most {covered:,} tokens, and answers {answer:,}"
    value = fitting_length(config, facts, readable, least)
    if value < readable:
        reason += f"; lowered to what fits {facts.tightest.description}"
    elif value < needed:
        limit = "the model reads" if facts.max_positions else "is assumed for a model that names no limit"
        reason += f"; {context:,} is the most that {limit}"
    return AutoValue(value=value, reason=reason + _left_out(lengths, value - answer, answer, is_packed=is_packed))


def num_train_epochs(config: JobConfig, facts: Facts) -> AutoValue:
    """Few rows are read more often."""
    if config.training.max_steps is not None:
        return AutoValue(value=3.0, reason=f"not used, because training.max_steps is {config.training.max_steps:,}")
    num_rows = _lengths(facts).num_rows
    value = next((epochs for most, epochs in EPOCHS_BY_ROWS if num_rows < most), 1.0)
    if config.method.type != "sft":
        value = max(1.0, value - 1.0)
        return AutoValue(value=value, reason=f"for {num_rows:,} rows and '{config.method.type}', which overfits sooner")
    return AutoValue(value=value, reason=f"for {num_rows:,} rows")


def learning_rate(config: JobConfig, facts: Facts) -> AutoValue:
    """The default of the method, halved for a large model."""
    rate, kind = config.method.learning_rates[config.tuning], "LoRA" if config.tuning == "lora" else "all weights"
    reason = f"the default of '{config.method.type}' for {kind}"
    if facts.shape is None:
        return AutoValue(value=rate, reason=f"{reason}; the size of the model is not known")
    large = LARGE_FOR_SFT if config.method.type == "sft" else LARGE_FOR_OTHERS
    large = large if config.tuning == "lora" else LARGE_FOR_FULL
    if facts.shape.num_parameters < large:
        return AutoValue(value=rate, reason=reason)
    billions = f"{facts.shape.num_parameters / 1e9:.0f} billion parameters"
    return AutoValue(value=rate / 2, reason=f"{reason}, halved for {billions}")


def warmup_ratio(config: JobConfig, _: Facts) -> AutoValue:
    """A short warm-up for new adapters, a longer one where early updates can do harm."""
    if config.training.lr_scheduler_type == "constant":
        return AutoValue(value=0.0, reason="the schedule 'constant' has no warm-up")
    if config.tuning == "lora" and config.method.type == "sft":
        return AutoValue(value=0.03, reason="a new adapter starts without an effect, so 3 % of the steps are enough")
    subject = f"method '{config.method.type}'" if config.method.type != "sft" else "training of all weights"
    return AutoValue(value=0.1, reason=f"10 % of the steps, as is usual for {subject}")


def bf16(_: JobConfig, facts: Facts) -> AutoValue:
    """Mixed precision with bfloat16 on GPUs that have it."""
    if not facts.use_cuda:
        return AutoValue(value=False, reason="mixed precision is for GPUs, and the job trains on CPU cores")
    if old := _without_bfloat16(facts):
        return AutoValue(value=False, reason=f"{old} does not compute bfloat16")
    return AutoValue(value=True, reason=f"{_names(facts)} computes bfloat16, which needs no loss scaling")


def fp16(config: JobConfig, facts: Facts) -> AutoValue:
    """Mixed precision with float16 on GPUs without bfloat16."""
    if config.training.bf16:
        return AutoValue(value=False, reason="training.bf16 is true")
    if not facts.use_cuda:
        return AutoValue(value=False, reason="mixed precision is for GPUs, and the job trains on CPU cores")
    if config.tuning == "full" and config.training.dtype == "float16":
        return AutoValue(value=False, reason="the gradients of float16 weights cannot be scaled")
    if old := _without_bfloat16(facts):
        return AutoValue(value=True, reason=f"{old} does not compute bfloat16")
    return AutoValue(value=False, reason=f"{_names(facts)} computes bfloat16; set training.bf16 to 'auto' to use it")


def dataloader_num_workers(config: JobConfig, facts: Facts) -> AutoValue:
    """Processes only where putting a batch together takes time that a GPU would wait for."""
    training = config.training
    if training.dataloader_prefetch_factor is not None:
        return AutoValue(value=LOADER_WORKERS, reason="training.dataloader_prefetch_factor needs workers")
    if not facts.use_cuda:
        return AutoValue(value=0, reason="the CPU cores train")
    tokens = training.per_device_train_batch_size * config.method.max_length
    if tokens < TOKENS_OF_A_LONG_PASS:
        return AutoValue(value=0, reason=f"a pass of at most {tokens:,} tokens is put together in little time")
    if (cores := facts.tightest.cpus) <= LOADER_WORKERS:
        return AutoValue(value=0, reason=f"CPU cores for one training process: {cores}, which it needs itself")
    return AutoValue(value=LOADER_WORKERS, reason=f"a pass has up to {tokens:,} tokens")


def _lengths(facts: Facts) -> Lengths:
    assert facts.lengths is not None, "train.auto.resolve.NEEDS_LENGTHS names the settings that need them"
    return facts.lengths


def _left_out(lengths: Lengths, most: int, answer: int, *, is_packed: bool) -> str:
    """How many rows are longer than `most` tokens, and what happens to them."""
    number = lengths.num_above(most)
    if not number:
        return "; none is longer" + _sampled(lengths)
    verb = "is" if number == 1 else "are"
    fate = f"{verb} cut"
    if is_packed:
        fate = f"continue{'s' * (number == 1)} in the next packed row"
    elif answer:
        fate = f"{verb} skipped"
    about = "" if lengths.is_exact else "about "
    return f"; {about}{number:,} of {lengths.num_rows:,} {verb} longer and {fate}" + _sampled(lengths)


def _sampled(lengths: Lengths) -> str:
    return "" if lengths.is_exact else f" (from a sample of {lengths.num_counted:,} rows)"


def _without_bfloat16(facts: Facts) -> str | None:
    """The first GPU that does not compute bfloat16."""
    return next((device.name for device in facts.devices if device.traits.capability < AMPERE), None)


def _names(facts: Facts) -> str:
    return " or ".join(device.name for device in facts.devices)
