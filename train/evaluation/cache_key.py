"""The key by which a completed evaluation answers a later one."""

import hashlib
import json
from collections.abc import Sequence

from ftlab.schemas import EvaluationConfig

VERSION = 2
"""A new number where the same settings measure something else."""


def cache_key(config: EvaluationConfig, rows: str, identities: Sequence[str]) -> str:
    """A hash of everything that the results depend on.

    `rows` names the content of the dataset, and `identities` are those of all models in their order.
    """
    parts = {
        "version": VERSION,
        "models": list(identities),
        "rows": rows,
        "metrics": [metric.model_dump(mode="json") for metric in config.metrics],
        "generation": config.generation.model_dump(mode="json"),
        "max_rows": config.max_rows,
        "seed": config.seed,
        # Answers that are drawn depend on the batch that they are drawn in.
        "batch_size": config.batch_size if config.generation.temperature else None,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
