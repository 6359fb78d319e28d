"""The screen that compares the marked jobs; it follows those that still run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from ftlab.schemas import Job
from ftlab.tui.comparison import comparison, metric_names
from ftlab.tui.detail_feed import DetailFeed
from ftlab.tui.line_area import LineArea
from ftlab.tui.snapshot import JobDetail
from ftlab.tui.spans import line

if TYPE_CHECKING:
    from ftlab.tui.base import MonitorBase

REDRAW_S = 0.25


class CompareScreen(Screen[None]):
    """Curves over each other, and the settings that differ."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,c", "dismiss", show=False),
        Binding("right,m", "metric(1)", show=False),
        Binding("left,M", "metric(-1)", show=False),
    ]

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__()
        self._details = [JobDetail(job) for job in jobs]
        self._metric = 0
        self._is_stale = True

    def compose(self) -> ComposeResult:
        yield LineArea(id="compare-head", classes="bar", can_focus=False)
        yield LineArea(id="compare")
        yield LineArea(id="compare-keys", classes="bar", can_focus=False)

    def on_mount(self) -> None:
        names = f"  {len(self._details)} jobs compared"
        self.query_one("#compare-head", LineArea).show([line(("FineTune Lab", "title"), (names, "muted"))])
        keys = "  ← → metric   y log   s S smoothing   x axis   ↑ ↓ scroll   Esc back"
        self.query_one("#compare-keys", LineArea).show([line((keys, "muted"))])
        self.query_one("#compare").focus()
        self.set_interval(REDRAW_S, self._redraw_if_stale)
        for place, detail in enumerate(self._details):
            # A worker of this screen: it is cancelled when the screen closes.
            self.run_worker(self._follow(place, detail.job), exit_on_error=True)

    async def _follow(self, place: int, job: Job) -> None:
        feed = DetailFeed(cast("MonitorBase", self.app).reads, job)
        async for detail in feed.details():
            self._details[place] = detail
            self._is_stale = True

    def _redraw_if_stale(self) -> None:
        if self._is_stale:
            self.redraw()

    def redraw(self) -> None:
        """Draw the newest data."""
        self._is_stale = False
        area = self.query_one("#compare", LineArea)
        region = area.scrollable_content_region
        options = cast("MonitorBase", self.app).chart_options
        area.show(comparison(self._details, self._metric, (region.width, region.height), options))

    def on_resize(self) -> None:
        self.call_after_refresh(self.redraw)

    def action_metric(self, by: int) -> None:
        """Show another metric."""
        self._metric = (self._metric + by) % max(1, len(metric_names(self._details)))
        self.redraw()
