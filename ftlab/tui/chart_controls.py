"""The keys that change how charts are drawn."""

from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding

from ftlab.tui.base import MonitorBase
from ftlab.tui.charts import ChartOptions
from ftlab.tui.compare_screen import CompareScreen
from ftlab.tui.series import XAxis

SMOOTHINGS = (0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 0.99)


class ChartControls(MonitorBase):
    """Logarithmic axis, smoothing, and what the x axis counts."""

    CHART_KEYS: ClassVar[list[Binding]] = [
        Binding("y", "log_y", show=False),
        Binding("s", "smooth(1)", show=False),
        Binding("S", "smooth(-1)", show=False),
        Binding("x", "x_axis", show=False),
    ]

    def action_log_y(self) -> None:
        """Switch between a linear and a logarithmic y axis."""
        is_log = not self.chart_options.log_y
        self._redraw_charts(replace(self.chart_options, log_y=is_log), f"y axis: {'log' if is_log else 'linear'}")

    def action_smooth(self, by: int) -> None:
        """More or less smoothing."""
        nearest = min(SMOOTHINGS, key=lambda weight: abs(weight - self.chart_options.smoothing))
        weight = SMOOTHINGS[max(0, min(len(SMOOTHINGS) - 1, SMOOTHINGS.index(nearest) + by))]
        self._redraw_charts(replace(self.chart_options, smoothing=weight), f"smoothing: {weight:g}")

    def action_x_axis(self) -> None:
        """Count steps, epochs or time."""
        axes = list(XAxis)
        axis = axes[(axes.index(self.chart_options.axis) + 1) % len(axes)]
        self._redraw_charts(replace(self.chart_options, axis=axis), f"x axis: {axis}")

    def _redraw_charts(self, options: ChartOptions, what: str) -> None:
        self.chart_options = options
        self.notify(what, timeout=1.5)
        if isinstance(self.screen, CompareScreen):
            self.screen.redraw()
        self.pane.redraw()
