"""Numbers, times and sizes for people."""

from datetime import UTC, datetime

from ftlab.status import JobStatus

GLYPHS: dict[JobStatus, str] = {
    JobStatus.QUEUED: "○",
    JobStatus.PENDING: "○",
    JobStatus.INITIALIZING: "●",
    JobStatus.RUNNING: "●",
    JobStatus.PAUSING: "‖",
    JobStatus.PAUSED: "‖",
    JobStatus.CANCELLING: "⊘",
    JobStatus.COMPLETED: "✓",
    JobStatus.FAILED: "✗",
    JobStatus.CANCELLED: "⊘",
}


def duration(seconds: float | None) -> str:
    """`1:05`, `2:03:04`, `3 d 4 h`; empty for `None`."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(num_bytes: int) -> str:
    """`512 B`, `1.5 MB`; in powers of 1,000."""
    amount = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.95:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def number(value: float | None) -> str:
    """Four significant digits; empty for `None`."""
    return "" if value is None else f"{value:.4g}"


def local_time(at: datetime | None) -> str:
    """Date and time in the reader's time zone."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else ""


def elapsed(since: datetime | None, until: datetime | None = None) -> str:
    """The time between two moments; until now when the second is not given."""
    return duration(((until or datetime.now(UTC)) - since).total_seconds()) if since else ""


def steps(step: int, total_steps: int | None) -> str:
    return f"{step}/{total_steps}" if total_steps else str(step)


def files(file: int | None, num_files: int, file_progress: float | None) -> str:
    """`file 2 of 5 (40 %)`; empty for a job with one file, and before the first step."""
    if num_files < 2 or file is None:
        return ""
    return f"file {file} of {num_files} ({100 * (file_progress or 0.0):.0f} %)"


def one_line(value: object) -> str:
    """Text without line breaks, tabs and terminal control characters."""
    return "".join(char if char.isprintable() else " " for char in str(value))
