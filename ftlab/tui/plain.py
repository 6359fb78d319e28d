"""One snapshot as text or as JSON, for `ftlab monitor --once` and `--json`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ftlab.tui.chart_pane import chart_lines
from ftlab.tui.charts import ChartOptions
from ftlab.tui.details import HIGH, config_tab, head, why_tab
from ftlab.tui.frame import empty_lines, title_line
from ftlab.tui.job_columns import RowContext, TableLayout
from ftlab.tui.snapshot import JobDetail, Snapshot
from ftlab.tui.spans import Line, in_ascii, line, text_of

CHART_HEIGHT = 24


def snapshot_text(
    snapshot: Snapshot, detail: JobDetail | None, width: int, now: datetime, *, is_ascii: bool = False
) -> list[str]:
    """The screen as lines of text: all jobs, or one of them with its charts and settings."""
    shown = _job(snapshot, detail, width, now) if detail else _jobs(snapshot, width, now)
    return [text_of(in_ascii(spans) if is_ascii else spans).rstrip() for spans in shown]


def _jobs(snapshot: Snapshot, width: int, now: datetime) -> Iterator[Line]:
    yield title_line(snapshot, width, now, is_readonly=False)
    if not snapshot.jobs:
        yield from empty_lines(snapshot, "")
        return
    layout = TableLayout.fitting(width)
    yield layout.head
    for job in snapshot.jobs:
        yield layout.row(job, RowContext(snapshot, now))


def _job(snapshot: Snapshot, detail: JobDetail, width: int, now: datetime) -> Iterator[Line]:
    yield from head(detail.job, detail, snapshot, (width, HIGH), now)
    yield ()
    yield from chart_lines(detail, (width, CHART_HEIGHT), ChartOptions())
    yield ()
    if detail.failure is not None:
        yield line(("WHY IT FAILED", "head"))
        yield from why_tab(detail, width)
        yield ()
    yield line(("SETTINGS", "head"))
    yield from config_tab(detail, width)


def snapshot_document(snapshot: Snapshot, detail: JobDetail | None) -> dict[str, Any]:
    """The snapshot as plain JSON values; with a job, also its series, log, events, checkpoints and attempts."""
    document: dict[str, Any] = {
        "server": snapshot.link.server,
        "fetched_at": snapshot.link.fetched_at and snapshot.link.fetched_at.isoformat(),
        "jobs": [
            job.model_dump(mode="json")
            | {"trend": list(trend.losses) if (trend := snapshot.trends.get(job.id)) else None}
            for job in snapshot.jobs
        ],
        "nodes": [node.model_dump(mode="json") for node in snapshot.nodes],
    }
    if detail is not None:
        document["job"] = {
            "id": detail.job.id,
            "series": {name: [[point.step, point.value] for point in points] for name, points in detail.series.items()},
            **{
                name: [item.model_dump(mode="json") for item in getattr(detail, name)]
                for name in ("logs", "events", "checkpoints", "attempts")
            },
            "failure": detail.failure and detail.failure.model_dump(mode="json"),
        }
    return document
