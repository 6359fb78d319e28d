"""The end of a run whose eval loss no longer improves, as a function of the evaluations of the job so far.

The evaluations are part of a checkpoint, and equal on all ranks: a resumed run ends at the same step, on every rank.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ftlab.schemas import TrainingConfig
from train.reporting.run_metrics import best_evaluated_step, eval_losses


def evaluations_without_improvement(log_history: Iterable[Mapping[str, Any]], threshold: float) -> int:
    """Number of evaluations since the last one that improved the eval loss.

    A loss improves if it is below the last improved one by more than `threshold`; NaN never is. The first evaluation,
    of the model before training, is the one to improve on.
    """
    lowest, count = math.inf, 0
    for loss in {entry["step"]: entry["eval_loss"] for entry in log_history if "eval_loss" in entry}.values():
        if loss < lowest - threshold:
            lowest, count = loss, 0
        else:
            count += 1
    return count


def is_exhausted(training: TrainingConfig, log_history: Iterable[Mapping[str, Any]]) -> bool:
    """Whether as many evaluations as `early_stopping_patience` did not improve the eval loss."""
    patience = training.early_stopping_patience
    if patience is None:
        return False
    return evaluations_without_improvement(log_history, training.early_stopping_threshold) >= patience


def sentence_of(training: TrainingConfig, log_history: Iterable[Mapping[str, Any]], step: int, last_step: int) -> str:
    """The reason why the run ended at `step` instead of `last_step`."""
    losses = eval_losses(log_history)
    best = best_evaluated_step(losses)
    lowest = "" if best is None else f" The lowest eval loss was {losses[best]:.6g}, at step {best}."
    patience, threshold = training.early_stopping_patience, training.early_stopping_threshold
    times = "evaluation" if patience == 1 else f"{patience} evaluations"
    by = f" by more than {threshold:g}" if threshold else ""
    return (
        f"Stopped early at step {step} of {last_step}: the last {times} did not improve the eval loss{by} "
        f"(training.early_stopping_patience).{lowest}"
    )
