"""Which charts of a job are shown, and how they share the room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftlab.cli.text import fitted
from ftlab.schemas.events import FINAL_EVAL_LOSS
from ftlab.tui.braille import sparkline
from ftlab.tui.charts import CURVES, MIN_HEIGHT, ChartOptions, Curve, chart, compact
from ftlab.tui.series import Series
from ftlab.tui.snapshot import JobDetail
from ftlab.tui.spans import Line, line

SMALL = 5
"""Lines of the smallest chart below the first one."""
_FIRST = ("learning_rate", "grad_norm", "tokens_per_s", "step_time_s")
_LOWER = ("eval_loss", FINAL_EVAL_LOSS)


@dataclass(frozen=True)
class ChartGroup:
    """One chart: its title and its curves."""

    title: str
    curves: tuple[Curve, ...]


def _group(title: str, names: Sequence[str], series: Mapping[str, Series]) -> ChartGroup:
    """Metrics on one axis; only the first one, measured at every step, is smoothed."""
    return ChartGroup(
        title, tuple(Curve(name, series[name], CURVES[place], name == title) for place, name in enumerate(names))
    )


def groups_of(series: Mapping[str, Series]) -> list[ChartGroup]:
    """Reward and loss, each with its evaluation on one axis, then the other metrics of interest, then all others."""
    names = [name for name, points in series.items() if points]
    groups = []
    rest = [name for name in names if name not in ("loss", *_LOWER)]
    if "reward" in names:
        rest.remove("reward")
        together = [name for name in names if name in ("reward", "eval_reward")]
        together.sort(reverse=True)
        rest = [name for name in rest if name not in together]
        groups.append(_group("reward", together, series))
    if "loss" in names or "eval_loss" in names:
        together = [name for name in ("loss", *_LOWER) if name in names]
        groups.append(_group("loss", together, series))
    rest.sort(key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    for name in rest:
        is_smooth = not name.startswith("eval_") and name != "learning_rate"
        groups.append(ChartGroup(name, (Curve("", series[name], CURVES[0], is_smooth),)))
    return groups


def chart_lines(
    detail: JobDetail, size: tuple[int, int], options: ChartOptions, alone: int | None = None
) -> list[Line]:
    """The charts of a job in `size` cells; `alone` is the place of the one that takes all the room."""
    width, height = size
    groups = groups_of(detail.series)
    if not groups:
        return _nothing(detail)
    marks = [checkpoint.step for checkpoint in detail.checkpoints]
    if alone is not None:
        group = groups[alone % len(groups)]
        title = f"{group.title}  {alone % len(groups) + 1}/{len(groups)}"
        return chart(title, group.curves, size, options, marks)
    lines: list[Line] = []
    heights = rooms(len(groups), height)
    for place, (group, room) in enumerate(zip(groups, heights, strict=False)):
        is_last = place == len(heights) - 1
        lines += chart(group.title, group.curves, (width, room), options, marks, has_labels=is_last)
    return lines + [_small(group, width) for group in groups[len(heights) :][: height - len(lines)]]


def rooms(count: int, height: int) -> list[int]:
    """Lines of each full chart; the first one gets most, and the metrics without a chart get a line each below."""
    num_small = max(0, (height - 14) // SMALL)
    num_small = min(num_small, count - 1, 3)
    num_lines = min(count - 1 - num_small, 3, max(0, height - 8))
    room = height - num_lines
    if num_small == 0:
        return [max(MIN_HEIGHT, room)]
    each = max(SMALL, room * 3 // 5 // num_small) if num_small > 1 else room * 2 // 5
    return [room - num_small * each, *[each] * num_small]


def _small(group: ChartGroup, width: int) -> Line:
    """A metric in one line: its name, the newest value, and a sparkline."""
    values = [point.value for point in group.curves[0].series]
    spark = sparkline(values, max(8, width - 28))
    return line(
        (fitted(group.title, 16), "muted"), "  ", (fitted(compact(values[-1]), 9), "strong"), " ", (spark, "raw")
    )


def _nothing(detail: JobDetail) -> list[Line]:
    if detail.problem:
        return [line((detail.problem, "error"))]
    if detail.job.status.is_terminal:
        return [line(("The job ended before its first step.", "muted"))]
    return [line(("The charts begin with the first step.", "muted"))]


def compared(details: Sequence[JobDetail], name: str, size: tuple[int, int], options: ChartOptions) -> list[Line]:
    """One metric of several jobs in one chart."""
    curves = [
        Curve(detail.job.name, detail.series.get(name, ()), CURVES[place % len(CURVES)], not name.startswith("eval_"))
        for place, detail in enumerate(details)
    ]
    return chart(name, curves, size, options)
