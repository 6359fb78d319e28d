"""What the newest losses say about a divergence: whether the loss rose before it was no longer finite."""

import math
from statistics import median

from train.failures.facts import FailureFacts

RISEN = 2.0
"""Times the lowest loss; from there on, a loss counts as risen."""
LARGE_GRADIENT = 10.0
"""Times the median of the gradient norms; beyond, a single one counts as large."""


def rise_after(facts: FailureFacts, step: int) -> float:
    """The first training loss after a step, in multiples of the lowest one until then; infinite where it was NaN.

    The loss of a step is that of the weights before it, so the next one measures a checkpoint. A loss that is zero or
    negative, as some methods have, cannot be compared: it counts as not risen.
    """
    losses = facts.metrics.get("loss", ())
    later = [value for number, value in losses if number > step]
    if not later:
        return 1.0 if is_by_rows(facts) else math.inf
    lowest = min(later[0], *(value for number, value in losses if number <= step), math.inf)
    return later[0] / lowest if lowest > 0 else 1.0


def is_by_rows(facts: FailureFacts) -> bool:
    """Whether the rows of one step made the loss NaN or infinite.

    That is so where the loss of every step was logged, and neither the loss nor the gradient of the steps before it was
    unusual: the step then began with weights that worked. In float16, large activations can be the cause as well.
    """
    config, losses = facts.config, facts.metrics.get("loss")
    if config is None or not losses or config.training.logging_steps != 1 or config.training.fp16:
        return False
    if min(value for _, value in losses) <= 0:
        return False
    norms = [value for _, value in facts.metrics.get("grad_norm", ())]
    is_large = bool(norms) and norms[-1] > LARGE_GRADIENT * median(norms)
    return not is_large and losses[-1][1] < RISEN * min(value for _, value in losses)
