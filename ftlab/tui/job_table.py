"""The table of jobs: it formats only the rows that are visible."""

from datetime import UTC, datetime

from ftlab.schemas import Job
from ftlab.tui.frame import empty_lines
from ftlab.tui.job_columns import RowContext, TableLayout, passes
from ftlab.tui.line_area import LineArea
from ftlab.tui.snapshot import Snapshot
from ftlab.tui.spans import Line


class JobTable(LineArea):
    """All jobs that pass the filter; the selected one stays selected while the order changes."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.jobs: list[Job] = []
        self.selected_id: str | None = None
        self.filter = ""
        self.marked: frozenset[str] = frozenset()
        self._displaced: str | None = None
        """Name of the job that was selected until it was not listed any more: another one has its place."""
        self._snapshot: Snapshot | None = None
        self._shown: tuple[object, ...] = ()
        self._now = datetime.now(UTC)
        self._layout = TableLayout.fitting(80)
        self._rows: dict[int, Line] = {}
        """Rows that were formatted since the last change."""

    @property
    def selected(self) -> Job | None:
        return self.jobs[self.cursor] if self.cursor is not None and self.cursor < len(self.jobs) else None

    @property
    def head(self) -> Line:
        return self._layout.head

    def show_snapshot(self, snapshot: Snapshot, now: datetime) -> None:
        """Show newer data; times are drawn again once a second."""
        shown = (id(snapshot), self.filter, self.marked, now.replace(microsecond=0))
        if shown == self._shown:
            return
        was_selected, was_filter = self.selected, self._shown[1:2] or (self.filter,)
        self._shown = shown
        self._snapshot, self._now = snapshot, now
        self.jobs = [job for job in snapshot.jobs if not self.filter or passes(job, self.filter)]
        # A name stands for its job: it may have been given while the service could not be asked for the id.
        places = [place for place, job in enumerate(self.jobs) if self.selected_id in (job.id, job.name)]
        if self.jobs:
            at_end = min(self.cursor or 0, len(self.jobs) - 1)
            self.cursor = places[0] if places else at_end
            self.selected_id = self.jobs[self.cursor].id
            if was_selected is not None and not places and was_filter == (self.filter,):
                self._displaced = was_selected.name
            super().show(())
        else:
            self.cursor = None
            self.show(empty_lines(snapshot, self.filter))
        self.redraw()

    @property
    def count(self) -> int:
        return len(self.jobs) or super().count

    def line_at(self, index: int) -> Line:
        if not self.jobs or self._snapshot is None:
            return super().line_at(index)
        if index not in self._rows:
            context = RowContext(self._snapshot, self._now, self.marked)
            self._rows[index] = self._layout.row(self.jobs[index], context)
        return self._rows[index]

    def move_cursor(self, index: int) -> None:
        """Select another job."""
        super().move_cursor(index)
        self._displaced = None
        if self.selected is not None:
            self.selected_id = self.selected.id

    def take_displaced(self) -> str | None:
        """The name of the job that was selected before, once, where the selection has moved by itself since."""
        name, self._displaced = self._displaced, None
        return name

    def redraw(self) -> None:
        """Draw again, with the columns that fit."""
        self._layout = TableLayout.fitting(self.scrollable_content_region.width)
        self._rows = {}
        super().redraw()
