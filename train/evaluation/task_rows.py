"""The rows of tasks of lm-evaluation-harness, and what their metrics made of them, as an evaluation keeps them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TaskCase:
    """A row of a task."""

    number: int
    """Number among all rows of the evaluation."""
    line: int
    """Number in the task, from 1."""
    task: str
    question: str
    reference: str | None


@dataclass(frozen=True)
class TaskRow:
    """What a model made of a row of a task."""

    answer: str | None
    """`None` where it only read the row."""
    items: dict[str, Any]
    """What each metric of the task gives for the row, from which lm-eval computes the value of the metric."""
