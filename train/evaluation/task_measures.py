"""Metrics of tasks of lm-evaluation-harness as sums over rows, where lm-eval's own definition allows it.

Only evaluations with tasks import this module, because `lm_eval` is an extra.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.api import metrics as harness
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from train.evaluation.cases import Skip
from train.evaluation.harness import HarnessTask
from train.evaluation.measures import Measure, Numbers, Sums
from train.evaluation.task_rows import TaskRow

MeasuredRows = Mapping[int, TaskRow | Skip]
"""What a model made of the rows of a task."""


@dataclass(frozen=True)
class Sum:
    """An aggregation of lm-eval whose value follows from sums over rows."""

    numbers: Callable[[Any], Numbers]
    """The numbers of one row. Raises `ValueError` or `TypeError` for a row that it is not defined for."""
    value: Callable[[Sums], float]


class TaskMeasure(Measure):
    """A metric of a task that is a sum over rows."""

    def __init__(self, name: str, aggregation: Sum, *, is_lower_better: bool) -> None:
        super().__init__(name)
        self.is_lower_better = is_lower_better
        self._aggregation = aggregation

    def numbers(self, item: Any) -> Numbers:
        return self._aggregation.numbers(item)

    def value(self, sums: Sums) -> float:
        try:
            return float(self._aggregation.value(sums))
        except OverflowError:
            return math.inf


class WholeTaskMeasure(Measure):
    """A metric of a task that only lm-eval's function of all rows defines: it has no interval, and no test."""

    has_interval = False

    def __init__(self, name: str, function: Callable[[Sequence[Any]], float], *, is_lower_better: bool) -> None:
        super().__init__(name)
        self.is_lower_better = is_lower_better
        self._function = function

    def numbers(self, item: Any) -> tuple[Any]:
        return (item,)

    def value(self, sums: Sums) -> float:
        raise NotImplementedError("it is not a sum")

    def total(self, rows: Sequence[tuple[Any, ...]]) -> float:
        return float(self._function([item for (item,) in rows]))

    def of_row(self, numbers: tuple[Any, ...]) -> float:
        """The number of the row itself, if it is one."""
        [item] = numbers
        return float(item) if isinstance(item, int | float) else math.nan


def task_measures(task: HarnessTask, models: Sequence[MeasuredRows]) -> dict[str, Measure]:
    """The metrics of a task by the name of what they make of a row, from what all models made of the rows."""
    found: dict[str, list[Any]] = {}
    for rows in models:
        for row in rows.values():
            for metric, item in row.items.items() if isinstance(row, TaskRow) else ():
                found.setdefault(metric, []).append(item)
    if not found:  # no row was measured
        found = {metric: [] for metric in task.metrics}
    return {metric: _measure(task, metric, items) for metric, items in found.items()}


def numbers_of(measure: Measure, metric: str, rows: MeasuredRows) -> dict[int, Numbers | Skip]:
    """The numbers of each row by its number, or why it has none."""
    assert isinstance(measure, TaskMeasure | WholeTaskMeasure)
    found: dict[int, Numbers | Skip] = {}
    for number, row in rows.items():
        if isinstance(row, Skip):
            found[number] = row
        else:
            found[number] = measure.numbers(row.items[metric]) if metric in row.items else Skip.NO_SCORE
    return found


def _measure(task: HarnessTask, metric: str, items: Sequence[Any]) -> Measure:
    # A metric with a filter is named `metric/filter`.
    names = (metric, metric.rpartition("/")[0])
    name = next((name for name in names if name in task.functions), metric)
    # lm-eval takes the mean where a task names no function.
    function = task.functions.get(name, harness.mean)
    is_lower_better = task.is_lower_better(name)
    aggregation = SUMS.get(function)
    if aggregation is not None:
        try:
            for item in items:
                aggregation.numbers(item)
        except (TypeError, ValueError):
            aggregation = None
    full_name = f"{task.name}/{metric}"
    if aggregation is None:
        return WholeTaskMeasure(full_name, function, is_lower_better=is_lower_better)
    return TaskMeasure(full_name, aggregation, is_lower_better=is_lower_better)


def _score(item: Any) -> Numbers:
    return float(item), 1.0


def _score_if_any(item: Any) -> Numbers:
    return (0.0, 0.0) if math.isnan(item) else _score(item)


def _weighted(item: Any) -> Numbers:
    score, weight = item
    return float(score), float(weight)


def _mean(sums: Sums) -> float:
    return float(sums[0] / sums[1])


def _squared_error(item: Any) -> Numbers:
    """The Brier score of one row: the right choice, and the probability of each."""
    gold, probabilities = item
    expected = np.eye(len(probabilities))[gold]
    return float(np.sum((np.array(probabilities) - expected) ** 2)), 1.0


def _confusion(item: Any) -> Numbers:
    """True and false positives, false and true negatives of one row with the labels 0 and 1."""
    gold, predicted = item
    if gold not in (0, 1) or predicted not in (0, 1):
        raise ValueError("only for two labels")
    places = {(1, 1): 0, (0, 1): 1, (1, 0): 2, (0, 0): 3}
    return tuple(float(place == places[gold, predicted]) for place in range(4))


def _f1(sums: Sums) -> float:
    hits, false_alarms, misses, _ = sums
    return float(2 * hits / (2 * hits + false_alarms + misses)) if hits else 0.0


def _correlation(sums: Sums) -> float:
    """Matthews' correlation coefficient of two labels."""
    hits, false_alarms, misses, rest = sums
    scale = (hits + false_alarms) * (hits + misses) * (rest + false_alarms) * (rest + misses)
    return float((hits * rest - false_alarms * misses) / math.sqrt(scale)) if scale else 0.0


def _corpus(metric: Any) -> Sum:
    """A metric of sacreBLEU, from its own statistics of each row."""

    def numbers(item: Any) -> Numbers:
        reference, answer = item
        if not isinstance(reference, str) or not isinstance(answer, str):
            raise TypeError("only for one reference")
        [row] = metric._extract_corpus_statistics([answer], [[reference]])
        return tuple(map(float, row))

    return Sum(numbers, lambda sums: float(metric._compute_score_from_stats([int(number) for number in sums]).score))


SUMS: dict[Any, Sum] = {
    harness.mean: Sum(_score, _mean),
    harness.nanmean: Sum(_score_if_any, _mean),
    harness.perplexity: Sum(_score, lambda sums: math.exp(-_mean(sums))),
    harness.weighted_perplexity: Sum(_weighted, lambda sums: math.exp(-_mean(sums))),
    harness.bits_per_byte: Sum(_weighted, lambda sums: -_mean(sums) / math.log(2)),
    harness.brier_score: Sum(_squared_error, _mean),
    harness.f1_score: Sum(_confusion, _f1),
    harness.matthews_corrcoef: Sum(_confusion, _correlation),
    harness.bleu: _corpus(BLEU()),
    harness.chrf: _corpus(CHRF()),
    harness.chrfpp: _corpus(CHRF(word_order=2)),
    harness.ter: _corpus(TER()),
}
"""lm-eval's functions of all rows that are sums over rows."""
