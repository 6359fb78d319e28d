"""The key by which a completed evaluation answers a later one."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ftlab.schemas import EvaluationConfig
from train.evaluation.task_checks import package_version

VERSION = 4
"""A new number where the same settings measure something else."""


def cache_key(config: EvaluationConfig, rows: str | None, identities: Sequence[str]) -> str:
    """A hash of everything that the results depend on.

    `rows` names the content of the dataset, and `identities` are those of all models in their order.
    """
    parts: dict[str, Any] = {
        "version": VERSION,
        "models": list(identities),
        "rows": rows,
        "metrics": [metric.model_dump(mode="json") for metric in config.metrics],
        "generation": config.generation.model_dump(mode="json"),
        "max_rows": config.max_rows,
        "seed": config.seed,
    }
    if config.tasks:
        parts["tasks"] = [task.model_dump(mode="json") for task in config.tasks]
        parts["lm_eval"] = package_version()
        # The functions of a task may draw random numbers, for a batch of rows at a time.
        parts["batch_size"] = config.batch_size
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
