"""What a benchmark row is made of: interleaved measurements, their ratios, goals, and the printed table.

Absolute figures drift with the machine, so every row compares with a baseline that is measured in turn with it.
"""

import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal


class BenchError(Exception):
    """A row cannot be measured, or what it measured is not comparable."""


@dataclass(frozen=True)
class Goal:
    """A limit for the median ratio, or for the median of our own values."""

    limit: float
    of: Literal["ratio", "ours"] = "ratio"


@dataclass(frozen=True)
class Summary:
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Measurement:
    """One line of the table. Values of the same place in `ours` and `baseline` were taken side by side."""

    row: int | str
    metric: str
    unit: str
    ours: Sequence[float]
    baseline: Sequence[float] = ()
    """Empty where the line only informs."""
    is_higher_better: bool = False
    floor: Sequence[Goal] = ()
    target: Sequence[Goal] = ()
    note: str = ""

    @property
    def ratio(self) -> Summary | None:
        """Of ours to the baseline, pair by pair."""
        if not self.baseline:
            return None
        return summarise([ours / base for ours, base in zip(self.ours, self.baseline, strict=True)])

    @property
    def verdict(self) -> str:
        if not self.floor and not self.target:
            return ""
        if self.target and all(self._meets(goal) for goal in self.target):
            return "target"
        if not self.floor:
            return "below target"
        return "floor" if all(self._meets(goal) for goal in self.floor) else "BELOW FLOOR"

    def _meets(self, goal: Goal) -> bool:
        summary = self.ratio if goal.of == "ratio" else summarise(self.ours)
        assert summary is not None, self.metric
        return summary.median >= goal.limit if self.is_higher_better else summary.median <= goal.limit

    def to_document(self) -> dict[str, Any]:
        """For `--json`."""
        ratio = self.ratio
        return {
            "row": self.row,
            "metric": self.metric,
            "unit": self.unit,
            "ours": list(self.ours),
            "baseline": list(self.baseline),
            "ratio": vars(ratio) if ratio else None,
            "floor": [vars(goal) for goal in self.floor],
            "target": [vars(goal) for goal in self.target],
            "verdict": self.verdict,
            "note": self.note,
        }


def interleave(rounds: int, *measures: Callable[[], Any]) -> list[list[Any]]:
    """Take the measures in turn (A B A B ...) and return the values of each, so that a drift meets all alike."""
    values: list[list[Any]] = [[] for _ in measures]
    for _ in range(rounds):
        for taken, measure in zip(values, measures, strict=True):
            taken.append(measure())
    return values


def summarise(values: Sequence[float]) -> Summary:
    return Summary(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def table(measurements: Sequence[Measurement]) -> str:
    """The measurements as text, one line each, notes below."""
    header = ("row", "metric", "ours", "baseline", "ratio (min-max)", "floor", "target", "verdict")
    lines = [header, *(_cells(measurement) for measurement in measurements)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "-" * max(map(len, text)))
    text += [f"row {each.row}, {each.metric}: {each.note}" for each in measurements if each.note]
    return "\n".join(text)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    } | {name: version(name) for name in ("torch", "transformers", "trl", "ray")}


def say(text: str) -> None:
    """Progress for whoever waits; the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def _cells(each: Measurement) -> tuple[str, ...]:
    ratio = each.ratio
    return (
        str(each.row),
        each.metric,
        f"{_number(statistics.median(each.ours))} {each.unit}",
        f"{_number(statistics.median(each.baseline))} {each.unit}" if each.baseline else "-",
        f"{_number(ratio.median)} ({_number(ratio.low)}-{_number(ratio.high)})" if ratio else "-",
        _goals(each, each.floor),
        _goals(each, each.target),
        each.verdict,
    )


def _goals(each: Measurement, goals: Sequence[Goal]) -> str:
    sign = ">=" if each.is_higher_better else "<="
    return ", ".join(f"{sign} {_number(goal.limit)}{'x' if goal.of == 'ratio' else ' ' + each.unit}" for goal in goals)


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _cpu_model() -> str:
    file = Path("/proc/cpuinfo")
    names = [line for line in file.read_text("utf-8").splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()
