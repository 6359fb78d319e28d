"""What the newest losses say about a divergence: whether the loss rose before it was no longer finite."""

from statistics import median

from train.failures.facts import FailureFacts

RISEN = 2.0
"""Times the lowest loss; from there on, a loss counts as risen."""
LARGE_GRADIENT = 10.0
"""Times the median of the gradient norms; beyond, a single one counts as large."""


def rise_until(facts: FailureFacts, step: int) -> float:
    """The newest training loss at or before a step, in multiples of the lowest one until then; 1 where none is known.

    A loss that is zero or negative, as some methods have, cannot be compared: it counts as not risen.
    """
    losses = [value for number, value in facts.metrics.get("loss", ()) if number <= step]
    return losses[-1] / min(losses) if losses and min(losses) > 0 else 1.0


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
    return not is_large and rise_until(facts, losses[-1][0]) < RISEN
