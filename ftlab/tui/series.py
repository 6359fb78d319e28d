"""Measured values of one metric, and how a chart shows them: smoothed, thinned, over steps, epochs or time."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from ftlab.schemas import MetricPoint

MAX_POINTS = 2000
"""Points of a series that are kept; every second one of the older half is removed beyond that."""


class XAxis(StrEnum):
    """What a chart counts from left to right."""

    STEP = "step"
    EPOCH = "epoch"
    TIME = "time"


class Point(NamedTuple):
    """One measured value; `epoch` is `None` where it is not known."""

    step: int
    value: float
    at: datetime
    attempt: int = 0
    epoch: float | None = None


Series = tuple[Point, ...]


def series_by_name(points: Iterable[MetricPoint]) -> dict[str, Series]:
    """The series of a job; values of the metric `epoch` are attached to the points of the same step."""
    found: dict[str, list[MetricPoint]] = {}
    for point in points:
        found.setdefault(point.name, []).append(point)
    epochs = {point.step: point.value for point in found.pop("epoch", ())}
    return {
        name: tuple(Point(item.step, item.value, item.at, item.attempt, epochs.get(item.step)) for item in items)
        for name, items in found.items()
    }


def extended(series: Series, point: Point) -> Series:
    """The series with a new point; one at an earlier step replaces what an interrupted attempt had measured later."""
    kept = series
    if kept and kept[-1].step >= point.step:
        kept = tuple(old for old in kept if old.step < point.step)
    if len(kept) >= MAX_POINTS:
        half = len(kept) // 2
        kept = kept[:half:2] + kept[half:]
    return (*kept, point)


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Exponential moving average, corrected for the bias of its first values; a `weight` of 0 changes nothing.

    As in TensorBoard: `s = weight * s + (1 - weight) * value`, divided by `1 - weight ** n`; here without the rounding
    that would make a constant vary.
    """
    if weight == 0:
        return list(values)
    average, factor, found = 0.0, 1.0, []
    for value in values:
        factor *= weight
        average += (1 - weight) / (1 - factor) * (value - average)
        found.append(average)
    return found


def x_values(series: Series, axis: XAxis) -> list[float] | None:
    """Places of the points on the axis, time in seconds since the first point; `None` where epochs are not known."""
    if axis is XAxis.STEP:
        return [float(point.step) for point in series]
    if axis is XAxis.TIME:
        return [(point.at - series[0].at).total_seconds() for point in series]
    epochs = [point.epoch for point in series if point.epoch is not None]
    return epochs if len(epochs) == len(series) else None


def restarts(series: Series) -> list[int]:
    """Places of the first points of all attempts after the first."""
    return [place for place in range(1, len(series)) if series[place].attempt != series[place - 1].attempt]


def finite(series: Series) -> Series:
    """The points that a chart can show."""
    return tuple(point for point in series if math.isfinite(point.value))
