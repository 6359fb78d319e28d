"""Which entries of a trainer's logs are series over the steps."""

from collections.abc import Mapping
from typing import Any

_TOLD_ELSEWHERE = frozenset(
    {
        "epoch",
        "step",
        "total_flos",
        "train_loss",
        "train_runtime",
        "train_samples_per_second",
        "train_steps_per_second",
        "eval_runtime",
        "eval_samples_per_second",
        "eval_steps_per_second",
        "eval_model_preparation_time",
        "eval_num_tokens",
    }
)
"""Entries of the trainer's logs that are no series over the steps."""


def series_of(logs: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one log entry that make a chart; they may be infinite or NaN."""
    return {
        name: float(value)
        for name, value in logs.items()
        if isinstance(value, int | float) and name not in _TOLD_ELSEWHERE
    }
