"""Names of metrics in MLflow, which shows a section of charts for each part before a slash.

The event log, the API and the CLI keep the plain names; only MLflow gets sections.
"""

import posixpath
import re

from ftlab.schemas.events import FINAL_EVAL_LOSS

MAX_KEY_LENGTH = 250

RUN_TIME = "run_time_s"
"""Seconds of all attempts up to this one, without queue and pauses; only MLflow gets this series."""

EVAL_PREFIX = "eval_"
"""Series of evaluations are called so by transformers; they are in the section `eval`, without the prefix."""

DEFAULT_SECTION = "train"
SECTIONS: dict[str, str] = {
    "loss": "train",
    "learning_rate": "train",
    "grad_norm": "train",
    "epoch": "train",
    "num_tokens": "train",
    "mean_token_accuracy": "train",
    "entropy": "train",
    FINAL_EVAL_LOSS: "eval",
    "tokens_per_s": "perf",
    "step_time_s": "perf",
    "data_wait_s": "perf",
    RUN_TIME: "perf",
}
"""The section of each series. Others, such as those of a new version of TRL, are in `eval` by their prefix, or else in
the section `train`."""


def is_eval(name: str) -> bool:
    """Whether a series comes from an evaluation."""
    return name.startswith(EVAL_PREFIX)


def metric_key(name: str) -> str:
    """The key of a series in MLflow: its section, a slash, and the name."""
    if is_eval(name):
        return valid_key(f"eval/{name.removeprefix(EVAL_PREFIX)}")
    return valid_key(f"{SECTIONS.get(name, DEFAULT_SECTION)}/{valid_key(name)}")


def valid_key(name: str) -> str:
    """The closest name that MLflow accepts for a metric or a parameter."""
    plain = posixpath.normpath(re.sub(r"[^/\w.\- :]", "_", name)).lstrip("/.")
    return plain[:MAX_KEY_LENGTH].rstrip("/") or "_"
