"""Several jobs side by side: the curves over each other, their results, and the settings that differ."""

from collections.abc import Sequence

from ftlab.cli.text import fitted
from ftlab.formatting import duration, number, shown_value
from ftlab.tui.chart_pane import compared
from ftlab.tui.charts import CURVES, ChartOptions
from ftlab.tui.snapshot import JobDetail, flat_config
from ftlab.tui.spans import Line, Span, line

MAX_JOBS = len(CURVES)
_PREFERRED = ("loss", "reward", "eval_loss")


def metric_names(details: Sequence[JobDetail]) -> list[str]:
    """Metrics that at least one of the jobs has, the most important ones first."""
    names = {name for detail in details for name, points in detail.series.items() if points}
    return sorted(names, key=lambda name: (_PREFERRED.index(name) if name in _PREFERRED else len(_PREFERRED), name))


def comparison(details: Sequence[JobDetail], place: int, size: tuple[int, int], options: ChartOptions) -> list[Line]:
    """The chart of the metric at `place`, and below it the results and the settings that differ."""
    width, height = size
    names = metric_names(details)
    lines: list[Line] = []
    if names:
        name = names[place % len(names)]
        lines += compared(details, name, (width, max(8, min(height // 2, 24))), options)
        lines.append(())
    return lines + _table(details, width)


def _table(details: Sequence[JobDetail], width: int) -> list[Line]:
    rows: list[tuple[str, list[str]]] = [
        ("status", [str(detail.job.status) for detail in details]),
        ("step", [f"{detail.job.step}/{detail.job.total_steps or '?'}" for detail in details]),
        ("loss", [number(detail.job.loss) for detail in details]),
        ("eval_loss", [number(detail.job.eval_loss) for detail in details]),
        ("ran for", [duration(detail.job.run_time_s) for detail in details]),
    ]
    rows = [(name, values) for name, values in rows if any(values)]
    differing = differences(details)
    name_width = min(max(len(name) for name, _ in [*rows, *differing]), max(12, width // 3))
    column = max(8, (width - name_width - 2) // len(details) - 2)
    titles: list[Span] = [(fitted("", name_width), "")]
    for place, detail in enumerate(details):
        titles += [("  ", ""), (fitted(detail.job.name, column), f"{CURVES[place % len(CURVES)]} strong")]
    lines = [line(*titles), *(_row(name, values, name_width, column) for name, values in rows)]
    lines += [(), line(("SETTINGS THAT DIFFER", "head"))]
    if not differing:
        lines.append(line(("All settings are the same.", "muted")))
    return lines + [_row(name, values, name_width, column) for name, values in differing]


def _row(name: str, values: Sequence[str], name_width: int, column: int) -> Line:
    spans: list[Span] = [(fitted(name, name_width), "muted")]
    for value in values:
        spans += [("  ", ""), (fitted(value, column), "")]
    return line(*spans)


def differences(details: Sequence[JobDetail]) -> list[tuple[str, list[str]]]:
    """Settings whose values differ between the jobs, with the value of each."""
    configs = [flat_config(detail.job) for detail in details]
    names = sorted({name for config in configs for name in config} - {"name"})
    rows = [(name, [shown_value(config[name]) if name in config else "" for config in configs]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]
