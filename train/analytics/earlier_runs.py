"""Comparison of a job with earlier jobs on the same base model."""

from typing import Any

from ftlab.schemas import JobConfig
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
    here, there = (flat(each.resolved().model_dump(mode="json")) for each in (config, other))
    names = [name for name in here | there if name.startswith(COMPARED)]
    return {name: [there.get(name), here.get(name)] for name in names if there.get(name) != here.get(name)}


def _evaluation(config: JobConfig) -> tuple[object, ...]:
    if config.eval_dataset is not None:
        return config.eval_dataset, config.method
    return config.eval_split, config.eval_split_seed, config.eval_split_files, config.datasets, config.method
