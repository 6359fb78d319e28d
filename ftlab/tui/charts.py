"""Charts as lines of text: a title with the newest values, an axis on the left and one below, curves in between."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ftlab.cli.text import fitted
from ftlab.formatting import duration
from ftlab.thinning import thinned
from ftlab.tui.braille import Canvas
from ftlab.tui.series import Series, XAxis, finite, restarts, smoothed, x_values
from ftlab.tui.spans import Line, Span, line, spread

LABEL_WIDTH = 8
MIN_HEIGHT = 4
"""Lines of the smallest chart: title, two lines of curves, the axis with its labels."""
CURVES = tuple(f"curve{place}" for place in range(1, 7))
"""Roles of the curves of a chart."""
RAW, BOUNDARY, AXIS = "raw", "boundary", "axis"


@dataclass(frozen=True)
class ChartOptions:
    """How all charts are drawn."""

    smoothing: float = 0.6
    """Weight of the moving average, 0 to 0.99."""
    log_y: bool = False
    axis: XAxis = XAxis.STEP


@dataclass(frozen=True)
class Curve:
    """One line of a chart."""

    label: str
    series: Series
    role: str
    smooth: bool = True
    """Whether the smoothing applies; not to the few values of an evaluation."""


@dataclass(frozen=True)
class _Plot:
    """A curve in the coordinates of a chart: the raw values, and those of the line."""

    curve: Curve
    steps: list[int]
    xs: list[float]
    raw: list[float]
    ys: list[float]
    restart_xs: list[float]


def chart(
    title: str,
    curves: Sequence[Curve],
    size: tuple[int, int],
    options: ChartOptions,
    marks: Sequence[int] = (),
    *,
    has_labels: bool = True,
) -> list[Line]:
    """A chart of `size` (cells wide, lines high); `marks` are steps that are marked on the axis: the checkpoints.

    Without `has_labels`, the x axis has no numbers: those of the chart below apply.
    """
    width, height = size
    plots = [found for curve in curves if (found := _plot(curve, options))]
    head = _title(title, plots, width)
    if not plots:
        return [head, line((_nothing(curves, options), "muted"))]
    canvas = Canvas(max(4, width - LABEL_WIDTH - 1), max(1, height - 2 - has_labels))
    x_range = _range([x for plot in plots for x in plot.xs], whole=options.axis is XAxis.STEP)
    y_range = _range([y for plot in plots for y in (*plot.raw, *plot.ys)])
    smooth = [plot for plot in plots if plot.curve.smooth]
    # The first curve is drawn last: where others cover it, it is seen.
    for plot in reversed(plots):
        _draw(canvas, plot, x_range, y_range, has_raw=options.smoothing > 0 and len(smooth) == 1)
    rows = [head]
    labels = _y_labels(canvas.height, y_range, options)
    for place, spans in enumerate(canvas.rows()):
        label = (
            fitted(labels[place], LABEL_WIDTH - 1, right=True) + " ┤" if place in labels else " " * LABEL_WIDTH + "│"
        )
        rows.append(((label, AXIS), *spans))
    rows.append(_axis_line(canvas, plots[0], x_range, marks, options))
    return [*rows, _axis_labels(canvas, x_range, options)] if has_labels else rows


def _plot(curve: Curve, options: ChartOptions) -> _Plot | None:
    series = finite(curve.series)
    if options.log_y:
        series = tuple(point for point in series if point.value > 0)
    if not series:
        return None
    xs = x_values(series, options.axis)
    if xs is None:
        return None
    raw = [point.value for point in series]
    ys = smoothed(raw, options.smoothing) if curve.smooth else raw
    starts = [xs[place] for place in restarts(series)]
    if options.log_y:
        raw, ys = [math.log10(value) for value in raw], [math.log10(value) for value in ys]
    return _Plot(curve, [point.step for point in series], xs, raw, ys, starts)


def _nothing(curves: Sequence[Curve], options: ChartOptions) -> str:
    """Why there is no chart."""
    if not any(finite(curve.series) for curve in curves):
        return "Nothing is measured yet."
    if options.axis is XAxis.EPOCH:
        return "The epochs of these values are not recorded; press x for another axis."
    return "No value is above zero; press y for a linear axis."


def _title(title: str, plots: Sequence[_Plot], width: int) -> Line:
    newest: list[Span] = []
    for plot in plots:
        value = plot.curve.series[-1].value
        newest += [("  " if newest else "", ""), (plot.curve.label, plot.curve.role), (f" {compact(value)}", "")]
    return spread(line((title, "title")), line(*newest), width)


def compact(value: float, digits: int = 4) -> str:
    """The significant digits, and a short exponent: `9.524e-6`. Below a million, whole numbers are written out."""
    if 10**digits <= abs(value) < 1e6:
        return f"{value:.0f}"
    return re.sub(r"e([+-])0*(\d+)$", lambda found: f"e{found[1].strip('+')}{found[2]}", f"{value:.{digits}g}")


def _range(values: Sequence[float], *, whole: bool = False) -> tuple[float, float]:
    """Lowest and highest value; never the same, so that a constant is drawn in the middle."""
    low, high = min(values), max(values)
    if low == high:
        half = 1 if whole else abs(low) / 10 or 0.5
        return low - half, high + half
    return low, high


def _draw(
    canvas: Canvas, plot: _Plot, x_range: tuple[float, float], y_range: tuple[float, float], *, has_raw: bool
) -> None:
    def dots(ys: Sequence[float]) -> list[tuple[int, int]]:
        few_xs, few_ys = thinned(plot.xs, ys, canvas.dots_wide)
        return [
            (_place(x, x_range, canvas.dots_wide), _place(y, y_range, canvas.dots_high))
            for x, y in zip(few_xs, few_ys, strict=True)
        ]

    for x in plot.restart_xs:
        for y in range(0, canvas.dots_high, 3):
            canvas.dot(_place(x, x_range, canvas.dots_wide), y, BOUNDARY)
    if plot.curve.smooth and has_raw:
        for x, y in dots(plot.raw):
            canvas.dot(x, y, RAW)
    canvas.path(dots(plot.ys), plot.curve.role)


def _place(value: float, bounds: tuple[float, float], count: int) -> int:
    low, high = bounds
    return round((value - low) / (high - low) * (count - 1))


def _y_labels(height: int, y_range: tuple[float, float], options: ChartOptions) -> dict[int, str]:
    """The values at the top, at the bottom, and in the middle of a high chart, with enough digits to differ."""
    low, high = y_range
    shown: dict[int, float] = {0: high, height - 1: low}
    if height >= 7:
        middle = height // 2
        shown[middle] = low + (high - low) * (1 - (middle + 0.5) / height)
    labels: dict[int, str] = {}
    for digits in range(3, LABEL_WIDTH - 1):
        labels = {place: _tick(10**value if options.log_y else value, digits) for place, value in shown.items()}
        if len(set(labels.values())) == len(labels):
            break
    return labels


def _tick(value: float, digits: int) -> str:
    """The value in at most seven characters."""
    found = compact(float(f"{value:.{digits}g}"), digits)
    return found if len(found) < LABEL_WIDTH else compact(float(f"{value:.1g}"))


def _axis_line(
    canvas: Canvas, plot: _Plot, x_range: tuple[float, float], marks: Sequence[int], options: ChartOptions
) -> Line:
    cells = ["─"] * canvas.width
    for step in marks:
        x = _x_of_step(plot, step, options)
        if x is not None and x_range[0] <= x <= x_range[1]:
            cells[_place(x, x_range, canvas.width)] = "▲"
    return ((" " * LABEL_WIDTH + "└", AXIS), ("".join(cells), AXIS))


def _x_of_step(plot: _Plot, step: int, options: ChartOptions) -> float | None:
    """The place of a step on the axis: that of the last point up to it."""
    if options.axis is XAxis.STEP:
        return float(step)
    before = [x for x, known in zip(plot.xs, plot.steps, strict=True) if known <= step]
    return before[-1] if before else None


def _axis_labels(canvas: Canvas, x_range: tuple[float, float], options: ChartOptions) -> Line:
    def shown(value: float) -> str:
        return duration(value) if options.axis is XAxis.TIME else f"{value:.4g}"

    low, high = map(shown, x_range)
    middle = str(options.axis)
    room = max(0, canvas.width - len(low) - len(high))
    text = f"{low}{middle.center(room)}{high}" if room > len(middle) + 1 else f"{low}{high.rjust(room + len(high))}"
    return ((" " * (LABEL_WIDTH + 1) + text, AXIS),)
