"""The tabs of one job as lines of text: its head, logs, checkpoints, events, settings, and why it failed."""

import textwrap
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from ftlab.cli.text import ago, elapsed, files, fitted, status_and_phase
from ftlab.formatting import duration, number, one_line, shown_value, size
from ftlab.schemas import Attempt, Checkpoint, EventKind, Job, LogLine
from ftlab.schemas.failure_text import failure_lines
from ftlab.schemas.log_lines import event_text
from ftlab.status import LIVE_STATUSES, JobStatus, ReasonCode
from ftlab.tui.braille import bar
from ftlab.tui.charts import compact
from ftlab.tui.job_columns import STATUS_ROLES, elapsed_s, glyph, method_of, model_of
from ftlab.tui.snapshot import JobDetail, Snapshot, flat_config, start_estimate
from ftlab.tui.spans import Line, fitted_line, joined, line, spread, text_of, width_of

TIME_WIDTH = 9
HIGH = 30
"""Lines of a pane from which on there is room for long messages."""
LEVEL_ROLES = {"error": "error", "critical": "error", "warning": "warning", "debug": "muted"}
_KIND_ROLES = {EventKind.CHECKPOINT: "good", EventKind.NOTICE: "warning", EventKind.STATUS: "accent"}


class Tab(StrEnum):
    """The parts of a job's pane."""

    CHARTS = "Charts"
    LOGS = "Logs"
    CHECKPOINTS = "Checkpoints"
    EVENTS = "Events"
    CONFIG = "Config"
    SAMPLES = "Samples"
    WHY = "Why"


def tabs_of(detail: JobDetail | None) -> tuple[Tab, ...]:
    """The tabs that the job has: `Samples` only with answers to prompts, `Why` only after a failure."""
    missing = set[Tab]()
    if detail is None or not detail.samples:
        missing.add(Tab.SAMPLES)
    if detail is None or detail.failure is None:
        missing.add(Tab.WHY)
    return tuple(tab for tab in Tab if tab not in missing)


def head(job: Job, detail: JobDetail | None, snapshot: Snapshot, size: tuple[int, int], now: datetime) -> list[Line]:
    """The head of a job's pane, of `size` (cells wide, lines high): name, status, message, progress and numbers."""
    width, height = size
    sign, role = glyph(job)
    status = line((f"{sign} {status_and_phase(job.status, job.phase)}", f"{role} strong"))
    message = joined([line(job.message), line((start_estimate(job, snapshot), "accent"))], " ")
    about = line((f"{job.id}  {method_of(job)}  {model_of(job)}", "muted"))
    wrapped = _wrapped(message, width, 2 if height < HIGH else 4)
    return [
        spread(line((job.name, "title")), status, width),
        *wrapped,
        *([fitted_line(about, width)] if len(wrapped) == 1 or height >= HIGH else []),
        _progress(job, width, now),
        _numbers(job, detail, width),
    ]


def _wrapped(message: Line, width: int, max_lines: int) -> list[Line]:
    """A line on several; what is too long for the last one is clipped."""
    parts = textwrap.wrap(text_of(message), max(10, width))
    if len(parts) <= 1:
        return [message]
    last = " ".join(parts[max_lines - 1 :])
    return [*map(line, parts[: max_lines - 1]), *([fitted_line(line(last), width)] if last else [])]


def _progress(job: Job, width: int, now: datetime) -> Line:
    ran = elapsed_s(job, now)
    parts = [
        f"{job.step}/{job.total_steps}" if job.total_steps else f"step {job.step}" if job.step else "",
        f"{100 * job.progress:.0f} %" if job.total_steps else "",
        f"ran {duration(ran)}" if ran is not None else "",
        f"ETA {duration(job.eta_s)}" if job.eta_s else "",
    ]
    text = "  ".join(filter(None, parts))
    if not job.total_steps:
        return line((text, "muted"))
    filled, rest = bar(job.progress, max(8, min(40, width - len(text) - 2)))
    return line((filled, STATUS_ROLES[job.status]), (rest, "muted"), "  ", text)


def _numbers(job: Job, detail: JobDetail | None, width: int) -> Line:
    """As many of the newest measurements as fit."""
    series = detail.series if detail else {}

    def newest(name: str) -> float | None:
        return series[name][-1].value if series.get(name) else None

    speed = newest("tokens_per_s") if job.status in LIVE_STATUSES else None
    shown = (
        ("loss", _compact(job.loss)),
        ("eval", _compact(job.eval_loss)),
        ("lr", _compact(newest("learning_rate"))),
        ("tok/s", f"{speed:.0f}" if speed else ""),
        ("epoch", number(job.epoch)),
        ("attempt", str(job.attempt) if job.attempt > 1 else ""),
        ("", files(job.file, job.num_files, job.file_progress)),
        ("priority", str(job.priority) if job.status is JobStatus.QUEUED else ""),
    )
    parts = [line((f"{name} " if name else "", "muted"), (value, "strong")) for name, value in shown if value]
    while parts and width_of(joined(parts)) > width:
        parts.pop()
    return joined(parts)


def _compact(value: float | None) -> str:
    return "" if value is None else compact(value)


