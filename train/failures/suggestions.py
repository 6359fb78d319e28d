"""Changes of a config that cure what is not a lack of memory."""

from collections.abc import Mapping
from decimal import ROUND_UP, Decimal
from statistics import median
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.formatting import number
from ftlab.schemas import JobConfig
from ftlab.schemas.adjustments import Change
from ftlab.schemas.costs import MAX_AMOUNT
from ftlab.schemas.failures import Suggestion
from ftlab.status import Phase
from train.estimate.alternatives import changed
from train.failures.divergence import is_by_rows
from train.failures.evidence import gb
from train.failures.facts import FailureFacts

WARMUP_SHARE = 0.05
MIN_WARMUP_STEPS = 10
USUAL_GRAD_NORM = 1.0
TIME_MARGIN = 1.1
CENT = Decimal("0.01")
LONGEST_S = 31_536_000


def suggestion(
    config: JobConfig, changes: Mapping[str, Any], reason: str, effect: str, *, bytes_saved: int | None = None
) -> list[Suggestion]:
    """A list of one suggestion; empty where the changed config would be refused, or nothing would change."""
    new = {name: value for name, value in changes.items() if value_of(config, name) != value}
    try:
        changed(config, 0, new, "")
    except InvalidRequestError:
        return []
    listed = [Change(field=name, from_=value_of(config, name), to=value) for name, value in new.items()]
    found = Suggestion(changes=listed, reason=reason, effect=effect, bytes_saved=bytes_saved)
    return [found] if listed else []


def value_of(config: JobConfig, name: str) -> Any:
    """The value of a setting by its path, as documents hold it, with computed defaults."""
    if name == "training.learning_rate":
        return config.learning_rate
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return str(value) if isinstance(value, Decimal) else value


def for_divergence(facts: FailureFacts) -> list[Suggestion]:
    """A lower learning rate, a warm-up, clipping, bfloat16. None where the first loss was not finite already, or where
    rows are at fault: no setting cures those.
    """
    config = facts.config
    assert config is not None
    if not facts.metrics.get("loss") or is_by_rows(facts):
        return []
    training, rate = config.training, config.learning_rate
    usual = config.method.learning_rates[config.tuning]
    lower = float(f"{min(rate / 2, usual):.3g}")
    found = suggestion(
        config,
        {"training.learning_rate": lower},
        f"Steps that are too large are the usual cause; the usual rate for this method is {usual:g}.",
        f"Updates {number(rate / lower)} times smaller; the training may need more steps.",
    )
    return [*found, *_clipping(facts), *_warmup(facts), *_precision(config, fp16=bool(training.fp16))]


def _clipping(facts: FailureFacts) -> list[Suggestion]:
    config = facts.config
    assert config is not None
    limit, norms = config.training.max_grad_norm, [value for _, value in facts.metrics.get("grad_norm", ())]
    if 0 < limit <= USUAL_GRAD_NORM:
        return []
    seen = f" The largest of the newest gradient norms is {max(norms):.3g}." if norms else ""
    to = min(USUAL_GRAD_NORM, float(f"{median(norms):.2g}")) if norms and median(norms) > 0.01 else USUAL_GRAD_NORM
    what = "Gradients are not clipped." if limit == 0 else f"Gradients are clipped at {limit:g} only."
    effect = "A single step with a large gradient can no longer ruin the weights."
    return suggestion(config, {"training.max_grad_norm": to}, what + seen, effect)


def _warmup(facts: FailureFacts) -> list[Suggestion]:
    config = facts.config
    assert config is not None
    total = facts.total_steps or config.training.max_steps
    if not total:
        return []
    steps = min(total, max(MIN_WARMUP_STEPS, round(WARMUP_SHARE * total)))
    if config.training.num_warmup_steps(total) >= steps or config.training.lr_scheduler_type == "constant":
        return []
    changes = {"training.warmup_steps": steps, "training.warmup_ratio": 0.0}
    reason = f"The rate reaches its peak after {config.training.num_warmup_steps(total)} of {total} steps."
    return suggestion(config, changes, reason, f"The first {steps} steps are smaller, while AdamW's averages settle.")


