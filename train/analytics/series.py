"""Recorded points of a metric as a clean series: one finite value for each step that counts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

MAX_VALUE = 1e100
"""Values beyond it are left out like infinite ones: sums of their squares would be infinite."""


class Measurement(NamedTuple):
    """A recorded value of a metric."""

    step: int
    value: float
    attempt: int


class Point(NamedTuple):
    step: int
    value: float


def kept_steps(resumed_from: Mapping[int, int | None]) -> dict[int, float]:
    """For each attempt, the last step of which its work is kept; infinite for the newest.

    `resumed_from` gives the step that each attempt resumed from, `None` for the base model. A later attempt does
    everything after that step again.
    """
    kept: dict[int, float] = {}
    last = math.inf
    for number in sorted(resumed_from, reverse=True):
        kept[number] = last
        last = min(last, resumed_from[number] or 0)
    return kept


def clean_series(measurements: Iterable[Measurement], kept: Mapping[int, float]) -> list[Point]:
    """The points by step. The newest attempt counts, and none after the last step of which its work is kept."""
    newest: dict[int, Measurement] = {}
    for each in measurements:
        is_kept = each.step <= kept.get(each.attempt, math.inf)
        is_number = math.isfinite(each.value) and abs(each.value) <= MAX_VALUE
        if is_kept and is_number and (each.step not in newest or newest[each.step].attempt <= each.attempt):
            newest[each.step] = each
    return [Point(step, newest[step].value) for step in sorted(newest)]


def mean_of(points: Sequence[Point]) -> float:
    """The mean over the steps that the points cover.

    A logged loss is the mean over the steps since the point before. A gap in the series counts as one usual interval.
    """
    intervals = [after.step - before.step for before, after in pairwise(points)]
    usual = median(intervals) if intervals else 1
    weights = [usual, *(min(usual, interval) for interval in intervals)]
    return math.fsum(p.value * w for p, w in zip(points, weights, strict=True)) / math.fsum(weights)


def part_of(points: Sequence[Point], begin: float, end: float) -> list[Point]:
    """The points between two shares, 0 to 1, of the steps from the first to the last point; without the beginning,
    except at 0.
    """
    if not points:
        return []
    first, length = points[0].step, points[-1].step - points[0].step
    after, until = first + begin * length, first + end * length
    return [point for point in points if (point.step > after or begin <= 0) and point.step <= until + 1e-9]
