"""The table of jobs: it formats only the rows that are visible."""

from datetime import UTC, datetime

from ftlab.schemas import Job
from ftlab.tui.job_columns import RowContext, TableLayout, method_of, model_of
from ftlab.tui.line_area import LineArea
from ftlab.tui.snapshot import LinkState, Snapshot
from ftlab.tui.spans import Line, line


class JobTable(LineArea):
    """All jobs that pass the filter; the selected one stays selected while the order changes."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.jobs: list[Job] = []
        self.selected_id: str | None = None
        self.filter = ""
        self.marked: frozenset[str] = frozenset()
        self._snapshot: Snapshot | None = None
        self._now = datetime.now(UTC)
        self._layout = TableLayout.fitting(80)

    @property
    def selected(self) -> Job | None:
        return self.jobs[self.cursor] if self.cursor is not None and self.cursor < len(self.jobs) else None

    @property
    def head(self) -> Line:
        return self._layout.head

    def show_snapshot(self, snapshot: Snapshot, now: datetime) -> None:
        """Show newer data."""
        self._snapshot, self._now = snapshot, now
        self.jobs = [job for job in snapshot.jobs if passes(job, self.filter)]
        places = [place for place, job in enumerate(self.jobs) if job.id == self.selected_id]
        if self.jobs:
            at_end = min(self.cursor or 0, len(self.jobs) - 1)
            self.cursor = places[0] if places else at_end
            self.selected_id = self.jobs[self.cursor].id
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
        return self._layout.row(self.jobs[index], RowContext(self._snapshot, self._now, self.marked))

    def move_cursor(self, index: int) -> None:
        """Select another job."""
        super().move_cursor(index)
        if self.selected is not None:
            self.selected_id = self.selected.id

    def redraw(self) -> None:
        """Draw again, with the columns that fit."""
        self._layout = TableLayout.fitting(self.scrollable_content_region.width)
        super().redraw()


def passes(job: Job, wanted: str) -> bool:
    """Whether all words of a filter are in the name, id, status, method or model of the job."""
    text = " ".join((job.name, job.id, job.status, method_of(job), model_of(job), job.reason or "")).casefold()
    return all(word in text for word in wanted.casefold().split())


def empty_lines(snapshot: Snapshot, wanted: str) -> list[Line]:
    """What is shown in place of jobs: what is happening, or what to do first."""
    link = snapshot.link
    if link.state is LinkState.LOADING:
        return [(), line((f"  Connecting to {link.server} ...", "muted"))]
    if link.state is not LinkState.LIVE and not snapshot.jobs:
        return [(), *(line((f"  {part}", "error")) for part in _sentences(link.problem))]
    if snapshot.jobs:
        return [(), line((f"  No job matches '{wanted}'.", "")), line(("  Press Esc to show all jobs.", "muted"))]
    return [
        (),
        line(("  There are no jobs yet.", "strong")),
        (),
        line(("  Submit one from another terminal:", "muted")),
        line(("    ftlab submit job.yaml", "accent")),
        (),
        line(("  It appears here at once.", "muted")),
    ]


def _sentences(text: str) -> list[str]:
    return [part if part.endswith(".") else f"{part}." for part in text.removesuffix(".").split(". ")]
