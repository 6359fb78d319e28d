"""Comparison of the configs of jobs: which jobs may be compared, and in which settings they differ."""

from collections.abc import Sequence
from typing import Any

from ftlab.schemas import JobConfig
from ftlab.schemas.comparisons import ComparedSetting
from ftlab.schemas.config_changes import flat

COMPARED = ("dataset", "dataset_weights", "eval_", "method", "tuning", "load_in_", "lora", "training")
"""Beginnings of the settings that change what is learned."""


def is_same_kind(config: JobConfig, other: JobConfig) -> bool:
    """Whether both train the same base model by the same method."""
    return (config.model, config.method.type) == (other.model, other.method.type)


def has_same_evaluation(config: JobConfig, other: JobConfig) -> bool:
    """Whether both evaluate the same rows in the same way, so that their results may be compared."""
    return config.has_evaluation and _evaluation(config) == _evaluation(other)


def differences(config: JobConfig, other: JobConfig) -> dict[str, list[Any]]:
    """Settings that differ: the value of `other`, then that of `config`, with defaults filled in."""
    found = settings_that_differ([config, other])
    return {each.field: each.values[::-1] for each in found if each.field.startswith(COMPARED)}


def settings_that_differ(configs: Sequence[JobConfig]) -> list[ComparedSetting]:
    """All settings but the name, with the value of each config; a config without the setting has `None`."""
    settings = [flat(config.resolved().model_dump(mode="json")) for config in configs]
    names = dict.fromkeys(name for each in settings for name in each if name != "name")
    found = [ComparedSetting(field=name, values=[each.get(name) for each in settings]) for name in names]
    return [each for each in found if any(value != each.values[0] for value in each.values)]


def evaluation_groups(configs: Sequence[JobConfig | None]) -> list[int | None]:
    """A number for each config; those with the same one evaluate the same base model on the same rows in the same way.

    The loss of a token depends on the tokenizer, so other base models are in other groups.
    """
    first_of: list[JobConfig] = []
    groups: list[int | None] = []
    for config in configs:
        if config is None or not config.has_evaluation:
            groups.append(None)
            continue
        group = next((i for i, each in enumerate(first_of, 1) if _may_be_compared(each, config)), None)
        if group is None:
            first_of.append(config)
            group = len(first_of)
        groups.append(group)
    return groups


def _may_be_compared(config: JobConfig, other: JobConfig) -> bool:
    return is_same_kind(config, other) and has_same_evaluation(config, other)


def _evaluation(config: JobConfig) -> tuple[object, ...]:
    if config.eval_dataset is not None:
        return config.eval_dataset, config.method
    return config.eval_split, config.eval_split_seed, config.eval_split_files, config.datasets, config.method
