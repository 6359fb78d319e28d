"""Settings that a metric is computed with: trials that differ in them cannot be compared by it.

A search would find the value that makes the metric look best, and not the best model.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ftlab.schemas.config import JobConfig


@dataclass(frozen=True)
class _Scale:
    """Settings of `method`, and the metrics that they are a part of."""

    settings: tuple[str, ...]
    concerns: Callable[[str], bool]
    """Called with the name of a metric."""
    why: str
    methods: tuple[str, ...] = ("sft", "dpo", "kto", "reward", "grpo")
    instead: str = ""
    """Another metric, where there is one."""


def _is_measured(metric: str) -> bool:
    """Whether a metric says what the model makes of the rows, unlike one of the speed or of the gradients."""
    return metric in ("loss", "entropy", "mean_token_accuracy", "reward") or metric.startswith(("eval_", "final_eval_"))


def _is_loss(metric: str) -> bool:
    return metric in ("loss", "eval_loss", "final_eval_loss")


def _is_loss_or_reward(metric: str) -> bool:
    """Whether a metric of preferences depends on the loss or on `beta`, the factor of implicit rewards."""
    implicit = ("rewards/chosen", "rewards/rejected", "rewards/margins")
    return _is_loss(metric) or metric.removeprefix("eval_") in implicit


_SCALES = (
    _Scale(("max_length",), _is_measured, "which is measured on rows that are cut or left out by it"),
    _Scale(("assistant_only_loss",), _is_measured, "which is a mean over the tokens that it chooses", ("sft",)),
    _Scale(("label_smoothing_factor",), lambda m: m == "loss", "which contains it", ("sft",), "eval_loss"),
    _Scale(
        ("beta", "loss_type", "label_smoothing"),
        _is_loss_or_reward,
        "which is computed with it",
        ("dpo",),
        "eval_rewards/accuracies",
    ),
    _Scale(
        ("beta", "loss_type", "desirable_weight", "undesirable_weight"),
        _is_loss_or_reward,
        "which is computed with it",
        ("kto",),
    ),
    _Scale(("center_rewards_coefficient",), _is_loss, "which contains it", ("reward",), "eval_accuracy"),
    _Scale(
        ("temperature", "top_p", "top_k", "max_completion_length"),
        _is_measured,
        "which is measured on answers that are drawn with it",
        ("grpo",),
    ),
)


def obstacle_to_comparison(job: JobConfig, name: str, metric: str) -> str | None:
    """Why trials that differ in a setting cannot be compared by a metric, and what to do; `None` where they can."""
    group, _, field = name.partition(".")
    if group != "method":
        return None
    for scale in _SCALES:
        if field in scale.settings and job.method.type in scale.methods and scale.concerns(metric):
            other = f"choose another metric, such as '{scale.instead}'" if scale.instead else "choose another metric"
            return f"{scale.why}, so the values of the trials could not be compared; {other}, or fix the setting"
    return None
