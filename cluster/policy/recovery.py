"""Decide whether an attempt that failed is tried again with another config. A pure function.

For a job with automatic recovery, by the reason of the attempt:

| reason                   | the job continues                                                       | at most     |
|--------------------------|-------------------------------------------------------------------------|-------------|
| `device_oom`, `host_oom` | with the first suggestion of the analysis that it can take              | three times |
| `loss_diverged`          | with half the learning rate, from where the analysis suggests           | once        |

A divergence is final where the analysis suggests no lower rate, because the rows or the base model are at fault. Every
other failure is final, or a matter of `cluster.policy.retry`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ftlab.schemas.adjustments import AdjustedBy, Adjustment, Change
from ftlab.schemas.failures import FailureAnalysis
from ftlab.status import ReasonCode

OUT_OF_MEMORY = frozenset({ReasonCode.DEVICE_OOM, ReasonCode.HOST_OOM})
RECOVERABLE = OUT_OF_MEMORY | {ReasonCode.LOSS_DIVERGED}
MAX_MEMORY_RECOVERIES = 3
MAX_DIVERGENCE_RECOVERIES = 1
RATE = "training.learning_rate"


@dataclass(frozen=True)
class Recover:
    """Queue the job again with other settings."""

    changes: tuple[Change, ...]
    reason: str
    """Why, in one sentence."""
    resume_from: str | None = None
    """Name of the checkpoint to continue from; `None` means the newest intact one."""


def recover(
    reason: ReasonCode,
    analysis: FailureAnalysis,
    adjustments: Sequence[Adjustment],
    *,
    learning_rate: float,
    can_take: Callable[[Sequence[Change]], bool],
) -> Recover | None:
    """Decide after an attempt that ended with `reason`; `None` gives the job up.

    `adjustments` are those of the job so far, `can_take` says whether the job can continue with changes.
    """
    earlier = [each for each in adjustments if each.by is AdjustedBy.AUTOMATIC]
    num_rates = sum(_is_of_rate(each.changes) for each in earlier)
    if reason in OUT_OF_MEMORY and (number := len(earlier) - num_rates + 1) <= MAX_MEMORY_RECOVERIES:
        found = next((each for each in analysis.suggestions if can_take(each.changes)), None)
        if found is None:
            return None
        why = f"Attempt {number} of {MAX_MEMORY_RECOVERIES} to recover from {reason.value}. {found.effect}"
        return Recover(tuple(found.changes), why)
    is_of_rate = any(_is_of_rate(each.changes) for each in analysis.suggestions)
    if reason is ReasonCode.LOSS_DIVERGED and is_of_rate and num_rates < MAX_DIVERGENCE_RECOVERIES:
        half = (Change(field=RATE, from_=learning_rate, to=learning_rate / 2),)
        start = analysis.resume_from
        where = f"The job continues from {start.name}." if start else "The job has no checkpoint and starts over."
        why = f"The only attempt to recover from {reason.value}. {where}"
        return Recover(half, why, start.name if start else None) if can_take(half) else None
    return None


def _is_of_rate(changes: Sequence[Change]) -> bool:
    return [change.field for change in changes] == [RATE]
