"""Points of telemetry series: how they are stored, put together and made fewer. Pure functions.

A point of one moment has one value; a point of an interval has the least, the mean and the greatest, so that a peak is
never lost.
"""

import json
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Values = list[float | None]


@dataclass(frozen=True)
class Columns:
    """One series: a value for each time; `None` where there is none."""

    min: Values
    mean: Values
    max: Values

    @classmethod
    def of_moments(cls, values: Values) -> "Columns":
        return cls(values, values, values)

    @property
    def is_of_moments(self) -> bool:
        return self.min is self.max

    def rows(self, rows: Sequence[int]) -> "Columns":
        """These values only."""
        mean = [self.mean[row] for row in rows]
        if self.is_of_moments:
            return Columns.of_moments(mean)
        return Columns([self.min[row] for row in rows], mean, [self.max[row] for row in rows])


@dataclass(frozen=True)
class Points:
    """Series of one device with common times, in seconds since the epoch."""

    times: list[float] = field(default_factory=list)
    series: dict[str, Columns] = field(default_factory=dict)


def from_readings(readings: Sequence[tuple[float, dict[str, float | None]]]) -> Points:
    """Points of the values that were read at each time; a name that never has a value is left out."""
    names = sorted({name for _, values in readings for name, value in values.items() if value is not None})
    columns = {name: Columns.of_moments([values.get(name) for _, values in readings]) for name in names}
    return Points([at for at, _ in readings], columns)


def join(parts: Iterable[Points]) -> Points:
    """The points of all parts, in the order of the parts."""
    found = list(parts)
    times = [at for part in found for at in part.times]
    names = sorted({name for part in found for name in part.series})
    return Points(times, {name: _joined(found, name) for name in names})


def widen(points: Points, interval_s: float) -> Points:
    """One point for each interval that has any; intervals are counted from the epoch."""
    rows: dict[float, list[int]] = {}
    for row, at in enumerate(points.times):
        rows.setdefault(math.floor(at / interval_s) * interval_s, []).append(row)
    times = sorted(rows)
    return Points(times, {name: _widened(each, [rows[at] for at in times]) for name, each in points.series.items()})


def pack(points: Points) -> bytes:
    """Points as compressed JSON, by columns. Values keep five significant digits."""
    begin = points.times[0] if points.times else 0.0
    document: dict[str, Any] = {"t": [round(at - begin, 3) for at in points.times], "v": {}}
    for name, columns in points.series.items():
        parts = [columns.mean] if columns.is_of_moments else [columns.min, columns.mean, columns.max]
        document["v"][name] = [[_shortened(value) for value in part] for part in parts]
    return zlib.compress(json.dumps({"b": begin} | document, separators=(",", ":"), allow_nan=False).encode())


def unpack(data: bytes) -> Points:
    document = json.loads(zlib.decompress(data))
    series = {
        name: Columns.of_moments(parts[0]) if len(parts) == 1 else Columns(*parts)
        for name, parts in document["v"].items()
    }
    return Points([document["b"] + offset for offset in document["t"]], series)


def _joined(parts: Sequence[Points], name: str) -> Columns:
    least: Values = []
    mean: Values = []
    greatest: Values = []
    is_of_moments = True
    for part in parts:
        columns = part.series.get(name) or Columns.of_moments([None] * len(part.times))
        is_of_moments &= columns.is_of_moments
        least += columns.min
        mean += columns.mean
        greatest += columns.max
    return Columns.of_moments(mean) if is_of_moments else Columns(least, mean, greatest)


def _widened(columns: Columns, intervals: Sequence[Sequence[int]]) -> Columns:
    return Columns(
        [_reduced(columns.min, rows, min) for rows in intervals],
        [_reduced(columns.mean, rows, _mean) for rows in intervals],
        [_reduced(columns.max, rows, max) for rows in intervals],
    )


def _reduced(values: Values, rows: Sequence[int], reduce: Callable[[list[float]], float]) -> float | None:
    present = [value for row in rows if (value := values[row]) is not None]
    return reduce(present) if present else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _shortened(value: float | None) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() else short
