"""The pane of one job: its head, the tabs, and the body of the chosen tab."""

from datetime import datetime
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Vertical

from ftlab.schemas import Job
from ftlab.tui.chart_pane import chart_lines
from ftlab.tui.details import (
    Tab,
    checkpoint_tab,
    config_tab,
    event_tab,
    head,
    log_tab,
    sample_tab,
    tabs_of,
    why_tab,
)
from ftlab.tui.line_area import LineArea
from ftlab.tui.snapshot import JobDetail, Snapshot
from ftlab.tui.spans import Line, line

if TYPE_CHECKING:
    from textual import events

    from ftlab.tui.base import MonitorBase


class TabBar(LineArea):
    """The names of the tabs; a click chooses one."""

    def on_click(self, event: "events.Click") -> None:
        end = 0
        for place, (text, _) in enumerate(self.line_at(0)):
            end += len(text)
            if event.x < end:
                self.call_next(self.app.run_action, f"tab({place // 2})")
                return


class JobPane(Vertical):
    """Draws one `JobDetail`."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.head = LineArea(id="head", can_focus=False)
        self.tabs = TabBar(id="tabs", classes="bar", can_focus=False)
        self.body = LineArea(id="body")
        self.tab = Tab.CHARTS
        self.alone: int | None = None
        """Place of the chart that is shown alone."""
        self.follows = True
        """Whether the log stays at its end."""
        self.detail: JobDetail | None = None
        self._job: Job | None = None
        self._snapshot: Snapshot | None = None

    def compose(self) -> ComposeResult:
        yield self.head
        yield self.tabs
        yield self.body

    def show_job(self, job: Job | None, detail: JobDetail | None, snapshot: Snapshot) -> None:
        """Show a job; `detail` is `None` until it is loaded."""
        self._job, self._snapshot = job, snapshot
        self.detail = detail
        if self.tab not in tabs_of(detail):
            self.tab = Tab.CHARTS
        self.redraw()

    def choose(self, tab: Tab) -> None:
        """Show another tab, from its beginning; the log from its end."""
        if tab is not self.tab:
            self.tab = tab
            self.alone = None
            self.body.search = ""
            self.body.cursor = None
            self.body.scroll_home(animate=False)
            self.follows = True
        self.redraw()

    def redraw(self) -> None:
        """Draw the newest data."""
        job, detail, snapshot = self._job, self.detail, self._snapshot
        if not self.is_attached or snapshot is None:
            return
        width = self.content_region.width
        now = cast("MonitorBase", self.app).clock()
        if job is None:
            self.head.show([line(("No job is selected.", "muted"))])
            self.tabs.show([()])
            self.body.show(())
            return
        lines = head(job, detail, snapshot, (width, self.content_region.height), now)
        if self.head.count != len(lines):
            self.head.styles.height = len(lines)
        self.head.show(lines)
        self.tabs.show([_tab_line(self.tab, detail)])
        self.body.show(self._body_lines(detail, now))
        if self.tab is Tab.CHECKPOINTS and detail is not None and detail.checkpoints:
            self.body.cursor = min(max(1, self.body.cursor or 1), len(detail.checkpoints))
        else:
            self.body.cursor = None
        if self.tab in (Tab.LOGS, Tab.EVENTS) and self.follows:
            self.body.scroll_to(y=self.body.max_scroll_y, animate=False, immediate=True)

    def _body_lines(self, detail: JobDetail | None, now: datetime) -> list[Line]:
        if detail is None:
            return [line(("Loading ...", "muted"))]
        region = self.body.scrollable_content_region
        match self.tab:
            case Tab.LOGS:
                return log_tab(detail, region.width)
            case Tab.CHECKPOINTS:
                return checkpoint_tab(detail, region.width, now)
            case Tab.EVENTS:
                return event_tab(detail, region.width)
            case Tab.CONFIG:
                return config_tab(detail, region.width)
            case Tab.SAMPLES:
                return sample_tab(detail, region.width)
            case Tab.WHY:
                return why_tab(detail, region.width)
        options = cast("MonitorBase", self.app).chart_options
        return chart_lines(detail, (region.width, max(1, region.height)), options, self.alone)

    @property
    def selected_checkpoint(self) -> str | None:
        """Name of the checkpoint under the cursor of its tab."""
        if self.detail is None or self.tab is not Tab.CHECKPOINTS or self.body.cursor is None:
            return None
        return self.detail.checkpoints[self.body.cursor - 1].name

    def on_resize(self) -> None:
        self.call_after_refresh(self.redraw)

    def on_line_area_moved(self, event: LineArea.Moved) -> None:
        """Scrolling up in the log or the events stops following them; their end follows again."""
        body = self.body
        if event.area is body and self.tab in (Tab.LOGS, Tab.EVENTS):
            self.follows = body.scroll_offset.y >= body.max_scroll_y


def _tab_line(chosen: Tab, detail: JobDetail | None) -> Line:
    spans: list[tuple[str, str]] = []
    for tab in tabs_of(detail):
        spans += [(str(tab), "accent strong here" if tab is chosen else "muted"), ("  ", "")]
    return tuple(spans)