def _precision(config: JobConfig, *, fp16: bool) -> list[Suggestion]:
    if not fp16:
        return []
    reason = "Numbers above 65,504 are infinite in float16; bfloat16 has the range of float32."
    effect = "No overflow in the activations; needs a GPU with bfloat16, Ampere or newer."
    return suggestion(config, {"training.fp16": False, "training.bf16": True}, reason, effect)


def for_no_learning(facts: FailureFacts) -> list[Suggestion]:
    """A higher learning rate."""
    config = facts.config
    assert config is not None
    usual = config.method.learning_rates[config.tuning]
    higher = float(f"{min(1.0, max(3 * config.learning_rate, usual)):.3g}")
    reason = f"Steps that are too small leave the loss as it is; the usual rate for this method is {usual:g}."
    effect = f"Updates {higher / config.learning_rate:.3g} times larger."
    return suggestion(config, {"training.learning_rate": higher}, reason, effect)


def for_time(facts: FailureFacts) -> list[Suggestion]:
    """The time that the steps that are left would take."""
    config = facts.config
    assert config is not None
    if not (config.time_limit_s and facts.run_time_s and facts.step and facts.total_steps):
        return []
    needed_s = min(LONGEST_S, round(facts.run_time_s * facts.total_steps / facts.step * TIME_MARGIN))
    reason = f"{facts.step} of {facts.total_steps} steps took {facts.run_time_s:.0f} s."
    effect = "Enough for all steps at the same pace, with a tenth in reserve."
    return suggestion(config, {"time_limit_s": max(needed_s, config.time_limit_s)}, reason, effect)


def for_cost(facts: FailureFacts) -> list[Suggestion]:
    """The cost that the steps that are left would bring it to."""
    config = facts.config
    assert config is not None
    if not (config.max_cost and facts.spent and facts.step and facts.total_steps):
        return []
    needed = min(Decimal(MAX_AMOUNT), facts.spent * facts.total_steps / facts.step * Decimal(str(TIME_MARGIN)))
    to = max(needed.quantize(CENT, ROUND_UP), config.max_cost)
    if to == config.max_cost:
        return []
    reason = f"{facts.step} of {facts.total_steps} steps cost {facts.spent.quantize(CENT, ROUND_UP)}."
    effect = "Enough for all steps at the same pace and price, with a tenth in reserve."
    return suggestion(config, {"max_cost": str(to)}, reason, effect)


def for_stall(facts: FailureFacts) -> list[Suggestion]:
    """A longer limit, in case the run was only slow."""
    config = facts.config
    assert config is not None
    is_first = not facts.has_stepped or facts.phase in (Phase.LOADING, Phase.SAVING, Phase.DELIVERING)
    name = "first_step_timeout_s" if is_first else "stuck_timeout_s"
    limit = value_of(config, name)
    reason = "Only if the run was still working at something slow: a large download, a slow disk, a long step."
    effect = f"The run counts as hung after {2 * limit:,} s without progress instead of {limit:,} s."
    return suggestion(config, {name: min(LONGEST_S, 2 * limit)}, reason, effect)


def for_disk(facts: FailureFacts) -> list[Suggestion]:
    """Fewer checkpoints on the disk, where the job keeps several."""
    config = facts.config
    assert config is not None
    kept = config.training.save_total_limit
    if kept == 1 or not facts.checkpoints:
        return []
    size = max(saved.size_bytes for saved in facts.checkpoints)
    best, others = (" besides the best one", 2) if config.has_evaluation else ("", 1)
    reason = f"Each checkpoint of this job takes {gb(size)}, and it keeps {kept}{best}."
    most, now = (1 + others) * size, (kept + others) * size
    effect = f"At most {gb(most)} for its checkpoints, with the one that is being saved, instead of {gb(now)}."
    changes = {"training.save_total_limit": 1}
    return suggestion(config, changes, reason, effect)


def for_config(facts: FailureFacts) -> list[Suggestion]:
    """The setting at fault, where only one other value is possible."""
    config = facts.config
    assert config is not None
    if "gpus_per_worker 0" in facts.failure.message:
        reason = "The GPU, its driver and the installed PyTorch are not compatible."
        return suggestion(config, {"resources.gpus_per_worker": 0}, reason, "Trains on the CPU, which is much slower.")
    return []
