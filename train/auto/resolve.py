"""Resolve the settings of a config that are `auto`. Pure: from the config and the facts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ftlab.schemas import GrpoMethod, JobConfig
from ftlab.schemas.auto import AUTO_SETTINGS, AutoValue, auto_settings
from ftlab.schemas.job_file import parse_job_config
from train.auto import memory_rules, rules
from train.auto.facts import Facts

Rule = Callable[[JobConfig, Facts], AutoValue]
RULES: dict[str, Rule] = {
    "training.num_train_epochs": rules.num_train_epochs,
    "training.bf16": rules.bf16,
    "training.fp16": rules.fp16,
    "method.packing": rules.packing,
    "method.max_length": rules.max_length,
    "training.gradient_checkpointing": memory_rules.gradient_checkpointing,
    "training.per_device_train_batch_size": memory_rules.per_device_train_batch_size,
    "training.per_device_eval_batch_size": memory_rules.per_device_eval_batch_size,
    "training.gradient_accumulation_steps": memory_rules.gradient_accumulation_steps,
    "training.learning_rate": rules.learning_rate,
    "training.warmup_ratio": rules.warmup_ratio,
    "training.dataloader_num_workers": rules.dataloader_num_workers,
}
"""The rule of every setting, in an order in which each reads the values of those before it."""
NEEDS_LENGTHS = frozenset(AUTO_SETTINGS) - {
    "training.learning_rate",
    "training.warmup_ratio",
    "training.bf16",
    "training.fp16",
}
"""Settings whose rule reads the lengths of the rows."""
NEEDS_DEVICES = frozenset(AUTO_SETTINGS) - {
    "training.learning_rate",
    "training.warmup_ratio",
    "training.num_train_epochs",
    "method.packing",
}
"""Settings whose rule reads the devices."""


@dataclass(frozen=True)
class Resolved:
    """A config without `auto`, and what `auto` became, by the dotted names of the settings."""

    config: JobConfig
    auto: dict[str, AutoValue] = field(default_factory=dict)


def resolve(config: JobConfig, facts: Facts) -> Resolved:
    """Give each `auto` the value of its rule; nothing else changes.

    Raise `InvalidRequestError` (`invalid_config`) where the values and the other settings contradict each other.
    """
    names = auto_settings(config)
    found: dict[str, AutoValue] = {}
    for name in (name for name in RULES if name in names):
        found[name] = RULES[name](config, facts)
        config = _with(config, name, found[name].value)
    return Resolved(_checked(config), {name: found[name] for name in names})


def stand_in(config: JobConfig) -> JobConfig:
    """A valid config with values in place of `auto`, for checks that do not depend on them."""
    method = config.method
    batch = max(method.answers_per_row, method.min_batch_size)
    values = {
        "method.max_length": method.max_completion_length + 1 if isinstance(method, GrpoMethod) else 8,
        "training.per_device_train_batch_size": batch,
        "training.gradient_accumulation_steps": method.answers_per_row,
        "training.dataloader_num_workers": 1,
    }
    for name in auto_settings(config):
        group, _, field_name = name.partition(".")
        default = type(getattr(config, group)).model_fields[field_name].default
        config = _with(config, name, values.get(name, default))
    return _checked(config)


def _with(config: JobConfig, name: str, value: Any) -> JobConfig:
    group, _, field_name = name.partition(".")
    changed = getattr(config, group).model_copy(update={field_name: value})
    return config.model_copy(update={group: changed})


def _checked(config: JobConfig) -> JobConfig:
    """Read the config again, by all rules between its settings."""
    return parse_job_config(config.model_dump(mode="json", exclude_unset=True), "The resolved config")
