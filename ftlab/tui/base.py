"""What all parts of the application share: its state, its two panes, and drawing the newest data."""

from collections.abc import Callable
from datetime import UTC, datetime

from textual.timer import Timer
from textual.widgets import Input

from ftlab.client import AsyncClient
from ftlab.schemas import Job
from ftlab.tui.charts import ChartOptions
from ftlab.tui.detail_feed import DetailFeed
from ftlab.tui.frame import MIN_SIZE, hint_line, title_line, too_small
from ftlab.tui.job_feed import JobFeed, ServiceFeed
from ftlab.tui.job_pane import JobPane
from ftlab.tui.job_table import JobTable
from ftlab.tui.line_area import LineArea
from ftlab.tui.ordered_keys import OrderedKeys
from ftlab.tui.palette import PALETTES, Palette, palette_for
from ftlab.tui.snapshot import JobDetail, Link, Snapshot

SETTLE_S = 0.15
"""A job is loaded when it has been selected for this long, so that scrolling through the list loads none."""


class MonitorBase(OrderedKeys):
    """State of the monitor. `reads` fetches without retries, `acts` changes jobs with them."""

    # Made by `compose`.
    title_bar: LineArea
    columns: LineArea
    table: JobTable
    pane: JobPane
    hints: LineArea
    prompt: Input
    too_small: LineArea

    def __init__(
        self,
        reads: AsyncClient,
        acts: AsyncClient,
        *,
        feed: JobFeed | None = None,
        job_id: str | None = None,
        is_readonly: bool = False,
        is_ascii: bool = False,
        background: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__()
        self.reads, self.acts = reads, acts
        self.feed = feed or ServiceFeed(reads, clock, job_id)
        self.is_readonly, self.is_ascii = is_readonly, is_ascii
        self.clock = clock
        self.snapshot = Snapshot(Link(reads.base_url))
        self.detail: JobDetail | None = None
        self.chart_options = ChartOptions()
        self.palette: Palette = palette_for(background)
        for palette in PALETTES.values():
            self.register_theme(palette.theme(background if palette is self.palette else None))
        self.theme = self.palette.name
        self.opens = job_id
        """The job that the monitor opens first."""
        self.is_open = False
        """Whether there is a screen to draw on."""
        self.is_stale = False
        """Whether data has arrived that is not drawn yet."""
        self.followed_id: str | None = None
        self._settle: Timer | None = None

    @property
    def selected_job(self) -> Job | None:
        """The job under the cursor: as its events say where they are ahead of the last poll."""
        job, detail = self.table.selected, self.detail
        if job is None or detail is None or detail.job.id != job.id:
            return job
        return detail.job if detail.job.last_seq > job.last_seq else job

    @property
    def is_job_pane(self) -> bool:
        """Whether keys are meant for the job rather than for the table."""
        return not self.has_class("-jobs")

    # Data

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Take newer data of all jobs. The first is drawn at once, later ones with the next change of the screen."""
        is_first = not self.snapshot.jobs
        self.snapshot = snapshot
        self.is_stale = True
        if is_first:
            self.redraw()

    def show_detail(self, detail: JobDetail) -> None:
        """Take newer data of the selected job."""
        if detail.job.id == self.followed_id:
            is_first = self.detail is None
            self.detail = detail
            self.is_stale = True
            if is_first:
                self.redraw()

    def _follow_selected(self) -> None:
        """Load and follow the selected job, unless that is done already."""
        job = self.selected_job
        if job is None:
            return
        is_reopened = self.detail is not None and not self.detail.is_live and not job.status.is_terminal
        if job.id == self.followed_id and not is_reopened:
            return
        if job.id != self.followed_id:
            self.detail = None
        self.followed_id = job.id
        self.run_worker(self._follow(job), group="detail", exclusive=True)

    async def _follow(self, job: Job) -> None:
        async for detail in DetailFeed(self.reads, job).details():
            self.show_detail(detail)

    def select_soon(self) -> None:
        """Another job is under the cursor: show it when the cursor rests."""
        if self._settle is not None:
            self._settle.stop()
        self._settle = self.set_timer(SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._settle = None
        self.redraw()

    # Drawing

    def redraw(self) -> None:
        """Draw the newest data."""
        if not self.is_open:
            return
        self.is_stale = False
        now = self.clock()
        width, height = self.size
        is_small = width < MIN_SIZE[0] or height < MIN_SIZE[1]
        self.set_class(is_small, "-too-small")
        if is_small:
            self.too_small.show(too_small(width, height))
            return
        self.table.show_snapshot(self.snapshot, now)
        self.columns.show([self.table.head])
        if self._settle is None:
            self._follow_selected()
            self._draw_job()
        title = title_line(self.snapshot, width - 2, now, is_readonly=self.is_readonly)
        self.title_bar.show([title])
        tab = self.pane.tab if self.is_job_pane else None
        hints = hint_line(self.selected_job, tab, len(self.table.marked), width - 2, is_readonly=self.is_readonly)
        self.hints.show([hints])

    def _draw_job(self) -> None:
        job, detail = self.selected_job, self.detail
        is_loaded = job is not None and detail is not None and detail.job.id == job.id
        self.pane.show_job(job, detail if is_loaded else None, self.snapshot)
