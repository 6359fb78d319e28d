"""The rows of the jobs table, fitted to its width."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ftlab.cli.text import GLYPHS, fitted, steps
from ftlab.formatting import duration, one_line
from ftlab.schemas import Job
from ftlab.status import LIVE_STATUSES, JobKind, JobStatus
from ftlab.tui.braille import bar, sparkline
from ftlab.tui.charts import compact
from ftlab.tui.snapshot import Snapshot, Trend, start_estimate, starts_again
from ftlab.tui.spans import Line, Span, line

GAP = "  "
SPARK_WIDTH = 8
BAR_WIDTH = 10
MIN_NAME, MAX_NAME = 14, 32
RECOVERING = "↻"
STATUS_ROLES = {
    JobStatus.QUEUED: "waiting",
    JobStatus.PENDING: "waiting",
    JobStatus.INITIALIZING: "active",
    JobStatus.RUNNING: "active",
    JobStatus.PAUSING: "paused",
    JobStatus.PAUSED: "paused",
    JobStatus.CANCELLING: "muted",
    JobStatus.COMPLETED: "good",
    JobStatus.FAILED: "error",
    JobStatus.CANCELLED: "muted",
}


@dataclass(frozen=True)
class RowContext:
    """What a row needs besides its job."""

    snapshot: Snapshot
    now: datetime
    marked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Column:
    """One column after the name."""

    title: str
    width: int
    rank: int
    """Columns with a high rank are left out first where the table is narrow."""
    cell: Callable[[Job, Trend, datetime], Span]
    right: bool = True


def glyph(job: Job) -> Span:
    """The sign of the job's status, with its role."""
    if starts_again(job):
        return RECOVERING, "waiting"
    return GLYPHS[job.status], STATUS_ROLES[job.status]


def short(value: float | None) -> str:
    """A number in at most six characters where that is possible."""
    if value is None:
        return ""
    text = compact(value)
    return text if len(text) <= 6 else compact(float(f"{value:.1g}"))


def method_of(job: Job) -> str:
    """`sft`, `dpo` and so on; of another kind of job, the beginning of its kind."""
    if job.kind is not JobKind.TRAINING:
        return job.kind[:4]
    method = (job.resolved_config or job.config).get("method")
    return str(method.get("type") or "sft") if isinstance(method, dict) else "sft"


def model_of(job: Job) -> str:
    """The last part of the name of the base model, or of the last model of several."""
    models = job.config.get("models") or [job.config.get("model", "")]
    return str(models[-1]).rsplit("/", 1)[-1]


def elapsed_s(job: Job, now: datetime) -> float | None:
    """Seconds of all attempts of the job."""
    if job.run_time_s is None and job.started_at is not None and job.status in LIVE_STATUSES:
        return (now - job.started_at).total_seconds()
    return job.run_time_s


def _progress(job: Job, trend: Trend, now: datetime) -> Span:
    if job.status in LIVE_STATUSES and job.step and job.total_steps:
        filled, rest = bar(job.progress, BAR_WIDTH)
        return filled + rest, STATUS_ROLES[job.status]
    return str(job.status), STATUS_ROLES[job.status]


def _step(job: Job, trend: Trend, now: datetime) -> Span:
    return (steps(job.step, job.total_steps) if job.step else ""), ""


COLUMNS = (
    Column("METHOD", 6, 8, lambda job, trend, now: (method_of(job), "muted"), right=False),
    Column("MODEL", 16, 9, lambda job, trend, now: (model_of(job), "muted"), right=False),
    Column("PROGRESS", BAR_WIDTH, 1, _progress, right=False),
    Column("STEP", 9, 2, _step),
    Column("LOSS", 6, 3, lambda job, trend, now: (short(job.loss), "")),
    Column("TREND", SPARK_WIDTH, 5, lambda job, trend, now: (sparkline(trend.losses, SPARK_WIDTH), "curve1")),
    Column("LR", 8, 11, lambda job, trend, now: (short(trend.learning_rate), "")),
    Column("TOK/S", 6, 7, lambda job, trend, now: (f"{trend.tokens_per_s:.0f}" if trend.tokens_per_s else "", "")),
    Column("ELAPSED", 7, 6, lambda job, trend, now: (duration(elapsed_s(job, now)), "")),
    Column("ETA", 7, 4, lambda job, trend, now: (duration(job.eta_s or None), "")),
    Column("TRIES", 5, 10, lambda job, trend, now: (str(job.attempt) if job.attempt > 1 else "", "warning")),
)


def passes(job: Job, wanted: str) -> bool:
    """Whether all words of a filter are in the name, id, kind, status, method or model of the job."""
    text = " ".join(
        (job.name, job.id, job.kind, job.status, method_of(job), model_of(job), job.reason or "")
    ).casefold()
    return all(word in text for word in wanted.casefold().split())


@dataclass(frozen=True)
class TableLayout:
    """The columns that fit a width."""

    name_width: int
    columns: tuple[Column, ...]

    @classmethod
    def fitting(cls, width: int) -> "TableLayout":
        """As many columns as leave the name enough room."""
        columns = list(COLUMNS)
        while columns and _width_of(columns) + MIN_NAME + 4 > width:
            columns.remove(max(columns, key=lambda column: column.rank))
        room = width - 4 - _width_of(columns)
        return cls(max(1, min(MAX_NAME, room)), tuple(columns))

    @property
    def head(self) -> Line:
        titles = [fitted(column.title, column.width, right=column.right) for column in self.columns]
        return ((GAP.join(["    " + fitted("NAME", self.name_width), *titles]), "head"),)

    def row(self, job: Job, context: RowContext) -> Line:
        """One job: its measurements, or for a waiting job what it waits for."""
        mark: Span = ("◆", "accent") if job.id in context.marked else (" ", "")
        sign, role = glyph(job)
        start = line(mark, (f"{sign} ", role), " ", (fitted(one_line(job.name), self.name_width), ""))
        if job.status is JobStatus.QUEUED:
            return (*start, (GAP + self._note(job, context), "waiting"))
        trend = context.snapshot.trends.get(job.id, Trend())
        cells: list[Span] = []
        for column in self.columns:
            text, cell_role = column.cell(job, trend, context.now)
            cells += [(GAP, ""), (fitted(one_line(text), column.width, right=column.right), cell_role)]
        return (*start, *cells)

    def _note(self, job: Job, context: RowContext) -> str:
        """When the job starts, or its place in the queue and what it waits for."""
        estimate = start_estimate(job, context.snapshot).removeprefix("Starts ")
        is_next = (job.queue_position or 1) == 1
        what = (estimate or job.waiting_for or job.message).removesuffix(".")
        parts = ["" if is_next and estimate else "next: " if is_next else f"no. {job.queue_position}: "]
        parts += [f"{job.kind}, " if job.kind is not JobKind.TRAINING else ""]
        parts += [f"attempt {job.attempt + 1}, " if starts_again(job) else "", what[:1].lower(), what[1:]]
        return fitted(one_line("".join(parts)), _width_of(self.columns) - len(GAP))


def _width_of(columns: tuple[Column, ...] | list[Column]) -> int:
    return sum(column.width + len(GAP) for column in columns)