@lru_cache(maxsize=8192)
def log_lines(entry: LogLine, width: int) -> tuple[Line, ...]:
    """One entry of the log, wrapped; the text is indented below its time."""
    role = LEVEL_ROLES.get(entry.level, "")
    level = f"{entry.level} " if role in ("error", "warning") else ""
    parts = textwrap.wrap(level + one_line(entry.text), max(20, width - TIME_WIDTH)) or [""]
    first = line((f"{entry.at.astimezone():%H:%M:%S} ", "muted"), (parts[0], role))
    return (first, *(line(" " * TIME_WIDTH, (part, role)) for part in parts[1:]))


def log_tab(detail: JobDetail, width: int) -> list[Line]:
    """The log, oldest first."""
    if not detail.logs:
        return [line(("The log is empty. It begins when the job starts.", "muted"))]
    return [shown for entry in detail.logs for shown in log_lines(entry, width)]


def checkpoint_tab(detail: JobDetail, width: int, now: datetime) -> list[Line]:
    """One line per checkpoint after the head of the table."""
    if not detail.checkpoints:
        return [line(("There are no checkpoints yet.", "muted"))]
    head = line((f"{'CHECKPOINT':<15}  {'LOSS':>7}  {'EVAL':>7}  {'SIZE':>9}  {'SAVED':<11}  ", "head"))
    return [head, *(_checkpoint(found, now) for found in detail.checkpoints)]


def _checkpoint(found: Checkpoint, now: datetime) -> Line:
    loss, evaluated = number(found.metrics.get("loss")), number(found.metrics.get("eval_loss"))
    saved = ago(found.created_at, now)
    text = f"{fitted(found.name, 15)}  {loss:>7}  {evaluated:>7}  {size(found.size_bytes):>9}  {saved:<11}  "
    return line(text, ("best" if found.is_best else "", "good"))


def event_tab(detail: JobDetail, width: int) -> list[Line]:
    """Status changes, checkpoints, notices and samples, oldest first."""
    if not detail.events:
        return [line(("Nothing has happened yet.", "muted"))]
    lines: list[Line] = []
    for event in detail.events:
        role = _KIND_ROLES.get(event.kind, "muted")
        start = f"{event.at.astimezone():%H:%M:%S} "
        text = textwrap.wrap(one_line(event_text(event.payload)), max(20, width - 21)) or [""]
        lines.append(line((start, "muted"), (f"{event.kind:<11} ", role), text[0]))
        lines += [line(" " * 21, more) for more in text[1:]]
    return lines


def config_tab(detail: JobDetail, width: int) -> list[Line]:
    """Settings with what was chosen or changed, the attempts, and where the job is recorded."""
    return list(_config(detail, width))


def _config(detail: JobDetail, width: int) -> Iterator[Line]:
    job = detail.job
    changed = {change.field: change for adjustment in job.adjustments for change in adjustment.changes}
    settings = {name: value for name, value in flat_config(job).items() if value is not None or name in changed}
    name_width = min(width // 2, max(map(len, settings), default=0))
    for name, value in settings.items():
        note = ""
        if name in job.auto:
            note = f"  auto: {job.auto[name].reason}"
        elif name in changed:
            note = f"  was {shown_value(changed[name].from_)}"
        yield fitted_line(line((fitted(name, name_width), "muted"), "  ", shown_value(value), (note, "accent")), width)
    yield ()
    for name, text in _identity(job).items():
        yield line((f"{name:<10}", "muted"), text)
    if detail.attempts:
        yield ()
        yield line(("ATTEMPTS", "head"))
    for attempt in detail.attempts:
        yield fitted_line(_attempt(attempt), width)


def _identity(job: Job) -> dict[str, str]:
    found = {
        "Id": job.id,
        "Model": job.model_id,
        "MLflow": job.mlflow_url,
        "Created": f"{job.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
        "Finished": f"{job.finished_at.astimezone():%Y-%m-%d %H:%M:%S}" if job.finished_at else None,
    }
    return {name: value for name, value in found.items() if value}


def _attempt(attempt: Attempt) -> Line:
    came_from = attempt.resumed_from_step
    origin = "from the base model" if came_from is None else f"from step {came_from}"
    begin = line(f"{attempt.number}  {elapsed(attempt.created_at, attempt.ended_at)} {origin}: ")
    if attempt.ended_at is None:
        return (*begin, ("alive", "active"))
    role = "good" if attempt.reason is ReasonCode.OK else "warning"
    return (*begin, *line((f"{attempt.reason or ''} ", role), attempt.message or ""))


def sample_tab(detail: JobDetail, width: int) -> list[Line]:
    """Each prompt with its answers, the earliest step first."""
    lines: list[Line] = []
    for place, by_step in detail.samples.items():
        prompt = next(iter(by_step.values())).prompt
        lines += [line((text, "head")) for text in textwrap.wrap(f"{place}  {one_line(prompt)}", max(20, width))]
        for step, answer in by_step.items():
            cut = ", cut" if answer.is_cut else ""
            lines.append(line((f"  step {step}", "accent"), (f"  {answer.num_tokens} tokens{cut}", "muted")))
            for paragraph in answer.text.splitlines():
                wrapped = textwrap.wrap(one_line(paragraph), max(20, width - 4)) or [""]
                lines += [line(" " * 4, text) for text in wrapped]
        lines.append(())
    return lines


def why_tab(detail: JobDetail, width: int) -> list[Line]:
    """The analysis of the failure."""
    if detail.failure is None:
        return [line(("The job has not failed.", "muted"))]
    headings = ("Evidence", "Suggestions")
    return [line((text, "head" if text in headings else "")) for text in failure_lines(detail.failure, max(20, width))]
